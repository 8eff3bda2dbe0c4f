"""Sheets of labelled pictures: a grid with its labels around it, each picture with its own below.

A grid is looked at as a whole, about SCREEN px large: however many pixels it has, its labels have TEXT of those px. So
beside few pictures a label is small, and beside many it is large. Pictures keep their size until the grid would be
larger than LARGEST or PIXELS; labels that are wider than a column, or take too much of its pictures' height, are left
out, the least important first, and the footer says so.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, takewhile

import comfy.utils
import torch
from einops import rearrange, repeat
from PIL import ImageFont

from .colours import AXIS, BACKGROUND, BLUE, FRONT, INK, Colour
from .tables import Table
from .text import Label, Text, as_image, drawable, drawn_labels, filled, fitted_lines, font, wrapped

LARGEST = 16384  # px: a side of a grid
PIXELS = 2**27  # of a grid: Pillow opens no picture of more than 1.3 times that
BATCH_PIXELS = PIXELS  # of all pictures of a batch with their labels below, without these
SMALLEST = 160  # px: a picture that nobody chose a size for
SCREEN = (1400, 900)  # px: the window that a grid is looked at in, made as narrow as that if it is wider
TEXT = 12  # px: labels as they are looked at, the size that is just read without effort
LINE, HEAD = 1.22, 1.15  # a line's height, and the size of λ over a column, in sizes of the text
HEADED, ALONE = 6, 3  # labels below a picture take 1/6 of its height at the most, 1/3 where there are no others
SIDE, LETTERS = 0.35, (4.5, 9)  # labels beside a row: at most that share of a picture's width, within so many letters
SHORTEST = 16  # letters: the least width of a footer
FOOTER, FOOTER_OF_A_ROW, FOOTER_LINES = 1 / 8, 1 / 4, 8  # its share of the pictures' height, and its lines, at the most
OWN_LINES = 60  # of the user's own footer
VALUE = (212, 212, 216)  # the footer's text, between INK and AXIS
NOT_ALL = "not all labels have room"

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


def _text_size(width: int) -> int:
    """Of the labels, px, on a grid whose pictures are so wide together: about TEXT px as it is looked at."""
    whole = 1.04 * width  # px: with what stands beside and between the pictures
    return max(round(TEXT * whole / SCREEN[0]), TEXT)


class Grid:
    """Where everything in a grid stands, px. size: of a picture in it.

    Pictures fill the grid: columns are as wide as they are, and whatever labels have no room there are left out.
    roomy: columns and rows are as wide and high as their labels need, and all labels are there.
    """

    def __init__(self, table: Table, size: Size, roomy: bool = False):
        self.table, self.size, (width, height) = table, size, size
        self.text = text = _text_size(table.columns * width)
        self.line = round(LINE * text)
        self.margin, self.gap = round(0.6 * text), min(max(text // 4, 3), min(size) // 24)
        self.leaves_out = False
        self.column = max(width, self._least_column()) if roomy else width
        self._place_heads()
        self.below = self._below(height if roomy else height // (HEADED if table.heads else ALONE))
        below = max((one.height for one in self.below), default=0)
        self._place_rows(below + self.gap if below else self.gap, roomy)
        if self.fits:
            self._place_footer()

    def _least_column(self) -> int:
        """What labels need that stand in a column without being broken or left out."""
        text, table = self.text, self.table
        parts = [self._label([part]) for one in table.below for part in one]
        parts += [self._label([one], head=True) for one, _ in table.heads]
        parts += [self._label([one]) for _, one in table.heads]
        return max((one.width for one in parts), default=0) + text // 2

    def _label(self, lines: Sequence[str], colour: Colour = AXIS, head: bool = False) -> Text:
        size = round(HEAD * self.text) if head else self.text
        return Text([drawable(line) for line in lines], size, colour, round(LINE * size))

    def _place_heads(self) -> None:
        """λ over each column; what it stands for beside it or below it, or not at all where that is too wide."""
        pad, step = self.text // 2, self.column + self.gap
        self.heads = [(self._label([one], INK, head=True), self._label([two], BLUE)) for one, two in self.table.heads]
        first, second = (max((one[i].width for one in self.heads), default=0) for i in (0, 1))
        self.beside = max((one.width + two.width for one, two in self.heads), default=0) + pad <= self.column
        if not self.beside and second + pad > step:
            self.heads, second = [(one, self._label([], BLUE)) for one, _ in self.heads], 0
            self.leaves_out = True
        self.heads_apart = math.ceil((first + pad) / step)
        across = max(first, second)
        self.over = max(math.ceil((across - self.column) / 2), 0) if self.heads else 0  # beyond the grid's side
        self.head_height = max((one.height + (not self.beside) * two.height for one, two in self.heads), default=0)

    def _below(self, most: int) -> list[Text]:
        """What stands below each picture, in at most so many px of height: of its parts the first ones that are all no
        wider than their columns, so that every picture says the same."""
        parts, face, lines = self.table.below, font(self.text), most // self.line
        fit = [len([*takewhile(lambda part: self._label([part]).width <= self.column, one)]) for one in parts]
        cut = min((count for count, one in zip(fit, parts) if count < len(one)), default=None)
        texts = [filled([drawable(part) for part in one[:cut]], face, self.column) for one in parts]
        self.leaves_out |= cut is not None or any(len(one) > lines for one in texts)
        colour = AXIS if self.heads else INK
        return [self._label(one[:lines], colour) for one in texts] if lines and cut != 0 else []

    def _place_rows(self, below: int, roomy: bool) -> None:
        """The rows, and what tells them apart, at their left: wrapped, and never wide beside the pictures."""
        (width, height), text, table = self.size, self.text, self.table
        rows = math.ceil(len(table.below) / table.columns)
        wide = min(max(SIDE * width, LETTERS[0] * text), LETTERS[1] * text)
        self.sides_apart = 1 if roomy else math.ceil(self.line / (height + below))
        room = 10**6 if roomy else max(height // self.line, 1)
        self.sides = [self._label(_lines(parts, font(text), wide, room), INK) for parts in table.sides]
        along = max((side.height for side in self.sides), default=0)
        self.block = max(height, along) if roomy else height
        self.row = self.block + below
        side = max((one.width + text // 2 for one in self.sides), default=0)
        self.left = self.margin + max(side, self.over)
        self.top = self.margin + self.head_height
        right = max(self.left + table.columns * (self.column + self.gap) - self.gap + self.over, SHORTEST * text)
        last = (rows - 1) // self.sides_apart * self.sides_apart * self.row + along
        self.body = max(rows * self.row, last)
        self.width, self.height = right + self.margin, self.top + self.body + self.margin
        self.leaves_out |= (bool(self.heads) and self.heads_apart > 1) or (bool(self.sides) and self.sides_apart > 1)
        share = FOOTER if rows > 1 else FOOTER_OF_A_ROW
        self.most = max(min(int(share * self.body) // self.line, FOOTER_LINES), 1)

    def _place_footer(self) -> None:
        """What the pictures are, in a few lines; what the user says instead, in as many as it needs."""
        table, content = self.table, self.width - 2 * self.margin
        said = [" · ".join(filter(None, (table.title, NOT_ALL * self.leaves_out, table.subtitle)))]
        said += [": ".join(filter(None, (note.name, note.text))) for note in table.notes]
        face = font(self.text)
        first, *rest = fitted_lines(said, face, content, self.most)
        own = wrapped(table.own, face, content, OWN_LINES)
        self.footer = [self._label(first, INK), self._label([*chain.from_iterable(rest), *own], VALUE)]
        self.foot = self.height - self.margin + self.gap
        self.height = self.foot + sum(one.height for one in self.footer) + self.margin

    @property
    def fits(self) -> bool:
        return max(self.width, self.height) <= LARGEST and self.width * self.height <= PIXELS

    def draw(self, cells: torch.Tensor) -> torch.Tensor:
        """IMAGE (1, H, W, 3). cells: (B, h, w, 3), row by row; their pixels are the grid's where they stand."""
        corners = [self._corner(i) for i in range(len(cells))]
        out = as_image(drawn_labels((self.width, self.height), self._labels(corners)))
        (width, height), inset = self.size, (self.column - self.size[0]) // 2
        frame = min(max(self.gap // 2, 2), self.margin)  # first all frames: where there is no gap, pictures cover them
        for x, y in (corners[i] for i in self.table.framed):
            left, top = x + inset - frame, y - frame
            out[0, max(top, 0) : y + height + frame, left : x + inset + width + frame] = torch.tensor(FRONT) / 255
        for (x, y), cell in zip(corners, cells):
            out[0, y : y + height, x + inset : x + inset + width] = cell
        return out

    def _corner(self, i: int) -> tuple[int, int]:
        """Where picture i has its column's left and its own top."""
        row, column = divmod(i, self.table.columns)
        x, y = self.left + column * (self.column + self.gap), self.top + row * self.row
        return x, y + (self.block - self.size[1]) // 2

    def _labels(self, corners: Sequence[tuple[int, int]]) -> Iterator[Label]:
        for i, (first, second) in [*enumerate(self.heads)][:: self.heads_apart]:
            middle = self.left + i * (self.column + self.gap) + self.column / 2
            if self.beside:
                start = middle - (first.width + second.width + self.text // 2 * bool(second.width)) / 2
                yield first, start, self.margin, "l"
                yield second, start + first.width + self.text // 2, self.margin, "l"
            else:
                yield first, middle, self.margin, "m"
                yield second, middle, self.margin + first.height, "m"
        for i, side in [*enumerate(self.sides)][:: self.sides_apart]:
            top = self.top + i * self.row + max(self.block - side.height, 0) / 2
            yield side, self.left - self.text // 2, top, "r"
        for below, (x, y) in zip(self.below, corners):
            yield below, x + self.column / 2, y + self.size[1], "m"
        yield self.footer[0], self.margin, self.foot, "l"
        yield self.footer[1], self.margin, self.foot + self.footer[0].height, "l"


def _lines(parts: Sequence[str], face: ImageFont.FreeTypeFont, width: float, most: int) -> list[str]:
    """Each part in lines of its own, where there are enough; otherwise all of them together, and "…"."""
    lines = [line for part in parts for line in wrapped(part, face, width)]
    return lines if len(lines) <= most else wrapped(" · ".join(parts), face, width, most)


def fitted(table: Table, size_of: Callable[[int], Size], wanted: int) -> Grid:
    """The grid with pictures of a longer side of `wanted` px, or the largest that has room for them; see `sizes_of`.

    Where all of it, labels and all, is seen on a screen as it is, it has room for every label.
    """
    roomy = Grid(table, size_of(wanted), roomy=True)
    if roomy.width <= SCREEN[0] and roomy.height <= SCREEN[1]:
        return roomy
    return Grid(table, size_of(max(_largest(wanted, lambda side: Grid(table, size_of(side)).fits), 1)))


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `most` that fits, where all below one that does fit too; 0 for none."""
    return most if fits(most) else bisect_left(range(1, most), True, key=lambda side: not fits(side))


def draw_captions(cells: torch.Tensor, captions: Sequence[Sequence[str]]) -> torch.Tensor:
    """IMAGE (B, H, W, 3): each cell with its labels below, wrapped between labels; all as high as the highest."""
    height, width = cells.shape[1:3]
    size = round(min(max(0.025 * max(height, width), 13), 44))
    wide = max(width, 8 * size)
    texts = [Text(filled([drawable(part) for part in parts], font(size), wide - size), size, INK) for parts in captions]
    band, left = max(text.height for text in texts) + size, (wide - width) // 2
    out = repeat(torch.tensor(BACKGROUND) / 255, "c -> b h w c", b=len(cells), h=height + band, w=wide).clone()
    out[:, :height, left : left + width] = cells
    for picture, text in zip(out, texts):
        picture[height:] = as_image(drawn_labels((wide, band), [(text, wide / 2, size / 2, "m")]))[0]
    return out
