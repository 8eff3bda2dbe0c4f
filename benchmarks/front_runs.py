"""How benchmarks/front.py samples: three ways to pictures that are colourful and like another, at equal model calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from rewards_runs import BUDGET, CELLS, CFG, SCHEDULER, Bench
from torch import Tensor

COLOURFUL, LIKE = "colourfulness", "likeness"
PAIR = (COLOURFUL, LIKE)
UNGUIDED, OURS, ANCHORS = "unguided", "Realign Particles", "λ of two anchors"
FAMILIES = (UNGUIDED, ANCHORS, OURS)
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of colourfulness; the rest is likeness's
SHARES = ((0.0, 0.25), (0.25, 0.25), (0.25, 0.0), (0.5, 0.0), (1.0, 0.0))  # λ of the anchor, and of it turned round
STRENGTH = 0.3  # of the sum of both rewards, each in its spread among unguided pictures
CALIBRATION, TARGET = 901, 990  # seeds that no run has: of the units, and of the picture to be like


Draw = Callable[["PairBench", int], Tensor]  # of a seed: (B, H, W, 3)


@dataclass(frozen=True)
class Near:
    """Likeness to a picture: minus the root mean square difference of colours in 16 × 16 cells, 0 to 255."""

    picture: Tensor  # (1, H, W, 3)
    name: str = LIKE
    differentiable: bool = True

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        apart = _cells(images) - _cells(self.picture.to(images))
        return -255 * (apart.square().mean((1, 2, 3)) + 1e-12).sqrt()


@dataclass(frozen=True)
class Setting:
    """One run of 16·T model calls. family: a line of the plot."""

    family: str
    name: str
    draw: Draw


@dataclass
class PairBench(Bench):
    """The demo models with likeness, weighted sums of it and colourfulness, and a second anchor."""

    def __post_init__(self) -> None:
        from comfy_extras.nodes_model_merging import ModelAdd, ModelSubtract
        from realign.nodes.combine_anchors import RealignAnchorFromModel
        from realign.nodes.combine_rewards import RealignCombineRewards

        super().__post_init__()
        self.rewards[LIKE] = Near(self.sampled(0.0, 1, TARGET).pictures)
        plain = self.scored(self.sampled(0.0, BUDGET, CALIBRATION).pictures)
        self.mean, self.spread = plain.mean(0), plain.std(0)  # (2,) each: the units that both are counted in
        for weight in WEIGHTS:
            shares = (torch.tensor([weight, 1 - weight]) / self.spread).tolist()
            both = RealignCombineRewards.execute(self.rewards[COLOURFUL], shares[0], self.rewards[LIKE], shares[1])
            self.rewards[_sum(weight)] = both.args[0]
        (difference,) = ModelSubtract().merge(self.model, self.anchor[0].patcher, 1.0)
        (merged,) = ModelAdd().merge(self.model, difference)
        self.turned = RealignAnchorFromModel.execute(merged, "unknown / no KL term", 5000.0).args[0]

    def scored(self, pictures: Tensor) -> Tensor:
        """(B, 2), fp64, as the rewards give it."""
        return torch.stack([self.scores(name, pictures).double() for name in PAIR], 1)

    def counted(self, scores: Tensor) -> Tensor:
        """(B, 2) -> the same in spreads above the mean of unguided pictures."""
        return (scores - self.mean) / self.spread

    def anchored(self, shares: tuple[float, float], seed: int) -> Tensor:
        """Realign Sampler on the first anchor, the second, or both; the fewer pictures the more models are asked."""
        from realign.nodes.combine_anchors import RealignAddAnchor
        from realign.nodes.sampler import RealignSampler

        anchors = RealignAddAnchor.execute(self.anchor, self.turned, *shares).args[0]
        anchors = tuple(anchor for anchor in anchors if anchor.share)
        models = 1 if [anchor.share for anchor in anchors] == [1.0] else 1 + len(anchors)  # λ 1 is the anchor alone
        latent = RealignSampler.execute(
            self.model, anchors, self.positive, self.negative, self.latent(BUDGET // models), seed,
            self.steps, CFG, "ddpm", SCHEDULER, 1.0, 1.0,
        ).args[0]  # fmt: skip
        return self.decoded(latent)


def settings(small: bool = False) -> list[Setting]:
    """Five runs of each family. small: two."""
    few = slice(None, None, 4) if small else slice(None)
    found = [Setting(UNGUIDED, f"run {i + 1}", _unguided(i)) for i in range(len(WEIGHTS))][few]
    found += [Setting(ANCHORS, f"λ {one:g} + {other:g}", _anchored((one, other))) for one, other in SHARES[few]]
    return found + [Setting(OURS, f"weight {weight:g}", _steered(weight)) for weight in WEIGHTS[few]]


def _unguided(run: int) -> Draw:
    return lambda bench, seed: bench.sampled(0.0, BUDGET, 100 * (run + 1) + seed).pictures


def _anchored(shares: tuple[float, float]) -> Draw:
    return lambda bench, seed: bench.anchored(shares, seed)


def _steered(weight: float) -> Draw:
    return lambda bench, seed: bench.particles(_sum(weight), STRENGTH, seed).pictures


def _sum(weight: float) -> str:
    return f"{weight:g} of {COLOURFUL}"


def _cells(images: Tensor) -> Any:
    return torch.nn.functional.adaptive_avg_pool2d(rearrange(images, "b h w c -> b c h w"), CELLS)
