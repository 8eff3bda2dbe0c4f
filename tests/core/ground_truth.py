"""What the tests hold `realign_core` against: textbook facts about Gaussians, in numpy, none of them taken from it.

Everything here is derived from x_t = α_t x_0 + σ_t ε and Bayes' rule. With Gaussian data every denoiser is affine, so a
sampler's distribution can be carried through it exactly, step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.integrate import quad

SPACES = ("ve", "vp", "flow")
Level = tuple[float, float]  # (alpha, sigma)


def level(space: str, noise_to_signal: float) -> Level:
    """The (α, σ) of a space at σ/α = noise_to_signal."""
    s = noise_to_signal
    if space == "flow":
        return (0.0, 1.0) if np.isinf(s) else (1 / (1 + s), s / (1 + s))
    scale = 1.0 if space == "ve" else 1 / np.sqrt(1 + s * s)
    return (scale, scale * s)


def run_levels(space: str, steps: int, most: float = 60.0, least: float = 0.02, last: float = 0.0) -> list[Level]:
    """steps + 1 levels, σ/α falling evenly in its logarithm and then to `last`; flow starts at pure noise."""
    falling = list(np.geomspace(most, least, steps))
    if space == "flow":
        falling = [np.inf, *np.geomspace(most, least, steps - 1)]
    return [level(space, s) for s in [*falling, last]]


@dataclass(frozen=True)
class GaussianData:
    """p(x_0) = N(mean, cov), mean (d,), cov (d, d): a model of which everything is known."""

    mean: np.ndarray
    cov: np.ndarray

    def denoiser(self, alpha: float, sigma: float) -> tuple[np.ndarray, np.ndarray]:
        """(A, b) of E[x_0 | x_t] = A x_t + b."""
        gain = alpha * self.cov @ np.linalg.inv(alpha**2 * self.cov + sigma**2 * np.eye(len(self.mean)))
        return gain, self.mean - alpha * gain @ self.mean

    def aligned(self, strength: float, linear: np.ndarray, quadratic: np.ndarray | None = None) -> GaussianData:
        """p · exp(strength · r) normalised, r(x) = linearᵀx - ½ xᵀ quadratic x: trained at β, strength is 1/β."""
        curvature = np.zeros_like(self.cov) if quadratic is None else quadratic
        cov = np.linalg.inv(np.linalg.inv(self.cov) + strength * curvature)
        return GaussianData(cov @ (np.linalg.solve(self.cov, self.mean) + strength * linear), cov)


def bayes_step(now: Level, then: Level) -> tuple[float, float, float]:
    """(c_D, c_x, v) of q(x_s | x_t, x_0) = N(c_D x_0 + c_x x_t, v): prior N(α_s x_0, σ_s²) times the forward
    transition N(x_t; (α_t/α_s) x_s, r²)."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = now, then
    if sigma_s == 0:
        return alpha_s, 0.0, 0.0
    a = alpha_t / alpha_s
    r2 = sigma_t**2 - (a * sigma_s) ** 2
    v = 1 / (1 / sigma_s**2 + a**2 / r2)
    return v * alpha_s / sigma_s**2, v * a / r2, v


def step(now: Level, then: Level, eta: float) -> tuple[float, float, float]:
    """(c_D, c_x, v) at any η: η² of Bayes' variance, and what is missing to σ_s² kept as the predicted noise."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = now, then
    if eta == 1:
        return bayes_step(now, then)
    v = eta**2 * bayes_step(now, then)[2]
    kept = np.sqrt(sigma_s**2 - v)
    return alpha_s - kept * alpha_t / sigma_t, kept / sigma_t, v


def mixed_step(
    models: Sequence[GaussianData], weights: Sequence[float], etas: Sequence[float], now: Level, then: Level
) -> tuple[np.ndarray, np.ndarray, float]:
    """(M, c, v): one realigned step is x_s = M x_t + c + sqrt(v) z."""
    parts = []
    for model, eta in zip(models, etas):
        (gain, shift), (c_d, c_x, v) = model.denoiser(*now), step(now, then, eta)
        parts.append((c_d * gain + c_x * np.eye(len(gain)), c_d * shift, v))
    if all(v == 0 for _, _, v in parts):
        shares, variance = list(weights), 0.0
    else:
        variance = 1 / sum(w / v for w, (_, _, v) in zip(weights, parts))
        shares = [variance * w / v for w, (_, _, v) in zip(weights, parts)]
    return (
        sum(s * m for s, (m, _, _) in zip(shares, parts)),
        sum(s * c for s, (_, c, _) in zip(shares, parts)),
        variance,
    )


def propagate(
    models: Sequence[GaussianData],
    weights: Sequence[Sequence[float]],
    etas: Sequence[float],
    levels: Sequence[Level],
) -> GaussianData:
    """Mean and covariance of the realigned sample that starts at N(0, σ² I), without sampling. weights: per step."""
    d = len(models[0].mean)
    mean, cov = np.zeros(d), levels[0][1] ** 2 * np.eye(d)
    for row, now, then in zip(weights, levels, levels[1:]):
        matrix, shift, v = mixed_step(models, row, etas, now, then)
        mean, cov = matrix @ mean + shift, matrix @ cov @ matrix.T + v * np.eye(d)
    return GaussianData(mean, cov)


def stepwise_variance(variances: Sequence[float], weights: Sequence[float], eta: int) -> float:
    """What step-wise mixing of zero-mean Gaussians N(0, s_k) samples as the steps become infinitely many.

    η = 0: dx/dσ = σ Σ w_k x/(s_k + σ²), hence Π s_k^{w_k}, the geometric mean.
    η = 1: dV/dτ = 2V Σ w_k/(s_k + τ) - 1 with τ = σ², hence Π s_k^{2w_k} ∫ Π (s_k + τ)^{-2w_k} dτ.
    The target Π N(0, s_k)^{w_k} has the harmonic mean 1/Σ(w_k/s_k): neither is it, unless all s_k are equal.
    """
    s, w = np.asarray(variances), np.asarray(weights)
    if eta == 0:
        return float(np.prod(s**w))
    return float(np.prod(s ** (2 * w)) * quad(lambda tau: np.prod((s + tau) ** (-2 * w)), 0, np.inf)[0])
