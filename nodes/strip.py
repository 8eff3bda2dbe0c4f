"""The pictures of a sweep while they are sampled, side by side, with their λ."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from ..realign_core import Sweep
from .labels import column_label, row_label
from .plot import AXIS, BACKGROUND, GRID, INK, font

WIDTH = 1200  # px, of the pictures of a row at the most
SIDES = (72, 256)  # px, the longer side of a picture at the least and the most
BAND, GAP, LINE = 24, 4, 17  # px: the line of λ, between pictures, and from line to line of a row's label


class Strip:
    """Columns of λ and rows as the sweep's. Pictures that are not there yet are dark.

    seed: the run's, None where it is not known.
    """

    def __init__(self, sweep: Sweep, seed: int | None = None):
        cells = sweep.cells()
        self.columns, self.rows = sweep.columns, sweep.rows
        self.heads = [column_label(value, scheduled=sweep.schedule is not None)[0] for value in sweep.values]
        starts = cells[:: sweep.columns]
        self.sides = [row_label(cell, cells, seed) for cell in starts]
        self.font = font(14)
        widths = [self.font.getlength(part) for parts in self.sides for part in parts]
        self.left = round(max(widths, default=0)) + (12 if widths else GAP)
        self.side = max(SIDES[0], min(SIDES[1], WIDTH // self.columns - GAP))
        self.pictures: dict[int, Image.Image] = {}

    def show(self, places: Sequence[int], pictures: Sequence[Image.Image]) -> None:
        for place, picture in zip(places, pictures):
            scale = self.side / max(picture.size)
            size = [max(1, round(length * scale)) for length in picture.size]
            self.pictures[place] = picture.convert("RGB").resize(size, Image.Resampling.BILINEAR)

    def picture(self) -> Image.Image:
        """All of them, as one RGB picture."""
        cell = next(iter(self.pictures.values())).size if self.pictures else (self.side, self.side)
        width, height = cell[0] + GAP, cell[1] + GAP
        out = Image.new("RGB", (self.left + self.columns * width, BAND + self.rows * height), BACKGROUND)
        draw = ImageDraw.Draw(out)
        for column, text in enumerate(self.heads):
            middle = self.left + column * width + cell[0] / 2
            draw.text((middle, BAND / 2), text, fill=INK, font=self.font, anchor="mm")
        for row, parts in enumerate(self.sides):
            top = BAND + row * height + (cell[1] - LINE * (len(parts) - 1)) / 2
            for line, part in enumerate(parts):
                draw.text((self.left - 8, top + line * LINE), part, fill=AXIS, font=self.font, anchor="rm")
        for place in range(self.columns * self.rows):
            corner = (self.left + place % self.columns * width, BAND + place // self.columns * height)
            if place in self.pictures:
                out.paste(self.pictures[place], corner)
            else:
                draw.rectangle((*corner, corner[0] + cell[0] - 1, corner[1] + cell[1] - 1), outline=GRID)
        return out
