"""What `make evidence` found: λ beside retraining, for every case, with intervals and the noise between trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2

from .learned_cases import METHODS, RLG, STEPWISE, Asked, Case, Extent
from .learned_networks import Pool, Trained
from .learned_scores import REWARD, Scored
from .paired import LEVEL, Array, Estimate, estimate, mean_error, signed_share
from .paired import Scored as Beside

BELOW, ABOVE = "λ < 1", "λ > 1"
BANDS = (BELOW, ABOVE)
Results = Mapping[Asked, Mapping[float, Scored]]


class Tilt(NamedTuple):
    """Of the data tilted by exp(r/β): its mean reward, and its KL from the data as it is, nats."""

    reward: float
    nats: float

    @classmethod
    def of(cls, data: Pool, beta: float) -> Tilt:
        plain, tilted = data.chances(0.0), data.chances(beta)
        return cls(data.mean_reward(beta), float((tilted * (tilted / plain).log()).nansum()))


@dataclass(frozen=True)
class Found:
    """All pictures' scores, by study and λ. truth: of tilted data by β, 0: of the data as drawn.
    losses: on held-out pairs, (batches,), the same for all, of networks whose training's end is looked at."""

    extent: Extent
    results: Results
    truth: Mapping[float, Tilt]
    losses: Mapping[Trained, Array] = field(default_factory=dict)

    def run(self, method: str, anchor: Trained, value: float) -> Scored:
        for asked, found in self.results.items():
            if (asked.method, asked.anchor) == (method, anchor):
                return next(one for at, one in found.items() if abs(at - value) < 1e-9)
        raise KeyError((method, anchor.name, value))

    def alone(self, trained: Trained, method: str = STEPWISE) -> Scored:
        """A network by itself, by the sampler that the method has."""
        kind = RLG if method == RLG else STEPWISE
        if trained == self.extent.reference:
            return self.run(kind, self.extent.first, 0.0)
        return self.run(kind, trained, 1.0)

    def by_lambda(self, case: Case) -> Scored:
        return self.run(case.method, case.anchor, case.lambda_)

    def target(self, case: Case) -> Trained:
        """What was trained at the case's target."""
        place = self.extent.betas[case.anchor.way].index(case.target)
        return self.extent.trained(case.anchor.way, place)

    def beside(self, case: Case, score: str, way_of: Trained | None = None) -> Beside:
        """The way is the reference's to the case's anchor, or to another one."""
        retrained = self.alone(self.target(case), case.method)
        return self._beside(retrained, self.by_lambda(case), way_of or case.anchor, case.method, score)

    def _beside(self, retrained: Scored, mixed: Scored, anchor: Trained, method: str, score: str) -> Beside:
        ends = (self.alone(one, method) for one in (self.extent.reference, anchor))
        return Beside(*(one.scores[score] for one in (retrained, mixed, *ends)))

    def cases(self, way: str, method: str, band: str) -> list[Case]:
        return [
            case
            for case in self.extent.cases()
            if (case.anchor.way, case.method) == (way, method) and (case.lambda_ < 1) == (band == BELOW)
        ]

    def error(self, cases: Sequence[Case], score: str) -> tuple[Estimate, Estimate]:
        """Mean over cases of the means' distance: of the retrained mean, and of the way from reference to anchor."""
        return mean_error([self.beside(case, score) for case in cases], self.extent.seeds)

    def signed(self, case: Case, score: str = REWARD) -> Estimate:
        return signed_share(self.beside(case, score), self.extent.seeds)

    def mean(self, scored: Scored, score: str) -> Estimate:
        return estimate(scored.scores[score], seeds=self.extent.seeds)

    def nats(self, scored: Scored) -> float:
        return float(np.mean(scored.nats))

    def trained_twice(self, way: str) -> list[tuple[Trained, Trained]]:
        return [
            (self.extent.trained(way, place), self.extent.trained(way, place, seed=1)) for place in self.extent.again
        ]

    def between_trainings(self, way: str, score: str) -> tuple[Estimate, Estimate] | None:
        """How far two trainings of one β are apart, as `error` counts; the way is that of the strongest anchor."""
        pairs = self.trained_twice(way)
        if not pairs:
            return None
        strongest, alone = self.extent.anchors(way)[0], self.alone
        cases = [self._beside(alone(a), alone(b), strongest, STEPWISE, score) for a, b in pairs]
        return mean_error(cases, self.extent.seeds)

    def times_the_noise(self, cases: Sequence[Case], score: str) -> Estimate | None:
        """`same_way` in units of `between_trainings`. Two or three second trainings tell little of how far trainings
        are apart: the interval has that in it (their differences as draws of a normal density about 0), too."""
        noise = self.between_trainings(cases[0].anchor.way, score)
        if noise is None:
            return None
        error, count = self.same_way(cases, score), len(self.extent.again)
        few, many = np.sqrt(count / chi2.ppf([(1 + LEVEL) / 2, (1 - LEVEL) / 2], count))
        apart = noise[1].value
        return Estimate(error.value / apart, error.low / (many * apart), error.high / (few * apart))

    def same_way(self, cases: Sequence[Case], score: str) -> Estimate:
        """`error`'s second figure with the way from the reference to the strongest anchor for all cases: what is
        comparable with `between_trainings`."""
        beside = [self.beside(case, score, self.extent.anchors(case.anchor.way)[0]) for case in cases]
        return mean_error(beside, self.extent.seeds)[1]

    def methods(self, way: str, band: str) -> list[str]:
        return [method for method in METHODS if self.cases(way, method, band)]
