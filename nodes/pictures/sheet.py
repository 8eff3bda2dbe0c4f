"""Sheets of labelled pictures: a grid with its labels around it, each picture with its own below.

A sheet has a largest side and a largest area whatever it holds. Where labels and pictures do not both have room,
pictures shrink first, then not every row and column is labelled.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

import comfy.utils
import torch
from einops import rearrange, repeat

from .colours import BACKGROUND, BLUE, INK
from .tables import Table
from .text import Label, Text, as_image, drawable, drawn_labels, filled, font, shortened, wrapped

LARGEST = 16384  # px: a side of a grid
PIXELS = 2**27  # of a grid: Pillow opens no picture of more than 1.3 times that
BATCH_PIXELS = PIXELS  # of all pictures of a batch with their labels below, without these
SMALLEST = 160  # px: a picture that nobody chose a size for
ENOUGH = 64  # px: pictures smaller than that are not worth labels of their own
VALUE = (212, 212, 216)  # the footer's text, between INK and AXIS
SUBTITLE_LINES = 3
THINNED = "not every row and column is labelled"

Size = tuple[int, int]  # width, height, px


def sheets(
    images: torch.Tensor, table: Table, captions: Sequence[Sequence[str]], cell_size: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """The grid, IMAGE (1, H, W, 3), and each picture with its labels below, (B, h, w, 3).

    A single picture is its own grid, as it is: one that is to be kept has no labels in it.
    """
    size_of, wanted = sizes_of(images, cell_size)
    if len(images) == 1:
        return images, draw_captions(scaled(images, size_of(wanted)), captions)
    grid = fitted(table, size_of, wanted)
    cells = scaled(images, grid.size)
    room = math.isqrt(BATCH_PIXELS * max(grid.size) ** 2 // (math.prod(grid.size) * len(images)))
    own = size_of(max(min(wanted, room), max(grid.size)))
    return grid.draw(cells), draw_captions(cells if own == grid.size else scaled(images, own), captions)


def sizes_of(images: torch.Tensor, cell_size: int) -> tuple[Callable[[int], Size], int]:
    """The size of a picture by its longer side, and the longer side that is wanted. cell_size: that, or 0."""
    height, width = images.shape[1:3]
    own = max(height, width)

    def size_of(side: int) -> Size:
        return max(round(width * side / own), 1), max(round(height * side / own), 1)

    return size_of, cell_size or own * math.ceil(SMALLEST / own)


def scaled(images: torch.Tensor, size: Size) -> torch.Tensor:
    """IMAGE (B, H, W, 3) of this size, untouched where they have it already.

    Small pictures are enlarged by whole pixels, so that they stay what they are; others by the host's Lanczos.
    """
    images = images[..., :3] if images.shape[-1] >= 3 else repeat(images[..., :1], "b h w 1 -> b h w c", c=3)
    images = images.float().cpu()
    height, width = images.shape[1:3]
    if (width, height) == size:
        return images
    whole = size[0] % width == 0 and size[1] % height == 0 and max(width, height) < SMALLEST
    channels = rearrange(images, "b h w c -> b c h w")
    channels = comfy.utils.common_upscale(channels, *size, "nearest-exact" if whole else "lanczos", "disabled")
    return rearrange(channels, "b c h w -> b h w c")


def _text_size(side: int) -> int:
    """Of the labels, px, beside pictures of this longer side."""
    return round(min(max(0.045 * side, 13), 44))


class Grid:
    """Where everything in a grid stands, px. size: of a picture in it.

    Columns and rows are as wide and high as their pictures or their labels need, whichever is more. thinned: as their
    pictures need, with no labels below them, and beside them only as many as have room.
    """

    def __init__(self, table: Table, size: Size, thinned: bool = False):
        self.table, self.size, self.thinned = table, size, thinned
        (width, height), rows = size, math.ceil(len(table.below) / table.columns)
        text = _text_size(max(size))
        self.margin, self.space = 2 * text, max(round(0.5 * text), 6)  # around everything, and between its parts
        self.gap = min(self.space, min(size) // 4) if thinned else self.space  # between pictures
        head = round(1.25 * text)
        self.heads = [(Text(one[:1], head, INK), Text(one[1:], text, BLUE)) for one in table.heads]
        self.sides = [Text(side, text, INK) for side in table.sides]
        self.below = [] if thinned else [Text(lines, text) for lines in table.below]
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
        lowest = (rows - 1) // self.sides_apart * self.sides_apart * self.row + along
        self.body = max(rows * self.row, lowest)
        self.width, self.height = content + 2 * self.margin, self.body
        if self.fits:
            self._place_texts(content, text)

    def _place_texts(self, content: int, text: int) -> None:
        """Title and subtitle above, the footer's notes below."""
        table, title = self.table, round(1.55 * text)
        leaves_out = bool(self.heads) * self.heads_apart > 1 or bool(self.sides) * self.sides_apart > 1
        subtitle = "  ·  ".join(filter(None, (table.subtitle, THINNED if leaves_out else "")))
        self.above = [
            Text([shortened(drawable(table.title), font(title), content)], title, INK),
            Text(wrapped(subtitle, font(text), content, SUBTITLE_LINES), text),
        ]
        self.head_top = self.margin + sum(one.height for one in self.above) + 2 * self.space
        under = any(any(second.lines) for _, second in self.heads)
        head = self.heads[0][0].height + under * self.heads[0][1].height + self.space if self.heads else 0
        self.top = self.head_top + head
        self.names = [Text([note.name] if note.name else [], text) for note in table.notes]
        self.indent = max((name.width + 2 * self.space for name in self.names if name.lines), default=0)
        self.notes = [
            Text(wrapped(note.text, font(text), content - self.indent, note.most), text, VALUE) for note in table.notes
        ]
        self.foot = self.top + self.body + (self.space if table.notes else 0)
        between = self.space // 2 * max(len(self.notes) - 1, 0)
        self.height = self.foot + sum(note.height for note in self.notes) + between + self.margin

    @property
    def fits(self) -> bool:
        return max(self.width, self.height) <= LARGEST and self.width * self.height <= PIXELS

    def draw(self, cells: torch.Tensor) -> torch.Tensor:
        """IMAGE (1, H, W, 3). cells: (B, h, w, 3), row by row; their pixels are the grid's where they stand."""
        corners = [self._corner(i) for i in range(len(cells))]
        out = as_image(drawn_labels((self.width, self.height), self._labels(corners)))
        (width, height), inset = self.size, (self.column - self.size[0]) // 2
        for (x, y), cell in zip(corners, cells):
            out[0, y : y + height, x + inset : x + inset + width] = cell
        return out

    def _corner(self, i: int) -> tuple[int, int]:
        """Where picture i has its column's left and its own top."""
        row, column = divmod(i, self.table.columns)
        x, y = self.left + column * (self.column + self.gap), self.top + row * self.row
        return x, y + (self.block - self.size[1]) // 2

    def _labels(self, corners: Sequence[tuple[int, int]]) -> Iterator[Label]:
        title, subtitle = self.above
        yield title, self.margin, self.margin, "l"
        yield subtitle, self.margin, self.margin + title.height, "l"
        for i, (first, second) in [*enumerate(self.heads)][:: self.heads_apart]:
            middle = self.left + i * (self.column + self.gap) + self.column / 2
            yield first, middle, self.head_top, "m"
            yield second, middle, self.head_top + first.height, "m"
        for i, side in [*enumerate(self.sides)][:: self.sides_apart]:
            top = self.top + i * self.row + max(self.block - side.height, 0) / 2
            yield side, self.left - 2 * self.space, top, "r"
        for below, (x, y) in zip(self.below, corners):
            yield below, x + self.column / 2, y + self.size[1] + self.gap / 2, "m"
        foot = self.foot
        for name, note in zip(self.names, self.notes):
            yield name, self.margin, foot, "l"
            yield note, self.margin + self.indent, foot, "l"
            foot += note.height + self.space // 2


