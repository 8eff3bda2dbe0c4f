"""What could not be made or scored, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..results import Folder
from ..rows import Study

PICTURE = "picture"


@dataclass(frozen=True)
class Failure:
    stage: str  # PICTURE, or “score” and the reward's name
    row: dict[str, Any]  # of the table
    error: str

    def line(self) -> list[Any]:
        row = self.row
        return [
            self.stage,
            *(row[name] for name in ("key", "prompt", "anchor", "setting", "lambda", "seed")),
            self.error,
        ]


@dataclass
class Alike:
    """Failures of one stage with the same error."""

    stage: str
    error: str
    count: int
    first: list[dict[str, Any]]  # rows


def failures(study: Study, folder: Folder, table: pa.Table) -> list[Failure]:
    """In the plan's order, those of pictures first."""
    return [*_of_pictures(table), *_of_scores(study, folder, table)]


def _of_pictures(table: pa.Table) -> Iterator[Failure]:
    for row in table.filter(pc.not_equal(table["error"], "")).to_pylist():
        yield Failure(PICTURE, row, row["error"])


def _of_scores(study: Study, folder: Folder, table: pa.Table) -> Iterator[Failure]:
    bad = {place: one["error"] for place, one in folder.scored().items() if one["error"]}
    keys = pa.array({key for key, _ in bad}, pa.string())
    rows = table.filter(pc.and_(pc.is_in(table["key"], keys), pc.equal(table["error"], ""))).to_pylist()
    for name, asked in study.rewards.items():
        for row in rows:
            if (row["key"], asked) in bad:
                yield Failure(f"score {name}", row, bad[row["key"], asked])


def alike(found: Iterable[Failure], shown: int = 3) -> list[Alike]:
    """Put together by what went wrong, the most frequent first, each with its first rows."""
    groups: dict[tuple[str, str], Alike] = {}
    for failure in found:
        one = groups.setdefault((failure.stage, failure.error), Alike(failure.stage, failure.error, 0, []))
        one.count += 1
        if len(one.first) < shown:
            one.first.append(failure.row)
    return sorted(groups.values(), key=lambda one: -one.count)
