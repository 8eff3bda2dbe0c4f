"""What nodes tell the page besides their outputs; `web/` shows it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

# Schema fields of a node that is no output node but has something to show. Hosts that know the first also send what a
# cached node showed, so that a page that was loaded again learns it.
SHOWS: dict[str, Any] = (
    {"has_intermediate_output": True} if "has_intermediate_output" in {f.name for f in fields(io.Schema)} else {}
)


def beta_shown(beta: float | None) -> dict[str, list[float | None]]:
    """An anchor's β for the page's β line; None: unknown."""
    return {"realign_beta": [beta]}


def said(node: type[io.ComfyNode], lines: Iterable[str], strip: Tensor | None = None) -> dict[str, list[Any]]:
    """Show lines on the node that runs, now and as a part of its output: the page hears `show_text` and previews only
    from a node that really runs, and one that the host has kept says and shows what it did. strip: IMAGE (1, H, W, 3)
    that is on the node as a preview."""
    text = "\n".join(lines)
    show_text(getattr(getattr(node, "hidden", None), "unique_id", None), text)
    drawn = {} if strip is None else {"realign_strip": ui.PreviewImage(strip, cls=node).values}
    return ({"realign_text": [text]} if text else {}) | drawn


def show_text(node_id: str | None, text: str) -> None:
    """Show `text` on the node. Where nodes run without the host's server (tests, scripts) nothing happens.

    A file's name may hold what is no character; it is shown as “?”.
    """
    server = sys.modules.get("server")
    instance = getattr(getattr(server, "PromptServer", None), "instance", None)
    if node_id is not None and instance is not None:
        instance.send_progress_text(text.encode("utf-8", "replace"), node_id)
