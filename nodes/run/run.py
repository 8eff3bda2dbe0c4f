"""One sampling run of a reference with its anchors, around the host's own stages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import comfy.model_patcher
import comfy.sampler_helpers
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from ...realign_core import (
    Called,
    Evaluator,
    Merged,
    Models,
    NoiseLevel,
    Prediction,
    TraceStep,
    batch_mean,
    combine,
    kl_increments,
    on_elements,
    per_element,
    realignment_weights,
)
from ..models.anchor import Anchor
from ..models.pair import noise_level
from .guidance import added, carried_over
from .own_weights import KEY, AnchorGuider, HandOver, Prepared
from .record import nearest_step
from .shared_weights import MERGED, Batch
from .sharing import CannotShareError, own_patches

if TYPE_CHECKING:
    from .realignment import Realignment

Lambda = float | Tensor


class NeedsOwnWeights(Exception):
    """The anchor turned out, in the first step, not to run on the reference's weights."""


class Run:
    """One sampling run of the reference with its anchors: prepares them, and answers what they predict at x, σ.

    rows: T rows of one λ per anchor. used: those anchors whose λ is not 0 throughout; no other is prepared. A model's
    place is 0 for the reference and k + 1 for anchor k.
    """

    def __init__(
        self,
        realignment: Realignment,
        guider: Any,
        rows: list[list[Lambda]],
        used: list[int],
        prepared: Prepared,
        more: dict[str, Any],
        share: bool,
    ):
        self.realignment, self.guider, self.used = realignment, guider, used
        self.latent_shapes = more.get("latent_shapes") or [prepared.noise.shape]
        self._sigmas = [float(s) for s in prepared.sigmas]
        self._rows = rows
        anchors = {k + 1: realignment.anchors[k] for k in used}
        self._masks: list[Any] = [realignment.masks(anchor) for anchor in realignment.anchors]
        self.batch = _share(realignment, guider, anchors) if share else None
        patchers = [guider.model_patcher]
        self._beside: dict[int, AnchorGuider] = {}  # by place: the anchors with weights of their own
        self._base: dict[int, dict[str, Any]] = {}  # by place: the model options that the host prepared
        for place, anchor in anchors.items():
            if self.batch is None or place not in self.batch.places:
                patchers.append(anchor.beside(patchers))
                self._beside[place] = realignment.anchor_guider(patchers[-1], guider, prepared, more)
        self._levels = [noise_level(guider.model_patcher, sigma) for sigma in self._sigmas]
        self._selected: int | None = None  # the model whose prediction the sampler asks for; None: the mixture
        self._answers: dict[int, Tensor] | None = None
        self._evaluate = self.evaluator(self.models, self.merged)
        for kind, wrapper in (
            (WrappersMP.PREPARE_SAMPLING, self._prepare_sampling),
            (WrappersMP.SAMPLER_SAMPLE, self._sampler_sample),
            (WrappersMP.PREDICT_NOISE, self._predict_noise),
        ):
            add_wrapper_with_key(kind, KEY, wrapper, guider.model_options, is_model_options=True)
        if self.batch is not None:
            self.batch.add_wrappers(guider.model_options)

    # The host's stages of a run, in their order.

    def _prepare_sampling(self, executor: Any, model: ModelPatcher, *args: Any, **kwargs: Any) -> Any:
        """One load for all: the anchors are the reference's additional models while the host loads it."""
        models = [m for beside in self._beside.values() for m in beside.models_to_load()]
        if self.batch is not None:
            models.append(self.batch.adapters.patcher)
        model.set_additional_models(KEY, models)
        try:
            return executor(model, *args, **kwargs)
        finally:
            model.remove_additional_models(KEY)

    def _sampler_sample(
        self, executor: Any, guider: Any, sigmas: Any, extra_args: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Around the sampler itself, inside the preparations of every anchor."""
        self._extra_args = extra_args
        self._base[0] = comfy.model_patcher.create_model_options_clone(extra_args["model_options"])
        device = guider.model_patcher.load_device
        self._masks = [self._resized(masks, device) for masks in self._masks]
        run: Callable[[], None] = partial(self._finish, executor, guider, sigmas, extra_args, *args, **kwargs)
        for place, beside in reversed(self._beside.items()):
            run = partial(self._run_beside, place, beside, run)
        with ExitStack() as stack:
            if self.batch is not None:
                stack.enter_context(self.batch.prepared(guider))
            run()
        return self._outcome

    def _finish(self, executor: Any, *args: Any, **kwargs: Any) -> None:
        self._outcome = executor(*args, **kwargs)

    def _run_beside(self, place: int, beside: AnchorGuider, run: Callable[[], None]) -> None:
        def then(model_options: dict[str, Any]) -> None:
            self._base[place] = model_options
            run()

        beside.run(HandOver(then), loaded=True)

    def _predict_noise(
        self, executor: Any, x: Tensor, timestep: Tensor, model_options: dict[str, Any], seed: Any
    ) -> Tensor:
        self._question = (executor, timestep, model_options, seed)
        if self._selected is not None:
            if self._answers is None:
                self._answers = self._ask(x, self._wanted)
            return self._answers[self._selected]
        sigma = float(timestep.flatten()[0])
        step = nearest_step(self._sigmas[:-1], sigma)
        lambdas = self.with_masks(self._rows[step], x)
        functions = added(
            self._base[0].get("sampler_post_cfg_function", []), model_options.get("sampler_post_cfg_function", [])
        )
        if functions:
            return self._with_functions(x, lambdas, functions, step)
        predicted = self._evaluate(x, noise_level(self.guider.model_patcher, sigma), lambdas)
        self._record(step, lambdas, predicted)
        return predicted.combined.to(x.dtype)

    def _record(self, step: int, lambdas: list[Tensor], predicted: Prediction) -> None:
        """For a sampler of the host's: λ, KL and calls of the step, as if it went straight to the next level."""
        now, then = self._levels[step], self._levels[step + 1]
        kls = kl_increments(predicted.combined, predicted, now, then)
        self.realignment.record.add(
            step,
            TraceStep(
                sigma=float(now.sigma),
                sigma_next=float(then.sigma),
                lambdas=[batch_mean(value, predicted.combined) for value in lambdas],
                kl_reference=kls[0],
                kl_anchors=kls[1:],
                model_calls=predicted.calls,
                calls_saved=predicted.saved,
                correction=predicted.correction,
            ),
        )

    # What the models predict.

    def evaluator(self, models: Models, merged: Merged) -> Evaluator:
        """A new one for this run. Raises ValueError where the run cannot have the one that was asked for."""
        own = self.realignment.anchor_cfg is not None or any(self.realignment.anchor_conds)
        can_merge = not self._beside and not own
        every = self.realignment.sweep is not None and self.realignment.sweep.measure_ends
        return self.realignment.fewer_calls(models, merged if can_merge else None, self._levels, len(self.used), every)

    def models(self, x: Tensor, level: NoiseLevel, called: Sequence[Called]) -> list[Tensor | None]:
        """The evaluators' `Models`, for the question the sampler has just asked."""
        answers = self._ask(x, _wanted(called))
        return [answers.get(place) for place in range(len(called))]

    def merged(
        self, x: Tensor, level: NoiseLevel, lambdas: Sequence[Tensor], called: Sequence[bool]
    ) -> tuple[Tensor, list[Tensor | None]]:
        self._merge(lambdas)
        answers = self._ask(x, {MERGED: True, **_wanted(called)})
        return answers[MERGED], [answers.get(place) for place in range(len(called))]

    def masked(self, model: Any, x: Tensor, sigma: Tensor, called: Sequence[Called]) -> list[Tensor | None]:
        """`models` through the sampler's inpainting mask. model: what the host gave the sampler to call."""
        answers = self._through_mask(model, x, sigma, _wanted(called))
        return [answers.get(place) for place in range(len(called))]

    def masked_merged(
        self, model: Any, x: Tensor, sigma: Tensor, lambdas: Sequence[Tensor], called: Sequence[bool]
    ) -> tuple[Tensor, list[Tensor | None]]:
        """`merged` through the sampler's inpainting mask."""
        self._merge(lambdas)
        answers = self._through_mask(model, x, sigma, {MERGED: True, **_wanted(called)})
        return answers[MERGED], [answers.get(place) for place in range(len(called))]

    def _through_mask(self, model: Any, x: Tensor, sigma: Tensor, wanted: dict[int, Called]) -> dict[int, Tensor]:
        self._answers, self._wanted = None, wanted
        out = {}
        try:
            for place in wanted:
                self._selected = place
                out[place] = model(x, sigma, **self._extra_args)
        finally:
            self._selected, self._answers = None, None
        return out

    def _merge(self, lambdas: Sequence[Tensor]) -> None:
        assert self.batch is not None
        self.batch.merge([float(v) if v.ndim == 0 else v.flatten() for v in lambdas])

    def with_masks(self, row: Sequence[Lambda], x: Tensor) -> list[Tensor]:
        """One step's λ per anchor, as it broadcasts against x."""
        values = [per_element(value, x) for value in row]
        return [
            v if mask is None else mask * (v.to(mask.device) if v.ndim else v) for v, mask in zip(values, self._masks)
        ]

    def _ask(self, x: Tensor, wanted: dict[int, Called]) -> dict[int, Tensor]:
        """D of the models at these places, in the order of asking; see `Models` for what is not asked of an element."""
        executor, timestep, model_options, seed = self._question
        out: dict[int, Tensor] = {}

        def add(place: int, guider: Any, options: dict[str, Any]) -> None:
            def predict(index: Tensor | slice) -> Tensor:
                answer: Tensor = guider(_of(x, index), _of(timestep, index), options, seed)
                return answer

            answer = on_elements(wanted[place], x, predict)
            if answer is not None:
                out[place] = answer

        if self.batch is not None:
            out = self._ask_batch(x, {place: call for place, call in wanted.items() if place not in self._beside})
        elif 0 in wanted:
            add(0, executor, model_options)
        for place, beside in self._beside.items():
            if place in wanted:
                add(place, beside.guider, carried_over(self._base[place], self._base[0], model_options))
        return out

    def _ask_batch(self, x: Tensor, wanted: dict[int, Called]) -> dict[int, Tensor]:
        """Elements that need the same models are computed in one batch of the host's."""
        assert self.batch is not None
        _, timestep, model_options, seed = self._question
        out: dict[int, Tensor] = {}
        for places, index in _alike(wanted, x):
            answers = self.batch.predict(places, _of(x, index), _of(timestep, index), model_options, seed)
            uncalled = self.batch.adapters.uncalled()
            if uncalled and answers:
                raise NeedsOwnWeights(f"the model uses the weight of {uncalled[0]} outside of its layer")
            for place, answer in answers.items():
                if isinstance(index, slice):
                    out[place] = answer
                    continue
                if place not in out:
                    out[place] = answer.new_zeros((x.shape[0], *answer.shape[1:]))
                out[place][index] = answer
        return out

    def _with_functions(self, x: Tensor, lambdas: list[Tensor], functions: list[Any], step: int) -> Tensor:
        """A sampler that looks behind the guidance (CFG++) added `functions`: they get the mixture of what each sees.

        With one model alone they are its own, as in the stock run.
        """
        executor, timestep, model_options, seed = self._question
        weights = realignment_weights(lambdas)
        places = [place for place, weight in enumerate(weights) if bool((weight != 0).any())]
        wanted: dict[int, Called] = dict.fromkeys(places, True)
        if len(places) == 1 and bool((weights[places[0]] == 1).all()):
            alone = self._ask(x, wanted)
            self._record(step, lambdas, self._predicted(alone, alone[places[0]]))
            return alone[places[0]]
        seen: list[dict[str, Any]] = []

        def watch(args: dict[str, Any]) -> Tensor:
            seen.append(args)
            return args["denoised"]

        own = [fn for fn in model_options["sampler_post_cfg_function"] if not any(fn is f for f in functions)]
        self._question = (executor, timestep, {**model_options, "sampler_post_cfg_function": [*own, watch]}, seed)
        denoised = self._ask(x, wanted)  # in the order of `seen`
        shares = weights[list(denoised)]
        mixed = {name: combine([args[name] for args in seen], shares) for name in ("cond_denoised", "uncond_denoised")}
        args = {**seen[0], **mixed, "model_options": model_options}
        out = combine(list(denoised.values()), shares)
        self._record(step, lambdas, self._predicted(denoised, out))
        for function in functions:
            out = function({**args, "denoised": out})
        return out

    def _predicted(self, answers: dict[int, Tensor], combined: Tensor) -> Prediction:
        models = range(len(self.realignment.anchors) + 1)
        return Prediction([answers.get(place) for place in models], combined, len(answers))

    def _resized(self, masks: list[Tensor] | None, device: torch.device) -> Tensor | None:
        """The product of the masks at the latent's size, as the host resizes noise masks; 1 on further streams."""
        total = None
        for mask in masks or []:
            parts = [comfy.sampler_helpers.prepare_mask(mask, self.latent_shapes[0], device).float()]
            parts += [torch.ones(shape, device=device) for shape in self.latent_shapes[1:]]
            packed = comfy.utils.pack_latents(parts)[0] if len(parts) > 1 else parts[0]
            total = packed if total is None else total * packed
        return total


def _share(realignment: Realignment, guider: Any, anchors: dict[int, Anchor]) -> Batch | None:
    """The anchors that can run on the reference's weights, if any; by place. Logs why another cannot."""
    reference = guider.model_patcher
    patches, reasons = {}, {}
    for place, anchor in anchors.items():
        if anchor.patcher.is_clone(reference):
            try:
                Batch.check(guider, realignment.anchor_conds)
                patches[place] = own_patches(reference, anchor.patcher, KEY)
            except CannotShareError as reason:
                reasons[place] = reason
    if not patches and not reasons:
        return None
    adapters, unfit = next(iter(anchors.values())).adapters.of(reference, patches)
    for place, reason in {**reasons, **unfit}.items():
        logging.info(
            "Realign: the anchor “%s” gets a weight copy of its own (more memory, two forward passes per step), "
            "because %s.",
            anchors[place].name,
            reason,
        )
    places = [place for place in patches if place not in unfit]
    if not places:
        return None
    return Batch(guider, adapters, places, realignment.anchor_cfg, realignment.anchor_conds)


def _wanted(called: Sequence[Called]) -> dict[int, Called]:
    return {place: call for place, call in enumerate(called) if isinstance(call, Tensor) or call}


def _of(tensor: Tensor, index: Tensor | slice) -> Tensor:
    return tensor if isinstance(index, slice) else tensor[index]


def _alike(wanted: dict[int, Called], x: Tensor) -> list[tuple[list[int], Tensor | slice]]:
    """The batch, divided into elements that need the same models: (their places, the elements)."""
    if not any(isinstance(call, Tensor) for call in wanted.values()):
        return [(list(wanted), slice(None))]
    size = x.shape[0]
    table = [call.tolist() if isinstance(call, Tensor) else [call] * size for call in wanted.values()]
    groups: dict[tuple[bool, ...], list[int]] = {}
    for element in range(size):
        groups.setdefault(tuple(row[element] for row in table), []).append(element)
    return [
        ([place for place, needs in zip(wanted, needed) if needs], torch.tensor(elements, device=x.device))
        for needed, elements in groups.items()
    ]
