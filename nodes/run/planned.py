"""A part of a run, with all that can be refused before the first model call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import comfy.samplers
from comfy.model_patcher import ModelPatcher

from ...realign_core import MixedSteps, Trace
from ..models.forward_lora import rounds
from .call import Call
from .models import Models
from .particles import Population, sample_particles
from .parts import Part
from .posterior import is_posterior, steps_of, with_options
from .realignment import Lambdas, Realignment
from .rows import hold_rows


@dataclass(frozen=True, eq=False)
class Planned:
    part: Part
    lambdas: Lambdas
    steps: MixedSteps | None  # of a sampler that draws from the mixed posteriors
    used: list[int]  # the anchors, 0 … K - 1, that are asked
    alone: int | None  # the model whose stock run this is, 0 … K; None for a mixture
    trace: Trace  # empty yet
    population: Population | None = None  # of a run with particles

    @property
    def call(self) -> Call:
        call = self.part.call
        if self.population is not None:
            options = {**call.sampler.extra_options, "steps": self.steps, "population": self.population}
            sampler = comfy.samplers.KSAMPLER(sample_particles, options, call.sampler.inpaint_options)
            return replace(call, sampler=sampler)
        return call if self.steps is None else replace(call, sampler=with_options(call.sampler, steps=self.steps))


def planned(realignment: Realignment, models: Models, guider: Any, part: Part, whole: Call) -> Planned:
    """whole: the call of which it is a part. Raises ValueError or ImproperMixtureError for a part that could not be
    sampled to its end."""
    steering, reference = realignment.steering, guider.model_patcher
    lambdas = _lambdas(realignment, part, whole)
    every = realignment.measure_ends
    used = list(range(len(realignment.anchors))) if every else lambdas.used()
    alone = None if every else _alone(realignment, reference, lambdas, used)
    if part.first is not None and alone is not None and steering is not None and steering.tilt is None:
        part = part.first  # one model alone has nothing to correct: all particles would weigh the same
        lambdas = _lambdas(realignment, part, whole)
    call, steps, population = part.call, None, None
    if is_posterior(call.sampler):
        steps = steps_of(reference, call.sampler, call.sigmas, lambdas, call.noise.ndim, part.eta)
    if call.denoise_mask is not None and alone is None:
        models.check_mask(guider, used)
    before = lambdas.table if lambdas.is_masked else None
    trace = Trace.of(call.sigmas.tolist(), lambdas.means(), before_mask=before)
    if steering is not None and steps is not None and (part.particles > 1 or steering.tilt is not None):
        check_conditionings(guider)
        alone_as = [realignment.by_itself(element) for element in part.elements]
        groups = [((whole.seed or 0) + later, place) for later, place in alone_as]
        population = Population(steering, groups, trace, steering.correct and alone is None)
        population.begin(steps)  # raises ValueError for what could not be finished
    return Planned(part, lambdas, steps, used, alone, trace, population)


def _lambdas(realignment: Realignment, part: Part, whole: Call) -> Lambdas:
    """Of the part's elements. Where masks differ from picture to picture, each has its own, wherever it is sampled."""
    pictures = [element for element in part.elements for _ in range(part.particles)]
    if realignment.sweep is None:
        shapes, places = whole.latent_shapes, pictures
    else:
        shapes = [[realignment.sweep.batch, *shape[1:]] for shape in whole.latent_shapes]
        places = [realignment.by_itself(element)[1] for element in pictures]
    masks = realignment.masks(shapes)
    if places != list(range(shapes[0][0])):
        masks = tuple(mask if mask is None else mask[places] for mask in masks)
    return Lambdas(part.lambdas, masks)


def _alone(realignment: Realignment, reference: ModelPatcher, lambdas: Lambdas, used: list[int]) -> int | None:
    if len(used) != 1:
        return None if used else 0
    (k,) = used
    if lambdas.masks[k] is not None or not bool((lambdas.table[:, k] == 1).all()):
        return None
    return None if rounds(reference, realignment.anchors[k].patcher) else k + 1  # see there


def check_conditionings(guider: Any) -> None:
    """Raise ValueError for conditionings that differ from picture to picture: the host deals them out in turn, so that
    the particles of a picture would have those of others."""
    if hold_rows(cond for conds in guider.conds.values() for cond in conds):
        raise ValueError(
            "Particles need one prompt for all pictures, but a conditioning holds another one for each picture of a "
            "batch: sample these pictures one after the other, or with 1 particle."
        )
