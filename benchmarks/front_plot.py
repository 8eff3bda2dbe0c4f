"""benchmarks/results/front.png: pictures of all seeds with their fronts on the left, the runs' means on the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from front_runs import ANCHORS, COLOURFUL, FAMILIES, LIKE, OURS, UNGUIDED
from PIL import Image, ImageDraw
from rewards_plot import AXIS, BACKGROUND, GRID, INK, SCALE, Axis, Pen, Place
from torch import Tensor

from realign_core import on_front

COLOURS = {UNGUIDED: INK, ANCHORS: (244, 114, 182), OURS: (96, 165, 250)}
WIDTH, HEIGHT, TOP, LEFT, GAP, LOWER = 560, 440, 56, 70, 80, 110  # px: of a panel's plot, and around it
BELOW = f"{LIKE}, in spreads above unguided pictures"


class Plot:
    """A panel with axes for these points, (B, 2): colourfulness up, likeness across."""

    def __init__(self, pen: Pen, left: float, points: Tensor, name: str):
        self.pen, self.left = pen, left
        self.up, self.across = (Axis.of(points[:, reward].tolist()) for reward in (0, 1))
        for tick in self.up.ticks:
            y = self.at(self.across.low, tick)[1]
            pen.line([(left, y), (left + WIDTH, y)], GRID, 1)
            pen.text((left - 8, y), f"{tick:g}", AXIS, "rm")
        for tick in self.across.ticks:
            x = self.at(tick, self.up.low)[0]
            pen.line([(x, TOP), (x, TOP + HEIGHT)], GRID, 1)
            pen.text((x, TOP + HEIGHT + 14), f"{tick:g}", AXIS, "mm")
        pen.text((left + WIDTH / 2, TOP + HEIGHT + 36), BELOW, AXIS, "mm")
        pen.text((left - 40, TOP - 26), name, INK, "lm", 16)

    def at(self, like: float, colourful: float) -> Place:
        return self.left + self.across.at(like) * WIDTH, TOP + (1 - self.up.at(colourful)) * HEIGHT

    def dots(self, points: Tensor, colour: tuple[int, int, int], radius: float) -> None:
        for colourful, like in points.tolist():
            self.pen.dot(self.at(like, colourful), radius, colour)

    def steps(self, points: Tensor, colour: tuple[int, int, int]) -> None:
        """A front's edge: what it covers is below and left of it."""
        order = sorted(points.tolist(), reverse=True)
        corners = [self.at(order[0][1], order[0][0])]
        for (_, before), (colourful, like) in pairwise(order):
            corners += [self.at(before, colourful), self.at(like, colourful)]
        self.pen.line(corners, colour, 2)


def draw(scores: Mapping[tuple[str, str], Sequence[Tensor]], path: Path) -> None:
    """scores: by family and setting, of each seed (B, 2)."""
    width, height = LEFT + 2 * WIDTH + GAP + 24, TOP + HEIGHT + LOWER
    image = Image.new("RGB", (SCALE * width, SCALE * height), BACKGROUND)
    pen = Pen(ImageDraw.Draw(image))
    every = {
        family: torch.cat([torch.cat([*of]) for (name, _), of in scores.items() if name == family])
        for family in FAMILIES
    }
    means = {
        family: torch.stack([torch.cat([*of]).mean(0) for (name, _), of in scores.items() if name == family])
        for family in FAMILIES
    }
    pictures = Plot(pen, LEFT, torch.cat([*every.values()]), f"{COLOURFUL}: all pictures, and each method's front")
    runs = Plot(pen, LEFT + WIDTH + GAP, torch.cat([*means.values()]), f"{COLOURFUL}: mean of each run's pictures")
    for family, points in every.items():
        faint = tuple(round(0.45 * c + 0.55 * b) for c, b in zip(COLOURS[family], BACKGROUND))
        pictures.dots(points, faint, 2)
    for family, points in every.items():
        front = points[on_front(points)]
        pictures.steps(front, COLOURS[family])
        pictures.dots(front, COLOURS[family], 4)
        places = [runs.at(like, colourful) for colourful, like in means[family].tolist()]
        if family != UNGUIDED:
            pen.line(places, COLOURS[family], 2)
        runs.dots(means[family], COLOURS[family], 5)
    for place, family in enumerate(FAMILIES):
        x, y = LEFT + 40 + 220 * place, height - 26
        pen.dot((x, y), 5, COLOURS[family])
        pen.text((x + 12, y), family, INK, "lm")
    image.reduce(SCALE).quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
