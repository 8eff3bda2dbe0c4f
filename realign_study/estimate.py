"""What a study will cost, before it runs: rows, model calls, hours, disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from .results import Folder
from .rows import Row, Study

BYTES_PER_PIXEL = 2.0  # of a photo as the host's previews are compressed


@dataclass(frozen=True)
class Estimate:
    """None: not known. Of what is still to be made."""

    rows: int  # of the plan
    made: int
    failed: int
    calls: float | None
    hours: float | None
    disk: float | None  # bytes
    measured: bool  # hours and disk from rows that are there

    def lines(self) -> Iterator[str]:
        left = self.rows - self.made - self.failed
        done = f", {self.made:,} are made" if self.made else ""
        failed = f", {self.failed:,} have failed (--retry-failed tries them again)" if self.failed else ""
        yield f"rows: {self.rows:,}{done}{failed}, {left:,} to be made"
        yield f"model calls: {_told(self.calls, '{:,.0f}')}"
        how = "as the rows that are made" if self.measured else "a guess: the first rows will tell"
        ask = "not known before the first rows are made; seconds_per_call in the plan tells"
        yield f"hours: {self.hours:,.2f} ({how})" if self.hours is not None else f"hours: {ask}"
        yield f"disk: {_told(self.disk and self.disk / 2**20, '{:,.0f} MB')} ({how})"


def _told(value: float | None, form: str) -> str:
    return "not known" if value is None else f"about {form.format(value)}"


def estimate(study: Study, path: Path, workers: int = 1) -> Estimate:
    """path: the study's folder, which need not be there. Nothing is written."""
    errors: dict[str, str] = {}
    seconds = bytes_ = None
    per_call = study.plan.seconds_per_call
    if (path / "pictures").is_dir():
        folder = Folder(path)
        errors = folder.made()
        table = folder.table(study)
        timed = pc.sum(table["model_calls"]).as_py()
        seconds, bytes_ = pc.mean(table["seconds"]).as_py(), pc.mean(table["bytes"]).as_py()
        per_call = pc.sum(table["seconds"]).as_py() / timed if timed else per_call
    left = [row for row in study.rows if row.key not in errors]
    calls = _calls(study, left)
    total = calls * per_call if calls is not None and per_call else seconds and seconds * len(left)
    size = bytes_ or _bytes(study)
    states = [errors[row.key] for row in study.rows if row.key in errors]
    return Estimate(
        rows=len(study.rows),
        made=states.count(""),
        failed=len(states) - states.count(""),
        calls=calls,
        hours=None if total is None else total / 3600 / max(workers, 1),
        disk=size and size * len(left),
        measured=bool(bytes_),
    )


def _calls(study: Study, rows: list[Row]) -> float | None:
    """Steps × models that a step asks: one where λ is 0, or 1 and KL is not to be known, else both."""
    known = study.workflow.number("steps")
    steps = [setting.get("steps", known) for setting in study.plan.settings]
    if any(not isinstance(value, (int, float)) for value in steps):
        return None
    alone = (0,) if study.plan.measure_ends else (0, 1)
    return float(sum(float(steps[row.setting] or 0) * (1 if row.lambda_ in alone else 2) for row in rows))


def _bytes(study: Study) -> float | None:
    """Of a picture."""
    size = study.workflow.size()
    return None if size is None else size[0] * size[1] * BYTES_PER_PIXEL