def fitted(table: Table, size_of: Callable[[int], Size], wanted: int) -> Grid:
    """The grid with pictures of a longer side of `wanted` px, or the largest that has room for them; see `sizes_of`."""
    side = _largest(wanted, lambda side: Grid(table, size_of(side)).fits)
    if side >= min(wanted, ENOUGH):
        return Grid(table, size_of(side))
    side = _largest(wanted, lambda side: Grid(table, size_of(side), thinned=True).fits)
    return Grid(table, size_of(max(side, 1)), thinned=True)


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `most` that fits, where all below one that does fit too; 0 for none."""
    return most if fits(most) else bisect_left(range(1, most), True, key=lambda side: not fits(side))


def draw_captions(cells: torch.Tensor, captions: Sequence[Sequence[str]]) -> torch.Tensor:
    """IMAGE (B, H, W, 3): each cell with its labels below, wrapped between labels; all as high as the highest."""
    height, width = cells.shape[1:3]
    size = _text_size(max(height, width))
    wide = max(width, 8 * size)
    texts = [Text(filled([drawable(part) for part in parts], font(size), wide - size), size, INK) for parts in captions]
    band, left = max(text.height for text in texts) + size, (wide - width) // 2
    out = repeat(torch.tensor(BACKGROUND) / 255, "c -> b h w c", b=len(cells), h=height + band, w=wide).clone()
    out[:, :height, left : left + width] = cells
    for picture, text in zip(out, texts):
        picture[height:] = as_image(drawn_labels((wide, band), [(text, wide / 2, size / 2, "m")]))[0]
    return out
