"""Plots on the nodes, drawn with Pillow, which every host has: panels of lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest

import torch
from PIL import Image, ImageDraw

from .colours import AMBER, AXIS, BACKGROUND, BLUE, FRONT, GRID, INK, Colour, faint
from .text import as_image, drawable, font, shortened

WIDTH, PANEL, MARGIN = 640, 260, (64, 20, 16, 48)  # px; margins left, top, right, bottom
KEY, KEY_LINE, MOST_KEYS = 260, 20, 10  # px of a legend's texts at the most, of its lines, and how many it lists

Point = tuple[float, float | None]
Box = tuple[int, int, int, int]  # px; left, top, right, bottom


@dataclass(frozen=True)
class Line:
    points: Sequence[Point]  # (x, y) in order; a y that is None or not finite is a gap
    colour: Colour
    label: str = ""  # in the legend, if not empty
    errors: Sequence[float | None] = ()  # of each point, how far a bar reaches above it and below; None: no bar
    joined: bool = True  # or dots alone
    dots: bool = True  # at the points
    between: Sequence[tuple[float, float]] = ()  # of each point, from where to where y may be: shaded

    @property
    def ends(self) -> list[float]:
        """Every y that is drawn."""
        known = [(y, error or 0.0) for (_, y), error in zip_longest(self.points, self.errors) if _is_known(y)]
        return [y + sign * error for y, error in known for sign in (-1, 1)] + [y for ends in self.between for y in ends]


@dataclass(frozen=True)
class Panel:
    """One plot."""

    name: str
    lines: Sequence[Line]
    axis: str  # below the plot
    log: bool = False  # y spans decades
    reach: float = 0.0  # y goes up to this at least
    fits: bool = False  # y spans its values, wherever 0 is
    across: bool = False  # x is a number as y is, with round values of its own for marks
    ticks: Sequence[tuple[float, str]] = ()  # marks on x, with their text
    empty: str = ""  # what the panel says where there is nothing to draw
    chosen: tuple[float, float, float] | None = None  # on x: a value, marked, and from where to where it may be


def schedule_plot(lambdas: list[float], beta: float | None, axis: str) -> torch.Tensor:
    """λ of each step, and β/λ below it where β is known. axis: what the steps run over. Returns IMAGE (1, H, W, 3)."""
    return drawn(schedule_panels(lambdas, beta, axis))


def schedule_panels(
    lambdas: Sequence[float | None], beta: float | None, axis: str, ticks: Sequence[tuple[float, str]] = ()
) -> list[Panel]:
    """The panels of `schedule_plot`, with marks on the steps. None: a step whose λ is not known."""
    panels = [Panel("λ", [Line([*enumerate(lambdas)], BLUE)], axis, reach=1.0, ticks=ticks)]
    if beta is not None:
        strengths = [(i, beta / v if v is not None and v > 0 else None) for i, v in enumerate(lambdas)]
        panels.append(Panel("β/λ", [Line(strengths, AMBER)], axis, log=True, ticks=ticks, empty="none, λ is 0"))
    return panels


def drawn(panels: Sequence[Panel], width: int = WIDTH, height: int = PANEL, margin: Box = MARGIN) -> torch.Tensor:
    """The panels below one another, each of `height` px: IMAGE (1, H, W, 3). Legends stand right of the plots."""
    left, upper, right, lower = margin
    keys = [font(14).getlength(_key(line)) for panel in panels for line in panel.lines if line.label]
    box_right = width - right - (math.ceil(max(keys)) + 36 if keys else 0)
    image = Image.new("RGB", (width, height * len(panels)), BACKGROUND)
    for row, panel in enumerate(panels):
        box = (left, row * height + upper, box_right, (row + 1) * height - lower)
        draw_panel(ImageDraw.Draw(image), box, panel, max(upper - 14, 16))
    return as_image(image)


def draw_panel(draw: ImageDraw.ImageDraw, box: Box, panel: Panel, lift: int = 16) -> None:
    """box: of the plot itself. The panel's name begins `lift` px above; axis and ticks are outside."""
    if not any(line.ends for line in panel.lines):
        draw.text((box[0] + 8, box[1] + 8), f"{panel.name}: {panel.empty}", fill=AXIS, font=font(18))
        return
    axes = _Axes(box, panel)
    for line in panel.lines:
        _draw_between(draw, axes, line)
    _draw_chosen(draw, axes, panel.chosen)
    _draw_ticks(draw, axes, axes.marks)
    for line in panel.lines:
        _draw_errors(draw, axes, line)
        _draw_line(draw, [axes.at(x, y) if _is_known(y) else None for x, y in line.points], line)
    draw.text((box[0] + 8, box[1] - lift), panel.name, fill=INK, font=font(18))
    below = 34 if axes.marks else 26
    draw.text(((box[0] + box[2]) / 2, box[3] + below), panel.axis, fill=AXIS, font=font(14), anchor="mm")
    _draw_keys(draw, box, panel.lines)


