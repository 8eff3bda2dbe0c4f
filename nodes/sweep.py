"""RealignSweep: one batch with a λ per picture, all from the same noise."""

from __future__ import annotations

import re
from typing import Any

from comfy_api.latest import io

from ..realign_core import MOST_CELLS, LambdaSchedule, Sweep, even_values, lambdas_for_betas, listed_values
from .checked import Node
from .inputs import ADVANCED, choice, lambda_number, number, schedule_input, switch, text
from .models.anchor import Anchors
from .models.latents import swept_latent
from .run.prompts import Prompts, with_prompts
from .types import ALIASES, CATEGORY, AnchorType, LambdaType, PromptsType

RANGE, LIST, BETAS = "range", "list", "target β"
SECOND = ("seed", "cfg", "η")
PLACE = re.compile(r"(\d{1,6}) ?[,;，、 ] ?(\d{1,6})")  # row, column


class RealignSweep(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignSweep",
            display_name="λ Sweep",
            category=CATEGORY,
            description=(
                "A row of pictures in one run, each with another λ and all from the same noise, so that what differs "
                "is λ's doing. More rows have other seeds, cfg, η or prompts. For Realign Sampler, and for the sampler "
                "behind Realign Guider or Realign MODEL."
            ),
            search_aliases=[*ALIASES, "xy plot", "lambda sweep", "grid", "compare", "beta"],
            inputs=[
                io.Latent.Input("latent", tooltip="The latent image to sweep. Of a batch, every image gets a row."),
                choice("values", [RANGE, LIST, BETAS])(
                    "range: count values of λ from start to end. list: the λ in listed. target β: the β in listed, "
                    "as λ = the anchor's β / β (needs the anchor connected)."
                ),
                lambda_number("start", 0.0)("For “range”: the first λ (-10 to 10)."),
                lambda_number("end", 1.5)("For “range”: the last λ (-10 to 10)."),
                number("count", 7, 1, 64)("For “range”: how many λ (1–64)."),
                text("listed", "0, 0.25, 0.5, 1")(
                    "For “list”: λ (-10 to 10), for “target β”: β, e.g. 0, 0.5, 1 or 0; 0,5; 1. Each once."
                ),
                number("seeds", 1, 1, 64)(
                    f"Rows with the sampler's seed, seed + 1 … (1–64). A sweep has at most {MOST_CELLS} pictures."
                ),
                choice("rows", SECOND)(
                    "What else changes from row to row: nothing but the seed, cfg, or Realign Sampler's η."
                ),
                text("row_values", "3, 5, 7")("For rows “cfg” and “η”: their values, e.g. 3, 5, 7. Each once."),
                number("batch_size", 0, 0, 1024, **ADVANCED)(
                    "Pictures sampled at once (1–1024). 0: as many as fit into memory. The result is the same."
                ),
                switch("measure_ends", False, **ADVANCED)(
                    "On: asks both models at λ 0 and 1 too, where one would do, so that every KL is known."
                ),
                AnchorType.Input("anchor", optional=True, tooltip="For “target β”: the anchor whose β is known."),
                schedule_input("λ over the steps, which each of the sweep's λ multiplies. Left open: constant."),
                switch("draft", False, optional=True)(
                    "On: a quicker look, with about 1.2 model calls a step instead of 2. Pictures are near the exact "
                    "ones; those at λ 0 and 1 are exact. The sampler's own fewer_calls goes first."
                ),
                PromptsType.Input(
                    "prompts",
                    optional=True,
                    tooltip="From λ Prompts: rows with these prompts, in place of the sampler's positive.",
                ),
                text("only", "", **ADVANCED)(
                    "Makes one picture of the sweep alone: its row and column, counted from 1, e.g. 2, 3. Empty: all."
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The batch, for the sampler's latent image."),
                LambdaType.Output(display_name="λ sweep", tooltip="For the sampler's or guider's λ schedule."),
            ],
        )

    @classmethod
    def execute(
        cls,
        latent: dict[str, Any],
        values: str,
        start: float,
        end: float,
        count: int,
        listed: str,
        seeds: int,
        rows: str,
        row_values: str,
        batch_size: int = 0,
        measure_ends: bool = False,
        anchor: Anchors | None = None,
        lambda_schedule: LambdaSchedule | Sweep | None = None,
        draft: bool = False,
        prompts: Prompts | None = None,
        only: str = "",
    ) -> io.NodeOutput:
        if isinstance(lambda_schedule, Sweep):
            raise ValueError("The sweep's λ schedule is itself a sweep: connect a λ Schedule, or nothing.")
        if values == RANGE:
            lambdas = even_values(start, end, count)
        elif values == LIST:
            lambdas = listed_values(listed)
        else:
            lambdas = lambdas_for_betas(listed_values(listed, "β"), anchor[0].beta if anchor else None)
        second = listed_values(row_values, rows) if rows != "seed" else ()
        sweep = Sweep(
            lambdas,
            seeds=seeds,
            images=latent["samples"].shape[0],
            batch_index=tuple(latent.get("batch_index") or range(latent["samples"].shape[0])),
            cfgs=second if rows == "cfg" else (),
            etas=second if rows == "η" else (),
            schedule=lambda_schedule,
            batch_size=batch_size,
            measure_ends=measure_ends,
            prompts=prompts.texts if prompts else (),
            draft=draft,
        )
        if prompts is not None:
            sweep = with_prompts(sweep, prompts)
        if only.strip():
            sweep = sweep.only(*place_in(only))
        return io.NodeOutput(swept_latent(latent, sweep), sweep)


def place_in(text: str) -> tuple[int, int]:
    """Row and column of a text such as "2, 3". Raises ValueError for any other."""
    shown = " ".join(text.split())
    found = PLACE.fullmatch(shown)
    if found is None:
        raise ValueError(
            f"“only” is “{shown if len(shown) <= 40 else shown[:39] + '…'}”, but must be the row and the column of one "
            "picture, counted from 1, e.g. 2, 3, or empty for all of them."
        )
    return int(found[1]), int(found[2])


NODES = [RealignSweep]
