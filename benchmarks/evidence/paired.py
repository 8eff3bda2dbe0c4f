"""Scores of the same prompts and seeds, by λ and by retraining: how far apart, and how surely.

The paper (DeRaDiff, arXiv 2601.20198) gives the error of a mean score in per cent of that mean. A score that hardly
moves from the reference to the anchor makes any error small so: it is given as a share of that way too. Intervals are
of the bootstrap over pairs (prompts, and seeds within a prompt, which are its own), the same draws for all that is
compared.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[2]))

from realign_study.report.statistics import LEVEL, Array, interval, means, resamples

__all__ = ["LEVEL", "Array", "Estimate", "Scored", "estimate", "mean_error", "signed_share"]


@dataclass(frozen=True)
class Estimate:
    """A figure and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 3, percent: bool = False) -> str:
        value, low, high = (v * (100 if percent else 1) for v in (self.value, self.low, self.high))
        return f"{value:.{digits}f}{' %' if percent else ''} ({low:.{digits}f} … {high:.{digits}f})"

    def of_way(self) -> str:
        """A score that an anchor hardly moves has no way that could be gone."""
        return self.text(0, True) if self.high < 10 else "–"


@dataclass(frozen=True)
class Scored:
    """A target β reached by λ and by training; each is (prompts × seeds,), prompt by prompt, of the same noise."""

    retrained: Array  # the model trained at the target β
    mixed: Array  # λ
    reference: Array
    anchor: Array


@lru_cache(4)
def _counts(prompts: int, seeds: int) -> Array:
    """How often each draw holds each (prompt, seed), (draws, prompts × seeds): the same for all that is compared."""
    return np.concatenate(list(resamples(prompts, seeds, shared=False)))


def estimate(values: Array, of: Callable[[Array], Array] = lambda means: means[:, 0], seeds: int = 1) -> Estimate:
    """Of the means of columns. values: (prompts × seeds, columns), or (units,). of: means (draws, columns) -> (draws,).

    The figure itself is that of the whole table, the interval that of the draws."""
    table = values[:, None] if values.ndim == 1 else values
    draws = of(means(table, _counts(len(table) // seeds, seeds)))
    low, high = interval(draws[:, None])
    return Estimate(float(of(table.mean(0, keepdims=True))[0]), float(low[0]), float(high[0]))


def mean_error(cases: Sequence[Scored], seeds: int = 1) -> tuple[Estimate, Estimate]:
    """The mean over the cases of |mean by λ - mean by retraining|: as a share of the retrained mean (the paper's MAE),
    and of the way from the reference's mean to the anchor's. All cases have the same prompts and seeds.

    Means that hardly differ give an error above 0 by chance alone: put the same figure of two trainings beside it."""
    table = np.stack([one for c in cases for one in (c.retrained, c.mixed, c.reference, c.anchor)], 1)

    def error(means: Array, way: bool) -> Array:
        retrained, mixed, reference, anchor = means.reshape(len(means), len(cases), 4).transpose(2, 0, 1)
        whole = np.abs(anchor - reference) if way else np.abs(retrained)
        out: Array = (np.abs(mixed - retrained) / whole).mean(1)
        return out

    return (
        estimate(table, lambda means: error(means, False), seeds),
        estimate(table, lambda means: error(means, True), seeds),
    )


def signed_share(case: Scored, seeds: int = 1) -> Estimate:
    """(mean by λ - mean by retraining) / (anchor's mean - reference's): above 0 λ went further, below it less far."""
    table = np.stack([case.retrained, case.mixed, case.reference, case.anchor], 1)
    return estimate(table, lambda means: (means[:, 1] - means[:, 0]) / (means[:, 3] - means[:, 2]), seeds)
