"""Which step of a sampler a question belongs to.

Samplers ask more than once in a step, at levels of their own, some at the very level of the next step: σ alone does not
tell. So the host's samplers are rehearsed on a single number, which costs next to nothing, and the questions of the run
are those of the rehearsal, one after the other. Two of them choose their steps: each of those counts, with all that is
asked in it, as the step of the schedule at whose level it begins.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ..models.options import copied
from .guidance import POST_CFG

FAST = ("dpm_fast_function", "sample_dpm_fast")  # their steps are other ones than the schedule's
ADAPTIVE = ("dpm_adaptive_function", "sample_dpm_adaptive")  # … and depend on the whole batch
AR_VIDEO = "sample_ar_video"  # asks the network itself
NEAR = 1e-3  # in log σ: a question at another level than in the rehearsal is not the one that was rehearsed


def check_sampler(sampler: Any) -> None:
    """Raise ValueError for a sampler that cannot have two models."""
    if getattr(getattr(sampler, "sampler_function", None), "__name__", "") == AR_VIDEO:
        raise ValueError(
            "SamplerARVideo writes what it has seen of earlier frames into the one model that it knows, so that two "
            "models cannot be mixed in it: choose another sampler, or λ 0 or 1."
        )


def chooses_its_steps(sampler: Any, among: Sequence[str] = (*FAST, *ADAPTIVE)) -> bool:
    """Whether it is a sampler of the host's that follows no schedule."""
    return getattr(getattr(sampler, "sampler_function", None), "__name__", "") in among


class Steps:
    """Tells the step of each question of one run. sigmas: T + 1 levels of its schedule."""

    chosen = False  # whether the steps are the sampler's own, and not the schedule's
    begun = False  # whether one of its own began with the last question

    def __init__(self, sigmas: Sequence[float], rehearsal: Sequence[tuple[float, int]] = ()):
        self._sigmas, self._rehearsal, self._asked = sigmas, rehearsal, 0

    def of(self, sigma: float) -> int:
        """Of the next question, which is at this level."""
        asked, self._asked = self._asked, self._asked + 1
        if asked < len(self._rehearsal):
            expected, step = self._rehearsal[asked]
            if abs(_log(expected) - _log(sigma)) <= NEAR:
                return step
            self._rehearsal = ()  # somebody else asks too: from here on σ has to tell
        return nearest_step(self._sigmas[:-1], sigma)

    def told(self) -> None:
        """Hears that the sampler is through with a step."""

    @property
    def end(self) -> float:
        """The level at which the run ends."""
        return self._sigmas[-1]


class OwnSteps(Steps):
    """Of a sampler that chooses its steps.

    begins: for each question, whether a step begins with it; None: one does after each that the sampler tells.
    """

    chosen = True

    def __init__(self, sigmas: Sequence[float], begins: Sequence[bool] | None):
        super().__init__(sigmas)
        self._begins, self._first, self._step = begins, True, 0

    def of(self, sigma: float) -> int:
        asked, self._asked = self._asked, self._asked + 1
        if self._begins is None:
            self.begun, self._first = self._first, False
        else:
            self.begun = asked >= len(self._begins) or self._begins[asked]
        if self.begun:
            self._step = nearest_step(self._sigmas[:-1], sigma)
        return self._step

    def told(self) -> None:
        self._first = True

    @property
    def end(self) -> float:
        """These samplers do not go down to 0."""
        return self._sigmas[-1] or self._sigmas[-2]


def nearest_step(sigmas: Sequence[float], sigma: float) -> int:
    """The step whose σ is the nearest in log σ."""
    return min(range(len(sigmas)), key=lambda i: abs(_log(sigmas[i]) - _log(sigma)))


