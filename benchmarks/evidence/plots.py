"""Plots of what was measured, by matplotlib: those of the paper (scatter, ECDF, Bland-Altman), and curves."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

sys.path.append(str(Path(__file__).resolve().parents[2]))

from realign_study.report.drawing import COLOURS, GREY, STYLE
from realign_study.report.statistics import Array

from .paired import Estimate

PANEL = (5.2, 3.9)  # inches
LIMITS = 1.96  # standard deviations of the differences: Bland and Altman 1986, limits of agreement


@contextmanager
def sheet(path: Path, rows: int, columns: int) -> Iterator[list[Axes]]:
    """Panels, row by row, saved as a PNG."""
    with matplotlib.rc_context({**STYLE, "axes.titlesize": 10, "axes.titlelocation": "left", "lines.linewidth": 1.4}):
        figure = Figure(figsize=(columns * PANEL[0], rows * PANEL[1]), layout="constrained", facecolor="white")
        yield list(figure.subplots(rows, columns, squeeze=False).flat)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110, metadata={"Software": None})


def curve(axes: Axes, x: Sequence[float], y: Sequence[Estimate], label: str, place: int, dash: str = "-") -> None:
    """Figures over x with their intervals. place: of the colour."""
    colour, values = COLOURS[place % len(COLOURS)], [one.value for one in y]
    axes.fill_between(x, [one.low for one in y], [one.high for one in y], color=colour, alpha=0.15, linewidth=0)
    axes.plot(x, values, dash, marker="o", markersize=3.5, color=colour, label=label)


def scatter(axes: Axes, retrained: Array, mixed: Array, label: str = "", place: int = 0) -> None:
    """Scores by λ over scores by retraining, the same prompts and seeds; on the line they are equal."""
    ends = [min(retrained.min(), mixed.min()), max(retrained.max(), mixed.max())]
    axes.plot(ends, ends, color=GREY, linewidth=0.8)
    axes.plot(retrained, mixed, ".", color=COLOURS[place % len(COLOURS)], markersize=3, alpha=0.6, label=label)
    axes.set(xlabel="retrained", ylabel="by λ")


def ecdf(axes: Axes, scores: Mapping[str, Array]) -> None:
    """The share of pictures whose score is no higher."""
    for place, (name, values) in enumerate(scores.items()):
        axes.ecdf(values, color=COLOURS[place % len(COLOURS)], label=name)
    axes.set(xlabel="score", ylabel="share of pictures")
    axes.legend(frameon=False)


def bland_altman(axes: Axes, retrained: Array, mixed: Array, place: int = 0) -> tuple[float, float, float]:
    """Differences over means of pairs; returns the lower limit of agreement, the mean difference, the upper limit."""
    apart = mixed - retrained
    middle, half = float(apart.mean()), LIMITS * float(np.std(apart, ddof=1))
    axes.plot((mixed + retrained) / 2, apart, ".", color=COLOURS[place % len(COLOURS)], markersize=3, alpha=0.6)
    for at, dash in ((middle - half, "--"), (middle, "-"), (middle + half, "--")):
        axes.axhline(at, color=GREY, linewidth=0.9, linestyle=dash)
    axes.set(xlabel="mean of the two", ylabel="λ less retrained")
    return middle - half, middle, middle + half
