"""A λ sweep as data: which picture of a batch has which λ, seed, cfg and η."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from .schedule import LambdaSchedule


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

    Raises ValueError for a sweep that is empty, holds a number that is not finite, or has both cfgs and etas.
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
        if any(not 0 <= eta <= 1 for eta in self.etas):
            raise ValueError(f"η must be from 0 (DDIM) to 1 (DDPM), but is {', '.join(f'{v:g}' for v in self.etas)}.")

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


def even_values(start: float, end: float, count: int) -> tuple[float, ...]:
    """`count` λ from `start` to `end`, evenly spaced, without the last bits of rounding (0.3, not 0.30000000000000004).

    Raises ValueError for count < 1.
    """
    if count < 1:
        raise ValueError(f"A sweep needs at least one λ, but count is {count}.")
    step = (end - start) / max(count - 1, 1)
    return tuple(round(start + i * step, 6) for i in range(count))


def listed_values(text: str, what: str = "λ") -> tuple[float, ...]:
    """Numbers from a text such as "0, 0.25; 1": separated by commas, semicolons or spaces.

    Raises ValueError naming the first part that is no number, or where there is none at all.
    """
    parts = [part for part in re.split(r"[,;\s]+", text) if part]
    values = []
    for part in parts:
        try:
            value = float(part)
        except ValueError:
            value = math.nan
        if math.isnan(value):
            raise ValueError(f"“{part}” in the list of {what} is not a number: write them as 0, 0.5, 1.")
        values.append(value)
    if not values:
        raise ValueError(f"The list of {what} is empty: write numbers such as 0, 0.5, 1.")
    return tuple(values)


def lambdas_for_betas(betas: tuple[float, ...], anchor_beta: float | None) -> tuple[float, ...]:
    """λ = β_anchor / β for each target β; an infinite β is the reference itself, λ = 0.

    Raises ValueError for a target that is not above 0, or where the anchor's β is not known.
    """
    if anchor_beta is None:
        raise ValueError(
            "Target β need an anchor of known β: connect it to the sweep's “anchor”, with its β typed or in its file, "
            "or list λ instead."
        )
    wrong = [beta for beta in betas if not beta > 0]
    if wrong:
        raise ValueError(f"A target β must be above 0, but the list holds {wrong[0]:g}.")
    return tuple(anchor_beta / beta for beta in betas)
