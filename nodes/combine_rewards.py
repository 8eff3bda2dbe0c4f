"""RealignCombineRewards and RealignKeepAtLeast: rewards made of others."""

from __future__ import annotations

from comfy_api.latest import io

from .checked import Node
from .inputs import number
from .reward.combined import KeepAtLeast, WeightedSum
from .reward.protocol import Reward
from .types import CATEGORY, REWARD_ALIASES, RewardType

WEIGHT = 1000
LEAST = 1e6


class RealignCombineRewards(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignCombineRewards",
            display_name="Combine Rewards",
            category=CATEGORY,
            description=(
                "Asks for two things of a picture at once, each by a weight: the weighted sum of two rewards. One "
                "alone with a weight of -1 is its opposite. Chain it for more. Rewards have units of their own: look "
                "at them with Score first."
            ),
            search_aliases=[*REWARD_ALIASES, "weighted sum", "negate", "opposite", "several rewards"],
            inputs=[
                RewardType.Input("reward", tooltip="The first reward."),
                number("weight", 1.0, -WEIGHT, WEIGHT, 0.01)("Its weight (-1000 to 1000); -1: the opposite."),
                RewardType.Input("add", optional=True, tooltip="A second reward. Left open: the first alone."),
                number("add_weight", 1.0, -WEIGHT, WEIGHT, 0.01, optional=True)(
                    "The second reward's weight (-1000 to 1000)."
                ),
            ],
            outputs=[RewardType.Output(display_name="reward", tooltip="weight × reward + add_weight × add.")],
        )

    @classmethod
    def execute(
        cls, reward: Reward, weight: float, add: Reward | None = None, add_weight: float = 1.0
    ) -> io.NodeOutput:
        if add is None:
            return io.NodeOutput(WeightedSum((reward,), (weight,)))
        return io.NodeOutput(WeightedSum((reward, add), (weight, add_weight)))


class RealignKeepAtLeast(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignKeepAtLeast",
            display_name="Keep at Least",
            category=CATEGORY,
            description=(
                "Keeps one quality of a picture from falling while another is raised: a reward is held at a least "
                "value, and no more of it is wanted. 0 where it is reached, below it what is missing, as a negative "
                "number. Add it to the reward that you want more of."
            ),
            search_aliases=[*REWARD_ALIASES, "hinge", "constraint", "threshold", "at least", "minimum"],
            inputs=[
                RewardType.Input("reward", tooltip="The reward that must not fall below."),
                number("least", 0.0, -LEAST, LEAST, 0.01)(
                    "The least value, in the reward's own unit (-1000000 to 1000000); Score shows what pictures have."
                ),
            ],
            outputs=[RewardType.Output(display_name="reward", tooltip="min(reward − least, 0).")],
        )

    @classmethod
    def execute(cls, reward: Reward, least: float) -> io.NodeOutput:
        return io.NodeOutput(KeepAtLeast((reward,), least))


NODES = [RealignCombineRewards, RealignKeepAtLeast]
