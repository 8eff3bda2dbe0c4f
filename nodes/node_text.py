"""A line of text on a node in the page, while it runs."""

from __future__ import annotations

import sys


def show_text(node_id: str | None, text: str) -> None:
    """Show `text` on the node. Where nodes run without the host's server (tests, scripts) nothing happens.

    A file's name may hold what is no character; it is shown as “?”.
    """
    server = sys.modules.get("server")
    instance = getattr(getattr(server, "PromptServer", None), "instance", None)
    if node_id is not None and instance is not None:
        instance.send_progress_text(text.encode("utf-8", "replace"), node_id)
