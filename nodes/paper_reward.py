"""RealignPaperReward: a reward of a paper, through a package that a user may have."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io

from .checked import Node
from .inputs import ADVANCED, choice
from .page import SHOWS, said
from .reward.files import FOLDER, list_files, register
from .reward.papers import AUTO, IMSCORE, PAPERS, find_vocabulary, find_weights, load_paper
from .types import CATEGORY, REWARD_ALIASES, RewardType

register()


class RealignPaperReward(Node):
    says_itself = ("reward_name",)  # `find_weights` says where the file should be, and where it can be had

    @classmethod
    def define_schema(cls) -> io.Schema:
        files = [name for name in list_files() if name.startswith(f"{FOLDER}/")]
        return io.Schema(
            node_id="RealignPaperReward",
            display_name="Paper Reward",
            category=CATEGORY,
            description=(
                "Judges how well pictures show a prompt and please, by a network of a paper: HPS v2.1, ImageReward, "
                "CycleReward, MPS or VQAScore. A reward; it needs the package imscore, and says how to get it."
            ),
            search_aliases=[
                *REWARD_ALIASES,
                *("imagereward", "image reward", "hps v2.1", "hpsv2", "mps", "cyclereward", "vqascore", "imscore"),
            ],
            inputs=[
                choice("reward", list(PAPERS))(
                    "The paper's network. HPS v2.1: about 0.2–0.35; ImageReward: -2 to 2; CycleReward; MPS: overall "
                    "preference; VQAScore: 0–1, how likely the picture shows the prompt, by far the largest."
                ),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip=(
                        "What the picture should show, in plain words. Left empty: the prompt of the node that asks "
                        "the reward."
                    ),
                ),
                choice("reward_name", [AUTO, *files], AUTO, **ADVANCED)(
                    "The weights' file, from the reward_models folder. auto: model.safetensors in the folder of the "
                    "reward's name there, or what imscore has downloaded before."
                ),
            ],
            outputs=[RewardType.Output(display_name="reward", tooltip="The reward: higher is better.")],
            hidden=[io.Hidden.unique_id],
            **SHOWS,
        )

    @classmethod
    def validate_inputs(cls, reward: Any = None, reward_name: Any = AUTO) -> bool | str:
        """Before anything runs. The host then leaves these to it: its own sentence would only say “not in the list”."""
        if isinstance(reward, str) and reward not in PAPERS:
            return f"“reward” is “{reward}”, but must be one of {', '.join(PAPERS)}."
        try:
            IMSCORE.check()
            if isinstance(reward, str) and isinstance(reward_name, str):
                path = find_weights(reward, reward_name)
                if PAPERS[reward].vocabulary:
                    find_vocabulary(reward, path)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, reward: str, prompt: str = "", reward_name: str = AUTO) -> io.NodeOutput:
        loaded = load_paper(reward, reward_name, prompt)
        kind = "compares with the prompt" if prompt.strip() else "compares with the prompt of the node that asks"
        text = f"{loaded.name}: {kind}"
        logging.info("Realign reward %s", text)
        return io.NodeOutput(loaded, ui=said(cls, [text]))


NODES = [RealignPaperReward]
