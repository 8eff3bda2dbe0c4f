"""A λ sweep as data: which picture of a batch has which λ, prompt, seed, cfg and η."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, TypeVar

from .schedule import LambdaSchedule

MOST_CELLS = 4096  # pictures of a sweep
LAMBDAS = (-10.0, 10.0)  # what λ may be, wherever it comes from
CFGS, ETAS = (0.0, 100.0), (0.0, 1.0)  # what a sweep may hold besides
Swept = TypeVar("Swept", bound="Sweep")


class Cell(NamedTuple):
    """One picture of a sweep.

    value: its λ; where the sweep has a schedule, what that is multiplied by. seed: added to the run's seed. image:
    which element of the latent batch it starts from. cfg, eta: None for the run's own. prompt: which of the sweep's
    prompts it has; None for the run's own.
    """

    value: float
    seed: int
    image: int
    cfg: float | None
    eta: float | None
    prompt: int | None = None


@dataclass(frozen=True)
class Sweep:
    """Columns of λ, and rows of everything else.

    values: λ of the columns. seeds: rows with the run's seed, seed + 1, … images: elements of the latent batch that is
    swept; batch_index: their places in it, by which the host draws their noise. cfgs, etas: rows with these, at most
    one of the two. schedule: λ over the run, multiplied by each column's λ. batch_size: how many pictures are sampled
    at once at the most; 0: as many as the memory holds. measure_ends: ask both models for λ = 0 and 1 too, so that
    every KL is known. prompts: rows with these texts, "" for one that is not known as text; none: the run's own.
    draft: spend fewer model calls on pictures that need not be exact. first_seed, first_image: of the first row, where
    it is taken from a larger sweep.

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
    prompts: tuple[str, ...] = ()
    draft: bool = False
    first_seed: int = 0
    first_image: int = 0

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("The λ sweep is empty: give it at least one λ.")
        if not all(math.isfinite(v) for v in (*self.values, *self.cfgs, *self.etas)):
            raise ValueError("The sweep holds a value that is not a finite number.")
        if self.cfgs and self.etas:
            raise ValueError("A sweep has one second axis: cfg or η, not both.")
        if self.seeds < 1 or self.images < 1:
            raise ValueError(f"A sweep needs at least one seed and one image, but has {self.seeds} and {self.images}.")
        if self.first_seed < 0 or self.first_image < 0:
            raise ValueError("A sweep's seeds and images are counted from 0.")
        if self.columns * self.rows > MOST_CELLS:
            raise ValueError(
                f"The λ sweep would have {self.columns * self.rows:,} pictures ({self.columns:,} λ × {self.rows:,} "
                f"rows), but at most {MOST_CELLS:,} are possible: take fewer λ, prompts, seeds, row values or images."
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
    def batch(self) -> int:
        """Elements of the latent batch that the swept images are of."""
        return max(len(self.batch_index), self.first_image + self.images)

    @property
    def places(self) -> slice:
        """Of the swept images in it."""
        return slice(self.first_image, self.first_image + self.images)

    @property
    def rows(self) -> int:
        others = max(len(self.cfgs), 1) * max(len(self.etas), 1) * max(len(self.prompts), 1)
        return others * self.seeds * self.images

    def cells(self) -> list[Cell]:
        """In the batch's order: row by row (cfg or η, then prompt, seed, image), each from the first λ to the last."""
        prompts: Sequence[int | None] = range(len(self.prompts)) or (None,)
        return [
            Cell(value, self.first_seed + seed, self.first_image + image, cfg, eta, prompt)
            for cfg in self.cfgs or (None,)
            for eta in self.etas or (None,)
            for prompt in prompts
            for seed in range(self.seeds)
            for image in range(self.images)
            for value in self.values
        ]

    def only(self: Swept, row: int, column: int) -> Swept:
        """The sweep of one picture of this one. row, column: from 1. Raises ValueError for a place that is not there.

        The picture keeps its seed and image; its prompt is the only one there.
        """
        if not (1 <= row <= self.rows and 1 <= column <= self.columns):
            raise ValueError(
                f"The λ sweep has no picture in row {row:,}, column {column:,}: its rows are 1 to {self.rows:,}, its "
                f"columns 1 to {self.columns:,}."
            )
        cell = self.cells()[(row - 1) * self.columns + column - 1]
        return replace(
            self,
            values=(cell.value,),
            cfgs=() if cell.cfg is None else (cell.cfg,),
            etas=() if cell.eta is None else (cell.eta,),
            prompts=() if cell.prompt is None else (self.prompts[cell.prompt],),
            seeds=1,
            images=1,
            first_seed=cell.seed,
            first_image=cell.image,
        )

    def to_dict(self) -> dict[str, Any]:
        """For the trace: columns, rows and, in the batch's order, cells."""
        return {
            "columns": self.columns,
            "rows": self.rows,
            "cells": [cell._asdict() for cell in self.cells()],
            "schedule": asdict(self.schedule) if self.schedule else None,
            "prompts": list(self.prompts),
            "draft": self.draft,
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
