"""Plots as SVG, by matplotlib. No text of a plan, a host or a table goes in: names stand in the page, as text."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .statistics import Array, Best, Curve

# Okabe and Ito's colours, told apart with any kind of sight; the yellow is left out, which white swallows.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = {"-": "solid", "--": "dashed", ":": "dotted"}  # and what they are called in CSS
MOST = len(COLOURS) * len(DASHES)  # curves that can be told apart
INK, GREY, PALE = "#1f2328", "#59636e", "#d9dee3"
STYLE = {
    "text.parse_math": False,
    "svg.fonttype": "none",  # text stays text: small, and read aloud
    "svg.hashsalt": "realign",  # the same plot is the same file
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": GREY,
    "axes.edgecolor": PALE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.formatter.limits": (-4, 5),
    "xtick.color": PALE,
    "ytick.color": PALE,
    "xtick.labelcolor": GREY,
    "ytick.labelcolor": GREY,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
}


@dataclass(frozen=True)
class Line:
    """A curve's look: which it is of those that are drawn, the same in all plots."""

    curve: Curve
    place: int

    def draw(self, axes: Axes, x: Array, y: Array) -> None:
        axes.plot(x, y, marker="o", color=colour(self.place), linestyle=_dash(self.place))


def colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _dash(place: int) -> str:
    return list(DASHES)[place // len(COLOURS) % len(DASHES)]


def look(place: int) -> str:
    """Of a curve, for a legend: a border's style and colour in CSS."""
    return f"{DASHES[_dash(place)]} {colour(place)}"


def means(lines: Sequence[Line], unit: str = "mean score") -> str:
    """Means over λ, with their intervals."""
    with _axes("λ", unit) as (axes, out):
        for line in lines:
            _band(axes, line, line.curve.mean, line.curve.low, line.curve.high, len(lines))
        _lambda_ticks(axes, lines)
    return out.getvalue()


def gains(lines: Sequence[Line], best: Sequence[Best | None]) -> str:
    """Gains over the base, with their intervals; a ring at the best λ of each, which are in the lines' order."""
    bases = {line.curve.lambdas[line.curve.base] for line in lines}
    over = f"gain over λ {bases.pop():g}" if len(bases) == 1 else "gain over each curve’s base"
    with _axes("λ", over) as (axes, out):
        axes.axhline(0, color=GREY, linewidth=0.8)
        for line, chosen in zip(lines, best):
            _band(axes, line, line.curve.gain, line.curve.gain_low, line.curve.gain_high, len(lines))
            if chosen is not None and not chosen.alike:
                at = line.curve.lambdas[chosen.place], line.curve.gain[chosen.place]
                axes.plot(*at, "o", markersize=11, markerfacecolor="none", color=colour(line.place), linewidth=1)
        _lambda_ticks(axes, lines)
    return out.getvalue()


def against_kl(lines: Sequence[Line], kl: Sequence[Curve]) -> str:
    """Mean scores over mean KL; each point with its λ, and its two intervals. kl: of the same lines."""
    with _axes("KL from the reference, nats", "mean score") as (axes, out):
        for line, distance in zip(lines, kl):
            known = ~np.isnan(line.curve.mean) & ~np.isnan(distance.mean)
            x, y = distance.mean[known], line.curve.mean[known]
            line.draw(axes, x, y)
            ends = (line.curve.low[known], line.curve.high[known], distance.low[known], distance.high[known])
            low, high, left, right = ends
            axes.vlines(x, low, high, color=colour(line.place), alpha=0.35, linewidth=1.2)
            axes.hlines(y, left, right, color=colour(line.place), alpha=0.35, linewidth=1.2)
            beside = (6, -11) if len(y) and y[-1] >= y[0] else (6, 4)  # the side that the curve leaves free
            named = list(enumerate(np.flatnonzero(known)))
            for place, index in named if len(lines) == 1 else named[-1:]:  # of several curves the ends, which are apart
                text, at = f"λ {line.curve.lambdas[index]:.3g}".replace("-", "−"), (x[place], y[place])
                axes.annotate(text, at, xytext=beside, textcoords="offset points", fontsize=7.5, color=GREY)
        axes.margins(x=0.12)
    return out.getvalue()


def _band(axes: Axes, line: Line, value: Array, low: Array, high: Array, lines: int) -> None:
    lambdas, known = np.asarray(line.curve.lambdas), ~np.isnan(value)
    line.draw(axes, lambdas[known], value[known])
    sure, alpha = known & ~np.isnan(low), 0.16 if lines == 1 else 0.09  # bands that lie over each other stay light
    axes.fill_between(lambdas[sure], low[sure], high[sure], color=colour(line.place), alpha=alpha, linewidth=0)


def _lambda_ticks(axes: Axes, lines: Sequence[Line]) -> None:
    """The study's own λ, where there is room to name them."""
    values = sorted({value for line in lines for value in line.curve.lambdas})
    gaps = np.diff(values) / ((values[-1] - values[0]) or math.inf)
    if len(values) <= 12 and (gaps >= 0.07).all():
        axes.set_xticks(values, [f"{value:g}".replace("-", "−") for value in values])


@contextmanager
def _axes(x: str, y: str) -> Iterator[tuple[Axes, io.StringIO]]:
    """Axes to draw on, and where the SVG is once they are drawn."""
    out = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.3, 3.0), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(axis="y", color=PALE, linewidth=0.6)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        yield axes, out
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(out, format="svg", transparent=True, metadata=metadata)
