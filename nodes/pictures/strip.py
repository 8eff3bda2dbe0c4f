"""The strip: the pictures of a run side by side while they are sampled."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from PIL import Image

from ...realign_core import Sweep
from .colours import AXIS, BACKGROUND, GRID, INK
from .facts import varying
from .labels import column_label, row_label
from .text import Label, Text, drawn_labels, font, shortened

STRIP_LARGEST = 2048  # px: a side of a strip; the host encodes and sends it while the run goes on
STRIP_WIDTH = 1200  # px, of the pictures of a row at the most, where they need not be smaller than SIDES for it
SIDES = (72, 256)  # px: the longer side of a strip's picture that has all the room it wants
STRIP_TEXT = 14  # px
BAND, GAP, LINE = 24, 4, 17  # px: the line of λ, between pictures, and from line to line of a row's label


class Strip:
    """The pictures of a sweep while they are sampled, side by side, with their λ above; those to come are dark.

    Pictures shrink until all have room, and labels are left out where there is none for them. Of more rows or columns
    than there are pixels some are left out: every `apart`-th is shown, (columns, rows).
    seed: the run's, None where it is not known.
    """

    band, foot = BAND, 0  # px: above all pictures, and below each

    def __init__(self, sweep: Sweep, seed: int | None = None):
        cells = sweep.cells()
        heads = [column_label(value, scheduled=sweep.schedule is not None)[0] for value in sweep.values]
        varies = varying(cells)
        sides = [row_label(cell, varies, seed, sweep.prompts) for cell in cells[:: sweep.columns]]
        self._begin(sweep.columns, sweep.rows, heads, sides)

    def _begin(self, columns: int, rows: int, heads: Sequence[str], sides: Sequence[Sequence[str]]) -> None:
        """heads: a label per column, or none. sides: lines per row."""
        self.columns, self.rows, self.heads = columns, rows, heads
        self.sides = [[shortened(part, font(STRIP_TEXT), STRIP_LARGEST // 4) for part in parts] for parts in sides]
        widths = [font(STRIP_TEXT).getlength(part) for parts in self.sides for part in parts]
        self.left = round(max(widths, default=0)) + (12 if widths else GAP)
        self.pictures: dict[int, Image.Image] = {}
        self._arrange(1, 1)

    def _arrange(self, width: int, height: int) -> None:
        """Settle size, gap and apart for pictures of this shape, so that the whole strip has room."""
        room = STRIP_LARGEST - self.left, STRIP_LARGEST - self.band
        self.apart = tuple(math.ceil(n / length) for n, length in zip((self.columns, self.rows), room))
        self.shown = math.ceil(self.columns / self.apart[0]), math.ceil(self.rows / self.apart[1])
        side = max(SIDES[0], min(SIDES[1], STRIP_WIDTH // self.columns - GAP))
        wanted = [length * side / max(width, height) for length in (width, height)]
        at_most = [room[0] / self.shown[0], room[1] / self.shown[1] - self.foot]  # from picture to picture
        self.gap = min(GAP, *(int(min(a, w + GAP)) // 4 for a, w in zip(at_most, wanted)))
        scale = min(1.0, *((a - self.gap) / w for a, w in zip(at_most, wanted)))
        self.size = tuple(max(min(round(w * scale), int(a - self.gap)), 1) for a, w in zip(at_most, wanted))

    def show(self, places: Sequence[int], pictures: Sequence[Image.Image]) -> None:
        for place, picture in zip(places, pictures):
            if not self.pictures:
                self._arrange(*picture.size)
            row, column = divmod(place, self.columns)
            if column % self.apart[0] == 0 and row % self.apart[1] == 0:
                self.pictures[place] = picture.convert("RGB").resize(self.size, Image.Resampling.BILINEAR)

    def picture(self) -> Image.Image:
        """All of them, as one RGB picture."""
        head = math.ceil(max((font(STRIP_TEXT).getlength(text) for text in self.heads), default=0))
        lines = max(len(parts) for parts in self.sides)
        width = self.left + max(self.shown[0] * (self.size[0] + self.gap), head)
        height = self.band + max(self.shown[1] * (self.size[1] + self.gap + self.foot), lines * LINE)
        out, dark = drawn_labels((width, height), self._labels(width, height)), Image.new("RGB", self.size, GRID)
        dark.paste(BACKGROUND, (1, 1, *(max(length - 1, 1) for length in self.size)))
        for place, x, y in self._places():
            out.paste(self.pictures.get(place, dark), (x, y))
            self._mark(out, place, x, y)
        return out

    def _places(self) -> Iterator[tuple[int, int, int]]:
        """Those shown, with the left and top of their pictures, px."""
        across, down = self.size[0] + self.gap, self.size[1] + self.gap + self.foot
        for row in range(self.shown[1]):
            for column in range(self.shown[0]):
                place = row * self.apart[1] * self.columns + column * self.apart[0]
                yield place, self.left + column * across, self.band + row * down

    def _mark(self, out: Image.Image, place: int, x: int, y: int) -> None:
        """Paint what is no text at the picture that stands at (x, y)."""

    def _labels(self, width: int, height: int) -> Iterator[Label]:
        """Those that have room beside the one before, in a strip of this size."""
        free = 0.0
        for i, text in enumerate(self.heads[:: self.apart[0]]):
            half = font(STRIP_TEXT).getlength(text) / 2
            middle = max(self.left + i * (self.size[0] + self.gap) + self.size[0] / 2, half + 1)
            if middle - half >= free and middle + half < width:
                yield Text([text], STRIP_TEXT, INK, LINE, whole=False), middle, (self.band - LINE) / 2, "m"
                free = middle + half + GAP
        free = self.band
        for i, parts in enumerate(self.sides[:: self.apart[1]]):
            side = Text(parts, STRIP_TEXT, AXIS, LINE, whole=False)
            row = self.band + i * (self.size[1] + self.gap + self.foot)
            top = max(row + (self.size[1] - side.height) / 2, self.band)
            if top >= free and top + side.height <= height:
                yield side, self.left - 8, top, "r"
                free = top + side.height
