"""Small score networks, trained on exactly tilted data: the reference, and from its weights an anchor for each β.

The optimum of an anchor's training is known, plain regression reaches it, and λ, merged weights and a second training
are all compared with the density that the data came from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from particles_toys import Mixture
from torch import Tensor, nn

from realign_core import NoiseLevel

WIDTH, STEPS, BATCH, RATE = 96, 3000, 512, 2e-3
LOG_SIGMA = (0.3, 1.5)  # mean and deviation of log σ in training, which covers levels from 0.03 to 40
Weights = Mapping[str, Tensor]


class Network(nn.Module):
    """D(x_t, level) = skip · x + out · F(in · x, log σ), as in EDM (Karras et al. 2022, arXiv 2206.00364, eq. 7)."""

    def __init__(self, spread: float, d: int = 2) -> None:
        """spread: the variance of the data's coordinates."""
        super().__init__()
        self.spread = spread
        sizes = [d + 5, WIDTH, WIDTH, WIDTH]
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.SiLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(WIDTH, d))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, d) at σ (B, 1), α = 1."""
        whole = sigma.square() + self.spread
        log = sigma.log()
        noise = torch.cat([log / 4, log.sin(), log.cos(), (2 * log).sin(), (2 * log).cos()], -1)
        found = self.layers(torch.cat([x / whole.sqrt(), noise], -1))
        return self.spread / whole * x + sigma * (self.spread / whole).sqrt() * found

    @torch.no_grad()
    def denoise(self, x: Tensor, level: NoiseLevel) -> Tensor:
        """Level: of α > 0."""
        alpha, sigma = float(level.alpha), float(level.sigma)
        return self(x / alpha, x.new_full((len(x), 1), sigma / alpha))


def trained(model: Mixture, spread: float, seed: int, start: Weights | None, steps: int = STEPS) -> dict[str, Tensor]:
    """Weights after regression on draws of the model; the mean of the last half's, as the rate falls to 0.

    start: the reference's weights, or None for new ones; new draws at every step, so that nothing is learned by heart.
    """
    torch.manual_seed(seed)
    network = Network(spread, model.means.shape[1])
    if start is not None:
        network.load_state_dict(start)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / steps)) / 2)
    data = model.draw(BATCH * 256, 10_000 + seed).float()
    mean, (middle, deviation) = torch.optim.swa_utils.AveragedModel(network), LOG_SIGMA
    for step in range(steps):
        clean = data[torch.randint(len(data), (BATCH,))]
        sigma = (middle + deviation * torch.randn(BATCH, 1)).exp()
        weight = (sigma.square() + spread) / (sigma.square() * spread)
        loss = (weight * (network(clean + sigma * torch.randn_like(clean), sigma) - clean).square()).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if 2 * step >= steps:
            mean.update_parameters(network)
    return mean.module.state_dict()


def loaded(weights: Weights, spread: float, d: int = 2) -> Network:
    network = Network(spread, d)
    network.load_state_dict(weights)
    return network.eval()


def merged(reference: Weights, anchor: Weights, lambda_: float) -> dict[str, Tensor]:
    """θ_ref + λ (θ_anchor - θ_ref)."""
    return {name: value + lambda_ * (anchor[name] - value) for name, value in reference.items()}
