"""A model on weights of its own: a whole guider of the host's for it.

The host runs a guider's preparations around a sampler. So the anchors' guiders run with a sampler that only hands over
to the next; by the time the real one runs, all are prepared, and however it ends, every guider cleans up after itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import comfy.sampler_helpers
import comfy.samplers
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP, get_all_wrappers
from torch import Tensor

from ...realign_core import on_elements
from ..models.options import OwnOptions, copied
from .call import Call, Question, first_wrapper
from .guiders import Swap, for_model
from .realignment import Realignment
from .state import State


class OwnWeights:
    """An anchor on weights of its own, asked by a copy of the reference's guider, whatever its class.

    model: its index, 1 … K. patcher: its own, not the reference's. guider: the reference's, of the run `call`. swap: of
    further models that the guider holds.
    """

    def __init__(
        self,
        model: int,
        patcher: ModelPatcher,
        guider: Any,
        call: Call,
        realignment: Realignment,
        state: State,
        swap: Swap,
    ):
        self.models, self._call, self._state = (model,), call, state
        own = for_model(guider, patcher, swap)
        own.original_conds, conds = {}, dict(guider.original_conds)
        for key, own_conds in zip(("positive", "negative"), realignment.anchor_conds):
            if own_conds is not None:
                conds[key] = comfy.sampler_helpers.convert_cond(own_conds)
        own.inner_set_conds({key: [[None, c] for c in cond] for key, cond in conds.items()})
        set_own_cfg(own, realignment.anchor_cfg)
        self.guider = own

    def to_load(self) -> list[ModelPatcher]:
        """The anchor and what its conditioning needs (ControlNets …)."""
        patcher = self.guider.model_patcher
        needed, _ = comfy.sampler_helpers.get_additional_models(self.guider.original_conds, patcher.model_dtype())
        return [patcher, *needed, *patcher.get_nested_additional_models()]

    def prepared(self, reference: Any, options: dict[str, Any], then: Callable[[], None]) -> None:
        """Calls `then` inside the host's preparations of this model; it was loaded along with the reference.

        options: the reference's model options, as the host has prepared them.
        """

        def handed_over(own: dict[str, Any]) -> None:
            self._options = OwnOptions(own, options)
            with self._state.of(0):
                then()

        self.sample(_Once(_HandOver(handed_over)), loaded=True)

    def ask(self, question: Question, called: Tensor, merged: Sequence[Tensor] | None) -> dict[int, Tensor]:
        """D by model, for the elements that need it. called: (K + 1, B) bool."""
        (model,) = self.models
        if not bool(called[model].any()):
            return {}
        return {model: on_elements(called[model], question.x, lambda index: self.answer(question.of(index)))}

    def answer(self, question: Question) -> Tensor:
        """D of this model."""
        question = replace(question, options=self._options.following(question.options))
        with self._state.of(self.models[0]):
            return question.to(self.guider)

    def alone(self, callback: Any, outside: Sequence[Any]) -> Any:
        """Its own run, instead of the reference's. outside: OUTER_SAMPLE wrappers that act on the run already; where
        the anchor has one of them too, it does not say again how often the run goes."""
        own = get_all_wrappers(WrappersMP.OUTER_SAMPLE, {"wrappers": self.guider.model_patcher.wrappers})
        once = any(wrapper is one for wrapper in own for one in outside)
        sampler = _Once(self._call.sampler) if once else self._call.sampler
        return self.sample(sampler, callback, self._call.disable_pbar)

    def sample(self, sampler: Any, callback: Any = None, disable_pbar: Any = True, loaded: bool = False) -> Any:
        """As CFGGuider.outer_sample of the reference: from its prepared noise, latent, sigmas and mask.

        loaded: the anchor was loaded along with the reference.
        """
        call = replace(self._call, sampler=sampler, callback=callback, disable_pbar=disable_pbar)

        def as_prepared(executor: Any, *_: Any, **__: Any) -> Any:
            return call.on(executor)

        given = self.guider.model_options
        options = self.guider.model_options = copied(given)
        first_wrapper(WrappersMP.OUTER_SAMPLE, as_prepared, options)
        if loaded:
            first_wrapper(WrappersMP.PREPARE_SAMPLING, self._already_loaded, options)
        try:
            with self._state.of(self.models[0]):
                return self.guider.sample(*replace(call, denoise_mask=None).args)
        finally:
            self.guider.model_options = given

    def _already_loaded(
        self, executor: Any, model: ModelPatcher, shape: Any, conds: Any, *args: Any, **more: Any
    ) -> Any:
        if model is not self.guider.model_patcher:  # a further model of the guider's
            return executor(model, shape, conds, *args, **more)
        return model.model, conds, []


def set_own_cfg(guider: comfy.samplers.CFGGuider, cfg: float | None) -> None:
    """cfg: None leaves the guider's. Raises ValueError for a guider with more than one."""
    if cfg is None:
        return
    if type(guider).set_cfg is not comfy.samplers.CFGGuider.set_cfg:
        raise ValueError(
            f"anchor_cfg cannot be used with a {type(guider).__name__}, which has more than one cfg: set it to -1, so "
            "that the anchor has the guider's own."
        )
    guider.set_cfg(cfg)


class _Once(comfy.samplers.Sampler):
    """A sampler that gives its first result again, however often a wrapper has it sample."""

    def __init__(self, sampler: comfy.samplers.Sampler):
        self._sampler, self._given = sampler, None

    def sample(self, *args: Any, **kwargs: Any) -> Any:
        if self._given is None:
            self._given = self._sampler.sample(*args, **kwargs)
        return self._given


class _HandOver(comfy.samplers.Sampler):
    """Stands in for a sampler: takes what the host prepared for it, and lets `then` do the sampling."""

    def __init__(self, then: Callable[[dict[str, Any]], None]):
        self._then = then

    def sample(
        self, model_wrap: Any, sigmas: Any, extra_args: Any, callback: Any, noise: Any, *_: Any, **__: Any
    ) -> Any:
        self._then(extra_args["model_options"])
        return noise
