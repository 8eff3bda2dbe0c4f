"""Widgets in a line or two of a schema, and the inputs that several nodes share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import comfy.samplers
from comfy_api.latest import io

from .run.fewer_calls import CONTROL, OFF, REUSE
from .types import AnchorType, LambdaType

# A widget but for its tooltip, which comes last: number("steps", 25, 1, 10000)("Denoising steps (1–10000).")
Widget = Callable[[str], io.Input]

ADVANCED: dict[str, Any] = {"optional": True, "advanced": True}  # folded away, and workflow files may lack it


def number(name: str, default: float, low: float, high: float, step: float | None = None, **options: Any) -> Widget:
    """An INT or a FLOAT, as the default is; options: the host's other ones."""
    kind, plain = (io.Int, int) if isinstance(default, int) else (io.Float, float)
    options |= {"default": default, "min": plain(low), "max": plain(high), "step": step}
    return lambda tooltip: kind.Input(name, tooltip=tooltip, **options)


def choice(name: str, choices: Iterable[str], default: str | None = None, **options: Any) -> Widget:
    return lambda tooltip: io.Combo.Input(name, options=list(choices), default=default, tooltip=tooltip, **options)


def switch(name: str, default: bool, **options: Any) -> Widget:
    return lambda tooltip: io.Boolean.Input(name, default=default, tooltip=tooltip, **options)


def text(name: str, default: str, **options: Any) -> Widget:
    return lambda tooltip: io.String.Input(name, default=default, tooltip=tooltip, **options)


def lambda_number(name: str, default: float) -> Widget:
    return number(name, default, -10, 10, 0.01, round=0.001)


def lambda_slider(default: float, low: float, high: float, **options: Any) -> Widget:
    shown = {"display_name": "λ", "display_mode": io.NumberDisplay.slider, **options}
    return number("lambda_", default, low, high, 0.01, round=0.001, **shown)


def report_input() -> io.Input:
    return io.String.Input(
        "report",
        optional=True,
        force_input=True,
        tooltip="Of Reward Report, on these pictures: marks the front (◆), and shows each picture's rewards.",
    )


def beta_input() -> io.Input:
    return number("beta", 5000.0, 0, 1e9, 0.01)(
        "The KL strength β the anchor was trained with (range 0 and up; Diffusion-DPO uses 2000–5000, Flow-GRPO about "
        "0.04). It does not change the picture: it lets labels say which β a λ stands for (β/λ)."
    )


def pair_inputs() -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip="The base model, the reference: λ = 0 gives its picture."),
        AnchorType.Input("anchor", tooltip="The aligned model, from Load Anchor Model: λ = 1 gives its picture."),
    ]


def prompt_inputs() -> list[io.Input]:
    return [
        io.Conditioning.Input("positive", tooltip="What the picture should show, for both models."),
        io.Conditioning.Input("negative", tooltip="What the picture should not show, for both models."),
    ]


def latent_input() -> io.Input:
    return io.Latent.Input("latent_image", tooltip="The latent image to denoise, with its inpainting mask if any.")


def noise_inputs() -> list[io.Input]:
    return [
        choice("scheduler", comfy.samplers.KSampler.SCHEDULERS)(
            "How the noise level falls over the steps, as in KSampler."
        ),
        number("denoise", 1.0, 0, 1, 0.01)("How much of the latent image is redone (0–1): 1 starts from pure noise."),
    ]


def cfg_input() -> io.Input:
    return number("cfg", 7.0, 0, 100, 0.1, round=0.01)(
        "Classifier-free guidance scale (0–100), applied inside each model before they are mixed."
    )


def schedule_input(tooltip: str = "λ over the steps. Replaces the λ slider.") -> io.Input:
    return LambdaType.Input("lambda_schedule", optional=True, tooltip=tooltip)


def mask_input() -> io.Input:
    tooltip = "Where λ acts: multiplies it, pixel by pixel (1: fully aligned, 0: the reference)."
    return io.Mask.Input("lambda_mask", optional=True, tooltip=tooltip)


def conditioning_inputs() -> list[io.Input]:
    tooltips = {
        "anchor_positive": "Another positive for the anchor, e.g. with trigger words. Left open: the same.",
        "anchor_negative": "Another negative for the anchor. Left open: the same.",
    }
    return [io.Conditioning.Input(name, optional=True, tooltip=tooltip) for name, tooltip in tooltips.items()]


def anchor_cfg_input() -> io.Input:
    return number("anchor_cfg", -1.0, -1, 100, 0.1, round=0.01, **ADVANCED)(
        "Another cfg for the anchor (0–100). -1: the same."
    )


def fewer_calls_inputs() -> list[io.Input]:
    return [
        choice("fewer_calls", [OFF, REUSE, CONTROL], OFF, **ADVANCED)(
            "Saves model calls, for a picture near the exact one. difference reuse: any anchor; asks it now and then. "
            "control variate: nearer, best with λ from 0 to 1; a full anchor takes a third copy and one λ throughout."
        ),
        number("calls_per_step", 1.2, 1.05, 2, 0.05, round=0.01, **ADVANCED)(
            "About how many model calls a step costs with fewer_calls (1.05–2); the exact run has 2."
        ),
    ]


def prompt_input(
    tooltip: str = "What the pictures should show, for rewards that compare with a text and have none of their own.",
) -> io.Input:
    return io.String.Input(
        "prompt",
        default="",
        multiline=True,
        optional=True,
        tooltip=tooltip,
    )


def step_inputs() -> list[io.Input]:
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


def correction_inputs() -> list[io.Input]:
    return [
        switch("correct", False, **ADVANCED)(
            "Corrects what mixing step by step leaves over: several particles for each picture, weighed and re-drawn "
            "(Feynman-Kac correctors). So many times the model calls; η must be above 0, and λ one for all steps."
        ),
        number("particles", 4, 2, 64, **ADVANCED)("Particles of each picture where “correct” is on (2–64)."),
    ]
