"""RealignGrid: the pictures of a λ sweep as one labelled picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import comfy.utils
import torch
from comfy_api.latest import io, ui

from ..realign_core import LambdaSchedule, Sweep
from .pictures.graph_words import model_files, prompt_text
from .pictures.labels import (
    Facts,
    anchor_label,
    caption,
    column_label,
    facts,
    kl_label,
    parse_trace,
    row_label,
    settings_label,
    strength_parts,
)
from .pictures.plot import LEFT_OUT, drawable
from .pictures.sheet import LARGEST, PIXELS, Note, Table, draw_captions, fitted
from .types import ALIASES, CATEGORY, LambdaType

SMALLEST = 160  # px: a picture that nobody chose a size for
PROMPT_LINES, OTHER_LINES, OWN_LINES = 6, 3, 60  # of the footer, at the most


class RealignGrid(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignGrid",
            display_name="λ Grid",
            category=CATEGORY,
            description=(
                "The pictures of a λ sweep as one picture: λ over the columns, seed, cfg or η beside the rows, the KL "
                "spent below each. With the trace it also says β/λ, seeds and settings. Any batch of pictures works."
            ),
            search_aliases=[*ALIASES, "xy plot", "contact sheet", "labels", "lambda sweep", "compare"],
            inputs=[
                io.Image.Input("images", tooltip="The decoded pictures of the run, as one batch."),
                LambdaType.Input(
                    "sweep",
                    optional=True,
                    tooltip="λ Sweep's “λ sweep”, if the run got it: columns and rows. Left open: as the trace says.",
                ),
                io.String.Input(
                    "trace",
                    optional=True,
                    force_input=True,
                    tooltip=(
                        "Of Realign Sampler or Realign Trace: adds β/λ, the run's seed and settings, and each "
                        "picture's KL."
                    ),
                ),
                io.Int.Input(
                    "cell_size",
                    default=0,
                    min=0,
                    max=4096,
                    optional=True,
                    tooltip=(
                        f"Longer side of a picture in the grid, in px (1–4096). 0: as the pictures are, but at least "
                        f"{SMALLEST}. The whole grid is at most {LARGEST} px wide and high."
                    ),
                ),
                io.String.Input(
                    "footer",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="Text below the grid. Left empty: prompt, models and sampler settings.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="grid", tooltip="The labelled grid, one picture. Of a single picture: that, as it is."
                ),
                io.Image.Output(
                    display_name="labelled", tooltip="A batch: each picture with its own labels below, all of one size."
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        images: torch.Tensor,
        sweep: Sweep | LambdaSchedule | None = None,
        trace: str | None = None,
        cell_size: int = 0,
        footer: str = "",
    ) -> io.NodeOutput:
        hidden = getattr(cls, "hidden", None)
        graph, node_id = getattr(hidden, "prompt", None), getattr(hidden, "unique_id", None)
        known = facts(images.shape[0], sweep, parse_trace(trace) if trace else None, graph, node_id)
        notes = [Note("", footer, OWN_LINES)] if footer.strip() else footer_notes(known, graph, node_id)
        table = swept_table(known, notes) if known.cells else plain_table(known, notes)
        size_of, wanted = sizes_of(images, cell_size)
        captions = [caption(known, i) for i in range(known.count)]
        if known.count == 1:  # a picture that is to be kept has no labels in it
            labelled = draw_captions(scaled(images, size_of(wanted)), captions)
            return io.NodeOutput(images, labelled, ui=ui.PreviewImage(labelled, cls=cls))
        grid = fitted(table, size_of, wanted)
        cells = scaled(images, grid.size)
        room = math.isqrt(PIXELS * max(grid.size) ** 2 // (math.prod(grid.size) * known.count))
        own = size_of(max(min(wanted, room), max(grid.size)))
        labelled = draw_captions(cells if own == grid.size else scaled(images, own), captions)
        drawn = grid.draw(cells)
        return io.NodeOutput(drawn, labelled, ui=ui.PreviewImage(drawn, cls=cls))


def swept_table(known: Facts, notes: Sequence[Note]) -> Table:
    cells, columns = known.cells, known.columns
    heads = [column_label(cells[i].value, known.beta(i), known.scheduled) for i in range(columns)]
    if not any(known.beta(i) for i in range(columns)):
        heads = [(above, "") for above, _ in heads]
    sides = [row_label(cells[row * columns], known.varies, known.seed) for row in range(known.rows)]
    varies = [name for name in ("cfg", "eta", "seed", "image") if name in known.varies]
    across = "λ"
    if known.scheduled:
        across = "how much of the λ schedule"
    elif len(known.anchors) == 1:
        across = "λ and β/λ" if known.anchors[0].get("beta") else "λ, the strength"
    subtitle = f"across: {across}"
    if varies:
        subtitle += f"  ·  down: {', '.join(varies).replace('eta', 'η')}"
    return Table(
        columns=columns,
        title=_title("λ sweep", known),
        subtitle=_subtitle(known, subtitle),
        heads=heads,
        sides=sides if any(sides) else [],
        below=[[kl_label(known.kl_reference(i))] if known.trace else [] for i in range(known.count)],
        notes=notes,
    )


def plain_table(known: Facts, notes: Sequence[Note]) -> Table:
    """Pictures without a sweep: in one row, from six on in a table that is wider than high."""
    columns = known.count if known.count < 6 else math.ceil(math.sqrt(known.count))
    below = []
    for i in range(known.count):
        strength = strength_parts(known, i)
        kl = [kl_label(known.kl_reference(i))] if known.trace else []
        below.append([" · ".join(strength), *kl] if strength else [*kl] or [f"image {i + 1}"])
    return Table(
        columns=columns,
        title=_title(f"{known.count} pictures" if known.count > 1 else "1 picture", known),
        subtitle=_subtitle(known, "the λ sweep that is connected did not run" if known.unused_sweep else ""),
        heads=[],
        sides=[],
        below=below,
        notes=notes,
    )


def footer_notes(known: Facts, graph: dict[str, Any] | None, node_id: str | None) -> list[Note]:
    """Prompt, models, anchors and settings, as far as they are known from the graph and the trace."""
    anchors = {str(anchor.get("name")) for anchor in known.anchors}
    said = {
        "Prompt": prompt_text(graph, node_id) or prompt_text(graph, node_id, "conditioning"),
        "Negative": prompt_text(graph, node_id, "negative"),
        "Models": " · ".join(name for name in model_files(graph, node_id) if name not in anchors),
        "Anchor" if len(known.anchors) == 1 else "Anchors": " · ".join(anchor_label(one) for one in known.anchors),
        "Sampling": settings_label(known),
    }
    notes = [
        Note(name, text.replace("\n", " "), PROMPT_LINES if name == "Prompt" else OTHER_LINES)
        for name, text in said.items()
        if text
    ]
    if any(LEFT_OUT in drawable(note.text) for note in notes):
        notes.append(Note(LEFT_OUT, "characters that the labels' font does not have", OTHER_LINES))
    return notes


def sizes_of(images: torch.Tensor, cell_size: int) -> tuple[Callable[[int], tuple[int, int]], int]:
    """(width, height) of a picture by its longer side, and the longer side that is wanted."""
    height, width = images.shape[1:3]
    own = max(height, width)

    def size_of(side: int) -> tuple[int, int]:
        return max(round(width * side / own), 1), max(round(height * side / own), 1)

    return size_of, cell_size or own * math.ceil(SMALLEST / own)


def scaled(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """IMAGE (B, H, W, 3) of this width and height, untouched where they have it already.

    Small pictures are enlarged by whole pixels, so that they stay what they are; others by the host's Lanczos.
    """
    images = images[..., :3] if images.shape[-1] >= 3 else images[..., :1].expand(*images.shape[:3], 3)
    images = images.float().cpu()
    height, width = images.shape[1:3]
    if (width, height) == size:
        return images
    whole = size[0] % width == 0 and size[1] % height == 0 and max(width, height) < SMALLEST
    method = "nearest-exact" if whole else "lanczos"
    return comfy.utils.common_upscale(images.movedim(-1, 1), *size, method, "disabled").movedim(1, -1)


def _subtitle(known: Facts, first: str) -> str:
    masked = "λ acts where the λ mask is" if any(known.masked(i) for i in range(known.count)) else ""
    return "  ·  ".join(part for part in (first, masked, "KL to the reference in nats" if known.trace else "") if part)


def _title(what: str, known: Facts) -> str:
    names = " + ".join(str(anchor.get("name")) for anchor in known.anchors)
    return f"{what} · {names}" if names else what


NODES = [RealignGrid]
