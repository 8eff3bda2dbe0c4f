"""RealignRewardReport: what several rewards say of the same pictures, in tables, plots and a sheet with the front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from comfy_api.latest import io, ui

from ..realign_core import LambdaSchedule, Sweep
from .checked import Node
from .inputs import ADVANCED, choice, number, prompt_input
from .pictures.facts import Facts, facts
from .pictures.labels import caption, score_parts
from .pictures.labels import number as digits
from .pictures.reported import Reported
from .pictures.reward_panels import reward_plots
from .pictures.reward_words import as_markdown
from .pictures.sheet import LARGEST, SMALLEST, sheets
from .pictures.tables import Table, table_of
from .pictures.traced import parse_trace
from .reward.protocol import Reward, scores
from .types import CATEGORY, REWARD_ALIASES, LambdaType, RewardType

MOST = 6  # rewards
ALL, OPTIMISED = "all rewards", "optimised rewards"


class RealignRewardReport(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignRewardReport",
            display_name="Reward Report",
            category=CATEGORY,
            description=(
                "Says what up to six rewards give the same pictures: what the pictures were made for, beside what was "
                "only watched, so that you see what is won and what is lost. Mean, spread and best, whether the "
                "rewards agree, how they go with λ, and the front: the pictures that no other beats in all of them."
            ),
            search_aliases=[
                *REWARD_ALIASES,
                *("pareto front", "several rewards", "multi-objective", "held out", "rank correlation", "statistics"),
            ],
            inputs=[
                io.Image.Input("images", tooltip="The decoded pictures, as one batch."),
                RewardType.Input("reward", tooltip="The first reward: what the pictures were made for."),
                *(
                    RewardType.Input(f"reward_{place}", optional=True, tooltip="One more reward.")
                    for place in range(2, MOST + 1)
                ),
                number("optimised", 1, 0, MOST, optional=True)(
                    f"How many of these rewards, from the first on, the pictures were made for (0–{MOST}); the others "
                    "are held out."
                ),
                LambdaType.Input(
                    "sweep", optional=True, tooltip="The λ sweep of that run: a row of numbers for each λ."
                ),
                io.String.Input(
                    "trace",
                    optional=True,
                    force_input=True,
                    tooltip="Of the node that sampled: λ of each picture, without a sweep too.",
                ),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="Pictures made without all this, to compare with: as many as you like, of any size.",
                ),
                prompt_input(
                    "What the pictures should show, for rewards that compare with a text and have none of their own: "
                    "of “reference”, and of rows that have no text from λ Prompts."
                ),
                choice("front_of", [ALL, OPTIMISED], ALL, **ADVANCED)(
                    "Which rewards the front is of: all that are connected, or only the optimised ones."
                ),
                number("cell_size", 0, 0, 4096, **ADVANCED)(
                    f"Longer side of a picture in the sheet, in px (1–4096). 0: as the pictures are, but at least "
                    f"{SMALLEST}. The sheet is at most {LARGEST} px wide and high."
                ),
            ],
            outputs=[
                io.String.Output(display_name="table", tooltip="What was found, as Markdown: for Preview as Text."),
                io.Image.Output(
                    display_name="plot", tooltip="Each reward over λ, or one against another, with the front."
                ),
                io.Image.Output(
                    display_name="sheet", tooltip="The pictures with what each reward gives, the front framed."
                ),
                io.Int.Output(
                    display_name="front",
                    is_output_list=True,
                    tooltip="The pictures that no other beats, by their places from 0, as Get Image from Batch counts.",
                ),
                io.String.Output(
                    display_name="report", tooltip="All numbers as JSON: for λ Compare, a study or a script."
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        images: torch.Tensor,
        reward: Reward,
        reward_2: Reward | None = None,
        reward_3: Reward | None = None,
        reward_4: Reward | None = None,
        reward_5: Reward | None = None,
        reward_6: Reward | None = None,
        optimised: int = 1,
        sweep: Sweep | LambdaSchedule | None = None,
        trace: str | None = None,
        reference: torch.Tensor | None = None,
        prompt: str = "",
        front_of: str = ALL,
        cell_size: int = 0,
    ) -> io.NodeOutput:
        given = [one for one in (reward, reward_2, reward_3, reward_4, reward_5, reward_6) if one is not None]
        check_optimised(len(given), optimised, front_of)
        hidden = getattr(cls, "hidden", None)
        graph, node_id = getattr(hidden, "prompt", None), getattr(hidden, "unique_id", None)
        known = facts(len(images), sweep, parse_trace(trace) if trace else None, graph, node_id)
        report = Reported.of(
            [one.name for one in given],
            scored(given, images, prompts_of(known, prompt)),
            range(len(given) if front_of == ALL else optimised),
            optimised=optimised,
            lambdas=[known.lambda_(picture) for picture in range(known.count)],
            scheduled=known.scheduled,
            reference=None if reference is None else scored(given, reference, prompt).tolist(),
        )
        below = [parts_of(report, picture) for picture in range(known.count)]
        captions = [[*caption(known, picture), *parts] for picture, parts in enumerate(below)]
        grid, labelled = sheets(
            images, sheet_of(table_of(known, "", graph, node_id), known, report, below), captions, cell_size
        )
        sheet = labelled if known.count == 1 else grid
        table, plot = as_markdown(report), reward_plots(report)
        preview = ui.PreviewImage(plot, cls=cls).as_dict()
        return io.NodeOutput(table, plot, sheet, report.front, report.to_json(), ui=preview | {"text": [table]})


def check_optimised(count: int, optimised: int, front_of: str) -> None:
    """Raises ValueError for rewards that are not there."""
    if optimised > count:
        raise ValueError(
            f"“optimised” is {optimised}, but {count} {'rewards are' if count > 1 else 'reward is'} connected: set it "
            f"to 0–{count}, or connect the others."
        )
    if front_of == OPTIMISED and not optimised:
        raise ValueError(
            f"The front is to be of the optimised rewards, and “optimised” is 0: set “front_of” to “{ALL}”, or say how "
            "many are optimised."
        )


def scored(rewards: Sequence[Reward], images: torch.Tensor, prompts: str | Sequence[str]) -> torch.Tensor:
    """(B, R), fp64. Raises RewardError, which names the reward."""
    return torch.stack([scores(reward, images, prompts).double().cpu() for reward in rewards], 1)


def prompts_of(known: Facts, prompt: str) -> str | list[str]:
    """What each picture should show: the sweep's own prompt of its row, and what was typed where it has none."""
    if not known.prompts:
        return prompt
    rows = [known.prompts[cell.prompt] if cell.prompt is not None else "" for cell in known.cells]
    return [row if row.strip() else prompt for row in rows]


def parts_of(report: Reported, picture: int) -> list[str]:
    """What stands below a picture."""
    told = [f"{name} {digits(value)}" for name, value in zip(report.rewards, report.scores[picture])]
    return [*(["front"] if picture in report.marked else []), *told]


def sheet_of(table: Table, known: Facts, report: Reported, below: Sequence[Sequence[str]]) -> Table:
    """The grid's table with what the rewards give; what a trace says of a reward is left out for it."""
    parts = []
    for picture, (own, labels) in enumerate(zip(below, table.below)):
        labels = [label for label in labels if label not in score_parts(known, picture)]
        parts.append([*own, *labels] if table.heads else [*labels, *own])
    subtitle = "framed: the front" if report.marked else ""
    return replace(
        table, below=parts, framed=report.marked, subtitle=" · ".join(filter(None, (subtitle, table.subtitle)))
    )


NODES = [RealignRewardReport]
