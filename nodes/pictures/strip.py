"""The pictures of a sweep while they are sampled, side by side, with their λ."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from ...realign_core import Sweep
from .labels import column_label, row_label, varying
from .plot import AXIS, BACKGROUND, GRID, INK, font, shortened

LARGEST = 2048  # px: a side of the strip, whatever it holds; the host encodes and sends it while the run goes on
WIDTH = 1200  # px, of the pictures of a row at the most, where they need not be smaller than SIDES for it
SIDES = (72, 256)  # px: the longer side of a picture that has all the room it wants
BAND, GAP, LINE = 24, 4, 17  # px: the line of λ, between pictures, and from line to line of a row's label


class Strip:
    """Columns of λ and rows as the sweep's. Pictures that are not there yet are dark.

    Pictures shrink until all have room, and labels are left out where there is none for them. Of more rows or columns
    than there are pixels some are left out: every `every`-th is shown, (columns, rows).
    seed: the run's, None where it is not known.
    """

    def __init__(self, sweep: Sweep, seed: int | None = None):
        cells = sweep.cells()
        self.columns, self.rows = sweep.columns, sweep.rows
        self.heads = [column_label(value, scheduled=sweep.schedule is not None)[0] for value in sweep.values]
        varies, self.font = varying(cells), font(14)
        sides = [row_label(cell, varies, seed) for cell in cells[:: sweep.columns]]
        self.sides = [[shortened(part, self.font, LARGEST // 4) for part in parts] for parts in sides]
        widths = [self.font.getlength(part) for parts in self.sides for part in parts]
        self.left = round(max(widths, default=0)) + (12 if widths else GAP)
        self.pictures: dict[int, Image.Image] = {}
        self._arrange(1, 1)

    def _arrange(self, width: int, height: int) -> None:
        """Settle size, gap and every for pictures of this shape, so that the whole strip has room."""
        room = LARGEST - self.left, LARGEST - BAND
        self.every = tuple(math.ceil(n / length) for n, length in zip((self.columns, self.rows), room))
        shown = math.ceil(self.columns / self.every[0]), math.ceil(self.rows / self.every[1])
        side = max(SIDES[0], min(SIDES[1], WIDTH // self.columns - GAP))
        wanted = [length * side / max(width, height) for length in (width, height)]
        at_most = [length / n for n, length in zip(shown, room)]  # from picture to picture
        self.gap = min(GAP, *(int(min(a, w + GAP)) // 4 for a, w in zip(at_most, wanted)))
        scale = min(1.0, *((a - self.gap) / w for a, w in zip(at_most, wanted)))
        self.size = tuple(max(min(round(w * scale), int(a - self.gap)), 1) for a, w in zip(at_most, wanted))
        self.shown = shown

    def show(self, places: Sequence[int], pictures: Sequence[Image.Image]) -> None:
        for place, picture in zip(places, pictures):
            if not self.pictures:
                self._arrange(*picture.size)
            if place % self.columns % self.every[0] == 0 and place // self.columns % self.every[1] == 0:
                self.pictures[place] = picture.convert("RGB").resize(self.size, Image.Resampling.BILINEAR)

    def picture(self) -> Image.Image:
        """All of them, as one RGB picture."""
        (width, height), lines = self.size, max((len(parts) for parts in self.sides), default=0)
        across, down = width + self.gap, height + self.gap
        head = math.ceil(max(self.font.getlength(text) for text in self.heads))
        whole = (
            max(self.left + self.shown[0] * across, self.left + head),
            BAND + max(self.shown[1] * down, lines * LINE),
        )
        out = Image.new("RGB", whole, BACKGROUND)
        draw = ImageDraw.Draw(out)
        self._draw_labels(draw, across, down, whole)
        for row in range(self.shown[1]):
            for column in range(self.shown[0]):
                corner = (self.left + column * across, BAND + row * down)
                picture = self.pictures.get(row * self.every[1] * self.columns + column * self.every[0])
                if picture is not None:
                    out.paste(picture, corner)
                else:
                    draw.rectangle((*corner, corner[0] + width - 1, corner[1] + height - 1), outline=GRID)
        return out

    def _draw_labels(self, draw: ImageDraw.ImageDraw, across: int, down: int, whole: tuple[int, int]) -> None:
        """Those that have room beside the one before."""
        free = 0.0
        for i, text in enumerate(self.heads[:: self.every[0]]):
            half = self.font.getlength(text) / 2
            middle = max(self.left + i * across + self.size[0] / 2, half + 1)
            if middle - half >= free and middle + half < whole[0]:
                draw.text((middle, BAND / 2), text, fill=INK, font=self.font, anchor="mm")
                free = middle + half + GAP
        free = BAND
        for i, parts in enumerate(self.sides[:: self.every[1]]):
            top = max(BAND + i * down + (self.size[1] - LINE * len(parts)) / 2, BAND)
            if top >= free and top + LINE * len(parts) <= whole[1]:
                for line, part in enumerate(parts):
                    middle = top + (line + 0.5) * LINE
                    draw.text((self.left - 8, middle), part, fill=AXIS, font=self.font, anchor="rm")
                free = top + LINE * len(parts)
