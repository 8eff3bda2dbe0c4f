"""RealignLikeness: likeness to a picture, as a reward."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from .checked import Node
from .load_reward import crop_input
from .reward.likeness import Likeness
from .reward.vision import CENTRE
from .types import CATEGORY, REWARD_ALIASES, RewardType


class RealignLikeness(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignLikeness",
            display_name="Likeness Reward",
            category=CATEGORY,
            description=(
                "Says how much a picture is like another in content and style, as a CLIP vision model sees both. A "
                "reward; 100 is the same."
            ),
            search_aliases=[*REWARD_ALIASES, "likeness", "similarity", "clip image score", "reference image"],
            inputs=[
                io.ClipVision.Input("clip_vision", tooltip="The image encoder, from Load CLIP Vision."),
                io.Image.Input("image", tooltip="The picture to be like. Of several: the mean likeness to each."),
                crop_input(),
            ],
            outputs=[RewardType.Output(display_name="reward", tooltip="The reward: 100 × cosine, higher is better.")],
        )

    @classmethod
    def execute(cls, clip_vision: Any, image: torch.Tensor, crop: str = CENTRE) -> io.NodeOutput:
        return io.NodeOutput(Likeness(clip_vision, image, crop))


NODES = [RealignLikeness]
