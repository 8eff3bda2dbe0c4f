"""Models of which every tilted version is known: what benchmarks/particles.py samples and compares with.

The grid and the ring are those of DAS (Kim et al. 2025, arXiv 2501.05803), the product has any number of dimensions.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[1]))

from realign_core import NoiseLevel

EDGES = torch.arange(-7, 7.01, 0.5, dtype=torch.float64)  # of the cells that total variation counts in
DIRECTIONS, QUANTILES, REFERENCE_DRAWS = 32, 2000, 40_000  # of the sliced Wasserstein distance


@dataclass
class Quadratic:
    """r(x) = Σ slope x - curve (x - centre)², x (B, d)."""

    curve: Tensor  # (d,)
    centre: Tensor  # (d,)
    slope: Tensor | None = None  # (d,)

    def __call__(self, x: Tensor) -> Tensor:
        curved = -(self.curve.to(x) * (x - self.centre.to(x)).square()).sum(-1)
        return curved if self.slope is None else curved + x @ self.slope.to(x)

    def times(self, factor: float) -> Quadratic:
        return Quadratic(self.curve * factor, self.centre, None if self.slope is None else self.slope * factor)


@dataclass
class Mixture:
    """K Gaussians of one diagonal covariance in d dimensions."""

    log_weights: Tensor  # (K,)
    means: Tensor  # (K, d)
    variance: Tensor  # (d,)

    def denoise(self, x: Tensor, level: NoiseLevel) -> Tensor:
        """E[x_0 | x_t = x]."""
        noisy = level.alpha**2 * self.variance + level.sigma**2
        logits = (x * (level.alpha / noisy).to(x)) @ self.means.T.to(x)
        logits = logits + (self.log_weights - (level.alpha**2 * self.means**2 / (2 * noisy)).sum(-1)).to(x)
        met = logits.softmax(-1) @ self.means.to(x)
        return (level.alpha * self.variance / noisy).to(x) * x + (level.sigma**2 / noisy).to(x) * met

    def tilted(self, reward: Quadratic) -> tuple[float, Mixture]:
        """log Z and the mixture p · exp(r) / Z."""
        variance = 1 / (1 / self.variance + 2 * reward.curve)
        means = variance * (self.means / self.variance + 2 * reward.curve * reward.centre)
        lost = (reward.curve / (1 + 2 * reward.curve * self.variance) * (self.means - reward.centre) ** 2).sum(-1)
        logs = self.log_weights + 0.5 * (variance / self.variance).log().sum() - lost
        if reward.slope is not None:  # a linear reward moves each Gaussian and weighs it anew
            logs = logs + (means + variance * reward.slope / 2) @ reward.slope
            means = means + variance * reward.slope
        return float(logs.logsumexp(0)), Mixture(logs.log_softmax(0), means, variance)

    def mean_reward(self, reward: Quadratic) -> float:
        each = -(reward.curve * ((self.means - reward.centre) ** 2 + self.variance)).sum(-1)
        if reward.slope is not None:
            each = each + self.means @ reward.slope
        return float(self.log_weights.exp() @ each)

    def draw(self, count: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        which = torch.multinomial(self.log_weights.exp(), count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], generator=generator, dtype=torch.float64)
        return self.means[which] + self.variance.sqrt() * noise

    @property
    def spread(self) -> float:
        """The variance of an element."""
        weights = self.log_weights.exp()[:, None]
        mean = (weights * self.means).sum(0)
        return float((self.variance + (weights * (self.means - mean) ** 2).sum(0)).mean())

    # Distances of samples in the plane.

    @cached_property
    def cells(self) -> Tensor:
        """The exact mass of each cell."""
        scaled = (EDGES[:, None, None] - self.means) / (2 * self.variance).sqrt()
        upto = torch.special.erf(scaled) / 2 + 0.5  # (edges, K, 2)
        across, up = upto.diff(dim=0).unbind(-1)
        return torch.einsum("k,ik,jk->ij", self.log_weights.exp(), across, up)

    def total_variation(self, x: Tensor) -> float:
        """½ Σ |share of the samples - mass| over the cells, what lies beyond them in one more: 0 to 1."""
        shares = torch.histogramdd(x.double(), bins=[EDGES, EDGES]).hist / len(x)
        beyond = abs(float(shares.sum() - self.cells.sum()))
        return (float((shares - self.cells).abs().sum()) + beyond) / 2

    @cached_property
    def _reference(self) -> Tensor:
        return self._sliced(self.draw(REFERENCE_DRAWS, 77))

    @staticmethod
    def _sliced(x: Tensor) -> Tensor:
        angles = (torch.arange(DIRECTIONS, dtype=torch.float64) + 0.5) / DIRECTIONS * math.pi
        along = x.double() @ torch.stack([angles.cos(), angles.sin()])
        return torch.quantile(along, (torch.arange(QUANTILES, dtype=torch.float64) + 0.5) / QUANTILES, dim=0)

    def sliced_wasserstein(self, x: Tensor) -> float:
        return float((self._sliced(x) - self._reference).abs().mean())


@dataclass
class Product:
    """d independent coordinates, each a mixture in one dimension of two Gaussians."""

    one: Mixture  # of one dimension, K = 2
    d: int

    def denoise(self, x: Tensor, level: NoiseLevel) -> Tensor:
        (low, high), variance = self.one.means[:, 0].tolist(), float(self.one.variance)
        noisy = level.alpha**2 * variance + level.sigma**2
        odds = float(self.one.log_weights[1] - self.one.log_weights[0])
        odds = odds + level.alpha * (high - low) / noisy * x - level.alpha**2 * (high**2 - low**2) / (2 * noisy)
        met = low + (high - low) * odds.sigmoid()
        return (level.alpha * variance * x + level.sigma**2 * met) / noisy


def mixture(means: list[tuple[float, ...]], variance: float) -> Mixture:
    at = torch.tensor(means, dtype=torch.float64)
    return Mixture(torch.zeros(len(at), dtype=torch.float64).log_softmax(0), at, torch.full_like(at[0], variance))


def quadratic(curve: list[float], centre: list[float]) -> Quadratic:
    return Quadratic(torch.tensor(curve, dtype=torch.float64), torch.tensor(centre, dtype=torch.float64))


TURNS = [k * math.pi / 4 for k in range(8)]
TOYS = {
    "grid": (mixture([(a, b) for a in (-4, 0, 4) for b in (-4, 0, 4)], 0.3), quadratic([0.01, 1.0], [0.0, 0.0])),
    "ring": (mixture([(4 * math.cos(t), 4 * math.sin(t)) for t in TURNS], 0.3), quadratic([1.0, 0.1], [0.0, 1.0])),
}
COORDINATE = mixture([(-1.0,), (1.0,)], 0.2)


def levels_of(kind: str, steps: int) -> list[NoiseLevel]:
    """T + 1 levels. ve: Karras et al. 2022 (arXiv 2206.00364), eq. 5, 40 to 0.03; flow: even from pure noise."""
    if kind == "flow":
        return [NoiseLevel(1 - s, s) for s in torch.linspace(1, 0, steps + 1, dtype=torch.float64).tolist()]
    sigmas = torch.linspace(40 ** (1 / 7), 0.03 ** (1 / 7), steps, dtype=torch.float64) ** 7
    return [NoiseLevel(1.0, sigma) for sigma in [*sigmas.tolist(), 0.0]]
