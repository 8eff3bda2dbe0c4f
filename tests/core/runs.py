"""Runs of `realigned_sample` over models that are known exactly, and ways to look at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from ground_truth import GaussianData, Level
from torch import Tensor

from realign_core import NoiseLevel, Sample, realigned_sample, separate


class Model:
    """A denoiser that counts its calls. `predict`: (x, level) -> D."""

    def __init__(self, predict: Callable[[Tensor, NoiseLevel], Tensor]) -> None:
        self.predict, self.calls = predict, 0

    def __call__(self, x: Tensor, level: NoiseLevel) -> Tensor:
        self.calls += 1
        return self.predict(x, level)

    @classmethod
    def of(cls, data: GaussianData) -> Model:
        """The best possible denoiser of Gaussian data, x: (B, d)."""

        def predict(x: Tensor, level: NoiseLevel) -> Tensor:
            gain, shift = (torch.from_numpy(v).to(x) for v in data.denoiser(level.alpha, level.sigma))
            return x @ gain.T + shift

        return cls(predict)


def pixel_model(mean: float, variance: float) -> Model:
    """Independent pixels N(mean, variance), for x of any shape."""

    def predict(x: Tensor, level: NoiseLevel) -> Tensor:
        gain = level.alpha * variance / (level.alpha**2 * variance + level.sigma**2)
        return mean + gain * (x - level.alpha * mean)

    return Model(predict)


def noise_levels(levels: Sequence[Level]) -> list[NoiseLevel]:
    return [NoiseLevel(float(alpha), float(sigma)) for alpha, sigma in levels]


def constant(steps: int, *lambdas: float | Tensor) -> list[list[float | Tensor]]:
    return [list(lambdas) for _ in range(steps)]


def no_noise(sigma: float, sigma_next: float) -> Tensor:
    raise AssertionError("a deterministic run asked for noise")


def exact_moments(
    data: Sequence[GaussianData],
    levels: Sequence[Level],
    lambdas: Sequence[Sequence[float]],
    eta: float | Sequence[float],
) -> GaussianData:
    """Mean and covariance of what the loop samples from N(0, σ² I), exactly.

    Every model being affine, the loop is affine in the starting noise and in each step's noise. One batch asks for its
    answer to nothing (the mean) and to a unit of each of them, and the covariance is the sum of these answers' squares.
    """
    d, steps = len(data[0].mean), len(levels) - 1
    impulses = torch.zeros(steps + 1, 1 + d * (steps + 1), d, dtype=torch.float64)
    for when in range(steps + 1):
        for pixel in range(d):
            impulses[when, 1 + when * d + pixel, pixel] = 1.0
    draws = iter(impulses[1:])
    sample = realigned_sample(
        separate([Model.of(model) for model in data]),
        impulses[0] * levels[0][1],
        noise_levels(levels),
        lambdas,
        noise=lambda sigma, sigma_next: next(draws),
        eta=eta,
    )
    x = sample.x.numpy()
    answers = x[1:] - x[0]
    return GaussianData(x[0], answers.T @ answers)


def equal(a: Sample, b: Sample) -> bool:
    return torch.equal(a.x, b.x) and torch.equal(a.denoised, b.denoised)


def assert_within_monte_carlo(samples: np.ndarray, truth: GaussianData, slack: float = 0.0, z: float = 4.5) -> None:
    """Mean and covariance of samples (N, d) within z standard errors of the truth's, plus slack in its own scale."""
    n, variances = len(samples), np.diag(truth.cov)
    off_mean = np.abs(samples.mean(0) - truth.mean)
    assert (off_mean <= z * np.sqrt(variances / n) + slack * np.sqrt(variances)).all(), (samples.mean(0), truth.mean)
    cov, scale = np.cov(samples.T), np.sqrt(np.outer(variances, variances))
    assert (np.abs(cov - truth.cov) <= z * np.sqrt((scale**2 + truth.cov**2) / n) + slack * scale).all(), (
        cov,
        truth.cov,
    )