class _Axes:
    """Where a panel's values stand in its box, px."""

    def __init__(self, box: Box, panel: Panel):
        self.box, self.scale = box, math.log10 if panel.log else float  # decades, as λ nears 0
        values = [self.scale(y) for line in panel.lines for y in line.ends]
        xs = [x for line in panel.lines for x, _ in line.points]
        self.marks = panel.ticks
        if panel.across:
            xs = _ticks(min(xs), max(xs), log=False, fits=True)
            self.marks = [(x, f"{x:g}") for x in xs]
        ticks = _ticks(min(values), max(values), panel.log, panel.reach, panel.fits)
        self.ticks = [10**tick if panel.log else tick for tick in ticks]
        self.low, self.high = ticks[0], ticks[-1]
        self.first, self.span = min(xs), max(max(xs) - min(xs), 1e-9)

    def at(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = self.box
        across, up = (x - self.first) / self.span, (self.scale(y) - self.low) / (self.high - self.low)
        return left + across * (right - left), bottom - up * (bottom - top)


def _draw_ticks(draw: ImageDraw.ImageDraw, axes: _Axes, marks: Sequence[tuple[float, str]]) -> None:
    """Lines across at round values of y, and the marks on x that have room beside the one before."""
    left, _, right, bottom = axes.box
    for value in axes.ticks:
        y = axes.at(axes.first, value)[1]
        draw.line([(left, y), (right, y)], fill=GRID)
        draw.text((left - 8, y), f"{value:g}", fill=AXIS, font=font(14), anchor="rm")
    free = -math.inf
    for mark, text in marks:
        x, half = axes.at(mark, axes.ticks[0])[0], font(14).getlength(text) / 2
        if x - half > free:
            draw.text((x, bottom + 14), text, fill=AXIS, font=font(14), anchor="mm")
            free = x + half + 8


def _draw_errors(draw: ImageDraw.ImageDraw, axes: _Axes, line: Line) -> None:
    for (x, y), error in zip(line.points, line.errors):
        if error is not None and _is_known(y):
            ends = [axes.at(x, y + sign * error) for sign in (-1, 1)]
            draw.line(ends, fill=line.colour, width=1)
            for px, py in ends:
                draw.line([(px - 4, py), (px + 4, py)], fill=line.colour, width=1)


def _draw_between(draw: ImageDraw.ImageDraw, axes: _Axes, line: Line) -> None:
    if line.between:
        ends = [[axes.at(x, pair[side]) for (x, _), pair in zip(line.points, line.between)] for side in (0, 1)]
        draw.polygon([*ends[0], *reversed(ends[1])], fill=faint(line.colour))


def _draw_chosen(draw: ImageDraw.ImageDraw, axes: _Axes, chosen: tuple[float, float, float] | None) -> None:
    if chosen is not None:
        _, top, _, bottom = axes.box
        best, low, high = (axes.at(x, axes.low)[0] for x in chosen)
        for x, width in ((low, 1), (high, 1), (best, 3)):
            draw.line([(x, top), (x, bottom)], fill=FRONT, width=width)


def _draw_line(draw: ImageDraw.ImageDraw, places: list[tuple[float, float] | None], line: Line) -> None:
    """places: px, None for a gap. Only neighbours are joined."""
    colour = line.colour
    for is_known, run in groupby(places, key=lambda place: place is not None):
        neighbours = [*run]
        if line.joined and is_known and len(neighbours) > 1:
            draw.line(neighbours, fill=colour, width=3, joint="curve")
    if not line.dots:
        return
    known = [place for place in places if place is not None]
    radius = 4 if len(known) <= 40 else 2
    for px, py in known:
        draw.ellipse([px - radius, py - radius, px + radius, py + radius], fill=colour)


def _draw_keys(draw: ImageDraw.ImageDraw, box: Box, lines: Sequence[Line]) -> None:
    keyed = [line for line in lines if line.label]
    if len(keyed) > MOST_KEYS:  # the first, the last, and some between
        keyed = [keyed[round(i * (len(keyed) - 1) / (MOST_KEYS - 1))] for i in range(MOST_KEYS)]
    for i, line in enumerate(keyed):
        y = box[1] + 8 + i * KEY_LINE
        if line.joined:
            draw.line([(box[2] + 14, y), (box[2] + 30, y)], fill=line.colour, width=3)
        else:
            draw.ellipse([box[2] + 18, y - 4, box[2] + 26, y + 4], fill=line.colour)
        draw.text((box[2] + 36, y), _key(line), fill=AXIS, font=font(14), anchor="lm")


def _key(line: Line) -> str:
    missing = "" if any(_is_known(y) for _, y in line.points) else " – not measured"
    return shortened(drawable(line.label), font(14), KEY - font(14).getlength(missing)) + missing


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _ticks(low: float, high: float, log: bool, reach: float = 1.0, fits: bool = False) -> list[float]:
    """Two to seven round values that enclose [low, high]; where `low` is 0 or more and not log, [0, `reach`] too.

    fits: [low, high] and no more, but as much as makes a difference in what is written beside the ticks.
    """
    if log:
        return _decades(low, high)
    if not fits:
        low = min(low, 0.0)
        high = (max(high, reach) or 1.0) if low == 0 else high
    span = max(high - low, 1e-6, 1e-3 * max(abs(low), abs(high)) if fits else 0.0)
    step = 10 ** math.floor(math.log10(span / 3))
    step = next((step * m for m in (1, 2, 5, 10, 20) if span / (step * m) <= 5), step * 20)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, max(last, first + 1) + 1)]


def _decades(low: float, high: float) -> list[float]:
    """log10 of round values, 1, 2 and 5 of each decade or of some, that enclose [low, high] (log10 too)."""
    for digits, apart in (((1, 2, 5), 1), *(((1,), n) for n in range(1, 100))):
        first, last = math.floor((low - 0.7) / apart) * apart, math.ceil(high + 0.7) + apart
        ticks = [exponent + math.log10(digit) for exponent in range(first, last + 1, apart) for digit in digits]
        start = max(i for i, tick in enumerate(ticks) if tick <= low + 1e-9)
        stop = min(i for i, tick in enumerate(ticks) if tick >= high - 1e-9)
        if stop - start < 7:
            break
    return ticks[start : stop + 1] if stop > start else ticks[start - 1 : stop + 2]
