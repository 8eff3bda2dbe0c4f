"""Sheets of labelled pictures: a grid with its labels around it, and each picture with its own below.

A sheet has a largest side and a largest area whatever it holds. Where labels and pictures do not both have room,
pictures shrink first, then not every row and column is labelled.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image, ImageDraw

from .plot import AXIS, BACKGROUND, BLUE, INK, as_image, drawable, font, shortened, wrapped

LARGEST = 16384  # px: a side of a sheet
PIXELS = 2**27  # of a sheet: Pillow opens no picture of more than 1.3 times that
ENOUGH = 64  # px: pictures smaller than that are not worth labels of their own
VALUE = (212, 212, 216)  # the footer's text, between INK and AXIS
SUBTITLE_LINES = 3
THINNED = "not every row and column is labelled"


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


@dataclass(frozen=True)
class _Text:
    """Lines of one size and colour."""

    lines: Sequence[str]
    size: int
    colour: tuple[int, int, int] = AXIS

    @property
    def width(self) -> int:
        return math.ceil(max((_length(line, self.size) for line in self.lines), default=0))

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


@functools.lru_cache(2**14)
def _length(line: str, size: int) -> float:
    return font(size).getlength(line)


def _text_size(side: int) -> int:
    """Of the labels, px, beside pictures of this longer side."""
    return round(min(max(0.045 * side, 13), 44))


class Grid:
    """Where everything in a grid stands, px. size: (width, height) of a picture in it.

    Columns and rows are as wide and high as their pictures or their labels need, whichever is more. thinned: as their
    pictures need, with no labels below them, and beside them only as many as have room.
    """

    def __init__(self, table: Table, size: tuple[int, int], thinned: bool = False):
        self.table, self.size, self.thinned = table, size, thinned
        width, height = size
        text = _text_size(max(size))
        self.margin, self.space = 2 * text, max(round(0.5 * text), 6)  # around everything, and between its parts
        self.gap = min(self.space, min(size) // 4) if thinned else self.space  # between pictures
        head = round(1.25 * text)
        self.heads = [(_Text(one[:1], head, INK), _Text(one[1:], text, BLUE)) for one in table.heads]
        self.sides = [_Text(side, text, INK) for side in table.sides]
        self.below = [] if thinned else [_Text(lines, text) for lines in table.below]
        across = max((part.width for one in self.heads for part in one), default=0)
        along = max((side.height for side in self.sides), default=0)
        if thinned:
            self.column, self.block = width, height
        else:
            self.column = max(width, across, *(below.width for below in self.below))
            self.block = max(height, along)
        below = max((one.height for one in self.below), default=0)
        self.row = self.block + (self.gap if thinned else below + 2 * self.gap)
        self.heads_apart = math.ceil((across + self.space) / (self.column + self.gap)) if thinned else 1
        self.sides_apart = max(math.ceil(along / self.row), 1) if thinned else 1

        side = max((one.width + 2 * self.space for one in self.sides), default=0)
        over = across // 2 + 1 if thinned else 0  # how far a head may reach beyond its column
        self.left = self.margin + max(side, over)
        content = max(self.left - self.margin + table.columns * (self.column + self.gap) - self.gap + over, 22 * text)
        lowest = (table.rows - 1) // self.sides_apart * self.sides_apart * self.row + along
        self.body = max(table.rows * self.row, lowest)
        self.width, self.height = content + 2 * self.margin, self.body
        if self.fits:
            self._place_texts(content, text)

    def _place_texts(self, content: int, text: int) -> None:
        """Title and subtitle above, the footer's notes below."""
        table, title = self.table, round(1.55 * text)
        subtitle = "  ·  ".join(part for part in (table.subtitle, THINNED if self._leaves_out else "") if part)
        self.above = [
            _Text([shortened(table.title, font(title), content)], title, INK),
            _Text(wrapped(subtitle, font(text), content, SUBTITLE_LINES), text),
        ]
        self.head_top = self.margin + sum(one.height for one in self.above) + 2 * self.space
        under = any(any(second.lines) for _, second in self.heads)
        head = self.heads[0][0].height + under * self.heads[0][1].height + self.space if self.heads else 0
        self.top = self.head_top + head
        self.names = [_Text([note.name] if note.name else [], text) for note in table.notes]
        self.indent = max((name.width + 2 * self.space for name in self.names if name.lines), default=0)
        self.notes = [
            _Text(wrapped(note.text, font(text), content - self.indent, note.most), text, VALUE) for note in table.notes
        ]
        self.foot = self.top + self.body + (self.space if table.notes else 0)
        between = self.space // 2 * max(len(self.notes) - 1, 0)
        self.height = self.foot + sum(note.height for note in self.notes) + between + self.margin

    @property
    def _leaves_out(self) -> bool:
        """Whether there is a row or a column without its label."""
        apart = (self.heads_apart if self.heads else 1, self.sides_apart if self.sides else 1)
        return self.thinned and max(apart) > 1

    @property
    def fits(self) -> bool:
        return max(self.width, self.height) <= LARGEST and self.width * self.height <= PIXELS

    def draw(self, cells: torch.Tensor) -> torch.Tensor:
        """IMAGE (1, H, W, 3). cells: (B, h, w, 3), row by row; their pixels are the grid's where they stand."""
        sheet = Image.new("RGB", (self.width, self.height), BACKGROUND)
        draw = ImageDraw.Draw(sheet)
        self.above[0].draw(draw, self.margin, self.margin)
        self.above[1].draw(draw, self.margin, self.margin + self.above[0].height)
        self._draw_beside(draw)
        foot = self.foot
        for name, note in zip(self.names, self.notes):
            name.draw(draw, self.margin, foot)
            note.draw(draw, self.margin + self.indent, foot)
            foot += note.height + self.space // 2
        (width, height), columns, places = self.size, self.table.columns, []
        for i in range(len(cells)):
            x = self.left + i % columns * (self.column + self.gap)
            y = self.top + i // columns * self.row + (self.block - height) // 2
            if self.below:
                self.below[i].draw(draw, x + self.column / 2, y + height + self.gap / 2, "m")
            places.append((x + (self.column - width) // 2, y))
        out = as_image(sheet)
        for (x, y), cell in zip(places, cells):
            out[0, y : y + height, x : x + width] = cell
        return out

    def _draw_beside(self, draw: ImageDraw.ImageDraw) -> None:
        for i, (first, second) in enumerate(self.heads):
            if i % self.heads_apart == 0:
                middle = self.left + i * (self.column + self.gap) + self.column / 2
                first.draw(draw, middle, self.head_top, "m")
                second.draw(draw, middle, self.head_top + first.height, "m")
        for i, side in enumerate(self.sides):
            if i % self.sides_apart == 0:
                top = self.top + i * self.row + max(self.block - side.height, 0) / 2
                side.draw(draw, self.left - 2 * self.space, top, "r")


def drawable_table(table: Table) -> Table:
    """Its labels in characters that the font has; what is wrapped comes to that by itself."""
    heads, sides, below = (
        [[drawable(line) for line in lines] for lines in part] for part in (table.heads, table.sides, table.below)
    )
    return replace(table, title=drawable(table.title), heads=heads, sides=sides, below=below)


def fitted(table: Table, size_of: Callable[[int], tuple[int, int]], wanted: int) -> Grid:
    """The grid with pictures of a longer side of `wanted` px, or the largest that has room for them.

    size_of: (width, height) of a picture by its longer side.
    """
    table = drawable_table(table)
    side = _largest(wanted, lambda side: Grid(table, size_of(side)).fits)
    if side >= min(wanted, ENOUGH):
        return Grid(table, size_of(side))
    side = _largest(wanted, lambda side: Grid(table, size_of(side), thinned=True).fits)
    return Grid(table, size_of(max(side, 1)), thinned=True)


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `most` that fits, where all below one that does fit too; 0 for none."""
    if fits(most):
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def draw_captions(cells: torch.Tensor, captions: Sequence[Sequence[str]]) -> torch.Tensor:
    """IMAGE (B, H, W, 3): each cell with its labels below, wrapped between labels; all as high as the highest."""
    height, width = cells.shape[1:3]
    size = _text_size(max(height, width))
    wide = max(width, 8 * size)
    texts = [_Text(_filled([drawable(part) for part in parts], size, wide - size), size, INK) for parts in captions]
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
