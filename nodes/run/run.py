"""One sampling run of a reference with its anchors, around the host's own stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from ...realign_core import (
    MixedSteps,
    NoiseLevel,
    Prediction,
    Trace,
    disagreement,
    kl_increments,
    realignment_weights,
)
from ..models.forward_lora import ForwardLora
from ..models.options import copied
from ..models.pair import noise_level
from .call import KEY, Call, Question, first_wrapper
from .fewer_calls import REUSE
from .guard import Guard
from .guidance import Behind
from .guiders import Swap
from .merged_weights import MergedWeights
from .models import MASK_FUNCTION
from .own_weights import OwnWeights
from .realignment import Lambdas, Realignment
from .room import reference_first, streamed_anchor
from .shared_weights import SharedWeights
from .sharing import injected
from .state import State
from .steps import check_sampler, rehearsed


@dataclass
class OwnStep:
    """Of a sampler that chooses its steps. step: of the schedule, as which it counts. predicted: its first answer."""

    step: int
    sigma: float
    predicted: Prediction
    where: Tensor | None
    calls: float = 0.0
    saved: float = 0.0


class Run:
    """Prepares reference and anchors, and answers what they predict at x, σ.

    used: the anchors (0 … K - 1) that take part; no other is prepared. swap: by model, of each MODEL that the guider
    holds. steps: of a sampler that draws from the mixed posteriors, whose weights are those of each step; None for the
    host's. share: whether LoRA anchors may run on the reference's weights.
    """

    def __init__(
        self,
        realignment: Realignment,
        guider: Any,
        call: Call,
        lambdas: Lambdas,
        used: Sequence[int],
        steps: MixedSteps | None,
        trace: Trace,
        state: State,
        swap: Callable[[int, ModelPatcher | None], Swap],
        share: bool,
    ):
        self.realignment, self.guider, self.call, self.steps, self.trace = realignment, guider, call, steps, trace
        self.lambdas, self._shape, self._state = lambdas, call.noise.shape[1:], state
        check_sampler(call.sampler)
        reference = guider.model_patcher
        anchors = {k + 1: realignment.anchors[k] for k in used}
        on_reference = {model: swap(model, None)(reference) for model in anchors}
        self.shared = SharedWeights.of(guider, realignment, on_reference, state, share)
        self.copies: list[SharedWeights | OwnWeights] = [self.shared]
        patchers, loaded = [reference], dict(on_reference)
        for model, anchor in anchors.items():
            if model not in self.shared.models:
                patchers.append(anchor.beside(patchers))
                swapped = swap(model, patchers[-1])
                loaded[model] = swapped(reference)
                self.copies.append(OwnWeights(model, loaded[model], guider, call, realignment, state, swapped))
        own_inputs = realignment.anchor_cfg is not None or any(realignment.anchor_conds)
        beside = [one for patcher in (reference, *loaded.values()) for one in injected(patcher)]
        can_merge = not own_inputs and all(isinstance(one, ForwardLora) for one in beside)
        self._merging: SharedWeights | OwnWeights = self.shared  # who answers for the model of mixed weights
        corrects = realignment.steering is not None and realignment.steering.correct
        self._saving = realignment.saving.settled(
            can_merge and len(self.copies) == 1, lambdas.is_constant(steps), corrects
        )
        if can_merge and self._saving.merges and len(self.copies) > 1:
            self._merging = MergedWeights(anchors, loaded, guider, call, realignment, lambdas, steps, state)
            self.copies.append(self._merging)
        self.patchers = [reference, *loaded.values()]
        self._own_step: OwnStep | None = None
        self.disagreement: Tensor | None = None  # (B,): of the last answer, where the run corrects its mixture
        self.levels = [self.level(sigma) for sigma in trace.sigmas]
        self._evaluator = partial(self._saving.evaluator, self.levels, len(used), can_merge, realignment.measure_ends)
        self.evaluate = self._evaluator()
        names = {model: anchor.name for model, anchor in anchors.items()}
        self._guard = Guard(reference, on_reference, names, self.shared.models)
        first_wrapper(WrappersMP.PREPARE_SAMPLING, self._prepare_sampling, guider.model_options)
        first_wrapper(WrappersMP.PREDICT_NOISE, self._predict_noise, guider.model_options)
        # Inside of all others, so that the sampler is known as it will run.
        add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, self._sampler_sample, guider.model_options, True)

    # The host's stages of a run, in their order.

    def _prepare_sampling(self, executor: Any, model: ModelPatcher, *args: Any, **kwargs: Any) -> Any:
        """One load for all: the anchors are the reference's additional models while the host loads it."""
        if model is not self.guider.model_patcher:  # a further model of the guider's
            return executor(model, *args, **kwargs)
        others = [patcher for copy in self.copies for patcher in copy.to_load()]
        if self._saving.method == REUSE:
            anchor = streamed_anchor(model, others, self.call.noise.shape)
            if anchor is not None:
                return reference_first(executor, model, anchor, others, *args, **kwargs)
        model.set_additional_models(KEY, others)
        try:
            real, conds, loaded = executor(model, *args, **kwargs)
        finally:
            model.remove_additional_models(KEY)
        # The host takes each clone for another device that was loaded for one of the reference.
        own = model.get_additional_models_with_key("multigpu")
        return real, conds, [one for one in loaded if one in own or not getattr(one, "is_multigpu_base_clone", False)]

    def _sampler_sample(
        self,
        executor: Any,
        guider: Any,
        sigmas: Any,
        extra_args: dict[str, Any],
        callback: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Around the sampler itself, inside the preparations of every weight copy."""
        self._options = copied(extra_args["model_options"])
        extra_args["model_options"][KEY] = self  # for samplers that know of it
        self.trace.clear()  # a wrapper may have the sampler run again
        self.evaluate = self._evaluator()
        self._state.share_too([self._options], self.shared.networks)
        self._use(self.lambdas.to(guider.model_patcher.load_device))
        self._steps = rehearsed(self.call.sampler, guider, sigmas, extra_args, self.call.noise.ndim)
        self._own_step = None
        outcome: list[Any] = []

        def told(*progress: Any) -> None:
            self._steps.told()
            if callback is not None:
                callback(*progress)

        def sample() -> None:
            outcome.append(executor(guider, sigmas, extra_args, told, *args, **kwargs))
            self._end_own_step(self._steps.end)

        then: Callable[[], None] = sample
        for copy in self.copies:
            then = partial(copy.prepared, guider, self._options, then)
        then()
        return outcome[0]

    def _predict_noise(
        self, executor: Any, x: Tensor, timestep: Tensor, model_options: dict[str, Any], seed: Any
    ) -> Tensor:
        return self.predict(Question(x, timestep, model_options, seed, executor))

    # What the models predict.

    def predict(self, question: Question) -> Tensor:
        """D of the mixture, like x."""
        x, sigma = question.x, self._sigma(question)
        step = self._steps.of(sigma)
        weights, functions = self.weights(step, x), Behind.functions(self._options, question.options)
        behind = Behind(question, functions) if functions else None
        asked = behind.question if behind else question
        self._state.asked()
        predicted = self.evaluate(partial(self._ask, asked), x, self.level(sigma), weights)
        self._guard.look(predicted.denoised, x)
        if self.realignment.steering is not None and self.realignment.steering.correct:
            self.disagreement = disagreement(predicted, weights, self._denoised_where(question))
        out = behind.answer(predicted.combined) if behind else predicted.combined.to(x.dtype)
        self._record(step, sigma, question, behind.seen(predicted) if behind else predicted)
        return out

    def _sigma(self, question: Question) -> float:
        """The device is waited for here, once a question: what the step before has spent comes with it."""
        told = self.trace.settle(question.timestep.flatten()[:1])
        assert told is not None
        return float(told[0])

    def weights(self, step: int, x: Tensor) -> Tensor:
        """(K + 1, ...), sum 1: of the reference, then of the anchors; what follows broadcasts against x."""
        if self.steps is not None:
            return self.steps[step].weights
        if self.lambdas.is_masked and x.shape[1:] != self._shape:  # some samplers let the latent grow
            self._shape = x.shape[1:]
            masks = self.realignment.masks([x.shape] if len(self.call.latent_shapes) == 1 else [])
            self._use(replace(self.lambdas, masks=masks).to(x.device))
        return realignment_weights(self.lambdas.at(step, x.ndim))

    def _use(self, lambdas: Lambdas) -> None:
        self.lambdas, dims = lambdas, self.call.noise.ndim
        if self.steps is not None:
            self.steps.use(lambda step: lambdas.at(step, dims))

    def level(self, sigma: float) -> NoiseLevel:
        return noise_level(self.guider.model_patcher, sigma)

    def _ask(
        self, question: Question, x: Tensor, level: NoiseLevel, called: Tensor, merged: Sequence[Tensor] | None
    ) -> dict[int, Tensor]:
        """The evaluators' `Ask`, for the question that the host has just asked, which holds x and level."""
        out: dict[int, Tensor] = {}
        for copy in self.copies:
            out |= copy.ask(question, called, merged if copy is self._merging else None)
        return out

    def take(self, index: Tensor) -> None:
        """From now on the batch's element i is what element index[i] was: all that belongs to an element follows."""
        self.evaluate.take(index)
        self.trace.take(index)
        self._use(self.lambdas.take(index))

    def _record(self, step: int, sigma: float, question: Question, predicted: Prediction) -> None:
        """λ, KL and calls of the step, as if it went straight to the next level."""
        if self._steps.chosen:
            if self._steps.begun or self._own_step is None:
                self._end_own_step(sigma)  # one that begins where the last did is that one again: that spent nothing
                self._own_step = OwnStep(step, sigma, predicted, self._denoised_where(question))
            self._own_step.calls += predicted.calls
            self._own_step.saved += predicted.saved
            return
        kl = None
        if not self.trace.calls[step]:  # a step's KL is that of its first answer
            where = self._denoised_where(question)
            kl = kl_increments(predicted, self.levels[step], self.levels[step + 1], where)
        self.trace.record(step, kl, predicted.calls, predicted.saved, predicted.correction)

    def _end_own_step(self, sigma: float) -> None:
        one, self._own_step = self._own_step, None
        if one is not None:
            kl = kl_increments(one.predicted, self.level(one.sigma), self.level(sigma), one.where)
            self.trace.record(one.step, kl, one.calls, one.saved, one.predicted.correction)

    def _denoised_where(self, question: Question) -> Tensor | None:
        """The inpainting mask at this σ: what is outside of it the sampler replaces, whatever the models say."""
        mask, function = self.call.denoise_mask, question.options.get(MASK_FUNCTION)
        if mask is None or function is None:
            return mask
        extra = {"model": self.guider, "sigmas": self.call.sigmas}
        changed: Tensor = function(question.timestep, mask, extra_options=extra)
        return changed
