"""RealignSampler's face: inputs, outputs and what their tooltips say."""

from __future__ import annotations

import comfy.samplers
from comfy_api.latest import io

from .inputs import (
    anchor_cfg_input,
    cfg_input,
    conditioning_inputs,
    fewer_calls_inputs,
    mask_input,
    pair_inputs,
    prompt_inputs,
    schedule_input,
)
from .types import CATEGORY, FIRST_ALIASES


def sampler_schema(sampler_names: list[str]) -> io.Schema:
    return io.Schema(
        node_id="RealignSampler",
        display_name="Realign Sampler",
        category=CATEGORY,
        description=(
            "Samples the model that would come out of aligning the reference at KL strength β/λ, without training it: "
            "each step draws from the mixed posteriors of the reference and its anchors (DeRaDiff, ICLR 2026)."
        ),
        search_aliases=[*FIRST_ALIASES, "ksampler", "spo", "flow-grpo"],
        inputs=[
            *pair_inputs(),
            *prompt_inputs(),
            io.Latent.Input("latent_image", tooltip="The latent image to denoise, with its inpainting mask if any."),
            io.Int.Input(
                "seed",
                default=0,
                min=0,
                max=0xFFFFFFFFFFFFFFFF,
                control_after_generate=True,
                tooltip="Seeds the starting noise and the noise of the steps, as in KSampler.",
            ),
            io.Int.Input("steps", default=25, min=1, max=10000, tooltip="Denoising steps (1–10000; 20–50 is usual)."),
            cfg_input(),
            io.Combo.Input(
                "sampler_name",
                options=sampler_names,
                tooltip="ddpm: draws new noise at each step (η = 1). ddim: deterministic (η = 0), as euler.",
            ),
            io.Combo.Input(
                "scheduler",
                options=comfy.samplers.KSampler.SCHEDULERS,
                tooltip="How the noise level falls over the steps, as in KSampler.",
            ),
            io.Float.Input(
                "denoise",
                default=1.0,
                min=0.0,
                max=1.0,
                step=0.01,
                tooltip="How much of the latent image is redone (0–1): 1 starts from pure noise.",
            ),
            io.Float.Input(
                "lambda_",
                display_name="λ",
                default=0.5,
                min=0.0,
                max=3.0,
                step=0.01,
                round=0.001,
                display_mode=io.NumberDisplay.slider,
                tooltip=(
                    "Alignment strength (0–3): 0 is the reference, 1 the anchor, between them a safe blend, above 1 an "
                    "extrapolation. The picture is that of a model aligned at β/λ. A connected λ schedule replaces it."
                ),
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


def _advanced_inputs() -> list[io.Input]:
    return [
        io.Float.Input(
            "eta",
            default=-1.0,
            min=-1.0,
            max=1.0,
            step=0.01,
            optional=True,
            advanced=True,
            tooltip="Noise drawn at each step (0–1): 0 is DDIM, 1 DDPM. -1 keeps the sampler's own.",
        ),
        io.Float.Input(
            "anchor_eta",
            default=-1.0,
            min=-1.0,
            max=1.0,
            step=0.01,
            optional=True,
            advanced=True,
            tooltip="Another η for the anchor (0–1). Where it is larger, λ has an upper bound. -1: the same.",
        ),
        anchor_cfg_input(),
        io.Boolean.Input(
            "add_noise",
            default=True,
            optional=True,
            advanced=True,
            tooltip="Off: the latent image already holds noise, as in KSampler (Advanced).",
        ),
        io.Int.Input(
            "start_at_step",
            default=0,
            min=0,
            max=10000,
            optional=True,
            advanced=True,
            tooltip="First step to sample (0–10000), as in KSampler (Advanced).",
        ),
        io.Int.Input(
            "end_at_step",
            default=10000,
            min=0,
            max=10000,
            optional=True,
            advanced=True,
            tooltip="Step to stop before (0–10000), as in KSampler (Advanced).",
        ),
        io.Boolean.Input(
            "return_with_leftover_noise",
            default=False,
            optional=True,
            advanced=True,
            tooltip="On: a run that stops early keeps its noise, for another sampler to go on from.",
        ),
    ]
