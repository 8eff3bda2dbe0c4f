"""docs/rewards.png: what a reward costs, a row for each: against KL on the left, against diversity on the right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rewards_runs import ANCHOR, BEST, BOTH, FAMILIES, FK, FK_MAX, OURS, UNGUIDED, Measured, Method

FONT = Path(__file__).resolve().parents[1] / "assets" / "RealignSans.ttf"
BACKGROUND, AXIS, GRID, INK = (24, 24, 27), (161, 161, 170), (52, 52, 58), (244, 244, 245)
COLOURS = {
    UNGUIDED: INK,
    BEST: (251, 191, 36),
    FK: (74, 222, 128),
    FK_MAX: (45, 160, 160),
    OURS: (96, 165, 250),
    ANCHOR: (244, 114, 182),
    BOTH: (167, 139, 250),
}
SCALE = 2  # drawn so many times as large, and reduced
WIDTH, HEIGHT, TOP, LEFT, GAP, LOWER = 470, 300, 70, 80, 90, 56  # px: of a panel's plot, and around it
KL_LEAST = 0.1  # nats: what is less stands at the left edge, with what is 0

Row = tuple[Method, Mapping[str, Measured]]
Place = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """values: what it must reach; log: over decades."""

    low: float
    high: float
    ticks: Sequence[float]
    log: bool = False

    @classmethod
    def of(cls, values: Sequence[float]) -> Axis:
        span = max(max(values) - min(values), 1e-6)
        step = 10 ** math.floor(math.log10(span / 3))
        step = next(step * m for m in (1, 2, 5, 10) if span / (step * m) <= 5)
        first, last = math.floor(min(values) / step), math.ceil(max(values) / step)
        return cls(first * step, last * step, [i * step for i in range(first, last + 1)])

    @classmethod
    def of_kl(cls, values: Sequence[float]) -> Axis:
        ticks = [v for v in (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0) if v <= max(values)]
        return cls(KL_LEAST / 1.5, max(values) * 1.3, ticks, log=True)

    def at(self, value: float) -> float:
        """0 to 1."""
        if self.log:
            reach = math.log(self.high / self.low)
            return math.log(max(value, self.low) / self.low) / reach
        return (value - self.low) / (self.high - self.low)


def draw(tables: Mapping[str, Sequence[Row]], path: Path) -> None:
    """tables: of each reward, the methods and their figures."""
    width, height = LEFT + 2 * WIDTH + GAP + 40, len(tables) * (TOP + HEIGHT + LOWER) + 64
    image = Image.new("RGB", (SCALE * width, SCALE * height), BACKGROUND)
    pen = Pen(ImageDraw.Draw(image))
    for number, (reward, rows) in enumerate(tables.items()):
        top = number * (TOP + HEIGHT + LOWER) + TOP
        panel(pen, (LEFT, top), rows, "kl", "KL to the reference, nats", f"mean {reward}")
        panel(pen, (LEFT + WIDTH + GAP, top), rows, "diversity", "diversity (luma, 0 to 255)", "")
    drawn = [family for family in FAMILIES if any(m.family == family for rows in tables.values() for m, _ in rows)]
    legend(pen, drawn, width, height)
    image.reduce(SCALE).save(path, optimize=True)


class Pen:
    """Draws in px of the finished picture."""

    def __init__(self, draw: ImageDraw.ImageDraw):
        self.draw = draw

    def line(self, places: Sequence[Place], colour: tuple[int, int, int], width: float) -> None:
        self.draw.line([(SCALE * x, SCALE * y) for x, y in places], colour, round(SCALE * width), joint="curve")

    def dot(self, place: Place, radius: float, colour: tuple[int, int, int]) -> None:
        self.draw.circle((SCALE * place[0], SCALE * place[1]), SCALE * radius, colour)

    def text(self, place: Place, text: str, colour: tuple[int, int, int], anchor: str, size: int = 14) -> None:
        face = ImageFont.truetype(FONT, SCALE * size, layout_engine=ImageFont.Layout.BASIC)
        self.draw.text((SCALE * place[0], SCALE * place[1]), text, colour, face, anchor)


def panel(pen: Pen, corner: Place, rows: Sequence[Row], which: str, below: str, name: str) -> None:
    """One plot. Whiskers: half the 95 % interval either way."""
    left, top = corner
    known = [(method, found) for method, found in rows if not math.isnan(found[which].mean)]
    ends = [
        found["reward"].mean + sign * (0.0 if math.isnan(found["reward"].half) else found["reward"].half)
        for _, found in known
        for sign in (-1, 1)
    ]
    values = [found[which].mean for _, found in known]
    up, across = Axis.of(ends), (Axis.of_kl if which == "kl" else Axis.of)(values)

    def place(x: float, y: float) -> Place:
        return left + across.at(x) * WIDTH, top + (1 - up.at(y)) * HEIGHT

    for tick in up.ticks:
        y = place(across.low, tick)[1]
        pen.line([(left, y), (left + WIDTH, y)], GRID, 1)
        pen.text((left - 8, y), f"{tick:g}", AXIS, "rm")
    for tick in across.ticks:
        pen.text((place(tick, up.low)[0], top + HEIGHT + 14), f"{tick:g}", AXIS, "mm")
    pen.text((left + WIDTH / 2, top + HEIGHT + 34), below, AXIS, "mm")
    pen.text((left - 52, top - 24), name, INK, "lm", 17)
    for family in FAMILIES:
        of = [found for method, found in known if method.family == family]
        middle = [place(found[which].mean, found["reward"].mean) for found in of]
        if len(middle) > 1:
            pen.line(middle, COLOURS[family], 2)
        for found, spot in zip(of, middle):
            half = found["reward"].half
            if not math.isnan(half):
                whisker = [place(found[which].mean, found["reward"].mean + sign * half) for sign in (-1, 1)]
                pen.line(whisker, COLOURS[family], 1)
            pen.dot(spot, 5, COLOURS[family])


def legend(pen: Pen, families: Sequence[str], width: float, height: float) -> None:
    face = ImageFont.truetype(FONT, 14, layout_engine=ImageFont.Layout.BASIC)
    lengths = [face.getlength(family) + 40 for family in families]
    half = (len(families) + 1) // 2
    for line, chosen in enumerate((range(half), range(half, len(families)))):
        x = (width - sum(lengths[i] for i in chosen)) / 2
        for i in chosen:
            y = height - 46 + 24 * line
            pen.dot((x + 6, y), 5, COLOURS[families[i]])
            pen.text((x + 17, y), families[i], INK, "lm")
            x += lengths[i]
