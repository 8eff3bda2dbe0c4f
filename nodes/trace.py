"""RealignTrace: what a run with Realign Guider or Realign MODEL did."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from .checked import Node
from .run.attach import Attached
from .types import CATEGORY, RLG_ALIASES


class RealignTrace(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignTrace",
            display_name="Realign Trace",
            category=CATEGORY,
            description=(
                "Tells what a run did to its pictures: λ, how far they were drawn from the base model's, and the model "
                "calls of every step. For Realign Guider and Realign MODEL: put it behind the sampler, and connect λ "
                "Grid, λ Compare or λ Report. Realign Sampler has it as an output."
            ),
            search_aliases=[*RLG_ALIASES, "report", "kl meter"],
            inputs=[
                io.Latent.Input("latent", tooltip="The sampler's output; it is passed on as it is."),
                io.Guider.Input("guider", optional=True, tooltip="The Realign Guider that the sampler used."),
                io.Model.Input("model", optional=True, tooltip="Or the Realign MODEL that the sampler used."),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The latent, unchanged."),
                io.String.Output(display_name="trace", tooltip="JSON: λ, σ, KL spent and model calls of every step."),
            ],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any], guider: Any = None, model: ModelPatcher | None = None) -> io.NodeOutput:
        patcher = guider.model_patcher if guider is not None else model
        attached = Attached.behind(patcher) if patcher is not None else None
        if attached is None:
            raise ValueError("Connect the Realign Guider or the Realign MODEL that the sampler used.")
        return io.NodeOutput(latent, attached.trace(latent["samples"]).to_json())


NODES = [RealignTrace]
