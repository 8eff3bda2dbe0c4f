"""RealignGrid: the pictures of a λ sweep as one labelled picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import comfy.utils
import torch
from comfy_api.latest import io, ui
from PIL import Image, ImageDraw

from ..realign_core import LambdaSchedule, Sweep
from .graph_text import model_files, prompt_text
from .labels import (
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
from .plot import AXIS, BACKGROUND, BLUE, INK, LEFT_OUT, as_image, drawable, font, shortened, wrapped
from .types import ALIASES, CATEGORY, LambdaType

SMALLEST, LARGEST = 160, 16384  # px: a cell that nobody chose a size for, and a side of the whole grid
VALUE = (212, 212, 216)  # the footer's text, between INK and AXIS
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
                    tooltip="λ Sweep's “λ sweep”: what the columns and rows are. Left open: as the trace says.",
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
                        f"{SMALLEST}. The whole grid is at most about {LARGEST} px wide and high."
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
                io.Image.Output(display_name="grid", tooltip="The labelled grid, one picture."),
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
        cells = scaled(images, cell_size, max(table.columns, table.rows))
        grid = draw_grid(cells, table)
        labelled = draw_captions(cells, [caption(known, i) for i in range(known.count)])
        return io.NodeOutput(grid, labelled, ui=ui.PreviewImage(grid, cls=cls))


@dataclass(frozen=True)
class Note:
    """A paragraph of the footer, its name left of it. most: lines."""

    name: str
    text: str
    most: int


@dataclass(frozen=True)
class Table:
    """What a grid says. heads: two lines per column, or none. sides: lines per row, or none. below: lines per picture.

    notes: the footer.
    """

    columns: int
    title: str
    subtitle: str
    heads: Sequence[Sequence[str]]
    sides: Sequence[Sequence[str]]
    below: Sequence[Sequence[str]]
    notes: Sequence[Note]

    @property
    def rows(self) -> int:
        return math.ceil(len(self.below) / self.columns)


def swept_table(known: Facts, notes: Sequence[Note]) -> Table:
    cells, columns = known.cells, known.columns
    heads = [column_label(cells[i].value, known.beta(i), known.scheduled) for i in range(columns)]
    if not any(known.beta(i) for i in range(columns)):
        heads = [(above, "") for above, _ in heads]
    sides = [row_label(cells[row * columns], cells, known.seed) for row in range(known.rows)]
    varies = [name for name in ("cfg", "eta", "seed", "image") if len({getattr(cell, name) for cell in cells}) > 1]
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


def scaled(images: torch.Tensor, cell_size: int, cells_across: int) -> torch.Tensor:
    """IMAGE (B, H, W, 3) of the grid's cells, untouched where they have their size already.

    Small pictures are enlarged by whole pixels, so that they stay what they are; others by the host's Lanczos.
    """
    images = images[..., :3] if images.shape[-1] >= 3 else images[..., :1].expand(*images.shape[:3], 3)
    images = images.float().cpu()
    height, width = images.shape[1:3]
    side = max(height, width)
    wanted = cell_size or side * math.ceil(SMALLEST / side)
    wanted = min(wanted, max(LARGEST // cells_across, 1))
    if wanted == side:
        return images
    size = [max(round(length * wanted / side), 1) for length in (width, height)]
    method = "nearest-exact" if wanted % side == 0 and side < SMALLEST else "lanczos"
    return comfy.utils.common_upscale(images.movedim(-1, 1), *size, method, "disabled").movedim(1, -1)


@dataclass(frozen=True)
class _Sizes:
    """Everything in a grid's layout that follows from the cells' longer side, in px."""

    text: int
    head: int
    title: int

    @classmethod
    def of(cls, cells: torch.Tensor) -> _Sizes:
        text = round(min(max(0.045 * max(cells.shape[1:3]), 13), 44))
        return cls(text, round(1.25 * text), round(1.55 * text))

    @property
    def gap(self) -> int:
        return max(round(0.5 * self.text), 6)

    @property
    def margin(self) -> int:
        return 2 * self.text


@dataclass(frozen=True)
class _Text:
    """Lines of one size and colour."""

    lines: Sequence[str]
    size: int
    colour: tuple[int, int, int] = AXIS

    @property
    def width(self) -> int:
        return math.ceil(max((font(self.size).getlength(line) for line in self.lines), default=0))

    @property
    def line_height(self) -> int:
        return round(1.45 * self.size)

    @property
    def height(self) -> int:
        return len(self.lines) * self.line_height

    def draw(self, draw: ImageDraw.ImageDraw, x: float, top: float, anchor: str = "l") -> None:
        """anchor: what of each line is at x, its left "l", middle "m" or right "r"."""
        for i, line in enumerate(self.lines):
            middle = top + (i + 0.5) * self.line_height
            draw.text((round(x), round(middle)), line, fill=self.colour, font=font(self.size), anchor=f"{anchor}m")


def draw_grid(cells: torch.Tensor, table: Table) -> torch.Tensor:
    """IMAGE (1, H, W, 3). cells: (B, h, w, 3), row by row; their pixels are the grid's where they stand.

    Columns and rows are as wide and high as their pictures or their labels need, whichever is more.
    """
    sizes = _Sizes.of(cells)
    (height, width), margin, gap = cells.shape[1:3], sizes.margin, sizes.gap
    heads = [(_Text(head[:1], sizes.head, INK), _Text(head[1:], sizes.text, BLUE)) for head in table.heads]
    sides = [_Text(_drawable(side), sizes.text, INK) for side in table.sides]
    below = [_Text(_drawable(lines), sizes.text) for lines in table.below]
    column = max([width, *(text.width for head in heads for text in head), *(text.width for text in below)])
    side = max([text.width + 2 * gap for text in sides], default=0)
    block = max([height, *(text.height for text in sides)])
    row = block + max(text.height for text in below) + 2 * gap

    content = max(side + table.columns * (column + gap) - gap, 22 * sizes.text)
    left = margin + side
    above = [
        _Text([shortened(drawable(table.title), font(sizes.title), content)], sizes.title, INK),
        _Text(wrapped(table.subtitle, font(sizes.text), content, OTHER_LINES), sizes.text),
    ]
    names = [_Text([note.name] if note.name else [], sizes.text) for note in table.notes]
    indent = max((name.width + 2 * gap for name in names if name.lines), default=0)
    notes = [
        _Text(wrapped(note.text, font(sizes.text), content - indent, note.most), sizes.text, VALUE)
        for note in table.notes
    ]
    head_top = margin + sum(text.height for text in above) + 2 * gap
    has_below = any(any(head[1:]) for head in table.heads)
    top = head_top + (heads[0][0].height + has_below * heads[0][1].height + gap if heads else 0)
    foot = top + table.rows * row + (gap if notes else 0)
    whole = foot + sum(text.height for text in notes) + gap // 2 * max(len(notes) - 1, 0) + margin

    sheet = Image.new("RGB", (content + 2 * margin, whole), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    above[0].draw(draw, margin, margin)
    above[1].draw(draw, margin, margin + above[0].height)
    for i, (first, second) in enumerate(heads):
        middle = left + i * (column + gap) + column / 2
        first.draw(draw, middle, head_top, "m")
        second.draw(draw, middle, head_top + first.height, "m")
    for i, text in enumerate(sides):
        text.draw(draw, left - 2 * gap, top + i * row + (block - text.height) / 2, "r")
    for name, text in zip(names, notes):
        name.draw(draw, margin, foot)
        text.draw(draw, margin + indent, foot)
        foot += text.height + gap // 2
    places = []
    for i, text in enumerate(below):
        x = left + i % table.columns * (column + gap)
        y = top + i // table.columns * row + (block - height) // 2
        text.draw(draw, x + column / 2, y + height + gap / 2, "m")
        places.append((x + (column - width) // 2, y))
    out = as_image(sheet)
    for (x, y), cell in zip(places, cells):
        out[0, y : y + height, x : x + width] = cell
    return out


def draw_captions(cells: torch.Tensor, captions: Sequence[Sequence[str]]) -> torch.Tensor:
    """IMAGE (B, H, W, 3): each cell with its labels below, wrapped between labels; all as high as the highest."""
    size = _Sizes.of(cells).text
    height, width = cells.shape[1:3]
    wide = max(width, 8 * size)
    texts = [_Text(_filled(_drawable(parts), size, wide - size), size, INK) for parts in captions]
    strip = max(text.height for text in texts) + size
    out = (torch.tensor(BACKGROUND) / 255).repeat(len(cells), height + strip, wide, 1)
    left = (wide - width) // 2
    out[:, :height, left : left + width] = cells
    for picture, text in zip(out, texts):
        sheet = Image.new("RGB", (wide, strip), BACKGROUND)
        text.draw(ImageDraw.Draw(sheet), wide / 2, size / 2, "m")
        picture[height:] = as_image(sheet)[0]
    return out


def _filled(parts: Sequence[str], size: int, width: int) -> list[str]:
    """The parts, " · " between them, in as few lines of at most `width` px as they fill."""
    lines = [""]
    for part in parts:
        joined = f"{lines[-1]} · {part}" if lines[-1] else part
        if font(size).getlength(joined) <= width:
            lines[-1] = joined
        else:
            lines = [line for line in lines if line] + wrapped(part, font(size), width)
    return lines


def _drawable(lines: Sequence[str]) -> list[str]:
    return [drawable(line) for line in lines]


def _subtitle(known: Facts, first: str) -> str:
    masked = "λ acts where the λ mask is" if any(known.masked(i) for i in range(known.count)) else ""
    return "  ·  ".join(part for part in (first, masked, "KL to the reference in nats" if known.trace else "") if part)


def _title(what: str, known: Facts) -> str:
    names = " + ".join(str(anchor.get("name")) for anchor in known.anchors)
    return f"{what} · {names}" if names else what
