"""Which pictures somebody picked, as the page tells it: JSON, by run, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator
from pydantic_core import from_json

from ...realign_core import LAMBDAS, Picks

MOST_PICTURES, MOST_RUNS = 4096, 256

RunId = Annotated[str, Field(pattern=r"^[0-9a-f]{1,32}$")]
Place = Annotated[int, Field(ge=0, lt=MOST_PICTURES)]
LambdaValue = Annotated[FiniteFloat, Field(ge=LAMBDAS[0], le=LAMBDAS[1])]


class Picked(BaseModel):
    """Of one run: the pictures that are better than the others of it, and each picture's λ, row by row."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    picked: Annotated[list[Place], Field(max_length=MOST_PICTURES)] = []
    lambdas: Annotated[list[LambdaValue | None], Field(alias="lambda", max_length=MOST_PICTURES)] = []
    rows: Annotated[int, Field(ge=1, le=MOST_PICTURES)] = 1

    @model_validator(mode="after")
    def _fits(self) -> Picked:
        if self.lambdas and (len(self.lambdas) % self.rows or max(self.picked, default=0) >= len(self.lambdas)):
            raise ValueError("λ does not fit the pictures")
        return self


class _Runs(BaseModel):
    model_config = ConfigDict(strict=True)

    runs: Annotated[dict[RunId, Picked], Field(max_length=MOST_RUNS)]


def parse_picks(text: str) -> dict[str, Picked]:
    """{"<run>": {"picked": [0, 3], "lambda": [0, 0.5, …], "rows": 1}}, the newest run last; "" is none.

    Raises ValueError in a sentence.
    """
    if not text.strip():
        return {}
    try:
        return _Runs.model_validate({"runs": from_json(text)}).runs
    except (ValueError, RecursionError) as error:
        raise ValueError(
            "“picks” is not what the page writes, {run: {“picked”: [places]}}: leave it empty, and star pictures on "
            "Pick."
        ) from error


def lambda_picks(runs: Mapping[str, Picked]) -> Picks:
    """The λ of all pictures of sweeps as the one feature: each row of a run is a round, for it has one seed."""
    out = Picks.none(1)
    for run in runs.values():
        if not run.picked or not run.lambdas or any(value is None for value in run.lambdas):
            continue
        values = torch.tensor(run.lambdas, dtype=torch.float64)
        picked = torch.isin(torch.arange(len(values)), torch.tensor(run.picked))
        for row, own in zip(values.chunk(run.rows), picked.chunk(run.rows)):
            if own.any() and not own.all() and len(row.unique()) > 1:
                out = out.add(row[:, None], own)
    return out
