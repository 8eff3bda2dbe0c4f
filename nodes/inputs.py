"""Inputs that RealignSampler, RealignGuider and RealignModel share."""

from __future__ import annotations

from comfy_api.latest import io

from .run.fewer_calls import CONTROL, OFF, REUSE
from .types import AnchorType, LambdaType

BETA_TOOLTIP = (
    "The KL strength β the anchor was trained with (range 0 and up; Diffusion-DPO uses 2000–5000, Flow-GRPO about "
    "0.04). It does not change the picture: it lets labels say which β a λ stands for (β/λ)."
)


def pair_inputs() -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip="The reference: the model before alignment (λ = 0)."),
        AnchorType.Input("anchor", tooltip="The aligned model (λ = 1), from Load Anchor Model."),
    ]


def prompt_inputs() -> list[io.Input]:
    return [
        io.Conditioning.Input("positive", tooltip="What the picture should show, for both models."),
        io.Conditioning.Input("negative", tooltip="What the picture should not show, for both models."),
    ]


def cfg_input() -> io.Input:
    return io.Float.Input(
        "cfg",
        default=7.0,
        min=0.0,
        max=100.0,
        step=0.1,
        round=0.01,
        tooltip="Classifier-free guidance scale (0–100), applied inside each model before they are mixed.",
    )


def schedule_input() -> io.Input:
    return LambdaType.Input("lambda_schedule", optional=True, tooltip="λ over the steps. Replaces the λ slider.")


def mask_input() -> io.Input:
    return io.Mask.Input(
        "lambda_mask",
        optional=True,
        tooltip="Where λ acts: multiplies it, pixel by pixel (1: fully aligned, 0: the reference).",
    )


def conditioning_inputs() -> list[io.Input]:
    return [
        io.Conditioning.Input(
            "anchor_positive",
            optional=True,
            tooltip="Another positive for the anchor, e.g. with trigger words. Left open: the same.",
        ),
        io.Conditioning.Input(
            "anchor_negative", optional=True, tooltip="Another negative for the anchor. Left open: the same."
        ),
    ]


def anchor_cfg_input() -> io.Input:
    return io.Float.Input(
        "anchor_cfg",
        default=-1.0,
        min=-1.0,
        max=100.0,
        step=0.1,
        round=0.01,
        optional=True,
        advanced=True,
        tooltip="Another cfg for the anchor (0–100). -1: the same.",
    )


def fewer_calls_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "fewer_calls",
            options=[OFF, REUSE, CONTROL],
            default=OFF,
            optional=True,
            advanced=True,
            tooltip=(
                "Saves model calls, for a picture near the exact one. difference reuse: any anchor; asks it now and "
                "then. control variate: LoRA and low-rank anchors; best with noisy samplers and λ from 0 to 1."
            ),
        ),
        io.Float.Input(
            "calls_per_step",
            default=1.2,
            min=1.05,
            max=2.0,
            step=0.05,
            round=0.01,
            optional=True,
            advanced=True,
            tooltip=("About how many model calls a step costs with fewer_calls (1.05–2); the exact run has 2."),
        ),
    ]
