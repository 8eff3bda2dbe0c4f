"""What was measured, asked for by case: excess over retraining, error of the mean reward, groups of λ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from realign_study.report.statistics import Array

from .exact_cases import EXACT, PICTURES, REFERENCE, RETRAINED, pairs
from .exact_runs import Case
from .paired import Estimate, Scored, estimate, mean_error, signed_share

Pair = tuple[float, float]  # β of the anchor and of the target
Results = Mapping[Case, Sequence[Mapping[str, float]]]
NEAR = 0.03  # in total variation: what is no further than this beyond retraining, interval and all, is as near
AWAY = 10  # ways from reference to anchor: a run whose mean reward is further off has run away

BANDS: dict[str, Callable[[float], bool]] = {
    "λ ≤ 0.25": lambda lambda_: lambda_ <= 0.25,
    "0.25 < λ < 1": lambda lambda_: 0.25 < lambda_ < 1,
    "1 < λ ≤ 2.5": lambda lambda_: 1 < lambda_ <= 2.5,
    "λ > 2.5": lambda lambda_: lambda_ > 2.5,
}


def of_band(band: str) -> list[Pair]:
    return [(anchor, target) for anchor, target in pairs() if BANDS[band](anchor / target)]


@dataclass(frozen=True)
class Found:
    """The results of one world under one setting; each array is (batches,)."""

    results: Results
    world: str
    sampler: str = "ddpm"
    steps: int = 50
    draws: int = 4096
    particles: int = 4  # of the corrected runs

    def case(self, method: str, anchor: float, target: float) -> Case:
        particles = self.particles if method in PICTURES else 1
        return Case(self.world, method, anchor, target, self.sampler, self.steps, particles, self.draws)

    def has(self, method: str, pair: Pair) -> bool:
        return self.case(method, *pair) in self.results

    def of(self, field: str, method: str, target: float, anchor: float = 0.0) -> Array:
        return np.array([batch[field] for batch in self.results[self.case(method, anchor, target)]])

    def distance(self, method: str, target: float, anchor: float = 0.0, field: str = "tv") -> Estimate:
        return estimate(self.of(field, method, target, anchor))

    def _excess(self, method: str, pair: Pair) -> Array:
        return self.of("tv", method, pair[1], pair[0]) - self.of("tv", RETRAINED, pair[1])

    def excess(self, method: str, chosen: Sequence[Pair]) -> Estimate:
        """Total variation beyond the retrained model's own run; the mean over pairs."""
        return estimate(np.mean([self._excess(method, pair) for pair in chosen], axis=0))

    def near(self, method: str, chosen: Sequence[Pair]) -> int:
        """How many pairs are as near to the exact density as the retrained model's run."""
        return sum(estimate(self._excess(method, pair)).high <= NEAR for pair in chosen)

    def mean(self, method: str, chosen: Sequence[Pair], field: str = "tv") -> float:
        """Of a distance, over pairs and batches. method: of a pair, or of its target alone."""
        alone = method in (EXACT, REFERENCE, RETRAINED)
        return float(np.mean([self.of(field, method, t, 0.0 if alone else a) for a, t in chosen]))

    def scored(self, method: str, pair: Pair) -> Scored:
        """Mean rewards of the batches."""
        anchor, target = pair
        return Scored(
            self.of("reward", RETRAINED, target),
            self.of("reward", method, target, anchor),
            self.of("reward", REFERENCE, target),
            self.of("reward", RETRAINED, anchor),
        )

    def settled(self, method: str, chosen: Sequence[Pair]) -> list[Pair]:
        """The pairs whose run did not leave for infinity: with λ far beyond 1 it may."""
        return [pair for pair in chosen if abs(self.signed(method, pair).value) <= AWAY]

    def error(self, method: str, chosen: Sequence[Pair]) -> tuple[Estimate, Estimate]:
        """Mean |error of the mean reward|, as a share of that mean and of the way from reference to anchor."""
        return mean_error([self.scored(method, pair) for pair in chosen])

    def signed(self, method: str, pair: Pair) -> Estimate:
        return signed_share(self.scored(method, pair))
