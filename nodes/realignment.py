"""A reference that brings its anchors along: one wrapper on a MODEL, which every sampler and guider of the host obeys.

Each run is built around the host's own guider. An anchor with weights of its own gets a whole guider too: its own
processed conditioning, model options, hooks, wrappers, `pre_run` and `cleanup`. The host runs a guider's preparations
around a sampler, so the anchors' guiders run with a sampler that only hands over to the next; by the time the real one
runs, all are prepared, and whatever way it ends, every guider cleans up after itself. An anchor that is only a LoRA on
the reference runs in the reference's own batch (adapters.py).
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import comfy.model_patcher
import comfy.sampler_helpers
import comfy.samplers
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from ..realign_core import (
    Evaluator,
    LambdaSchedule,
    Merged,
    Models,
    NoiseLevel,
    combine,
    per_element,
    realignment_weights,
)
from .adapters import CannotShareError, own_patches
from .anchor import Anchor, check_mask
from .batching import MERGED, Batch
from .conditioning import Conditioning, OwnState
from .fewer_calls import OFF, FewerCalls
from .model_pair import check_pair, noise_level

KEY = "realign"
Lambda = float | Tensor


class Prepared(NamedTuple):
    """What the host hands to CFGGuider.outer_sample, latents of several streams packed into one."""

    noise: Tensor
    latent_image: Tensor
    sampler: comfy.samplers.Sampler
    sigmas: Tensor
    denoise_mask: Tensor | None = None
    callback: Any = None
    disable_pbar: Any = False
    seed: Any = None


@dataclass(eq=False)
class Realignment:
    """What is mixed, and how. lambdas: σ of a run (T + 1) -> T rows of one λ per anchor, without their masks.

    anchor_cfg, anchor_conds: the anchors' own; None: the reference's.
    """

    anchors: Sequence[Anchor]
    lambdas: Callable[[list[float]], list[list[Lambda]]]
    anchor_cfg: float | None = None
    anchor_conds: tuple[Conditioning | None, Conditioning | None] = (None, None)
    mask: Tensor | None = None
    fewer_calls: FewerCalls = field(default_factory=lambda: FewerCalls(OFF, 2.0))
    running: Run | None = None  # while a run goes on that has more than one model

    @classmethod
    def of(
        cls,
        anchor: Anchor,
        lambda_: float,
        lambda_schedule: LambdaSchedule | None,
        mask: Tensor | None,
        anchor_cfg: float,
        fewer_calls: FewerCalls,
    ) -> Realignment:
        """From the inputs of a node. anchor_cfg: below 0 for the reference's."""
        anchors = anchor.all()
        rows = schedule_rows(schedules(anchors, lambda_, lambda_schedule), [one.share for one in anchors])
        return cls(
            anchors,
            rows,
            anchor_cfg=None if anchor_cfg < 0 else anchor_cfg,
            mask=check_mask(mask),
            fewer_calls=fewer_calls,
        )

    def attach(self, reference: ModelPatcher) -> ModelPatcher:
        """A clone of the reference that is sampled together with the anchors. Raises ValueError for unfit anchors."""
        for anchor in self.anchors:
            check_pair(reference, anchor.patcher, anchor.name)
        if any(self.masks(anchor) for anchor in self.anchors):
            self.fewer_calls.check_masked()
        for patcher in (reference, *(anchor.patcher for anchor in self.anchors)):
            if KEY in patcher.wrappers.get(WrappersMP.OUTER_SAMPLE, {}):
                raise ValueError(
                    "This MODEL is realigned already. Connect the model before its Realign node, and use “Add Anchor” "
                    "to mix several anchors."
                )
        clone = reference.clone()
        clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, self._outer_sample)
        return clone

    def masks(self, anchor: Anchor) -> list[Tensor]:
        return [mask for mask in (self.mask, anchor.mask) if mask is not None]

    def _outer_sample(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """Around CFGGuider.outer_sample."""
        prepared = Prepared(*args)
        rows = self.lambdas([float(s) for s in prepared.sigmas])
        used = [k for k in range(len(self.anchors)) if not all(_is(row[k], 0) for row in rows)]
        if not used:
            return executor(*args, **kwargs)
        anchor = self.anchors[used[0]]
        if len(used) == 1 and all(_is(row[used[0]], 1) for row in rows) and not self.masks(anchor):
            # The host's own run of the anchor, with neither the reference nor Realign in it.
            alone = AnchorGuider(self, anchor.patcher, executor.class_obj, prepared, kwargs)
            return alone.run(prepared.sampler, prepared.callback, prepared.disable_pbar)
        return self._together(executor, rows, used, prepared, kwargs, share=True)

    def _together(
        self,
        executor: Any,
        rows: list[list[Lambda]],
        used: list[int],
        prepared: Prepared,
        more: dict[str, Any],
        share: bool,
    ) -> Any:
        guider = executor.class_obj
        unprepared = dict(guider.conds), comfy.model_patcher.create_model_options_clone(guider.model_options)
        run = Run(self, guider, rows, used, prepared, more, share)
        try:
            self.running = run
            return executor(*prepared, **more)
        except NeedsOwnWeights as error:
            logging.info("Realign: the anchor gets a weight copy of its own, because %s", error)
        finally:
            self.running = None
            if run.saved:
                logging.info("Realign: %g model calls, %g saved", run.calls, run.saved)
        guider.conds, guider.model_options = unprepared
        return self._together(executor, rows, used, prepared, more, share=False)


class NeedsOwnWeights(Exception):
    """The anchor turned out, in the first step, not to run on the reference's weights."""


class AnchorGuider:
    """A copy of the reference's guider, whatever its class, for an anchor with weights of its own."""

    def __init__(
        self,
        realignment: Realignment,
        patcher: ModelPatcher,
        guider: Any,
        prepared: Prepared,
        more: dict[str, Any],
    ):
        self._prepared, self._more = prepared, more
        own = copy.copy(guider)
        own.model_patcher = patcher
        own.model_options = comfy.model_patcher.create_model_options_clone(patcher.model_options)
        own.original_conds = {}
        state, conds = OwnState(), dict(guider.original_conds)
        for key, given in zip(("positive", "negative"), realignment.anchor_conds):
            if given is not None:
                conds[key] = comfy.sampler_helpers.convert_cond(given)
        own.inner_set_conds({key: state.conditioning([[None, c] for c in cond]) for key, cond in conds.items()})
        if realignment.anchor_cfg is not None:
            own.set_cfg(realignment.anchor_cfg)
        self.guider = own

    def models_to_load(self) -> list[ModelPatcher]:
        """The anchor and what its conditioning needs (ControlNets …)."""
        patcher = self.guider.model_patcher
        needed, _ = comfy.sampler_helpers.get_additional_models(self.guider.original_conds, patcher.model_dtype())
        return [patcher, *needed, *patcher.get_nested_additional_models()]

    def run(self, sampler: Any, callback: Any = None, disable_pbar: Any = True, loaded: bool = False) -> Any:
        """As CFGGuider.outer_sample of the reference: from its prepared noise, latent, sigmas and mask.

        loaded: the anchor was loaded along with the reference.
        """
        prepared = self._prepared._replace(sampler=sampler, callback=callback, disable_pbar=disable_pbar)

        def as_prepared(executor: Any, *_: Any, **__: Any) -> Any:
            return executor(*prepared, **self._more)

        options = self.guider.model_options
        wrappers = options.setdefault("transformer_options", {}).setdefault("wrappers", {})
        theirs = wrappers.pop(WrappersMP.OUTER_SAMPLE, {})
        wrappers[WrappersMP.OUTER_SAMPLE] = {KEY: [as_prepared], **theirs}  # before any other sees the arguments
        if loaded:
            add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, _already_loaded, options, is_model_options=True)
        return self.guider.sample(*prepared._replace(denoise_mask=None))


