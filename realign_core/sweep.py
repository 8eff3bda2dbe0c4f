"""A λ sweep as data: which picture of a batch has which λ, seed, cfg and η."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from .schedule import LambdaSchedule

MOST_CELLS = 4096  # pictures of a sweep
LAMBDAS = (-10.0, 10.0)  # what λ may be, wherever it comes from
CFGS, ETAS = (0.0, 100.0), (0.0, 1.0)  # what a sweep may hold besides


class Cell(NamedTuple):
    """One picture of a sweep.

    value: its λ; where the sweep has a schedule, what that is multiplied by. seed: added to the run's seed. image:
    which element of the latent batch it starts from. cfg, eta: None for the run's own.
    """

    value: float
    seed: int
    image: int
    cfg: float | None
    eta: float | None


@dataclass(frozen=True)
class Sweep:
    """Columns of λ, and rows of everything else.

    values: λ of the columns. seeds: rows with the run's seed, seed + 1, … images: elements of the latent batch that is
    swept; batch_index: their places in it, by which the host draws their noise. cfgs, etas: rows with these, at most
    one of the two. schedule: λ over the run, multiplied by each column's λ. batch_size: how many pictures are sampled
    at once at the most; 0: as many as the memory holds. measure_ends: ask both models for λ = 0 and 1 too, so that
    every KL is known.

    Raises ValueError for a sweep that is empty or has more than MOST_CELLS pictures, that holds a number twice, out of
    range or not finite, or that has both cfgs and etas.
    """

    values: tuple[float, ...]
    seeds: int = 1
    images: int = 1
    batch_index: tuple[int, ...] = (0,)
    cfgs: tuple[float, ...] = ()
    etas: tuple[float, ...] = ()
    schedule: LambdaSchedule | None = None
    batch_size: int = 0
    measure_ends: bool = False

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("The λ sweep is empty: give it at least one λ.")
        if not all(math.isfinite(v) for v in (*self.values, *self.cfgs, *self.etas)):
            raise ValueError("The sweep holds a value that is not a finite number.")
        if self.cfgs and self.etas:
            raise ValueError("A sweep has one second axis: cfg or η, not both.")
        if self.seeds < 1 or self.images < 1:
            raise ValueError(f"A sweep needs at least one seed and one image, but has {self.seeds} and {self.images}.")
        if self.columns * self.rows > MOST_CELLS:
            raise ValueError(
                f"The λ sweep would have {self.columns * self.rows:,} pictures ({self.columns:,} λ × {self.rows:,} "
                f"rows), but at most {MOST_CELLS:,} are possible: take fewer λ, seeds, row values or images."
            )
        for name, values, (low, high) in (
            ("λ", self.values, LAMBDAS),
            ("cfg", self.cfgs, CFGS),
            ("η", self.etas, ETAS),
        ):
            _check_axis(name, values, low, high)

    @property
    def columns(self) -> int:
        return len(self.values)

    @property
    def rows(self) -> int:
        return max(len(self.cfgs), 1) * max(len(self.etas), 1) * self.seeds * self.images

    def cells(self) -> list[Cell]:
        """In the batch's order: row by row (cfg or η, then seed, then image), each row from the first λ to the last."""
        return [
            Cell(value, seed, image, cfg, eta)
            for cfg in self.cfgs or (None,)
            for eta in self.etas or (None,)
            for seed in range(self.seeds)
            for image in range(self.images)
            for value in self.values
        ]

    def to_dict(self) -> dict[str, Any]:
        """For the trace: columns, rows and, in the batch's order, cells."""
        return {"columns": self.columns, "rows": self.rows, "cells": [cell._asdict() for cell in self.cells()]} | {
            "schedule": asdict(self.schedule) if self.schedule else None
        }


def _check_axis(name: str, values: tuple[float, ...], low: float, high: float) -> None:
    """Raise ValueError for a value out of range, or one that is there twice."""
    for value in values:
        if not low <= value <= high:
            raise ValueError(f"{name} must be from {low:g} to {high:g} in a sweep, but one is {value:g}.")
    if len(set(values)) < len(values):
        twice = next(value for i, value in enumerate(values) if value in values[:i])
        raise ValueError(f"The sweep has {name} {twice:g} more than once: give each {name} once.")


def even_values(start: float, end: float, count: int) -> tuple[float, ...]:
    """`count` λ from `start` to `end`, evenly spaced, without the last bits of rounding (0.3, not 0.30000000000000004).

    Raises ValueError for a count below 1 or above MOST_CELLS, and for several λ from one to the same.
    """
    if not 1 <= count <= MOST_CELLS:
        raise ValueError(f"A sweep needs from 1 to {MOST_CELLS:,} λ, but count is {count:,}.")
    if count > 1 and start == end:
        raise ValueError(f"start and end are both {start:g}, so that all {count} λ are the same: set count to 1.")
    step = (end - start) / max(count - 1, 1)
    return tuple(round(start + i * step, 6) for i in range(count))


def lambdas_for_betas(betas: tuple[float, ...], anchor_beta: float | None) -> tuple[float, ...]:
    """λ = β_anchor / β for each target β; an infinite β is the reference itself, λ = 0.

    Raises ValueError for a target that is not above 0, or so small that λ is out of range, or where the anchor's β is
    not known.
    """
    if anchor_beta is None:
        raise ValueError(
            "Target β need an anchor of known β: connect it to the sweep's “anchor”, with its β typed or in its file, "
            "or list λ instead."
        )
    wrong = [beta for beta in betas if not beta > 0]
    if wrong:
        raise ValueError(f"A target β must be above 0, but the list holds {wrong[0]:g}.")
    small = [beta for beta in betas if anchor_beta > LAMBDAS[1] * beta]
    if small:
        raise ValueError(
            f"β {small[0]:g} is far from the anchor's {anchor_beta:g}, at λ {anchor_beta / small[0]:g}: a sweep takes "
            f"λ up to {LAMBDAS[1]:g}, so β from {anchor_beta / LAMBDAS[1]:g}."
        )
    return tuple(anchor_beta / beta for beta in betas)
