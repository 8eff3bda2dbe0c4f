"""RealignPrompts: several prompts, each a row of a λ sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io

import nodes as host

from .checked import Node
from .run.prompts import MOST_PROMPTS, Prompts
from .types import ALIASES, CATEGORY, Conditioning, PromptsType

DIVIDER = "---"


class RealignPrompts(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignPrompts",
            display_name="λ Prompts",
            category=CATEGORY,
            description=(
                "A row of pictures for each of your prompts, so that you see what λ does to all of them. Write one "
                "prompt per line, or connect conditionings, and connect this to λ Sweep's “prompts”."
            ),
            search_aliases=[*ALIASES, "realign prompts", "several prompts", "prompt list", "xy plot prompts", "rows"],
            is_input_list=True,
            inputs=[
                io.String.Input(
                    "text",
                    default="",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip=(
                        f"One prompt per line (at most {MOST_PROMPTS}). For prompts of several lines put a line with "
                        f"{DIVIDER} between them. Needs the clip."
                    ),
                ),
                io.Clip.Input("clip", optional=True, tooltip="What reads the text, as for CLIP Text Encode."),
                io.Conditioning.Input(
                    "conditionings",
                    optional=True,
                    tooltip="Prompts that are encoded already: one, or a list of them. Their rows follow the text's.",
                ),
            ],
            outputs=[PromptsType.Output(display_name="prompts", tooltip="For λ Sweep's “prompts”.")],
        )

    @classmethod
    def execute(
        cls,
        text: Sequence[str],
        clip: Sequence[Any] = (),
        conditionings: Sequence[Conditioning] = (),
    ) -> io.NodeOutput:
        """Each input comes as a list, as the host gives them to a node that takes lists."""
        texts = [prompt for one in text for prompt in prompts_in(one)]
        if not texts and not conditionings:
            raise ValueError("λ Prompts has no prompt: write one per line, or connect conditionings.")
        if len(texts) + len(conditionings) > MOST_PROMPTS:
            raise ValueError(
                f"λ Prompts holds {len(texts) + len(conditionings):,} prompts, but a sweep takes at most "
                f"{MOST_PROMPTS}: use fewer, or put a line with {DIVIDER} between prompts of several lines."
            )
        if texts and not clip:
            raise ValueError("λ Prompts holds text, which a CLIP must read: connect the “clip” of your checkpoint.")
        if len(clip) > 1:
            raise ValueError(f"λ Prompts got {len(clip)} CLIPs as a list, but reads its text with one: connect one.")
        encoder = host.CLIPTextEncode()
        encoded = [encoder.encode(clip[0], prompt)[0] for prompt in texts]
        unknown = [""] * len(conditionings)
        return io.NodeOutput(Prompts((*texts, *unknown), (*encoded, *conditionings)))


def prompts_in(text: str) -> list[str]:
    """A prompt per line; where a line is `---`, what is between such lines. Empty ones are left out."""
    lines = text.splitlines()
    if not any(line.strip() == DIVIDER for line in lines):
        parts = lines
    else:
        joined = "\n".join("\0" if line.strip() == DIVIDER else line for line in lines)
        parts = joined.split("\0")
    return [part.strip() for part in parts if part.strip()]


NODES = [RealignPrompts]
