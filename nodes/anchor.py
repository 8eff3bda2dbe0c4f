"""REALIGN_ANCHOR: an aligned model, what is known of its β, and the nodes that make one of a MODEL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..realign_core import LambdaSchedule, Sweep
from .adapters import AdapterCache
from .model_pair import with_own_weights
from .types import ALIASES, CATEGORY, AnchorType, LambdaType

NO_BETA = "unknown / no KL term"
BETA_TOOLTIP = (
    "The KL strength β the anchor was trained with (range 0 and up; Diffusion-DPO uses 2000–5000, Flow-GRPO about "
    "0.04). It does not change the picture: it lets labels say which β a λ stands for (β/λ)."
)


@dataclass(frozen=True, eq=False)
class Anchor:
    """An aligned model. beta: the KL strength it was trained with; None: unknown, or trained without a KL term.

    share: this anchor's part of λ. schedule: its own λ over the steps, in place of the sampler's. mask: where its λ
    acts, (B, H, W). others: further anchors, for several rewards at once.
    """

    patcher: ModelPatcher
    name: str
    beta: float | None = None
    share: float = 1.0
    schedule: LambdaSchedule | None = None
    mask: torch.Tensor | None = None
    others: tuple[Anchor, ...] = ()
    # Both are made once and kept as long as the host keeps this anchor in its cache: a weight copy, and row adapters.
    _own: list[ModelPatcher] = field(default_factory=list, repr=False)
    adapters: AdapterCache = field(default_factory=AdapterCache, repr=False)

    def all(self) -> list[Anchor]:
        """This anchor and those added to it, in order."""
        return [self, *self.others]

    def beside(self, others: Sequence[ModelPatcher]) -> ModelPatcher:
        """The patcher to load beside `others`: on weights of its own where it would share theirs (the LoRA trap)."""
        if not any(self.patcher.is_clone(other) for other in others):
            return self.patcher
        if not self._own:
            self._own.append(with_own_weights(self.patcher))
        return self._own[0]


class RealignAnchorFromModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignAnchorFromModel",
            display_name="Anchor from MODEL",
            category=CATEGORY,
            description="Uses any MODEL as the anchor: from a GGUF loader, a merge, LoRA loaders or another pack.",
            search_aliases=[*ALIASES, "anchor"],
            inputs=[
                io.Model.Input("model", tooltip="The aligned model. It must have the reference model's architecture."),
                io.Combo.Input(
                    "beta_source",
                    options=[NO_BETA, "typed"],
                    tooltip="Whether β is known. Without it λ is only called “strength”.",
                ),
                io.Float.Input("beta", default=5000.0, min=0.0, max=1e9, step=0.01, tooltip=BETA_TOOLTIP),
            ],
            outputs=[AnchorType.Output(display_name="anchor", tooltip="The anchor, for the sampler, guider or MODEL.")],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, beta_source: str, beta: float) -> io.NodeOutput:
        return io.NodeOutput(Anchor(model, "anchor from MODEL", typed_beta(beta_source, beta)))


class RealignAddAnchor(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignAddAnchor",
            display_name="Add Anchor",
            category=CATEGORY,
            description=(
                "Mixes several anchors of one reference, trained for different rewards: "
                "p_ref^(1 − Σ λ·share) · Π p_anchor^(λ·share)."
            ),
            search_aliases=[*ALIASES, "multi reward", "anchor"],
            inputs=[
                AnchorType.Input("anchor", tooltip="An anchor, or several already added up."),
                AnchorType.Input("add", tooltip="The anchor to add."),
                io.Float.Input(
                    "anchor_share",
                    default=0.5,
                    min=-4.0,
                    max=4.0,
                    step=0.01,
                    tooltip="The first input's part of the sampler's λ (-4 to 4); its own shares are multiplied.",
                ),
                io.Float.Input(
                    "add_share",
                    default=0.5,
                    min=-4.0,
                    max=4.0,
                    step=0.01,
                    tooltip="The part of the sampler's λ that the added anchor gets (-4 to 4).",
                ),
            ],
            outputs=[
                AnchorType.Output(display_name="anchor", tooltip="All of them, for the sampler, guider or MODEL.")
            ],
        )

    @classmethod
    def execute(cls, anchor: Anchor, add: Anchor, anchor_share: float, add_share: float) -> io.NodeOutput:
        parts = [replace(a, share=a.share * anchor_share, others=()) for a in anchor.all()]
        parts += [replace(a, share=a.share * add_share, others=()) for a in add.all()]
        return io.NodeOutput(replace(parts[0], others=tuple(parts[1:])))


class RealignAnchorLambda(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignAnchorLambda",
            display_name="Anchor λ",
            category=CATEGORY,
            description="Gives an anchor a λ of its own: a schedule over the steps, a mask over the picture, or both.",
            search_aliases=[*ALIASES, "lambda mask", "regional", "multi reward", "anchor schedule"],
            inputs=[
                AnchorType.Input("anchor", tooltip="An anchor; of several added up, each gets it."),
                LambdaType.Input(
                    "lambda_schedule",
                    optional=True,
                    tooltip="This anchor's λ over the steps, in place of the sampler's. Its share still multiplies it.",
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
        cls, anchor: Anchor, lambda_schedule: LambdaSchedule | Sweep | None = None, mask: torch.Tensor | None = None
    ) -> io.NodeOutput:
        if isinstance(lambda_schedule, Sweep):
            raise ValueError(
                "A λ sweep belongs to the sampler: connect it to its λ schedule, and a λ Schedule here. The sweep then "
                "goes over the anchors that have no schedule of their own."
            )
        own = {"schedule": lambda_schedule, "mask": check_mask(mask)}
        changes = {name: value for name, value in own.items() if value is not None}
        parts = [replace(one, others=(), **changes) for one in anchor.all()]
        return io.NodeOutput(replace(parts[0], others=tuple(parts[1:])))


def check_mask(mask: torch.Tensor | None) -> torch.Tensor | None:
    """The mask. Raises ValueError for one with NaN or infinity."""
    if mask is not None and not bool(torch.isfinite(mask).all()):
        raise ValueError("The λ mask holds values that are not finite numbers (NaN or infinity).")
    return mask


def typed_beta(source: str, beta: float) -> float | None:
    """β as chosen on a node, or None for “unknown / no KL term”. Raises ValueError for a typed β that is no β."""
    if source == NO_BETA:
        return None
    if not beta > 0:
        raise ValueError(f"β must be above 0, but is {beta:g}. Type the β of the training, or choose “{NO_BETA}”.")
    return float(beta)
