"""RealignSampler: KSampler for a reference and its anchors, drawing each step from their mixed posteriors."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, Noise_RandomNoise, SamplerCustomAdvanced

from ..realign_core import LambdaSchedule, Sweep
from .live import Progress
from .models.anchor import Anchor
from .run.attach import Attached, attach
from .run.fewer_calls import OFF, FewerCalls
from .run.own_state import Conditioning
from .run.parts import check_batch
from .run.posterior import check_latent, posterior_sampler
from .run.realignment import Realignment
from .sampler_inputs import sampler_schema

ETA = {"ddpm": 1.0, "ddim": 0.0}


class RealignSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return sampler_schema(list(ETA))

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        anchor: Anchor,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: dict[str, Any],
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        denoise: float,
        lambda_: float,
        eta: float = -1.0,
        anchor_eta: float = -1.0,
        anchor_cfg: float = -1.0,
        add_noise: bool = True,
        start_at_step: int = 0,
        end_at_step: int = 10000,
        return_with_leftover_noise: bool = False,
        lambda_schedule: LambdaSchedule | Sweep | None = None,
        anchor_positive: Conditioning | None = None,
        anchor_negative: Conditioning | None = None,
        lambda_mask: torch.Tensor | None = None,
        fewer_calls: str = OFF,
        calls_per_step: float = 1.2,
    ) -> io.NodeOutput:
        check_latent(latent_image)
        if isinstance(lambda_schedule, Sweep):
            check_batch(latent_image["samples"].shape[0], lambda_schedule)
        sigmas, whole = run_sigmas(
            model, steps, sampler_name, scheduler, denoise, start_at_step, end_at_step, return_with_leftover_noise
        )
        realignment = Realignment.of(
            anchor,
            lambda_,
            lambda_schedule,
            mask=lambda_mask,
            anchor_cfg=anchor_cfg,
            anchor_conds=(anchor_positive, anchor_negative),
            fewer_calls=FewerCalls(fewer_calls, calls_per_step),
            whole=(whole, start_at_step),
        )
        realigned = attach(model, realignment, Progress.of)
        guider = comfy.samplers.CFGGuider(realigned)
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)

        own_eta = ETA[sampler_name] if eta < 0 else eta
        etas = [own_eta] + [own_eta if anchor_eta < 0 else anchor_eta] * len(realignment.anchors)
        sampler = posterior_sampler(etas, comfy.samplers.sampler_object(sampler_name).inpaint_options)
        noise = Noise_RandomNoise(seed) if add_noise else Noise_EmptyNoise()
        noise.seed = seed  # also seeds the noise of the steps
        latent, denoised = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent_image).args

        settings = {
            "seed": seed,
            "steps": steps,
            "cfg": cfg,
            "sampler_name": sampler_name,
            "scheduler": scheduler,
            "denoise": denoise,
        }
        trace = Attached.behind(realigned).trace()
        trace.info |= {"etas": etas, "settings": settings}
        return io.NodeOutput(latent, denoised, trace.to_json())


def run_sigmas(
    model: ModelPatcher,
    steps: int,
    sampler_name: str,
    scheduler: str,
    denoise: float,
    start_at_step: int,
    end_at_step: int,
    return_with_leftover_noise: bool,
) -> tuple[torch.Tensor, list[float]]:
    """σ of the run, and of the whole schedule: a run split in two over start and end steps has the λ of the undivided
    one. The slicing is KSampler.sample's (comfy/samplers.py). Raises ValueError where there is no step to sample."""
    sampler = comfy.samplers.KSampler(
        model, steps, model.load_device, sampler_name, scheduler, denoise, model.model_options
    )
    sigmas = sampler.sigmas.cpu()
    last = min(end_at_step, len(sigmas) - 1)
    if len(sigmas) < 2:
        raise ValueError(f"There is no step to sample: denoise is {denoise:g}. Raise it above 0.")
    if start_at_step >= last:
        raise ValueError(
            f"There is no step to sample: the steps run from 0 to {len(sigmas) - 1}, but start_at_step is "
            f"{start_at_step} and end_at_step {end_at_step}. Lower start_at_step, raise end_at_step, or add steps."
        )
    whole, sigmas = [float(sigma) for sigma in sigmas], sigmas[start_at_step : last + 1].clone()
    if not return_with_leftover_noise:
        sigmas[-1] = 0
    return sigmas, whole


NODES = [RealignSampler]
