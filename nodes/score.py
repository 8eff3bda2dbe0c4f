"""RealignScore: what a reward gives for pictures, as text, as numbers, and under each picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from comfy_api.latest import io, ui

from .checked import Node
from .inputs import number, prompt_input
from .pictures.labels import number as digits
from .pictures.sheet import LARGEST, SMALLEST, sheets
from .pictures.tables import Table
from .reward.combined import scored
from .reward.protocol import Reward
from .types import CATEGORY, REWARD_ALIASES, RewardType

IN_ONE_ROW = 6  # pictures, at the most


class RealignScore(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignScore",
            display_name="Score",
            category=CATEGORY,
            description=(
                "Says how good pictures are by a reward: a number under each, best and mean, and what each reward of a "
                "combined one says."
            ),
            search_aliases=[*REWARD_ALIASES, "score pictures", "rate", "rank", "evaluate"],
            inputs=[
                RewardType.Input("reward", tooltip="What is good, from a reward node."),
                io.Image.Input("images", tooltip="The pictures, as one batch."),
                prompt_input(),
                number("cell_size", 0, 0, 4096, optional=True)(
                    f"Longer side of a picture in the labelled sheet, in px (1–4096). 0: as the pictures are, but at "
                    f"least {SMALLEST}. The sheet is at most {LARGEST} px wide and high."
                ),
            ],
            outputs=[
                io.String.Output(display_name="text", tooltip="A line per picture, then best and mean."),
                io.Float.Output(
                    display_name="scores", is_output_list=True, tooltip="A number per picture, in the batch's order."
                ),
                io.Image.Output(display_name="sheet", tooltip="The pictures with their scores, one picture."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, reward: Reward, images: torch.Tensor, prompt: str = "", cell_size: int = 0) -> io.NodeOutput:
        total, parts = scored(reward, images, prompt)
        values = total.tolist()
        columns = [(name, part.tolist()) for name, part in parts]
        lines = [said_of(value, [(name, part[i]) for name, part in columns]) for i, value in enumerate(values)]
        best = max(range(len(values)), key=values.__getitem__)
        told = [f"{i + 1}: {' · '.join(line)}" for i, line in enumerate(lines)]
        summary = f"best: picture {best + 1} ({digits(values[best])}) · mean {digits(sum(values) / len(values))}"
        text = "\n".join([reward.name, *told, summary])
        grid, labelled = sheets(images, sheet_of(reward.name, summary, lines), lines, cell_size)
        shown = labelled if len(values) == 1 else grid
        preview = ui.PreviewImage(shown, cls=cls).as_dict()
        return io.NodeOutput(text, values, shown, ui=preview | {"text": [text]})


def said_of(value: float, parts: Sequence[tuple[str, float]]) -> list[str]:
    """What stands under a picture: its score, and below that the parts of a combined reward."""
    return [digits(value), *(f"{name} {digits(part)}" for name, part in parts)]


def sheet_of(name: str, summary: str, lines: Sequence[Sequence[str]]) -> Table:
    count = len(lines)
    columns = count if count < IN_ONE_ROW else math.ceil(math.sqrt(count))
    return Table(columns, name, summary, heads=[], sides=[], below=lines, notes=[])


NODES = [RealignScore]
