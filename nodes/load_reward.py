"""RealignRewardModel: a reward that a network knows, from a file."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io

from .checked import Node
from .inputs import ADVANCED, choice
from .page import SHOWS, said
from .reward.clip import TextReward
from .reward.files import find_file, list_files, load_reward, register
from .reward.vision import CENTRE, CROPS
from .types import CATEGORY, REWARD_ALIASES, RewardType

register()


class RealignRewardModel(Node):
    says_itself = ("reward_name",)  # `find_file` says where the file should be, and where it can be had

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignRewardModel",
            display_name="Load Reward Model",
            category=CATEGORY,
            description=(
                "Judges pictures as people have judged others: how well they fit a prompt and please (PickScore, HPS "
                "v2, any CLIP), or how handsome they are (LAION's aesthetic score). A reward; which it is, the file "
                "says."
            ),
            search_aliases=[*REWARD_ALIASES, "pickscore", "hps", "clip score", "aesthetic", "reward model"],
            inputs=[
                choice("reward_name", list_files())(
                    "The reward's file, from the reward_models, clip_vision and text_encoders folders: a CLIP with "
                    "both its towers, or an aesthetic head."
                ),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip=(
                        "What the picture should show, in plain words: weights like (this:1.2) are read as they stand. "
                        "Left empty: the prompt of the node that asks the reward. Without effect on an aesthetic head."
                    ),
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="For an aesthetic head: CLIP ViT-L/14, from Load CLIP Vision. Without effect on others.",
                ),
                crop_input(),
            ],
            outputs=[RewardType.Output(display_name="reward", tooltip="The reward: higher is better.")],
            hidden=[io.Hidden.unique_id],
            **SHOWS,
        )

    @classmethod
    def validate_inputs(cls, reward_name: Any = None) -> bool | str:
        """The host then leaves it to this: its own sentence would only say that the value is not in the list."""
        try:
            return bool(find_file(reward_name)) if isinstance(reward_name, str) else True
        except ValueError as error:
            return str(error)

    @classmethod
    def execute(
        cls, reward_name: str, prompt: str = "", clip_vision: Any | None = None, crop: str = CENTRE
    ) -> io.NodeOutput:
        reward = load_reward(find_file(reward_name), prompt, crop, clip_vision)
        unused = []
        if isinstance(reward, TextReward):
            kind = "compares with the prompt" if prompt.strip() else "compares with the prompt of the node that asks"
            unused += ["clip_vision"] if clip_vision is not None else []
        else:
            kind = "aesthetic score"
            unused += ["prompt"] if prompt.strip() else []
        lines = [f"{reward.name}: {kind}", *(f"{name} has no effect here" for name in unused)]
        logging.info("Realign reward %s", "; ".join(lines))
        return io.NodeOutput(reward, ui=said(cls, lines))


def crop_input() -> io.Input:
    return choice("crop", CROPS, CENTRE, **ADVANCED)(
        "What the network sees of a picture that is not square: its middle (center, as published), or all of it "
        "squeezed (none)."
    )


NODES = [RealignRewardModel]
