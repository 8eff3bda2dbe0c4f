"""RealignSampler: KSampler for a reference and its anchors, drawing each step from their mixed posteriors."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, Noise_RandomNoise, SamplerCustomAdvanced

from ..realign_core import LambdaSchedule, Sweep
from .checked import Node
from .inputs import (
    ADVANCED,
    anchor_cfg_input,
    cfg_input,
    choice,
    conditioning_inputs,
    fewer_calls_inputs,
    lambda_slider,
    mask_input,
    number,
    pair_inputs,
    prompt_inputs,
    schedule_input,
    switch,
)
from .live import Progress
from .models.anchor import Anchors
from .run.attach import Attached, attach
from .run.fewer_calls import OFF, FewerCalls
from .run.parts import check_batch
from .run.posterior import check_latent, posterior_sampler
from .run.realignment import Realignment
from .types import CATEGORY, FIRST_ALIASES, Conditioning

ETA = {"ddpm": 1.0, "ddim": 0.0}


class RealignSampler(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignSampler",
            display_name="Realign Sampler",
            category=CATEGORY,
            description=(
                "Samples the model that would come out of aligning the reference at KL strength β/λ, without training "
                "it: each step draws from the mixed posteriors of the reference and its anchors (DeRaDiff, ICLR 2026)."
            ),
            search_aliases=[*FIRST_ALIASES, "ksampler", "spo", "flow-grpo"],
            inputs=[
                *pair_inputs(),
                *prompt_inputs(),
                io.Latent.Input(
                    "latent_image", tooltip="The latent image to denoise, with its inpainting mask if any."
                ),
                number("seed", 0, 0, 0xFFFFFFFFFFFFFFFF, control_after_generate=True)(
                    "Seeds the starting noise and the noise of the steps, as in KSampler."
                ),
                number("steps", 25, 1, 10000)("Denoising steps (1–10000; 20–50 is usual)."),
                cfg_input(),
                choice("sampler_name", list(ETA))(
                    "ddpm: draws new noise at each step (η = 1). ddim: deterministic (η = 0), as euler."
                ),
                choice("scheduler", comfy.samplers.KSampler.SCHEDULERS)(
                    "How the noise level falls over the steps, as in KSampler."
                ),
                number("denoise", 1.0, 0, 1, 0.01)(
                    "How much of the latent image is redone (0–1): 1 starts from pure noise."
                ),
                lambda_slider(0.5, 0, 3)(
                    "Alignment strength (0–3): 0 is the reference, 1 the anchor, between them a safe blend, above 1 an "
                    "extrapolation. The picture is that of a model aligned at β/λ. A connected λ schedule replaces it."
                ),
                *_advanced_inputs(),
                schedule_input(),
                *conditioning_inputs(),
                mask_input(),
                *fewer_calls_inputs(),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The sampled latent."),
                io.Latent.Output(display_name="denoised", tooltip="The last step's prediction of the clean latent."),
                io.String.Output(display_name="trace", tooltip="JSON: λ, σ, KL spent and model calls of every step."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        anchor: Anchors,
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


def _advanced_inputs() -> list[io.Input]:
    return [
        number("eta", -1.0, -1, 1, 0.01, **ADVANCED)(
            "Noise drawn at each step (0–1): 0 is DDIM, 1 DDPM. -1 keeps the sampler's own."
        ),
        number("anchor_eta", -1.0, -1, 1, 0.01, **ADVANCED)(
            "Another η for the anchor (0–1). Where it is larger, λ has an upper bound. -1: the same."
        ),
        anchor_cfg_input(),
        switch("add_noise", True, **ADVANCED)("Off: the latent image already holds noise, as in KSampler (Advanced)."),
        number("start_at_step", 0, 0, 10000, **ADVANCED)("First step to sample (0–10000), as in KSampler (Advanced)."),
        number("end_at_step", 10000, 0, 10000, **ADVANCED)("Step to stop before (0–10000), as in KSampler (Advanced)."),
        switch("return_with_leftover_noise", False, **ADVANCED)(
            "On: a run that stops early keeps its noise, for another sampler to go on from."
        ),
    ]


NODES = [RealignSampler]
