"""Reference and anchors prepared side by side by the host itself.

Each model gets a whole guider of the host's: its own processed conditioning, model options, hooks, wrappers,
`pre_run` and `cleanup`. The host runs a guider's preparations around a sampler call, so the anchors' guiders are
run with a sampler that only hands over to the next one; by the time the real sampler runs, all are prepared, and
whatever way it ends, every guider cleans up after itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
import comfy.sampler_helpers
import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher

from .conditioning import Conditioning, OwnState

KEY = "realign"
Predict = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (x, sigma (B,)) -> denoised, inpainting mask applied


class AnchorGuider(comfy.samplers.CFGGuider):
    """The guider of one anchor. Its model is loaded by the reference's guider, in one go with the reference."""

    def __init__(self, anchor: ModelPatcher):
        super().__init__(anchor)
        self.model_options = comfy.model_patcher.create_model_options_clone(anchor.model_options)
        comfy.patcher_extension.add_wrapper_with_key(
            comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING,
            KEY,
            _already_loaded,
            self.model_options,
            is_model_options=True,
        )

    def models_to_load(self) -> list[ModelPatcher]:
        """The anchor and what its conditioning needs (ControlNets …)."""
        own, _ = comfy.sampler_helpers.get_additional_models(self.original_conds, self.model_patcher.model_dtype())
        return [self.model_patcher, *own, *self.model_patcher.get_nested_additional_models()]


def _already_loaded(executor: Any, model: ModelPatcher, noise_shape: Any, conds: Any, *args: Any, **kwargs: Any) -> Any:
    return model.model, conds, []


class RealignGuider(comfy.samplers.CFGGuider):
    """A CFGGuider for the reference that has the anchors ready while it samples: see `anchor_predictions`."""

    def __init__(self, reference: ModelPatcher, anchors: Sequence[ModelPatcher]):
        super().__init__(reference)
        self.anchors = [AnchorGuider(anchor) for anchor in anchors]
        self.anchor_predictions: list[Predict] = []  # filled while sampling, in the anchors' order

    def set_anchor_conds(self, positive: Conditioning, negative: Conditioning) -> None:
        for anchor in self.anchors:
            own = OwnState()
            anchor.set_conds(own.conditioning(positive), own.conditioning(negative))

    def set_anchor_cfg(self, cfg: float) -> None:
        for anchor in self.anchors:
            anchor.set_cfg(cfg)

    def sample(
        self, noise: Any, latent_image: Any, sampler: Any, sigmas: Any, denoise_mask: Any = None, *args: Any, **kw: Any
    ) -> Any:
        """As CFGGuider.sample. The anchors' guiders start from the same unprepared inputs."""
        self._inputs = (noise, latent_image, denoise_mask)
        reference = self.model_patcher
        # On a clone, and only anchors on it: cloning a model clones those it brings along.
        self.model_patcher = reference.clone()
        self.model_patcher.set_additional_models(KEY, [m for a in self.anchors for m in a.models_to_load()])
        try:
            return super().sample(noise, latent_image, sampler, sigmas, denoise_mask, *args, **kw)
        finally:
            self.model_patcher = reference
            self.anchor_predictions = []
            del self._inputs

    def inner_sample(
        self,
        noise: Any,
        latent_image: Any,
        device: Any,
        sampler: Any,
        sigmas: Any,
        denoise_mask: Any,
        callback: Any,
        disable_pbar: Any,
        seed: Any,
        **kwargs: Any,
    ) -> Any:
        """As CFGGuider.inner_sample, inside the preparations of every anchor."""
        run = partial(
            super().inner_sample,
            noise,
            latent_image,
            device,
            sampler,
            sigmas,
            denoise_mask,
            callback,
            disable_pbar,
            seed,
            **kwargs,
        )
        for anchor in reversed(self.anchors):
            run = partial(self._run_beside, anchor, run, sampler, sigmas, seed)
        return run()

    def _run_beside(self, anchor: AnchorGuider, run: Callable[[], Any], sampler: Any, sigmas: Any, seed: Any) -> Any:
        """Call `run` while the host has `anchor` prepared, with its prediction in `anchor_predictions`."""
        outcome = []

        def hand_over(model: Any, x: Any, sigmas: Any, extra_args: dict[str, Any], **_: Any) -> Any:
            self.anchor_predictions.append(partial(model, **extra_args))
            outcome.append(run())
            return x

        noise, latent_image, denoise_mask = self._inputs
        stand_in = comfy.samplers.KSAMPLER(hand_over, inpaint_options=getattr(sampler, "inpaint_options", {}))
        anchor.sample(noise, latent_image, stand_in, sigmas, denoise_mask, disable_pbar=True, seed=seed)
        return outcome[0]
