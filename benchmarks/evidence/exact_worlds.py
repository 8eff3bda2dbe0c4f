"""Worlds where p_β ∝ p_ref · exp(r/β) is known for every β: Gaussian mixtures in 2 to 64 dimensions, with a linear or a
quadratic reward, both of which leave a mixture one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from particles_toys import TOYS, Mixture, Quadratic, quadratic
from torch import Tensor

from .distances import along, directions, even_cells, shares, total_variation

BETAS = (0.5, 1.0, 2.0, 5.0, 8.0, 10.0)  # the paper's 500 … 10000, in thousands
KL_MOST = 4.0  # nats from the reference to the anchor of the smallest β: rewards are scaled to it
REWARD_CELLS, EXACT_DRAWS = 40, 100_000


def divergence(model: Mixture, reward: Quadratic) -> float:
    """KL(p · exp(r) / Z ‖ p) in nats: E[r] - log Z."""
    log_z, tilted = model.tilted(reward)
    return tilted.mean_reward(reward) - log_z


def scaled(model: Mixture, reward: Quadratic, nats: float = KL_MOST, beta: float = BETAS[0]) -> Quadratic:
    """The reward times what puts the anchor of β so many nats from the reference."""
    low, high = -12.0, 12.0  # log of the factor; the KL rises with it
    for _ in range(60):
        middle = (low + high) / 2
        short = divergence(model, reward.times(float(torch.tensor(middle).exp()) / beta)) < nats
        low, high = (middle, high) if short else (low, middle)
    return reward.times(float(torch.tensor(low).exp()))


@dataclass(frozen=True)
class Judge:
    """Distances of samples from one known density."""

    exact: Mixture
    reward: Quadratic

    @cached_property
    def _draws(self) -> Tensor:
        return self.exact.draw(EXACT_DRAWS, 77)

    @cached_property
    def _along(self) -> Tensor:
        return along(self._draws, directions(self.exact.means.shape[1]))

    @cached_property
    def _cells(self) -> tuple[Tensor, Tensor]:
        values = self.reward(self._draws)
        edges = even_cells(values, REWARD_CELLS)
        return edges, shares(values, edges)

    def total_variation(self, x: Tensor) -> float:
        """In the plane of cells of 0.5; in more dimensions of the reward's distribution, in cells of equal mass."""
        if x.shape[1] == 2:
            return self.exact.total_variation(x.cpu())
        edges, masses = self._cells
        return total_variation(shares(self.reward(x), edges), masses)

    def measured(self, x: Tensor) -> dict[str, float]:
        """x (n, d): its distances, and its mean reward."""
        x = x.double().cpu()
        apart = along(x, directions(x.shape[1])) - self._along
        return {
            "tv": self.total_variation(x),
            "sw": float(apart.abs().mean()),
            "reward": float(self.reward(x).mean()),
        }


@dataclass(frozen=True)
class World:
    name: str
    reference: Mixture
    reward: Quadratic

    @property
    def d(self) -> int:
        return self.reference.means.shape[1]

    def aligned(self, beta: float) -> Mixture:
        return self.reference.tilted(self.reward.times(1 / beta))[1]

    def kl(self, beta: float) -> float:
        return divergence(self.reference, self.reward.times(1 / beta))

    def judge(self, beta: float) -> Judge:
        return Judge(self.aligned(beta), self.reward)


def around(d: int, modes: int = 8, radius: float = 4.0) -> Mixture:
    """So many Gaussians of variance 0.3 in random directions from the origin, as far apart in any dimension."""
    at = radius * directions(d, modes).T
    return Mixture(torch.zeros(modes, dtype=torch.float64).log_softmax(0), at, torch.full((d,), 0.3).double())


def linear(d: int) -> Quadratic:
    """Along a direction that the modes do not know."""
    slope = torch.cat([torch.ones(d // 2), -torch.ones(d - d // 2)]).double() / d**0.5
    return Quadratic(torch.zeros(d).double(), torch.zeros(d).double(), slope)


def towards_a_point(d: int) -> Quadratic:
    return quadratic([1.0] * d, [2.0 / d**0.5] * d)


def _world(name: str, reference: Mixture, reward: Quadratic) -> World:
    return World(name, reference, scaled(reference, reward))


def worlds() -> dict[str, World]:
    one = Mixture(torch.zeros(1).double(), torch.zeros(1, 2).double(), torch.ones(2).double())
    found = (
        _world("one Gaussian, 2-D, linear", one, linear(2)),
        _world("ring of 8, 2-D, quadratic", *TOYS["ring"]),
        _world("grid of 9, 2-D, linear", TOYS["grid"][0], linear(2)),
        _world("8 modes, 16-D, linear", around(16), linear(16)),
        _world("8 modes, 64-D, quadratic", around(64), towards_a_point(64)),
    )
    return {world.name: world for world in found}
