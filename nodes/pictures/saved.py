"""Pictures in the host's temp folder, for the page: each whole, with the workflow that makes it alone, and small."""

from __future__ import annotations

import hashlib
import random
import string
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io, ui
from PIL import Image

from .alone import graph_alone, workflow_alone
from .facts import Facts
from .graph_words import SWEEP

THUMB, QUALITY = 256, 85  # px, the longer side; of 100
MARKS = 65536  # numbers by which a batch is known again
WRITERS = 4  # files at once: compression does not hold Python up

Told = Callable[[int], Any]  # of a picture: what the host's helper writes into its file, as a node's class has it


@dataclass(frozen=True)
class Saved:
    run: str  # the same for the same pictures
    files: list[str]
    thumbs: list[str]


def save_cells(images: torch.Tensor, known: Facts, told: Told) -> Saved:
    """Each picture as PNG, and as JPEG of at most THUMB px. images: IMAGE (B, H, W, C)."""
    prefix = "realign_compare_" + "".join(random.choices(string.ascii_lowercase, k=5))
    with ThreadPoolExecutor(WRITERS) as pool:
        files = list(pool.map(lambda i: _save(images[i], f"{prefix}_{i + 1}", told(i)), range(len(images))))
    return Saved(_fingerprint(images, known), files, [_thumb(file) for file in files])


def told_alone(
    known: Facts, hidden: Any, sweep: str | None, widgets: Sequence[tuple[str, Any]] = ()
) -> Callable[[int], Any]:
    """The graph and the workflow that make a picture alone.

    hidden: the node's, with prompt and extra_pnginfo, or None. sweep: the id in the graph of what the sweep comes from;
    a λ Sweep's “only” is set to the cell, and its “draft” off; of None and of any other node, which makes a sweep of
    its own, the workflow is the run's. widgets: λ Sweep's, with their defaults.
    """
    if hidden is None:
        return lambda picture: None
    graph, extra = hidden.prompt, hidden.extra_pnginfo
    node = graph.get(sweep) if isinstance(graph, dict) else None
    if not isinstance(node, dict) or node.get("class_type") != SWEEP:
        return lambda picture: SimpleNamespace(hidden=hidden)

    def told(picture: int) -> Any:
        values, own = _only(known, node, picture), extra
        if isinstance(extra, Mapping) and "workflow" in extra:
            own = {**extra, "workflow": workflow_alone(extra["workflow"], sweep, values, widgets)}
        return SimpleNamespace(hidden=SimpleNamespace(prompt=graph_alone(graph, sweep, values), extra_pnginfo=own))

    return told


def _only(known: Facts, sweep: Mapping[str, Any], picture: int) -> dict[str, Any]:
    """What λ Sweep is to have for a picture alone. One that gave a single cell already is left so."""
    row, column = divmod(picture, known.table.shape[1])
    own = sweep["inputs"].get("only")
    return {"only": own if own and known.count == 1 else f"{row + 1}, {column + 1}", "draft": False}


def _save(image: torch.Tensor, prefix: str, told: Any) -> str:
    (saved,) = ui.ImageSaveHelper.save_images(image[None], prefix, io.FolderType.temp, told, 1)
    pixels = (255 * image[..., :3].detach().float().cpu().clamp(0, 1)).to(torch.uint8).numpy()
    small = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("RGB")
    small.thumbnail((THUMB, THUMB), Image.Resampling.LANCZOS)
    small.save(Path(folder_paths.get_temp_directory(), saved.subfolder, _thumb(saved.filename)), quality=QUALITY)
    return str(saved.filename)


def _thumb(file: str) -> str:
    return str(Path(file).with_suffix(".jpg"))


def _fingerprint(images: torch.Tensor, known: Facts) -> str:
    flat = images.detach().flatten()
    marks = flat[:: max(1, len(flat) // MARKS)].float().cpu().numpy()
    told = repr((tuple(images.shape), known.cells, known.columns))
    return hashlib.sha1(marks.tobytes() + told.encode(), usedforsecurity=False).hexdigest()[:16]
