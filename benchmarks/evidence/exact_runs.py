"""Samples of a case, by realign_core's own loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from particles_runs import drawn_pooled, run
from particles_toys import levels_of
from torch import Tensor

from realign_core import Exact, NoiseLevel, separate
from realign_core.sampling import predictor, prepared

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BATCHES = 8
# sampler -> (levels, η). Euler on a flow model is DDIM's step at α = 1 - σ.
SAMPLERS = {"ddpm": ("ve", 1.0), "ddim": ("ve", 0.0), "dpmpp_2m": ("ve", None), "flow Euler": ("flow", 0.0)}


class Model(Protocol):
    def denoise(self, x: Tensor, level: NoiseLevel) -> Tensor: ...


@dataclass(frozen=True)
class Case:
    """What is sampled. Its values name its result in the cache."""

    world: str
    method: str  # one of exact_cases.METHODS
    anchor: float  # β; 0 where there is none
    target: float
    sampler: str = "ddpm"
    steps: int = 50
    particles: int = 1
    draws: int = 4096

    @property
    def lambda_(self) -> float:
        """What makes the target's β of the anchor's."""
        return self.anchor / self.target


def dpmpp_2m(models: Sequence[Model], x: Tensor, levels: Sequence[NoiseLevel], lambdas: Sequence[float]) -> Tensor:
    """DPM-Solver++(2M) on the mixed D (Lu et al. 2022, arXiv 2211.01095, algorithm 2), for VE levels."""
    steps, trace = prepared(x, levels, [list(lambdas)] * (len(levels) - 1), 0.0)
    predict = predictor(separate([model.denoise for model in models]), Exact(), steps, trace)
    earlier = None
    for i in range(len(steps)):
        denoised = predict(x, i).combined
        now, then = levels[i].log_snr / 2, levels[i + 1].log_snr / 2
        ahead = denoised
        if earlier is not None and i + 1 < len(steps):
            share = (then - now) / (2 * (now - levels[i - 1].log_snr / 2))
            ahead = (1 + share) * denoised - share * earlier
        kept = levels[i + 1].sigma / levels[i].sigma
        x, earlier = kept * x + (1 - kept) * ahead, denoised
    return x


def sampled(case: Case, models: Sequence[Model], d: int, pictures: int = 1, seed: int = 1) -> Tensor:
    """(draws, d), on the CPU. models: the reference and an anchor, or one alone. All start from the same noise.

    pictures: of a corrected case, how many are drawn from their groups together, as the node does with pictures of
    one batch that noise alone tells apart; 1: each from its own group. They follow each other in the draws."""
    kind, eta = SAMPLERS[case.sampler]
    levels, lambdas = levels_of(kind, case.steps), (case.lambda_,) * (len(models) - 1)
    if eta is None:
        generator = torch.Generator().manual_seed(7919 * seed + 1)  # as `run` starts
        x = levels[0].sigma * torch.randn(case.draws, d, generator=generator).to(DEVICE)
        return dpmpp_2m(models, x, levels, lambdas).cpu()
    corrected = case.particles > 1
    # In one loop for all: with one particle it is realigned_sample to the last bit.
    out = run(models, levels, case.draws, case.particles, seed, lambdas, d, device=DEVICE, correct=corrected, eta=eta)
    return (drawn_pooled(out, pictures, seed)[0] if corrected else out.x).cpu()
