"""A search for the best λ in words and as a plot: what is known of each curve, what was seen, and the λ chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...realign_core import Found, Search, Seen
from .colours import AMBER, AXIS, BLUE
from .labels import number
from .plot import Line, Panel, drawn
from .text import drawable, font, shortened

WIDTH, HEIGHT, MARGIN = 1000, 340, (72, 44, 24, 56)  # px; of the plots in one column, and around each
ROOM = 460  # px of a panel's name


def search_plot(search: Search, seen: Seen, found: Found) -> torch.Tensor:
    """IMAGE (1, H, W, 3): the reward over λ, then what each limit is about."""
    return drawn(search_panels(search, seen, found), WIDTH, HEIGHT, MARGIN)


def search_panels(search: Search, seen: Seen, found: Found) -> list[Panel]:
    grid = found.lambdas.tolist()
    panels = []
    for place, curve in enumerate(found.curves):
        colour = AMBER if place else BLUE
        between = list(zip(curve.low.tolist(), curve.high.tolist()))
        lines = [Line(list(zip(grid, curve.mean.tolist())), colour, "expected, 90 %", dots=False, between=between)]
        if place:
            bound = bound_of(search, found, place - 1)
            lines.append(Line([(grid[0], bound), (grid[-1], bound)], AXIS, "limit", dots=False))
        lines.append(Line(means(seen, place), colour, "seen, the mean", joined=False))
        name = shortened(drawable(curve.name), font(18), ROOM)
        chosen = (found.lambda_, found.low, found.high)
        panels.append(Panel(name, lines, "λ", fits=True, across=True, chosen=chosen))
    return panels


def bound_of(search: Search, found: Found, limit: int) -> float:
    """What the mean of a limit's number may be at the most, or at the least where it must not fall."""
    one = search.limits[limit]
    return found.zero[limit + 1] - one.bound if one.falls else one.bound


def means(seen: Seen, place: int) -> list[tuple[float, float | None]]:
    """The mean over the pairs at each λ that was seen; none where a number is not known."""
    out: list[tuple[float, float | None]] = []
    for value in sorted(set(seen.lambdas.tolist())):
        own = seen.values[seen.lambdas == value, place]
        if bool(own.isfinite().all()):
            out.append((value, float(own.mean())))
    return out


def search_words(search: Search, found: Found, why: str, pictures: int, beta: float | None) -> str:
    """What was found, in a few lines."""
    best = f"best λ {number(found.lambda_, 3)} ({number(found.low, 3)} to {number(found.high, 3)})"
    lines = [best + (f" · β {number(beta)}" if beta else "")]
    low, high = (number(end, 3) for end in found.elsewhere)
    lines.append(f"for other seeds: λ {low} to {high}")
    lines.append(f"{pictures} pictures at {search.pairs} prompts and seeds" + (f" · ended: {why}" if why else ""))
    if not found.keeps:
        lines.append("no λ of the range keeps the limits: this one comes nearest")
    ends = {search.low: "lower", search.high: "upper"}
    if found.lambda_ in ends:
        lines.append(f"this is the {ends[found.lambda_]} end of the range: a wider range may have a better one")
    return "\n".join(lines)


def as_told(search: Search, seen: Seen, found: Found, why: str, beta: float | None) -> dict[str, Any]:
    """The result as JSON has it."""
    curves = [
        {"name": curve.name, "mean": curve.mean.tolist(), "low": curve.low.tolist(), "high": curve.high.tolist()}
        for curve in found.curves
    ]
    return {
        "lambda": found.lambda_,
        "low": found.low,
        "high": found.high,
        "other_seeds": list(found.elsewhere),
        "beta": beta,
        "keeps_limits": found.keeps,
        "ended": why,
        "range": [search.low, search.high],
        "limits": [{"name": one.name, "bound": one.bound, "must_not_fall": one.falls} for one in search.limits],
        "pairs": search.pairs,
        "pictures": len(seen),
        "lambdas": found.lambdas.tolist(),
        "curves": curves,
        "seen": pictures_of(seen),
    }


def pictures_of(seen: Seen) -> list[dict[str, Any]]:
    rows: Sequence[Sequence[float]] = seen.values.tolist()
    told = [[value if value == value else None for value in row] for row in rows]
    return [
        {"lambda": value, "pair": pair, "numbers": row}
        for value, pair, row in zip(seen.lambdas.tolist(), seen.pairs.tolist(), told)
    ]
