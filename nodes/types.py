"""The socket types that the nodes share."""

from __future__ import annotations

from comfy_api.latest import io

AnchorType = io.Custom("REALIGN_ANCHOR")
LambdaType = io.Custom("REALIGN_LAMBDA")

CATEGORY = "realign"
ALIASES = ["deradiff", "rlg", "realign", "alignment", "dpo", "kl", "lambda"]  # what one types to find any of the nodes
