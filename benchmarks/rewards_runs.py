"""How benchmarks/rewards.py samples and measures: the methods, as the pack's nodes run them, and their figures."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from einops import rearrange, reduce, repeat
from torch import Tensor

CFG, SCHEDULER, SHAPE = 1.5, "normal", "heart"  # as in the demo workflows
BUDGET, SHOWN, GROUP = 16, 4, 4  # model calls of a run in T; pictures that particles give; particles of each
COLOURFUL, SMALL = "colourfulness", "JPEG compressibility"
REWARDS = (COLOURFUL, SMALL)
HELD_OUT = ("sharpness", "brightness")  # which nothing here optimises
TOLD_AT, TOLD_BY = 1.5, 2  # σ at which the reference is asked what a picture shows, and by how many draws of noise
CELLS = 16  # a side of the luma that diversity is measured in
# Half the 95 % interval of the mean of so many values is this times their standard error.
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571}

UNGUIDED, BEST, FK, FK_MAX, OURS = "unguided", "best of 16", "FK steering, difference", "FK steering, max", "ours"
ANCHOR, BOTH = "λ of the anchor", "λ 0.5 + reward"
FAMILIES = (UNGUIDED, BEST, FK, FK_MAX, OURS, ANCHOR, BOTH)


@dataclass(frozen=True)
class Drawn:
    """What one run gave.

    pictures: (B, H, W, 3) in [0, 1]. kl: nats to the reference. ancestors: of how many starting particles a group's
    particles descend, the mean over groups; groups: of how many groups the pictures are. seconds: of the processor, of
    the whole run.
    """

    pictures: Tensor
    kl: float
    seconds: float
    ancestors: float | None = None
    groups: int | None = None


@dataclass(frozen=True)
class Method:
    """A family is a line of the plot, a setting a point on it. rewards: those it is a method for."""

    family: str
    setting: str
    rewards: Sequence[str]
    draw: Callable[[Bench, int], Drawn]

    @property
    def name(self) -> str:
        return f"{self.family}, {self.setting}" if self.setting else self.family


@dataclass(frozen=True)
class Measured:
    """The mean over the seeds, and half its 95 % interval."""

    mean: float
    half: float = math.nan

    @classmethod
    def of(cls, values: Sequence[float]) -> Measured:
        count = len(values)
        half = STUDENT[count] * statistics.stdev(values) / count**0.5 if count in STUDENT else math.nan
        return cls(statistics.mean(values), half)

    def text(self, digits: int) -> str:
        return f"{self.mean:.{digits}f}" + ("" if math.isnan(self.half) else f" ± {self.half:.{digits}f}")


Figures = Mapping[str, float]  # of a run: reward, kl, diversity, the held-out rewards, pictures, ancestors …


@dataclass
class Bench:
    """The demo models and their runs. steps: T. kept: runs that several methods are made of, by (what, seed)."""

    steps: int
    kept: dict[tuple[str, int], Drawn]

    def __post_init__(self) -> None:
        from realign.nodes.demo import RealignDemoModels
        from realign.nodes.picture_reward import RealignPictureReward

        outputs = RealignDemoModels.execute(SHAPE, "any", "any").args
        self.model, self.anchor, self.positive, self.negative, self.vae, _ = outputs
        self.rewards = {name: RealignPictureReward.execute(name).args[0] for name in (*REWARDS, *HELD_OUT)}

    def latent(self, count: int) -> dict[str, Tensor]:
        return {"samples": torch.zeros(count, 3, 64, 64)}

    def decoded(self, latent: Mapping[str, Tensor]) -> Tensor:
        return self.vae.decode(latent["samples"]).clamp(0, 1)

    def scores(self, reward: str, pictures: Tensor) -> Tensor:
        from realign.nodes.reward.protocol import scores

        return scores(self.rewards[reward], pictures)

    def sampled(self, lam: float, count: int, seed: int) -> Drawn:
        """Realign Sampler; above 0 as a sweep of one λ, which asks the reference too where λ is 1: for its KL."""
        from realign.nodes.sampler import RealignSampler
        from realign.nodes.sweep import RealignSweep

        key = f"λ {lam:g}, {count} pictures", seed
        if key not in self.kept:
            given, sweep = self.latent(count), None
            if lam:
                one = ("list", 0.0, 1.0, 2, f"{lam:g}", 1, "seed", "")
                given, sweep = RealignSweep.execute(given, *one, measure_ends=True).args
            start = time.process_time()
            latent, _, trace = RealignSampler.execute(
                self.model, self.anchor, self.positive, self.negative, given, seed, self.steps, CFG,
                "ddpm", SCHEDULER, 1.0, lam, lambda_schedule=sweep,
            ).args  # fmt: skip
            told = json.loads(trace)
            kl = statistics.mean(told["kl_reference"]) if lam else 0.0
            self.kept[key] = Drawn(self.decoded(latent), kl, time.process_time() - start)
        return self.kept[key]

    def particles(self, reward: str, strength: float, seed: int, lam: float = 0.0, **options: Any) -> Drawn:
        """Realign Particles, 4 pictures; of half as many particles where λ asks two models at each step."""
        from realign.nodes.particles import RealignParticles

        options |= {"anchor": self.anchor, "lambda_": lam} if lam else {}
        start = time.process_time()
        latent, *_, trace = RealignParticles.execute(
            self.model, self.positive, self.negative, self.latent(1), seed, self.steps, CFG, SCHEDULER, 1.0, strength,
            GROUP // 2 if lam else GROUP, SHOWN, "draw", reward=self.rewards[reward], vae=self.vae, **options,
        ).args  # fmt: skip
        seconds = time.process_time() - start
        told = json.loads(trace)
        run = told["particles"]
        kl = statistics.mean(run["kl"]) + (statistics.mean(told["kl_reference"]) if lam else 0.0)
        unique = statistics.mean(run["steps"][-1]["unique"])
        groups = len({picture // run["particles"] for picture in run["picked"]})
        return Drawn(self.decoded(latent), kl, seconds, unique, groups)

    def best(self, count: int, reward: str, seed: int) -> Drawn:
        """Best Of, `count` of 16 unguided pictures."""
        from realign.nodes.best_of import RealignBestOf

        every = self.sampled(0.0, BUDGET, seed)
        pictures = RealignBestOf.execute(self.rewards[reward], every.pictures, count).args[0]
        return Drawn(pictures, kl_best(count, BUDGET), every.seconds)

    def still(self, pictures: Tensor) -> float:
        """The share that the reference itself calls what was asked for: noised, they are nearest to what it predicts
        under that shape's caption, of all shapes."""
        import comfy.model_management
        from realign.nodes.models.demo import caption, caption_tokens
        from realign.nodes.models.demo_network import CAPTION

        comfy.model_management.load_models_gpu([self.model])
        shapes, tokens = [shape for shape in CAPTION["shape"] if shape != "any"], caption_tokens()
        context = torch.cat([caption(tokens, shape=shape)[0][0] for shape in shapes])
        noises = TOLD_AT * torch.randn(TOLD_BY, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        called = []
        for picture in rearrange(2 * pictures.float() - 1, "b h w c -> b c h w"):
            noised = repeat(picture + noises, "draw c h w -> (draw shape) c h w", shape=len(shapes))
            sigma, captions = torch.full((len(noised),), TOLD_AT), context.repeat(TOLD_BY, 1, 1)
            predicted = self.model.model.apply_model(noised, sigma, c_crossattn=captions)
            off = reduce((predicted - picture).square(), "(draw shape) c h w -> shape", "mean", draw=TOLD_BY)
            called.append(shapes[int(off.argmin())])
        return called.count(SHAPE) / len(called)

    def figures(self, reward: str, drawn: Drawn) -> Figures:
        pictures = drawn.pictures
        found = {
            "reward": float(self.scores(reward, pictures).mean()),
            "kl": drawn.kl,
            "diversity": diversity(pictures),
            **{name: float(self.scores(name, pictures).mean()) for name in HELD_OUT},
            "still": self.still(pictures),
            "pictures": float(len(pictures)),
            "seconds": drawn.seconds / len(pictures),
        }
        beside = {"ancestors": drawn.ancestors, "groups": drawn.groups}
        return found | {name: float(value) for name, value in beside.items() if value is not None}


def kl_best(count: int, of: int, cells: int = 200_000) -> float:
    """KL in nats of one of the `count` best of `of` pictures, drawn evenly, to one picture as it comes. For one of N
    it is log N - (N - 1)/N; a picture's rank among all is then a Beta(N, 1), here a mixture of Betas."""
    u = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    density = torch.zeros_like(u)
    for place in range(1, count + 1):  # from the best: Beta(of - place + 1, place)
        above, below = place, of - place + 1
        log_norm = math.lgamma(of + 1) - math.lgamma(above) - math.lgamma(below)
        density += (log_norm + (below - 1) * u.log() + (above - 1) * (-u).log1p()).exp() / count
    return float(torch.special.xlogy(density, density).mean())


def diversity(pictures: Tensor) -> float:
    """Mean over all pairs of the root mean square difference of their luma in 16 × 16 cells, 0 to 255.

    No reward sees it: colourfulness looks at chroma alone, and a JPEG's size comes from what is finer.
    """
    from realign.nodes.reward.picture import LUMA, WHITE

    luma = torch.einsum("bhwc,c->bhw", pictures.float(), torch.tensor(LUMA)) * WHITE
    cells = torch.nn.functional.adaptive_avg_pool2d(luma[:, None], CELLS).flatten(1)
    pairs = [float((cells[i] - cells[j]).square().mean().sqrt()) for i, j in combinations(range(len(cells)), 2)]
    return statistics.mean(pairs) if pairs else math.nan


def methods(small: bool = False) -> list[Method]:
    """Every run of them costs 16·T model calls, however many pictures come out. small: one of each family."""
    found = [Method(UNGUIDED, "", REWARDS, lambda bench, seed: bench.sampled(0.0, BUDGET, seed))]
    for reward in REWARDS:
        for count in (4,) if small else (8, 4, 2):
            found.append(Method(BEST, f"the best {count}", [reward], _best(count, reward)))
        for family, strengths in STRENGTHS[reward].items():
            for strength in strengths[:1] if small else strengths:
                lam = 0.5 if family == BOTH else 0.0
                setting = f"strength {strength:g}"
                found.append(Method(family, setting, [reward], _steered(reward, strength, lam, **OPTIONS[family])))
    for lam in (0.5,) if small else (0.25, 0.5, 1.0, 1.5):
        found.append(Method(ANCHOR, f"λ {lam:g}", REWARDS, _anchor(lam)))
    return found


# Without a gradient ours is FK steering by the difference: one run stands for both.
STRENGTHS: dict[str, dict[str, Sequence[float]]] = {
    COLOURFUL: {FK: (10, 3), FK_MAX: (3,), OURS: (20, 8, 3), BOTH: (20, 5)},
    SMALL: {FK: (0.3, 0.1, 0.03), FK_MAX: (0.1,), BOTH: (0.1,)},
}
OPTIONS: dict[str, dict[str, Any]] = {
    FK: {"proposal": "none"},
    FK_MAX: {"proposal": "none", "potential": "max"},
    OURS: {},
    BOTH: {},
}


def _best(count: int, reward: str) -> Callable[[Bench, int], Drawn]:
    return lambda bench, seed: bench.best(count, reward, seed)


def _anchor(lam: float) -> Callable[[Bench, int], Drawn]:
    return lambda bench, seed: bench.sampled(lam, BUDGET // 2, seed)


def _steered(reward: str, strength: float, lam: float, **options: Any) -> Callable[[Bench, int], Drawn]:
    return lambda bench, seed: bench.particles(reward, strength, seed, lam, **options)
