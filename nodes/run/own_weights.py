"""A model on weights of its own: a whole guider of the host's for it.

The host runs a guider's preparations around a sampler. So the anchors' guiders run with a sampler that only hands over
to the next; by the time the real one runs, all are prepared, and however it ends, every guider cleans up after itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import comfy.model_patcher
import comfy.sampler_helpers
import comfy.samplers
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from ...realign_core import on_elements
from .call import KEY, Call, Question
from .guidance import carried_over
from .own_state import OwnState
from .realignment import Realignment


class OwnWeights:
    """An anchor on weights of its own, asked by a copy of the reference's guider, whatever its class.

    model: its index, 1 … K. patcher: its own, not the reference's. guider: the reference's, of the run `call`.
    """

    def __init__(self, model: int, patcher: ModelPatcher, guider: Any, call: Call, realignment: Realignment):
        self.models, self._call = (model,), call
        own = copy.copy(guider)
        own.model_patcher = patcher
        own.model_options = comfy.model_patcher.create_model_options_clone(patcher.model_options)
        own.original_conds = {}
        state, conds = OwnState(), dict(guider.original_conds)
        for key, given in zip(("positive", "negative"), realignment.anchor_conds):
            if given is not None:
                conds[key] = comfy.sampler_helpers.convert_cond(given)
        own.inner_set_conds({key: state.conditioning([[None, c] for c in cond]) for key, cond in conds.items()})
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
            self._own, self._reference = own, options
            then()

        self.sample(_HandOver(handed_over), loaded=True)

    def ask(self, question: Question, called: Tensor, merged: Sequence[Tensor] | None) -> dict[int, Tensor]:
        """D by model, for the elements that need it. called: (K + 1, B) bool."""
        (model,) = self.models
        if not bool(called[model].any()):
            return {}
        question = replace(question, options=carried_over(self._own, self._reference, question.options))
        answer = on_elements(called[model], question.x, lambda index: question.of(index).to(self.guider))
        return {model: answer}

    def sample(self, sampler: Any, callback: Any = None, disable_pbar: Any = True, loaded: bool = False) -> Any:
        """As CFGGuider.outer_sample of the reference: from its prepared noise, latent, sigmas and mask.

        loaded: the anchor was loaded along with the reference.
        """
        call = replace(self._call, sampler=sampler, callback=callback, disable_pbar=disable_pbar)

        def as_prepared(executor: Any, *_: Any, **__: Any) -> Any:
            return call.on(executor)

        options = self.guider.model_options
        wrappers = options.setdefault("transformer_options", {}).setdefault("wrappers", {})
        theirs = wrappers.pop(WrappersMP.OUTER_SAMPLE, {})
        wrappers[WrappersMP.OUTER_SAMPLE] = {KEY: [as_prepared], **theirs}  # before any other sees the arguments
        if loaded:
            add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, _already_loaded, options, is_model_options=True)
        return self.guider.sample(*replace(call, denoise_mask=None).args)


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
