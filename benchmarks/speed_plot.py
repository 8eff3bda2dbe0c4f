"""The plot of a speed measurement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from speed_cases import NAMES, STOCK
from speed_runs import Result
from tables import quartiles

BACKGROUND, GRID, GREY = "#18181b", "#52525b", "#a1a1aa"
COLOURS = ("#60a5fa", "#fbbf24", "#4ade80", "#f472b6", "#a78bfa", "#f87171")
STYLE = {"figure.facecolor": BACKGROUND, "axes.facecolor": BACKGROUND, "grid.color": GRID, "font.size": 9}
STYLE |= {"axes.spines.top": False, "axes.spines.right": False, "axes.spines.bottom": False, "ytick.left": False}
STYLE |= {"axes.grid": True, "axes.grid.axis": "x", "axes.axisbelow": True, "legend.frameon": False}
STYLE |= {"xtick.top": True, "xtick.labeltop": True, "xtick.bottom": False, "xtick.labelbottom": False}
SHARE = 0.8  # of a row's height that its bars fill


def plot(results: Sequence[Result], memory: Sequence[dict[str, Any]], path: Path) -> None:
    """Bars per method and anchor: time at λ = 0.5, one bar per architecture, and beside them the memory."""
    # Here, as the processes that measure memory import this file too.
    from matplotlib import rc_context, style
    from matplotlib.figure import Figure

    rows = [(STOCK, "–"), *dict.fromkeys((run.method, run.anchor) for result in results for run in result.runs)]
    with rc_context({**style.library["dark_background"], **STYLE}):
        figure = Figure((11, 1.5 + 0.5 * len(rows)), layout="constrained")
        time_axes, memory_axes = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
        draw_times(time_axes, results, rows)
        if memory:
            draw_memory(memory_axes, memory, rows)
        memory_axes.set_visible(bool(memory))
        names = [method if method == STOCK else f"{method}, {anchor}" for method, anchor in rows]
        time_axes.set_yticks(range(len(rows)), names)
        time_axes.set_ylim(len(rows) - 0.4, -0.6)
        figure.savefig(path, dpi=160)


def draw_times(axes: Any, results: Sequence[Result], rows: Sequence[tuple[str, str]]) -> None:
    """With the quartiles as whiskers."""
    height = SHARE / len(results)
    for place, result in enumerate(results):
        found = np.array([quartiles(ratios(result, *row)) for row in rows])  # (row, middle, low and high)
        middle, low, high = found.T
        y = np.arange(len(rows)) - SHARE / 2 + (place + 0.5) * height
        label = f"{NAMES[result.kind]}, batch {result.batch}"
        whiskers = {"ecolor": "white", "capsize": 1.5, "error_kw": {"elinewidth": 0.8, "capthick": 0.8}}
        colour = COLOURS[place % len(COLOURS)]
        axes.barh(y, middle, 0.85 * height, xerr=(middle - low, high - middle), color=colour, label=label, **whiskers)
    finish(axes, "time, one model = 1, λ = 0.5", columns=2)


def ratios(result: Result, method: str, anchor: str) -> list[float]:
    """The times of a method at λ = 0.5, or of one that has no λ; none where it was not timed."""
    if method == STOCK:
        return result.unit.ratios
    run = result.find(method, anchor, 0.5) or result.find(method, anchor, None)
    return run.ratios if run else []


def draw_memory(axes: Any, memory: Sequence[dict[str, Any]], rows: Sequence[tuple[str, str]]) -> None:
    kinds = (("host", "loaded models", -SHARE / 4, COLOURS[0]), ("peak", "peak while sampling", SHARE / 4, GREY))
    for key, label, shift, colour in kinds:
        y = [rows.index((one["method"], one["anchor"])) + shift for one in memory]
        axes.barh(y, [one[key] / memory[0][key] for one in memory], 0.45 * SHARE, color=colour, label=label)
    finish(axes, "memory, one model = 1", columns=1)


def finish(axes: Any, title: str, columns: int) -> None:
    axes.set_title(title, loc="left")
    axes.set_xlim(left=0)
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0), ncols=columns)
