"""RealignBestOf: the best pictures of a batch by a reward, and their latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from comfy_api.latest import io

from .checked import Node
from .inputs import number, prompt_input
from .models.latents import streams, taken
from .page import SHOWS, said
from .pictures.labels import number as digits
from .reward.protocol import Reward, scores
from .types import CATEGORY, REWARD_ALIASES, RewardType


class RealignBestOf(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignBestOf",
            display_name="Best Of",
            category=CATEGORY,
            description=(
                "Keeps the best pictures of a batch by a reward, the best first, and the latents they were decoded "
                "from. Best-of-N: the plainest way to more of a reward, and the one that others must beat."
            ),
            search_aliases=[*REWARD_ALIASES, "select best", "pick", "filter", "top k", "sort"],
            inputs=[
                RewardType.Input("reward", tooltip="What is good, from a reward node."),
                io.Image.Input("images", tooltip="The pictures to choose from, as one batch."),
                number("count", 1, 1, 4096)("How many to keep (1–4096); of fewer pictures all are kept, in order."),
                io.Latent.Input(
                    "latent", optional=True, tooltip="The latents of these pictures: the same ones of it are kept."
                ),
                prompt_input(),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The best pictures, the best first."),
                io.Latent.Output(
                    display_name="latent", tooltip="Their latents, in the same order; nothing where none came in."
                ),
                io.Int.Output(
                    display_name="indices",
                    is_output_list=True,
                    tooltip="Their places in the batch that came in, counted from 0, as Get Image from Batch counts.",
                ),
                io.Float.Output(display_name="scores", is_output_list=True, tooltip="Their scores, in the same order."),
            ],
            hidden=[io.Hidden.unique_id],
            **SHOWS,
        )

    @classmethod
    def execute(
        cls,
        reward: Reward,
        images: torch.Tensor,
        count: int,
        latent: Mapping[str, Any] | None = None,
        prompt: str = "",
    ) -> io.NodeOutput:
        check_batches(images, latent)
        values = scores(reward, images, prompt)
        index = values.argsort(descending=True, stable=True)[:count].tolist()
        kept = [float(values[i]) for i in index]
        told = [f"picture {i + 1}: {digits(value)}" for i, value in zip(index, kept)]
        told += [f"all {len(images)} pictures: there are no more"] if count > len(images) else []
        outputs = (images[index], taken(latent, index) if latent else None, index, kept)
        return io.NodeOutput(*outputs, ui=said(cls, [reward.name, *told]))


def check_batches(images: torch.Tensor, latent: Mapping[str, Any] | None) -> None:
    """Raises ValueError where pictures and latents cannot be the same ones."""
    parts = streams(latent["samples"]) if latent else []
    wrong = next((len(part) for part in parts if len(part) != len(images)), None)
    if wrong is not None:
        raise ValueError(
            f"“images” are {len(images)} and “latent” holds {wrong}: connect the latents that these pictures were "
            "decoded from, or none. Frames of a video cannot be chosen by their latent."
        )


NODES = [RealignBestOf]