def rehearsed(sampler: Any, guider: Any, sigmas: Tensor, extra_args: dict[str, Any], dims: int) -> Steps:
    """For a run of this sampler. dims: of its latents. Where it is no sampler of the host's, whose every question has a
    step of its schedule, σ tells."""
    sigmas = sigmas.cpu()
    levels = sigmas.tolist()
    function = getattr(sampler, "sampler_function", None)
    known = type(sampler) is comfy.samplers.KSAMPLER and function.__module__.startswith("comfy.")
    if known and chooses_its_steps(sampler, ADAPTIVE):
        return OwnSteps(levels, None)
    if not known or function.__name__ == AR_VIDEO:
        return Steps(levels)
    stage = _Stage(guider)
    model_options = copied(extra_args["model_options"])
    model_options.pop(POST_CFG, None)  # what nodes have put there is not to see a rehearsal: some of it keeps state
    args = {"model_options": model_options, "seed": extra_args.get("seed")}
    options = {name: value for name, value in sampler.extra_options.items() if name != "noise_sampler"}
    x = torch.full([1] * dims, 0.5)
    try:
        with torch.random.fork_rng(devices=[]):  # the run's own draws are not to come after these
            function(stage, x, sigmas, extra_args=args, callback=stage.told, disable=True, **options)
    except Exception as error:
        logging.info("Realign: %s cannot be rehearsed, so that σ tells its steps (%s)", function.__name__, error)
        return Steps(levels)
    asked = stage.asked()
    if chooses_its_steps(sampler, FAST):
        return OwnSteps(levels, [before != step for (_, step), (_, before) in zip(asked, [(0.0, -1), *asked])])
    return Steps(levels, asked if stage.told_all(len(levels) - 1) else ())


class Account:
    """Whose step each question of a sampler was, as it tells its steps.

    A step is told once its first question is answered. What else was asked since the one before was told belongs to
    that one. over: it is told when it is over, with all that was asked in it.
    """

    def __init__(self, over: bool = False) -> None:
        self._over = over
        self.told: list[int] = []  # the steps, in the order in which they were told
        self._waiting: list[Any] = []  # questions since then

    def asked(self, question: Any) -> None:
        self._waiting.append(question)

    def tell(self, step: int) -> list[tuple[Any, int]]:
        """The questions that are settled by it, each with its step."""
        *earlier, first = self._waiting or [None]
        before = step if self._over or not self.told else self.told[-1]
        out = [(question, before) for question in earlier]
        out += [(first, step)] if self._waiting else []
        self.told.append(step)
        self._waiting = []
        return out

    def rest(self) -> list[tuple[Any, int]]:
        """After the run: what was asked after the last step was told; all, of step 0, where none ever was."""
        return [(question, self.told[-1] if self.told else 0) for question in self._waiting]


class _Stage:
    """Stands in for the model while a sampler is rehearsed, and hears what it asks and tells."""

    def __init__(self, guider: Any):
        self.inner_model = guider  # samplers look at the model's parametrisation there
        self._account = Account()
        self._settled: list[tuple[float, int]] = []

    def __call__(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        self._account.asked(float(sigma.flatten()[0]))
        denoised, options = 0.3 * x, extra_args.get("model_options", {})
        seen = {"cond_denoised": denoised, "uncond_denoised": denoised, "input": x, "sigma": sigma}
        seen |= {"cond": [], "uncond": [], "cond_scale": 1.0, "model": self.inner_model, "model_options": options}
        for function in options.get(POST_CFG, []):
            denoised = function({"denoised": denoised, **seen})
        return denoised

    def told(self, info: dict[str, Any]) -> None:
        self._settled += self._account.tell(int(info["i"]))

    def asked(self) -> list[tuple[float, int]]:
        """(σ, step, as the sampler counts them) of each question."""
        return [*self._settled, *self._account.rest()]

    def told_all(self, count: int) -> bool:
        """Whether its steps are those of a schedule of so many."""
        return self._account.told == list(range(count))


def _log(sigma: float) -> float:
    return math.log(max(sigma, 1e-8))
