"""RealignSampler's face: inputs, outputs and what their tooltips say."""

from __future__ import annotations

import comfy.samplers
from comfy_api.latest import io

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
            number("seed", 0, 0, 0xFFFFFFFFFFFFFFFF, control_after_generate=True)(
                "Seeds the starting noise and the noise of the steps, as in KSampler."
            ),
            number("steps", 25, 1, 10000)("Denoising steps (1–10000; 20–50 is usual)."),
            cfg_input(),
            choice("sampler_name", sampler_names)(
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
