"""The socket types and search aliases that the nodes share."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

AnchorType = io.Custom("REALIGN_ANCHOR")
LambdaType = io.Custom("REALIGN_LAMBDA")
PromptsType = io.Custom("REALIGN_PROMPTS")
RewardType = io.Custom("REALIGN_REWARD")
PreferenceType = io.Custom("REALIGN_PREFERENCE")
Conditioning = list[list[Any]]  # the value of CONDITIONING: [tensor, options] pairs

CATEGORY = "realign"

# What one types to find the nodes. Of nodes found by an alias the page lists those first whose alias is the very word,
# or begins with it: so the words alone are for the two nodes that one needs first, and all others have them in phrases.
WORDS = ["deradiff", "rlg", "alignment", "preference", "dpo", "kl"]
FIRST_ALIASES = ["realign", "lambda", *WORDS]
FIRST_ALIASES += ["对齐", "偏好", "アライメント", "選好"]  # alignment, preference: the page does not translate aliases
ALIASES = ["realign", "lambda", *(f"realign {word}" for word in WORDS)]
RLG_ALIASES = [*ALIASES, "for rlg", "reinforcement learning guidance", "for flow-grpo"]
REWARD_ALIASES = [*ALIASES, "realign reward", "best of n", "realign score", "quality"]
