"""What somebody likes, learned from picks: Gaussian-process regression (regression.py) on features of pictures.

In each round some pictures of a batch are picked. A picked one has the target 1, another 0; how strict somebody is in a
round is an offset of its own, integrated out, so that only what differs within a round counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .gaussian import Gaussian
from .regression import KERNELS, RBF, Regression, drawn

OFFSET = 1.0  # variance of a round's offset: wide beside targets of 0 and 1
# Tastes are smooth: with shorter lengths and less noise a few picks are learned by heart.
LENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)  # times the median distance of two pictures
SIGNALS, NOISES = (0.25, 0.5, 1.0), (0.08, 0.15, 0.3)  # variances: of stars of ½ and −½ that do mean something
FLAT = 0.1  # of the largest spread: features that differ less between pictures than this count as if they did so


@dataclass(frozen=True)
class Picks:
    """Rounds of picks, N pictures in all."""

    features: Tensor  # (N, D)
    picked: Tensor  # (N,) bool
    rounds: Tensor  # (N,) whole numbers: which pictures were seen together

    def __post_init__(self) -> None:
        size = len(self.features)
        if self.features.ndim != 2 or self.picked.shape != (size,) or self.rounds.shape != (size,):
            raise ValueError("Picks need features (pictures, D) and, for each picture, whether and when it was picked.")
        if not bool(self.features.isfinite().all()):
            raise ValueError("Features of a picture are not finite numbers.")

    @classmethod
    def none(cls, size: int) -> Picks:
        """Before the first round. size: D."""
        return cls(torch.zeros(0, size, dtype=torch.float64), torch.zeros(0, dtype=torch.bool), torch.zeros(0).long())

    def add(self, features: Tensor, picked: Tensor) -> Picks:
        """With another round. features: (B, D). picked: (B,) bool. Raises ValueError for features of another size."""
        if features.ndim != 2 or features.shape[1] != self.features.shape[1]:
            raise ValueError(
                f"These pictures have features of the shape {tuple(features.shape)}, the picks before them "
                f"{self.features.shape[1]} each: use the model that the first round was seen with."
            )
        number = 1 + int(self.rounds.max()) if len(self.rounds) else 0
        rounds = torch.full((len(features),), number)
        return Picks(
            torch.cat([self.features, features.detach().cpu().double()]),
            torch.cat([self.picked, picked.detach().cpu().bool()]),
            torch.cat([self.rounds, rounds]),
        )


@dataclass(frozen=True)
class Preference:
    """How good pictures are in somebody's eyes: a Gaussian process over features, given picks.

    kernel: “rbf”, k(a, b) = signal · exp(−|a − b|² / 2 length²), for tastes with a peak; “linear”, signal · a·b, which
    is Bayesian linear regression. noise: variance of a pick around it. scale: (D,), by which features are multiplied
    first; None: 1. Raises ValueError where nothing was picked.
    """

    picks: Picks
    kernel: str = RBF
    length: float = 1.0
    signal: float = 0.5
    noise: float = 0.08
    scale: Tensor | None = None
    regression: Regression = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise ValueError(f"unknown kernel {self.kernel!r}; it can be {' or '.join(KERNELS)}")
        if not bool(self.picks.picked.any()):
            raise ValueError("Nothing is picked yet: mark at least one picture that is better than the others.")
        known = (self.picks.features, self.picks.picked.double() - 0.5, self.picks.rounds)
        made = Regression(*known, self.kernel, self.length, self.signal, self.noise, OFFSET, scale=self.scale)
        object.__setattr__(self, "regression", made)

    @classmethod
    def learn(cls, picks: Picks, kernel: str = RBF) -> Preference:
        """With the length, signal and noise of the largest evidence (their equation 2.30) over a grid.

        Features count by how they differ between the pictures, not by their units.
        """
        spread = picks.features.std(0, unbiased=False)
        spread = spread.clamp(min=FLAT * float(spread.max()) or 1)
        scale = 1 / (spread * spread.numel() ** 0.5)
        found = (cls(picks, kernel, *values, scale) for values in _grid(picks.features * scale, kernel))
        return max(found, key=lambda one: one.evidence)

    @property
    def evidence(self) -> float:
        """log p(picks | kernel), nats."""
        return self.regression.evidence

    def utility(self, features: Tensor) -> Gaussian:
        """How good pictures are, (B,), on the scale of a pick: mean and variance.

        features: (B, D), on any device, with gradients where they have one.
        """
        return self.regression.at(features)

    def likeliest(self, features: Tensor, draws: int, generator: torch.Generator | None = None) -> Tensor:
        """(B,): how probable it is that each of these is the best of them, from draws of the process at all of them."""
        found = drawn(*self.regression.joint(features), draws, generator)
        return torch.bincount(found.argmax(1), minlength=len(features)) / draws


def _grid(features: Tensor, kernel: str) -> Iterator[tuple[float, float, float]]:
    """Length, signal, noise."""
    lengths: tuple[float, ...] = (1.0,)
    if kernel == RBF and len(features) > 1:
        apart = torch.pdist(features)
        middle = float(apart[apart > 0].median()) if bool((apart > 0).any()) else 1.0
        lengths = tuple(middle * one for one in LENGTHS)
    return itertools.product(lengths, SIGNALS, NOISES)


@dataclass(frozen=True)
class Liked:
    """Which value of one number is liked best, as expected, and between which the best one lies, 4 times of 5."""

    value: float
    low: float
    high: float


def liked(picks: Picks, steps: int = 100, draws: int = 4096, seed: int = 0) -> Liked:
    """Of the one feature of these picks, within the values that were seen.

    steps: of the range, between which it does not tell apart. Raises ValueError where nothing was picked.
    """
    seen = picks.features[:, 0]
    values = torch.linspace(float(seen.min()), float(seen.max()), steps + 1, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    learned = Preference.learn(picks)
    chance = learned.likeliest(values[:, None], draws, generator).double()
    low, high = (int(torch.searchsorted(chance.cumsum(0), share)) for share in (0.1, 0.9))
    best = int(learned.utility(values[:, None]).mean.argmax())
    return Liked(float(values[best]), float(values[min(low, best)]), float(values[min(max(high, best), steps)]))
