"""RealignPictureReward: rewards that need the picture alone."""

from __future__ import annotations

from comfy_api.latest import io

from .checked import Node
from .inputs import ADVANCED, choice, number
from .reward.jpeg import QUALITY, JpegSize
from .reward.picture import PICTURE_REWARDS
from .types import CATEGORY, REWARD_ALIASES, RewardType

SMALL, LARGE = "JPEG compressibility", "JPEG incompressibility"


class RealignPictureReward(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignPictureReward",
            display_name="Picture Reward",
            category=CATEGORY,
            description=(
                "Says what makes a picture good, with no model: how colourful, sharp or bright it is, or how small or "
                "large as a JPEG file. A reward, for Realign Particles, Score, Best Of and all that takes one."
            ),
            search_aliases=[*REWARD_ALIASES, "colourfulness", "colorfulness", "sharpness", "brightness", "jpeg"],
            inputs=[
                choice("reward", [*PICTURE_REWARDS, SMALL, LARGE])(
                    "What is good. colourfulness: 0 grey, 33 moderate, 109 extreme; sharpness: soft below about 100; "
                    "brightness: 0–255; JPEG: the file's size in kB, small (as minus kB) or large. For the opposite "
                    "take Combine Rewards with a weight of -1."
                ),
                number("jpeg_quality", QUALITY, 1, 100, **ADVANCED)(
                    "Quality of the JPEG whose size counts (1–100; 95 as published). Without effect on the others."
                ),
            ],
            outputs=[RewardType.Output(display_name="reward", tooltip="The reward: higher is better.")],
        )

    @classmethod
    def execute(cls, reward: str, jpeg_quality: int = QUALITY) -> io.NodeOutput:
        if reward in PICTURE_REWARDS:
            return io.NodeOutput(PICTURE_REWARDS[reward])
        return io.NodeOutput(JpegSize(-1 if reward == SMALL else 1, jpeg_quality))


NODES = [RealignPictureReward]
