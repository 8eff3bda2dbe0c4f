"""The pictures of a sweep while they are sampled, side by side, with their λ."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from ..realign_core import Sweep
from .plot import AXIS, BACKGROUND, FONT, INK

WIDTH = 1200  # px, of the whole strip at the most
SIDES = (72, 256)  # px, the longer side of a picture at the least and the most
BAND, GAP = 22, 4  # px: the line of λ, and between pictures


class Strip:
    """Columns of λ and rows as the sweep's. Pictures that are not there yet are dark."""

    def __init__(self, sweep: Sweep):
        self.columns, self.rows = sweep.columns, sweep.rows
        self.labels = [f"λ {value:.4g}" for value in sweep.values]
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
        out = Image.new("RGB", (self.columns * width + GAP, BAND + self.rows * height + GAP), BACKGROUND)
        draw = ImageDraw.Draw(out)
        font = ImageFont.truetype(FONT, 14)
        for column, label in enumerate(self.labels):
            draw.text((GAP + column * width + cell[0] / 2, BAND / 2 + 2), label, fill=INK, font=font, anchor="mm")
        for place in range(self.columns * self.rows):
            corner = (GAP + place % self.columns * width, BAND + place // self.columns * height + GAP)
            if place in self.pictures:
                out.paste(self.pictures[place], corner)
            else:
                draw.rectangle((*corner, corner[0] + cell[0] - 1, corner[1] + cell[1] - 1), outline=AXIS)
        return out
