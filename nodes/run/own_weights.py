"""A whole guider of the host's for an anchor with weights of its own.

The host runs a guider's preparations around a sampler. So the anchors' guiders run with a sampler that only hands over
to the next; by the time the real one runs, all are prepared, and however it ends, every guider cleans up after itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import comfy.model_patcher
import comfy.sampler_helpers
import comfy.samplers
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from .own_state import Conditioning, OwnState

KEY = "realign"  # of everything that this pack puts on the host's objects


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


def taken(guider: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the host changes in a guider while it samples; see `restore`."""
    return dict(guider.conds), comfy.model_patcher.create_model_options_clone(guider.model_options)


def restore(guider: Any, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Make a guider fit for another run of its outer_sample."""
    conds, options = state
    guider.conds, guider.model_options = dict(conds), comfy.model_patcher.create_model_options_clone(options)


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


class AnchorGuider:
    """A copy of the reference's guider, whatever its class, for an anchor with weights of its own.

    prepared, more: what the host called the reference's outer_sample with. cfg, own_conds: the anchor's own, if any.
    """

    def __init__(
        self,
        patcher: ModelPatcher,
        guider: Any,
        prepared: Prepared,
        more: dict[str, Any],
        cfg: float | None,
        own_conds: tuple[Conditioning | None, Conditioning | None],
    ):
        self._prepared, self._more = prepared, more
        own = copy.copy(guider)
        own.model_patcher = patcher
        own.model_options = comfy.model_patcher.create_model_options_clone(patcher.model_options)
        own.original_conds = {}
        state, conds = OwnState(), dict(guider.original_conds)
        for key, given in zip(("positive", "negative"), own_conds):
            if given is not None:
                conds[key] = comfy.sampler_helpers.convert_cond(given)
        own.inner_set_conds({key: state.conditioning([[None, c] for c in cond]) for key, cond in conds.items()})
        set_own_cfg(own, cfg)
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


class HandOver(comfy.samplers.Sampler):
    """Stands in for a sampler: takes what the host prepared for it, and lets `then` do the sampling."""

    def __init__(self, then: Callable[[dict[str, Any]], None]):
        self._then = then

    def sample(
        self, model_wrap: Any, sigmas: Any, extra_args: Any, callback: Any, noise: Any, *_: Any, **__: Any
    ) -> Any:
        self._then(extra_args["model_options"])
        return noise