def _already_loaded(executor: Any, model: ModelPatcher, noise_shape: Any, conds: Any, *args: Any, **kwargs: Any) -> Any:
    return model.model, conds, []


class _HandOver(comfy.samplers.Sampler):
    """Stands in for a sampler: takes what the host prepared for it, and lets `then` do the sampling."""

    def __init__(self, then: Callable[[dict[str, Any]], None]):
        self._then = then

    def sample(
        self, model_wrap: Any, sigmas: Any, extra_args: Any, callback: Any, noise: Any, *_: Any, **__: Any
    ) -> Any:
        self._then(extra_args["model_options"])
        return noise


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
        self.calls = self.saved = 0.0
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
                self._beside[place] = AnchorGuider(realignment, patchers[-1], guider, prepared, more)
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

        beside.run(_HandOver(then), loaded=True)

    def _predict_noise(
        self, executor: Any, x: Tensor, timestep: Tensor, model_options: dict[str, Any], seed: Any
    ) -> Tensor:
        self._question = (executor, timestep, model_options, seed)
        if self._selected is not None:
            if self._answers is None:
                self._answers = self._ask(x, self._places)
            return self._answers[self._selected]
        sigma = float(timestep.flatten()[0])
        lambdas = self.lambdas_at(sigma, x)
        functions = _added(
            self._base[0].get("sampler_post_cfg_function", []), model_options.get("sampler_post_cfg_function", [])
        )
        if functions:
            return self._with_functions(x, lambdas, functions)
        predicted = self._evaluate(x, noise_level(self.guider.model_patcher, sigma), lambdas)
        self.calls += predicted.calls
        self.saved += predicted.saved
        return predicted.combined.to(x.dtype)

    # What the models predict.

    def evaluator(self, models: Models, merged: Merged) -> Evaluator:
        """A new one for this run. Raises ValueError where the run cannot have the one that was asked for."""
        levels = [noise_level(self.guider.model_patcher, sigma) for sigma in self._sigmas]
        own = self.realignment.anchor_cfg is not None or any(self.realignment.anchor_conds)
        can_merge = not self._beside and not own
        return self.realignment.fewer_calls(models, merged if can_merge else None, levels, len(self.used))

    def models(self, x: Tensor, level: NoiseLevel, called: Sequence[bool]) -> list[Tensor | None]:
        """The evaluators' `Models`, for the question the sampler has just asked."""
        answers = self._ask(x, [place for place, call in enumerate(called) if call])
        return [answers.get(place) for place in range(len(called))]

    def merged(
        self, x: Tensor, level: NoiseLevel, lambdas: Sequence[Tensor], called: Sequence[bool]
    ) -> tuple[Tensor, list[Tensor | None]]:
        self._merge(lambdas)
        answers = self._ask(x, [MERGED, *(place for place, call in enumerate(called) if call)])
        return answers[MERGED], [answers.get(place) for place in range(len(called))]

    def masked(self, model: Any, x: Tensor, sigma: Tensor, called: Sequence[bool]) -> list[Tensor | None]:
        """`models` through the sampler's inpainting mask. model: what the host gave the sampler to call."""
        answers = self._through_mask(model, x, sigma, [place for place, call in enumerate(called) if call])
        return [answers.get(place) for place in range(len(called))]

    def masked_merged(
        self, model: Any, x: Tensor, sigma: Tensor, lambdas: Sequence[Tensor], called: Sequence[bool]
    ) -> tuple[Tensor, list[Tensor | None]]:
        """`merged` through the sampler's inpainting mask."""
        self._merge(lambdas)
        answers = self._through_mask(model, x, sigma, [MERGED, *(place for place, call in enumerate(called) if call)])
        return answers[MERGED], [answers.get(place) for place in range(len(called))]

    def _through_mask(self, model: Any, x: Tensor, sigma: Tensor, places: Sequence[int]) -> dict[int, Tensor]:
        self._answers, self._places = None, places
        out = {}
        try:
            for place in places:
                self._selected = place
                out[place] = model(x, sigma, **self._extra_args)
        finally:
            self._selected, self._answers = None, None
        return out

    def _merge(self, lambdas: Sequence[Tensor]) -> None:
        assert self.batch is not None
        self.batch.merge([float(v) if v.ndim == 0 else v.flatten() for v in lambdas])

    def lambdas_at(self, sigma: float, x: Tensor) -> list[Tensor]:
        """λ of the anchors at a noise level: that of the step whose σ is the nearest in log σ, times the masks.

        Samplers ask between the schedule's levels too, and adaptive ones at levels of their own.
        """
        steps = range(len(self._rows))
        step = min(steps, key=lambda i: abs(_log(self._sigmas[i]) - _log(sigma)))
        return self.with_masks(self._rows[step], x)

    def with_masks(self, row: Sequence[Lambda], x: Tensor) -> list[Tensor]:
        """One step's λ per anchor, as it broadcasts against x."""
        values = [per_element(value, x) for value in row]
        return [value if mask is None else value * mask.to(value) for value, mask in zip(values, self._masks)]

    def _ask(self, x: Tensor, places: Sequence[int]) -> dict[int, Tensor]:
        executor, timestep, model_options, seed = self._question
        out: dict[int, Tensor] = {}  # in the order of asking
        if self.batch is not None:
            out = self.batch.predict([p for p in places if p not in self._beside], x, timestep, model_options, seed)
            uncalled = self.batch.adapters.uncalled()
            if uncalled and out:
                raise NeedsOwnWeights(f"the model uses the weight of {uncalled[0]} outside of its layer")
        elif 0 in places:
            out[0] = executor(x, timestep, model_options, seed)
        for place, beside in self._beside.items():
            if place in places:
                options = carried_over(self._base[place], self._base[0], model_options)
                out[place] = beside.guider(x, timestep, model_options=options, seed=seed)
        return out

    def _with_functions(self, x: Tensor, lambdas: list[Tensor], functions: list[Any]) -> Tensor:
        """A sampler that looks behind the guidance (CFG++) added `functions`: they get the mixture of what each sees.

        With one model alone they are its own, as in the stock run.
        """
        executor, timestep, model_options, seed = self._question
        weights = realignment_weights(lambdas).to(x.device)
        places = [place for place, weight in enumerate(weights) if bool((weight != 0).any())]
        self.calls += len(places)
        if len(places) == 1 and bool((weights[places[0]] == 1).all()):
            return self._ask(x, places)[places[0]]
        seen: list[dict[str, Any]] = []

        def watch(args: dict[str, Any]) -> Tensor:
            seen.append(args)
            return args["denoised"]

        own = [fn for fn in model_options["sampler_post_cfg_function"] if not any(fn is f for f in functions)]
        self._question = (executor, timestep, {**model_options, "sampler_post_cfg_function": [*own, watch]}, seed)
        denoised = self._ask(x, places)  # in the order of `seen`
        shares = weights[list(denoised)]
        mixed = {name: combine([args[name] for args in seen], shares) for name in ("cond_denoised", "uncond_denoised")}
        args = {**seen[0], **mixed, "model_options": model_options}
        out = combine(list(denoised.values()), shares)
        for function in functions:
            out = function({**args, "denoised": out})
        return out

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


