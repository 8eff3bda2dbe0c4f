"""Which pictures a report shows: some prompts by λ, by their places in the study's folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import PlanError
from ..rows import Study
from .findings import Group

SHOWN = 8  # prompts, where none are chosen
OURS = re.compile(r"pictures/[0-9a-f]{2}/[0-9a-f]{32}\.png")  # as Folder.keep_picture names them; nothing else is shown


@dataclass
class Cell:
    picture: str  # path in the folder; "" for none
    width: int
    height: int
    error: str
    told: str  # what is known of it


@dataclass
class Line:
    number: int  # of the prompt, from 1
    prompt: str
    cells: list[Cell | None]  # by λ; None: not made yet


@dataclass
class Sheet:
    """Pictures of an anchor and a setting."""

    label: str
    lambdas: list[float]
    seed: int | None  # None: each line has another
    lines: list[Line]


def chosen(study: Study, wanted: Sequence[int] = ()) -> list[int]:
    """Places of prompts: those that are wanted, counted from 1, else some from all over the study.

    Raises PlanError for a number that no prompt has."""
    count = len(study.prompts)
    if wrong := [number for number in wanted if not 1 <= number <= count]:
        raise PlanError(f"There is no prompt {wrong[0]}: the study’s prompts are 1 to {count}.")
    if wanted:
        return [number - 1 for number in dict.fromkeys(wanted)]
    return sorted({round(float(place)) for place in np.linspace(0, count - 1, min(SHOWN, count))})


def sheets(study: Study, table: pa.Table, groups: Sequence[Group], prompts: Sequence[int]) -> list[Sheet]:
    """The pictures of each prompt's first seed."""
    first = {prompt: study.plan.seeds_of(prompt)[0] for prompt in prompts}
    seed = study.plan.seeds_of(0)[0] if study.plan.shares_seeds else None
    rows = [row for row in study.rows if first.get(row.prompt) == row.seed]
    lines = {key: place for place, key in enumerate(table["key"].to_pylist())}
    there = [row for row in rows if row.key in lines]
    told = table.take(pa.array([lines[row.key] for row in there], pa.int64())).to_pylist()
    cells = {(row.anchor, row.setting, row.prompt, row.lambda_): _cell(study, one) for row, one in zip(there, told)}
    found = []
    for group in groups:
        shown = []
        for prompt in prompts:
            own = [cells.get((group.anchor, group.setting, prompt, value)) for value in group.lambdas]
            shown.append(Line(prompt + 1, study.prompts[prompt].text, own))
        found.append(Sheet(group.label, group.lambdas, seed, shown))
    return found


def _cell(study: Study, row: dict[str, Any]) -> Cell:
    ours = row["picture"] is not None and OURS.fullmatch(row["picture"])
    parts = [f"λ {row['lambda']:g}", f"seed {row['seed']}"]
    parts += [f"KL {row['kl']:.4g}"] if row["kl"] is not None else []
    scores = {name: row[f"score_{name}"] for name in study.rewards}
    parts += [f"{name} {value:.4g}" for name, value in scores.items() if value is not None]
    return Cell(row["picture"] if ours else "", row["width"] or 0, row["height"] or 0, row["error"], ", ".join(parts))
