"""Nodes that make an anchor of any MODEL, add anchors up, and give one a λ of its own."""

from __future__ import annotations

from dataclasses import replace

import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..realign_core import LambdaSchedule, Sweep
from .checked import Node
from .inputs import beta_input, choice, number, schedule_input
from .models.anchor import NO_BETA, Anchor, Anchors, check_mask, typed_beta
from .types import ALIASES, CATEGORY, AnchorType


class RealignAnchorFromModel(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignAnchorFromModel",
            display_name="Anchor from MODEL",
            category=CATEGORY,
            description=(
                "Brings the look of any MODEL into your pictures, as much as the λ slider says: one from a GGUF "
                "loader, a merge, LoRA loaders or another pack. It becomes the anchor, as a file does in Load Anchor "
                "Model."
            ),
            search_aliases=[*ALIASES, "anchor"],
            inputs=[
                io.Model.Input("model", tooltip="The aligned model. It must have the reference model's architecture."),
                choice("beta_source", [NO_BETA, "typed"])(
                    "Whether β is known. Without it λ is only called “strength”."
                ),
                beta_input(),
            ],
            outputs=[AnchorType.Output(display_name="anchor", tooltip="The anchor, for the sampler, guider or MODEL.")],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, beta_source: str, beta: float) -> io.NodeOutput:
        return io.NodeOutput((Anchor(model, "anchor from MODEL", typed_beta(beta_source, beta)),))


class RealignAddAnchor(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignAddAnchor",
            display_name="Add Anchor",
            category=CATEGORY,
            description=(
                "Brings the looks of several aligned models into one picture, each by its share of λ. They are anchors "
                "of one reference, trained for different rewards: p_ref^(1 − Σ λ·share) · Π p_anchor^(λ·share)."
            ),
            search_aliases=[*ALIASES, "multi reward", "anchor"],
            inputs=[
                AnchorType.Input("anchor", tooltip="An anchor, or several already added up."),
                AnchorType.Input("add", tooltip="The anchor to add."),
                number("anchor_share", 0.5, -4, 4, 0.01)(
                    "The first input's part of the sampler's λ (-4 to 4); its own shares are multiplied."
                ),
                number("add_share", 0.5, -4, 4, 0.01)(
                    "The part of the sampler's λ that the added anchor gets (-4 to 4)."
                ),
            ],
            outputs=[
                AnchorType.Output(display_name="anchor", tooltip="All of them, for the sampler, guider or MODEL.")
            ],
        )

    @classmethod
    def execute(cls, anchor: Anchors, add: Anchors, anchor_share: float, add_share: float) -> io.NodeOutput:
        shares = ((anchor, anchor_share), (add, add_share))
        return io.NodeOutput(tuple(replace(one, share=one.share * share) for part, share in shares for one in part))


class RealignAnchorLambda(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignAnchorLambda",
            display_name="Anchor λ",
            category=CATEGORY,
            description=(
                "Says when, and where in the picture, an aligned model's look comes in: by a λ of its own over the "
                "steps, a mask over the picture, or both. For one of several anchors, or for one alone."
            ),
            search_aliases=[*ALIASES, "lambda mask", "regional", "multi reward", "anchor schedule"],
            inputs=[
                AnchorType.Input("anchor", tooltip="An anchor; of several added up, each gets it."),
                schedule_input(
                    "This anchor's λ over the steps, in place of the sampler's. Its share still multiplies it."
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where this anchor's λ acts: multiplies it, pixel by pixel (1: fully, 0: not at all).",
                ),
            ],
            outputs=[AnchorType.Output(display_name="anchor", tooltip="The anchor with its own λ.")],
        )

    @classmethod
    def execute(
        cls, anchor: Anchors, lambda_schedule: LambdaSchedule | Sweep | None = None, mask: torch.Tensor | None = None
    ) -> io.NodeOutput:
        if isinstance(lambda_schedule, Sweep):
            raise ValueError(
                "A λ sweep belongs to the sampler: connect it to its λ schedule, and a λ Schedule here. The sweep then "
                "goes over the anchors that have no schedule of their own."
            )
        own = {"schedule": lambda_schedule, "mask": check_mask(mask)}
        changes = {name: value for name, value in own.items() if value is not None}
        return io.NodeOutput(tuple(replace(one, **changes) for one in anchor))


NODES = [RealignAnchorFromModel, RealignAddAnchor, RealignAnchorLambda]
