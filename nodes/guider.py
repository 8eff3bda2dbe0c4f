"""RLG for every sampler: a GUIDER, and a MODEL that brings its anchors along."""

from __future__ import annotations

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..realign_core import LambdaSchedule, Sweep
from .checked import Node
from .inputs import (
    anchor_cfg_input,
    cfg_input,
    conditioning_inputs,
    fewer_calls_inputs,
    lambda_slider,
    mask_input,
    pair_inputs,
    prompt_inputs,
    schedule_input,
)
from .live import Progress
from .models.anchor import Anchors
from .run.attach import attach
from .run.fewer_calls import OFF, FewerCalls
from .run.realignment import Realignment
from .types import CATEGORY, RLG_ALIASES, Conditioning


def lambda_input() -> io.Input:
    return lambda_slider(1.5, -1, 5)(
        "How much of the aligned model's look the picture has (-1 to 5): 0 none, 1 all of it, between them a blend, "
        "1–3 more still, as RLG recommends. A connected λ schedule replaces it."
    )


class RealignGuider(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignGuider",
            display_name="Realign Guider",
            category=CATEGORY,
            description=(
                "Turns up or down how much of an aligned model's look your picture has, with every sampler that takes "
                "a GUIDER (SamplerCustomAdvanced), on diffusion and flow models (SD3.5, Flux …). Each step is "
                "reference + Σ λ (anchor − reference), with cfg inside each model (RLG)."
            ),
            search_aliases=[*RLG_ALIASES, "cfgguider"],
            inputs=[
                *pair_inputs(),
                *prompt_inputs(),
                cfg_input(),
                lambda_input(),
                anchor_cfg_input(),
                schedule_input(),
                mask_input(),
                *conditioning_inputs(),
                *fewer_calls_inputs(),
            ],
            outputs=[io.Guider.Output(display_name="guider", tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        anchor: Anchors,
        positive: Conditioning,
        negative: Conditioning,
        cfg: float,
        lambda_: float,
        anchor_cfg: float = -1.0,
        lambda_schedule: LambdaSchedule | Sweep | None = None,
        lambda_mask: torch.Tensor | None = None,
        anchor_positive: Conditioning | None = None,
        anchor_negative: Conditioning | None = None,
        fewer_calls: str = OFF,
        calls_per_step: float = 1.2,
    ) -> io.NodeOutput:
        check_rows(lambda_schedule)
        realignment = Realignment.of(
            anchor,
            lambda_,
            lambda_schedule,
            mask=lambda_mask,
            anchor_cfg=anchor_cfg,
            anchor_conds=(anchor_positive, anchor_negative),
            fewer_calls=FewerCalls(fewer_calls, calls_per_step),
        )
        guider = comfy.samplers.CFGGuider(attach(model, realignment, Progress.of))
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)
        return io.NodeOutput(guider)


class RealignModel(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignModel",
            display_name="Realign MODEL",
            category=CATEGORY,
            description=(
                "Turns up or down how much of an aligned model's look there is in the pictures of every sampler behind "
                "it: KSampler, detailers, upscalers. A patch on the MODEL: each step is reference + Σ λ (anchor − "
                "reference) (RLG)."
            ),
            search_aliases=[*RLG_ALIASES, "model patch", "for ksampler"],
            inputs=[
                *pair_inputs(),
                lambda_input(),
                anchor_cfg_input(),
                schedule_input(),
                mask_input(),
                *fewer_calls_inputs(),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The realigned model, for any sampler.")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        anchor: Anchors,
        lambda_: float,
        anchor_cfg: float = -1.0,
        lambda_schedule: LambdaSchedule | Sweep | None = None,
        lambda_mask: torch.Tensor | None = None,
        fewer_calls: str = OFF,
        calls_per_step: float = 1.2,
    ) -> io.NodeOutput:
        check_rows(lambda_schedule)
        realignment = Realignment.of(
            anchor,
            lambda_,
            lambda_schedule,
            mask=lambda_mask,
            anchor_cfg=anchor_cfg,
            fewer_calls=FewerCalls(fewer_calls, calls_per_step),
        )
        return io.NodeOutput(attach(model, realignment, Progress.of))


def check_rows(connected: LambdaSchedule | Sweep | None) -> None:
    """Raise ValueError for a sweep over η, which no sampler of the host has."""
    if isinstance(connected, Sweep) and connected.etas:
        raise ValueError("Only Realign Sampler has an η to sweep: use it, or set the sweep's rows to “seed” or “cfg”.")


NODES = [RealignGuider, RealignModel]
