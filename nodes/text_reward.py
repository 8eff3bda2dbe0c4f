"""RealignTextReward: can a text be read in the picture?"""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .checked import Node
from .reward.ocr import RAPIDOCR, TextInPicture, reader
from .types import CATEGORY, REWARD_ALIASES, RewardType


class RealignTextReward(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignTextReward",
            display_name="Text in the Picture",
            category=CATEGORY,
            description=(
                "Says how much of a text can be read in the picture: 1 is all of it, 0 nothing. A reward, as Flow-GRPO "
                "has it; it needs the package rapidocr, and says how to get it."
            ),
            search_aliases=[*REWARD_ALIASES, "ocr", "text rendering", "spelling", "typography", "rapidocr"],
            inputs=[
                io.String.Input(
                    "text",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip=(
                        "The words that should stand in the picture; spaces and capitals do not count. Left empty: "
                        "what is in quotation marks in the prompt of the node that asks the reward."
                    ),
                ),
            ],
            outputs=[RewardType.Output(display_name="reward", tooltip="The reward: 0 to 1, higher is better.")],
        )

    @classmethod
    def validate_inputs(cls, text: Any = None) -> bool | str:
        """Before anything runs."""
        try:
            RAPIDOCR.check()
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, text: str = "") -> io.NodeOutput:
        return io.NodeOutput(TextInPicture(text, reader()))


NODES = [RealignTextReward]