def carried_over(base: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """`base` with what a sampler changed in the model options between `before` and `after`."""
    if after is before:
        return base
    out = base.copy()
    for key, value in after.items():
        old = before.get(key)
        if value is old:
            continue
        if isinstance(value, dict):
            out[key] = carried_over(out.get(key) or {}, old or {}, value)
        elif isinstance(value, list):
            added = _added(old or [], value)
            if added:
                out[key] = [*(out.get(key) or []), *added]
        else:
            out[key] = value
    return out


def _added(before: list[Any], after: list[Any]) -> list[Any]:
    return [value for value in after if not any(value is old for old in before)]


def _is(value: Lambda, number: float) -> bool:
    return bool((torch.as_tensor(value) == number).all())


def _log(sigma: float) -> float:
    return math.log(max(sigma, 1e-8))


def schedules(anchors: Sequence[Anchor], lambda_: float, connected: LambdaSchedule | None) -> list[LambdaSchedule]:
    """One λ schedule per anchor: its own, else the connected one, else the slider's constant."""
    return [anchor.schedule or connected or LambdaSchedule(start=lambda_) for anchor in anchors]


def schedule_rows(schedules: Sequence[LambdaSchedule], shares: Sequence[float]) -> Callable[[list[float]], Any]:
    """`Realignment.lambdas` for one λ schedule per anchor."""

    def rows(sigmas: list[float]) -> list[list[float]]:
        columns = [[share * v for v in schedule.over(sigmas)] for schedule, share in zip(schedules, shares)]
        return [list(row) for row in zip(*columns)]

    return rows
