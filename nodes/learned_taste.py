"""RealignLearnedTaste: somebody's own taste, learned from what they pick, as a reward."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from comfy_api.latest import io

from ..realign_core import KERNELS, Preference
from .checked import Node
from .inputs import ADVANCED, choice, number, text
from .load_reward import crop_input
from .page import SHOWS, said
from .reward.features import ColoursAndShapes, Encoded, Features
from .reward.learned import Learned
from .reward.picks import Picked, parse_picks
from .reward.session import Session, changed, picked_so_far
from .reward.vision import CENTRE
from .types import CATEGORY, REWARD_ALIASES, PreferenceType, RewardType

MEAN, UCB = "what is known (mean)", "try new things too (UCB)"


class RealignLearnedTaste(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignLearnedTaste",
            display_name="Learned Taste",
            category=CATEGORY,
            description=(
                "Learns what you like from the pictures that you star on Pick, and draws the next ones towards it. No "
                "network is trained and nothing leaves your machine: a few stars a round are enough to begin with."
            ),
            search_aliases=[
                *REWARD_ALIASES,
                "taste",
                "learn",
                "pick",
                "bayesian",
                "gaussian process",
                "human feedback",
            ],
            inputs=[
                text("name", "my taste")(
                    "Under this name your stars are kept, in ComfyUI's user folder (realign/preferences): the same "
                    "name goes on tomorrow, in any workflow; another one starts anew."
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip=(
                        "From Load CLIP Vision: then it learns what is in the picture, too. Left open: taste in "
                        "colour, light and composition alone, with no model."
                    ),
                ),
                choice("judge", [MEAN, UCB], MEAN, optional=True)(
                    "What the next round is drawn towards: what you are known to like, or also what it is unsure of, "
                    "so that you see new things."
                ),
                number("boldness", 1.0, 0, 10, 0.1, **ADVANCED)(
                    "How much being unsure counts with “try new things too” (0–10), in standard deviations."
                ),
                choice("kernel", list(reversed(KERNELS)), "rbf", **ADVANCED)(
                    "rbf: a taste may have a favourite, of which more is too much. linear: more is always better "
                    "(Bayesian linear regression)."
                ),
                crop_input(),
                text("picks", "", optional=True, extra_dict={"hidden": True})(
                    "The stars, as the page sends them with each run: JSON, by run."
                ),
            ],
            outputs=[
                RewardType.Output(
                    display_name="reward", tooltip="How well a picture would be liked, 0 to 10: for Realign Particles."
                ),
                PreferenceType.Output(display_name="preference", tooltip="For Pick, where you star what you like."),
            ],
            hidden=[io.Hidden.unique_id],
            **SHOWS,
        )

    @classmethod
    def fingerprint_inputs(cls, name: Any = None, picks: Any = "", **others: Any) -> str:
        """What was picked so far, which the host compares before each run: stars of another workflow count, too."""
        try:
            told = picked_so_far(name, parse_picks(picks))
        except (ValueError, TypeError, AttributeError):  # linked, or wrong: `execute` says so
            return ""
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    @classmethod
    def execute(
        cls,
        name: str,
        clip_vision: Any | None = None,
        judge: str = MEAN,
        boldness: float = 1.0,
        kernel: str = "rbf",
        crop: str = CENTRE,
        picks: str = "",
    ) -> io.NodeOutput:
        features: Features = ColoursAndShapes() if clip_vision is None else Encoded.by(clip_vision, crop)
        told = parse_picks(picks)
        session = changed(name, features.name, lambda one: one.picked(told))
        with torch.inference_mode(False):  # autograd keeps no tensor that was made in it
            seen = session.picks
            learned = Preference.learn(seen, kernel) if len(seen.features) else None
        reward = Learned(session.name, features, learned, boldness if judge == UCB else 0.0)
        return io.NodeOutput(reward, reward, ui=said(cls, what_is_known(session, told)))


def what_is_known(session: Session, told: Mapping[str, Picked]) -> list[str]:
    """What is known, in a line or two."""
    rounds = [one for one in session.rounds if one.picked]
    starred = sum(len(one.picked) for one in rounds)
    known = {one.run for one in session.rounds}
    elsewhere = sum(1 for run, one in told.items() if one.picked and run not in known)
    seen = sum(len(one.features) for one in rounds)
    if rounds:
        lines = [f"{starred} of {seen} pictures starred as “{session.name}” (rounds: {len(rounds)})"]
    else:
        lines = [f"nothing is starred as “{session.name}” yet: all pictures count the same"]
    if elsewhere:
        lines.append(f"stars of pictures that were not seen under this name do not count (rounds: {elsewhere})")
    return lines


NODES = [RealignLearnedTaste]
