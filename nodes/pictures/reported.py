"""What rewards say of pictures, as a report's JSON has it: written from numbers, and read strictly."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...realign_core import on_front
from .traced import END, STRICT

NOT_A_REPORT = "This is not a reward report: {}. Connect Reward Report's “report” output as it is."

Score = Annotated[float, Field(ge=-END, le=END)]
Scores = Annotated[list[list[Score]], Field(min_length=1)]  # (B, R)
Place = Annotated[int, Field(ge=0)]


class Reported(BaseModel):
    """Pictures and what each of several rewards gives them. B pictures, R rewards."""

    model_config = STRICT | ConfigDict(populate_by_name=True)

    rewards: Annotated[list[str], Field(min_length=1)]  # (R,): their names, no two the same
    optimised: Place  # how many of them, from the first on, the pictures were made for; the others are held out
    scores: Scores  # (B, R)
    front: Annotated[list[Place], Field(min_length=1)]  # the pictures, from 0, that no other beats
    front_of: Annotated[list[Place], Field(min_length=1)]  # in which of the rewards, from 0
    lambdas: list[Score | None] = Field(alias="lambda")  # (B,): a picture's λ; None: not known, or none
    scheduled: bool = False  # λ multiplies a λ schedule
    reference: Scores | None = None  # (P, R): of pictures without any of it, to compare with

    @model_validator(mode="after")
    def _is_of_these_pictures(self) -> Reported:
        count = len(self.rewards)
        if len(set(self.rewards)) != count:
            raise ValueError("two rewards of one name")
        if any(len(row) != count for row in [*self.scores, *(self.reference or [[0.0] * count])]):
            raise ValueError("scores of other rewards")
        if self.optimised > count or any(place >= count for place in self.front_of):
            raise ValueError("a reward that is not there")
        if len(self.lambdas) != len(self.scores):
            raise ValueError("λ of other pictures")
        if any(place >= len(self.scores) for place in self.front) or len(set(self.front)) != len(self.front):
            raise ValueError("a front of other pictures")
        return self

    @classmethod
    def of(cls, rewards: Sequence[str], scores: torch.Tensor, front_of: Sequence[int], **more: Any) -> Reported:
        """scores: (B, R). front_of: the rewards that the front is of. more: the other fields but `front`."""
        places = on_front(scores[:, list(front_of)]).nonzero().flatten().tolist()
        told = {"rewards": named(rewards), "scores": scores.tolist(), "front": places, "front_of": list(front_of)}
        return cls(**told, **more)

    @functools.cached_property
    def columns(self) -> list[Column]:
        """What each reward gives the pictures."""
        return [Column(values) for values in zip(*self.scores)]

    @functools.cached_property
    def reference_columns(self) -> list[Column] | None:
        return [Column(values) for values in zip(*self.reference)] if self.reference else None

    @functools.cached_property
    def by_lambda(self) -> list[tuple[float, list[Column]]]:
        """The pictures of each λ; none where there are no two different ones."""
        values = sorted({value for value in self.lambdas if value is not None})
        if len(values) < 2:
            return []
        rows = {lam: [row for row, own in zip(self.scores, self.lambdas) if own == lam] for lam in values}
        return [(lam, [Column(column) for column in zip(*rows[lam])]) for lam in values]

    @property
    def marked(self) -> list[int]:
        """The front, where it says more than which picture is the best."""
        return self.front if len(self.front_of) > 1 and len(self.scores) > 1 else []

    def role(self, reward: int) -> str:
        return "optimised" if reward < self.optimised else "held out"

    def to_json(self) -> str:
        """The fields, and what follows from them: numbers to read, which `parse_report` does not."""
        told = self.model_dump(by_alias=True)
        told["summary"] = {"rewards": [column.told for column in self.columns], "correlation": self.correlation}
        if self.reference_columns:
            told["summary"]["reference"] = [column.told for column in self.reference_columns]
        told["by_lambda"] = [
            {"lambda": lam, "pictures": len(columns[0].values), "rewards": [column.told for column in columns]}
            for lam, columns in self.by_lambda
        ]
        return json.dumps(told)

    @functools.cached_property
    def correlation(self) -> list[list[float | None]]:
        """(R, R), Spearman's rank correlation over the pictures; None where one has the same number for all."""
        return [[rank_correlation(one.values, other.values) for other in self.columns] for one in self.columns]


class Column:
    """What one reward gives several pictures, and what that comes to."""

    def __init__(self, values: Sequence[float]):
        self.values = torch.tensor(values, dtype=torch.float64)

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def spread(self) -> float | None:
        """Standard deviation of such pictures (n − 1); None of a single one."""
        return float(self.values.std()) if len(self.values) > 1 else None

    @property
    def error(self) -> float | None:
        """Standard error of the mean; None of a single picture."""
        return None if self.spread is None else self.spread / len(self.values) ** 0.5

    @property
    def best(self) -> int:
        """The place of the best, from 0; of equals the first."""
        return int(self.values.argmax())

    @property
    def told(self) -> dict[str, float | int | None]:
        best = {"best": float(self.values.max()), "best_picture": self.best}
        return {"mean": self.mean, "spread": self.spread, "error": self.error, **best}


def rank_correlation(one: torch.Tensor, other: torch.Tensor) -> float | None:
    """Spearman's ρ of (B,) and (B,), ties with their mean rank; None where it has no meaning: where all are equal."""
    if bool((one == one[0]).all()) or bool((other == other[0]).all()):
        return None
    from scipy.stats import spearmanr  # takes half a second to import

    return float(spearmanr(one.numpy(), other.numpy())[0])


def named(names: Sequence[str]) -> list[str]:
    """The names in one line each, a number behind those that came before: “likeness”, “likeness 2”."""
    found: list[str] = []
    for name in (" ".join(name.split()) or "reward" for name in names):
        other, count = name, 1
        while other in found:
            count += 1
            other = f"{name} {count}"
        found.append(other)
    return found


def parse_report(text: str) -> Reported:
    """The report that is a JSON text. Raises ValueError, in one sentence, for a text that is no reward report."""
    try:
        return Reported.model_validate_json(text)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if wrong["type"] == "json_invalid":
        raise ValueError(NOT_A_REPORT.format("the text is not JSON"))
    place = ".".join(str(part) for part in wrong["loc"][:3])
    where = f"“{place if len(place) <= 60 else place[:59] + '…'}” in it" if place else "the JSON"
    raise ValueError(NOT_A_REPORT.format(f"{where} is not that of one"))
