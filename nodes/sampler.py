"""RealignSampler: KSampler for a reference and its anchors, drawing each step from their mixed posteriors."""

from __future__ import annotations

from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..realign_core import LambdaSchedule, Sweep
from .checked import Node
from .inputs import (
    cfg_input,
    choice,
    conditioning_inputs,
    correction_inputs,
    fewer_calls_inputs,
    lambda_slider,
    latent_input,
    mask_input,
    noise_inputs,
    number,
    pair_inputs,
    prompt_inputs,
    schedule_input,
    step_inputs,
)
from .models.anchor import Anchors
from .page import SHOWS, said
from .run.fewer_calls import OFF, FewerCalls
from .run.particles import Steering
from .run.parts import check_batch
from .run.posterior import check_latent
from .run.realignment import Realignment
from .sampled import etas_of, run_sigmas, sampled
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
                "Turns up or down how much of an aligned model's look your picture has: λ 0 is the base model's "
                "picture, 1 the aligned one's, between them a blend, above 1 more still. Nothing is trained: each step "
                "draws from the mixture of both models, as if the reference had been aligned at KL strength β/λ "
                "(DeRaDiff, ICLR 2026)."
            ),
            search_aliases=[*FIRST_ALIASES, "ksampler", "spo", "flow-grpo"],
            inputs=[
                *pair_inputs(),
                *prompt_inputs(),
                latent_input(),
                number("seed", 0, 0, 0xFFFFFFFFFFFFFFFF, control_after_generate=True)(
                    "Seeds the starting noise and the noise of the steps, as in KSampler."
                ),
                number("steps", 25, 1, 10000)("Denoising steps (1–10000; 20–50 is usual)."),
                cfg_input(),
                choice("sampler_name", list(ETA))(
                    "ddpm: draws new noise at each step (η = 1). ddim: deterministic (η = 0), as euler."
                ),
                *noise_inputs(),
                lambda_slider(0.5, 0, 3)(
                    "How much of the aligned model's look the picture has (0–3): 0 none, 0.5 a safe blend, 1 all of "
                    "it, above 1 more still. It stands for a model aligned at β/λ. A connected λ schedule "
                    "replaces it."
                ),
                *step_inputs(),
                schedule_input(),
                *conditioning_inputs(),
                mask_input(),
                *fewer_calls_inputs(),
                *correction_inputs(),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The sampled latent."),
                io.Latent.Output(display_name="denoised", tooltip="The last step's prediction of the clean latent."),
                io.String.Output(display_name="trace", tooltip="JSON: λ, σ, KL spent and model calls of every step."),
            ],
            **SHOWS,
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
        correct: bool = False,
        particles: int = 4,
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
            steering=Steering(particles, correct=True) if correct and particles > 1 else None,
        )
        etas = etas_of(ETA[sampler_name], eta, anchor_eta, len(anchor))
        settings = {
            "seed": seed,
            "steps": steps,
            "cfg": cfg,
            "sampler_name": sampler_name,
            "scheduler": scheduler,
            "denoise": denoise,
        }
        run = sampled(model, realignment, (positive, negative), latent_image, sigmas, etas, settings, add_noise)
        return io.NodeOutput(
            run.latent, run.denoised, run.trace.to_json(), ui=said(cls, [run.told.text], run.told.strip_image())
        )


NODES = [RealignSampler]
