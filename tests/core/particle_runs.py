"""Runs of `particle_sample` on Gaussian data, where the chain's own constant is known in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ground_truth import GaussianData, propagate, run_levels
from runs import Model, constant, noise_levels
from torch import Tensor

from realign_core import ParticleRun, Particles, particle_sample, separate

DATA = GaussianData(np.array([0.5, -0.3]), np.array([[1.0, 0.4], [0.4, 0.7]]))
ANCHOR = GaussianData(np.array([0.1, 0.6]), np.array([[0.5, 0.1], [0.1, 0.6]]))
STEPS = 8


@dataclass
class Reward:
    """r(x) = linear·x - ½ xᵀ quadratic x, of x (B, 2); counts how often it is asked."""

    linear: Tensor
    quadratic: Tensor
    asked: int = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.asked += 1
        return x @ self.linear.to(x) - ((x @ self.quadratic.to(x)) * x).sum(-1) / 2

    def log_z(self, data: GaussianData, strength: float) -> float:
        """log E exp(r/strength), x ~ data."""
        linear, quadratic = self.linear.numpy() / strength, self.quadratic.numpy() / strength
        precision = np.linalg.inv(data.cov)
        towards = precision @ data.mean + linear
        squares = towards @ np.linalg.solve(precision + quadratic, towards) - data.mean @ precision @ data.mean
        return float(squares - np.linalg.slogdet(np.eye(2) + data.cov @ quadratic)[1]) / 2


class Plain:
    """The same, of which nobody can take a gradient."""

    name, differentiable = "plain", False

    def __init__(self, reward: Reward) -> None:
        self.reward = reward

    def __call__(self, x: Tensor) -> Tensor:
        assert not x.requires_grad
        return self.reward(x)


def linear() -> Reward:
    return Reward(torch.tensor([1.0, -0.8]), torch.zeros(2, 2))


def quadratic() -> Reward:
    return Reward(torch.tensor([-0.5, 0.4]), torch.tensor([[2.0, 0.5], [0.5, 1.0]]))


def standard_normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def particles_of(
    groups: int,
    particles: int,
    *,
    models: Sequence[GaussianData] = (DATA,),
    lambdas: Sequence[float] = (),
    space: str = "ve",
    steps: int = STEPS,
    most: float = 20.0,
    seed: int = 0,
    **options,
) -> Particles:
    """most: σ/α at the start."""
    levels = run_levels(space, steps, most=most, least=0.05)
    if space == "flow":
        levels = [(1 / (1 + s / a), (s / a) / (1 + s / a)) for a, s in run_levels("ve", steps, most=most, least=0.05)]
    size = groups * particles
    draws = iter(standard_normal(seed + 1, steps, size, 2))
    return particle_sample(
        separate([Model.of(model) for model in models]),
        levels[0][1] * standard_normal(seed, size, 2),
        noise_levels(levels),
        constant(steps, *lambdas),
        groups=groups,
        particles=particles,
        noise=lambda sigma, sigma_next: next(draws),
        generator=torch.Generator().manual_seed(seed + 2),
        **options,
    )


def chain(
    models: Sequence[GaussianData] = (DATA,), lambdas: Sequence[float] = (), eta: float = 1.0, steps: int = STEPS
) -> GaussianData:
    """What the chain of `particles_of` samples without particles, exactly, in the VE space."""
    weights = [[1 - sum(lambdas), *lambdas]] * steps
    return propagate(models, weights, [eta] * len(models), run_levels("ve", steps, most=20.0, least=0.05))


def ratios(out: Particles, log_z: float) -> np.ndarray:
    """Ẑ/Z of each group."""
    return np.exp(out.log_z.numpy() - log_z)


def is_unbiased(found: np.ndarray) -> bool:
    """Whether the mean of Ẑ/Z is 1 within 4 standard errors, and these are small enough to say so."""
    error = found.std(ddof=1) / np.sqrt(len(found))
    return bool(abs(found.mean() - 1) < 4 * error < 0.12)


def leave_out(monkeypatch, lost: str) -> None:
    """From now on a run re-indexes all but this."""
    take = ParticleRun.take

    def forgetful(self, index):
        kept = self.memory.get(lost)
        take(self, index)
        if kept is not None:
            self.memory[lost] = kept

    monkeypatch.setattr(ParticleRun, "take", forgetful)
