"""Groups of particles in the place of single pictures: what was asked, their sampler, and what is shown of them.

The host asks for M pictures; inside of the run each is a group of N particles, whose elements follow one another. All
that the host would draw for another seed is a particle's noise, so that the first of a group is the picture that would
come out without particles, until it is re-drawn; and no group depends on what is sampled beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from comfy.k_diffusion.sampling import default_noise_sampler, trange
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...realign_core import SCHEMES, MixedSteps, ParticleRun, Particles, Tilt, Trace
from ..models.gradients import plain
from .call import KEY

DRAW, BEST, ALL = "draw", "best", "all"
PICKS = (DRAW, BEST, ALL)
SEEDS_APART = 0x9E3779B97F4A7C15  # odd, so that no two particles of a run have one seed
POOLING = 0x5DEECE66D  # of the draw from all groups


@dataclass(frozen=True, eq=False)
class Steering:
    """What was asked of particles, as one value."""

    particles: int  # of each group
    tilt: Tilt | None = None  # its reward judges latents as the sampler has them
    correct: bool = False  # weigh what step-wise mixing leaves over
    scheme: str = next(iter(SCHEMES))
    threshold: float = 0.5
    pick: str = DRAW
    beside: tuple[ModelPatcher, ...] = ()  # what the reward must have loaded
    # Of a reward that is watched: what it says of all that was judged since it was asked last, (B,), and its name.
    watched: Callable[[], Tensor | None] = lambda: None
    watched_name: str | None = None

    @property
    def does_anything(self) -> bool:
        return self.particles > 1 or self.tilt is not None


class Population:
    """The particles of one part, while its sampler steers them.

    groups: of each the seed that its picture would have by itself, and its place there. correct: whether there is a
    mixture to correct.
    """

    def __init__(self, steering: Steering, groups: Sequence[tuple[int, int]], trace: Trace, correct: bool):
        self.steering, self.groups, self.trace, self.correct = steering, groups, trace, correct
        self.particles: Particles | None = None  # after the run

    def begin(self, steps: MixedSteps, followers: Sequence[Callable[[Tensor], None]] = ()) -> ParticleRun:
        """All begins anew, as a wrapper may have the sampler run again. Raises ValueError as `check_particles`."""
        steering, size = self.steering, len(self.groups)
        self.run = ParticleRun(
            steps,
            groups=size,
            particles=steering.particles,
            tilt=steering.tilt,
            correct=self.correct,
            scheme=steering.scheme,
            threshold=steering.threshold,
            generator=[generator_of(*group) for group in self.groups],
            followers=followers,
        )
        self.watched = torch.full((len(steps), size, steering.particles), torch.nan, dtype=torch.float64)
        self.step = 0
        steering.watched()
        return self.run

    def told(self, step: int) -> None:
        """After a step."""
        self.step = step
        found = self.steering.watched()
        if found is not None:
            self.watched[step] = found.double().cpu().reshape(self.watched.shape[1:])

    def seen(self) -> tuple[list[float | None], list[int]]:
        """Of each particle, in the order in which the models saw them in the last step: its reward as it was asked
        last, None where it was not, and from which particle of its group it descends."""
        last, run = self.step, self.run
        roots = torch.arange(self.steering.particles).expand(len(self.groups), -1)
        for parents in run.ancestors[:last]:
            roots = roots.gather(-1, parents)
        rewards = [None if reward != reward else reward for reward in run.asked[last].flatten().tolist()]
        return rewards, roots.flatten().tolist()

    def ess(self) -> float:
        """Of the last step, the mean over the groups."""
        return float(self.run.ess[self.step].mean())

    def end(self, x: Tensor) -> Tensor:
        self.particles = self.run.result(x, self.trace)
        return x


def seed_of(seed: int, particle: int) -> int:
    """Of the noise of a group's particles; the first has the run's own."""
    return (seed + particle * SEEDS_APART) % 2**64


def generator_of(seed: int, group: int) -> torch.Generator:
    """Of what is drawn of a group, by its run's seed and its place in it; below 0, of what is drawn of several."""
    return torch.Generator().manual_seed((seed * POOLING + group) % 2**63)


def sample_particles(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
    noise_sampler: Any = None,
    etas: Sequence[float] = (),
    steps: MixedSteps | None = None,
    population: Population | None = None,
) -> Tensor:
    """DAS (arXiv 2501.05803), Feynman-Kac steering (2501.06848) and correctors (2503.02819) on the steps of
    `sample_posterior`. steps, population: of the run, which the realignment makes."""
    if steps is None or population is None:
        raise ValueError("This sampler draws particles from mixed posteriors: it runs on a realigned MODEL only.")
    extra_args = extra_args or {}
    noise_sampler = noise_sampler or default_noise_sampler(x, seed=extra_args.get("seed"))
    ones, mixture = x.new_ones([x.shape[0]]), extra_args.get("model_options", {}).get(KEY)
    patchers = [model.inner_model.model_patcher] if mixture is None else mixture.patchers
    blended = _Blended(model)
    particles = population.begin(steps, [blended.take, population.trace.take if mixture is None else mixture.take])
    for i in trange(len(steps), disable=disable):
        with particles.gradients(i), plain(patchers):
            x = particles.watched(x, i)
            denoised = model(x, sigmas[i] * ones, **extra_args)
        seen = {"x": x.detach(), "denoised": denoised.detach()}
        x = particles.step(
            i,
            x,
            denoised,
            partial(noise_sampler, sigmas[i], sigmas[i + 1]),
            mixture.disagreement if population.correct else None,
        )
        population.told(i)
        if callback is not None:
            callback({**seen, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i]})
    return population.end(x)


class _Blended:
    """The noise that the host lays over what an inpainting mask keeps: a particle's own, which it takes along."""

    def __init__(self, model: Any):
        self.model = model

    def take(self, index: Tensor) -> None:
        noise = getattr(self.model, "noise", None)
        if isinstance(noise, Tensor) and len(noise) == len(index):
            self.model.noise = noise[index.to(noise.device)]
