"""Gaussian-process regression, for what somebody likes (preference.py) and for what a reward does over λ (search.py).

Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapters 2 and 5. Numbers come in groups, which
were seen together: y = f(x) + offset of the group + (what is the group's own, over x) + noise. All of these are
integrated out; of two numbers of one group only what differs between them counts, where the offset is wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from einops import rearrange
from torch import Tensor

from .gaussian import Gaussian, at_least_float32

LINEAR, RBF = "linear", "rbf"
KERNELS = (LINEAR, RBF)


@dataclass(frozen=True)
class Regression:
    """A Gaussian process, given N numbers.

    kernel: “rbf”, k(a, b) = signal · exp(−|a − b|² / 2 length²); “linear”, signal · a·b, which is Bayesian linear
    regression. own: variance of what is a group's own, as a share of k. Raises ValueError for an unknown kernel, and
    torch.linalg.LinAlgError where noise is so small that the numbers contradict each other.
    """

    x: Tensor  # (N, D), fp64
    y: Tensor  # (N,), fp64
    groups: Tensor  # (N,), whole numbers from 0
    kernel: str = RBF
    length: float = 1.0  # in the units of x · scale
    signal: float = 1.0  # variance
    noise: float = 0.1  # variance
    offset: float = 0.0  # variance
    own: float = 0.0
    scale: Tensor | None = None  # (D,), by which x is multiplied first; None: 1
    _solved: tuple[Tensor, Tensor, float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise ValueError(f"unknown kernel {self.kernel!r}; it can be {' or '.join(KERNELS)}")
        factor = torch.linalg.cholesky(self.covariance())
        inverse = torch.cholesky_inverse(factor)
        log_root = float(factor.diagonal().log().sum())  # of the determinant's root
        object.__setattr__(self, "_solved", (inverse @ self.y, inverse, log_root))

    @property
    def evidence(self) -> float:
        """log p(y | kernel), nats (their equation 2.30)."""
        weights, _, log_root = self._solved
        return -0.5 * float(self.y @ weights) - log_root - 0.5 * len(weights) * math.log(2 * math.pi)

    @property
    def fit(self) -> float:
        """yᵀ C⁻¹ y / N: all variances, multiplied by this, would have the largest evidence (their section 5.4.1)."""
        return float(self.y @ self._solved[0]) / len(self.y)

    def at(self, x: Tensor) -> Gaussian:
        """f at points (B, D): mean and variance, (B,) each (2.25, 2.26). On any device, with gradients if x has one."""
        x = at_least_float32(x)
        # To the device in its own number format: some have no fp64.
        weights, inverse, known = (one.to(x.dtype).to(x.device) for one in (*self._solved[:2], self.x))
        across = self._kernel(x, known)
        spent = torch.einsum("bn,nm,bm->b", across, inverse, across)
        return Gaussian(across @ weights, (self._prior(x) - spent).clamp(min=0))

    def joint(self, x: Tensor, shares: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """f at points (B, D), as mean (B,) and covariance (B, B).

        shares: (G,), what each group counts, 1 in all: then it is not f, but the mean of these groups' own curves.
        """
        x = x.detach().cpu().double()
        weights, inverse, _ = self._solved
        if shares is None:
            shares = x.new_zeros(1 + int(self.groups.max()))
        of_groups, together = shares.double()[self.groups], float(shares.double().square().sum())
        across = self._kernel(x, self.x) * (1 + self.own * of_groups) + self.offset * of_groups
        prior = self._kernel(x, x) * (1 + self.own * together) + self.offset * together
        return across @ weights, prior - across @ inverse @ across.T

    def covariance(self) -> Tensor:
        """(N, N), of y."""
        together = (rearrange(self.groups, "n -> n 1") == rearrange(self.groups, "n -> 1 n")).double()
        noise = self.noise * torch.eye(len(self.x), dtype=self.x.dtype)
        return self._kernel(self.x, self.x) * (1 + self.own * together) + self.offset * together + noise

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        if self.scale is not None:
            a, b = (one * self.scale.to(one) for one in (a, b))
        if self.kernel == LINEAR:
            return self.signal * a @ b.T
        return self.signal * torch.exp(-_squares(a, b) / (2 * self.length**2))

    def _prior(self, x: Tensor) -> Tensor:
        """(B,): the variance of f before any number."""
        scaled = x if self.scale is None else x * self.scale.to(x)
        return self.signal * (scaled.square().sum(1) if self.kernel == LINEAR else torch.ones_like(x[:, 0]))


def drawn(mean: Tensor, covariance: Tensor, draws: int, generator: torch.Generator | None = None) -> Tensor:
    """(draws, B), fp64, from N(mean, covariance), which may have directions without any variance."""
    values, vectors = torch.linalg.eigh(covariance)
    noise = torch.randn(draws, len(mean), generator=generator, dtype=torch.float64)
    off: Tensor = (noise * values.clamp(min=0).sqrt()) @ vectors.T
    return mean + off


def _squares(a: Tensor, b: Tensor) -> Tensor:
    """|a − b|², (A, B), taken apart: all differences at once would not fit where points are long."""
    lengths = rearrange(a.square().sum(1), "a -> a 1") + rearrange(b.square().sum(1), "b -> 1 b")
    return (lengths - 2 * a @ b.T).clamp(min=0)
