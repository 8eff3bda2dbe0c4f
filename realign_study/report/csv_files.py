"""The report's numbers as CSV, for whoever goes on with them: UTF-8 with a mark, which spreadsheets look for."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from .failures import Failure
from .findings import Findings, Found
from .statistics import Best

Line = Sequence[Any]
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute
OF_GROUP, OF_GAIN = ("anchor", "setting", "metric"), ("gain", "gain_low", "gain_high")
HEADS = {
    "curves.csv": (*OF_GROUP, "lambda", "values", "mean", "low", "high", "gain_over_lambda", "pairs", *OF_GAIN),
    "best.csv": (*OF_GROUP, "kl_budget", "best_lambda", "low", "high", "share_of_draws", "mean", *OF_GAIN, "kl"),
    "failures.csv": ("stage", "key", "prompt", "anchor", "setting", "lambda", "seed", "error"),
}


def csv_files(table: pa.Table, findings: Findings, failures: Iterable[Failure]) -> dict[str, bytes]:
    """By name. table: as Folder.table gives it."""
    names = [group.named for group in findings.groups]
    rows = (line.values() for batch in table.to_batches(10_000) for line in batch.to_pylist())
    return {
        "curves.csv": written(HEADS["curves.csv"], _curves(findings, names)),
        "best.csv": written(HEADS["best.csv"], _best(findings, names)),
        "failures.csv": written(HEADS["failures.csv"], (failure.line() for failure in failures)),
        "rows.csv": written(table.column_names, rows),
    }


def written(head: Line, lines: Iterable[Iterable[Any]]) -> bytes:
    """A text that a spreadsheet would compute gets a ' in front; what is not known is an empty field."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(map(_field, head))
    writer.writerows(map(_field, line) for line in lines)
    return out.getvalue().encode("utf-8-sig", "replace")


def _field(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _curves(findings: Findings, names: list[tuple[str, str]]) -> Iterator[Line]:
    for metric, curves in [("KL", findings.kl), *((one.name, one.curves) for one in findings.scores)]:
        for name, curve in zip(names, curves):
            base = curve.lambdas[curve.base]
            for place, value in enumerate(curve.lambdas):
                paired = (curve.gain, curve.gain_low, curve.gain_high)
                of_mean = [float(one[place]) for one in (curve.mean, curve.low, curve.high)]
                of_gain = [float(one[place]) for one in paired]
                yield *name, metric, value, int(curve.count[place]), *of_mean, base, int(curve.pairs[place]), *of_gain


def _best(findings: Findings, names: list[tuple[str, str]]) -> Iterator[Line]:
    for one in findings.scores:
        for budget, found in [(None, one.best), *zip(findings.budgets, one.within)]:
            for group, best in enumerate(found):
                if best is not None:
                    yield *names[group], one.name, budget, *_numbers(findings, one, group, best)


def _numbers(findings: Findings, found: Found, group: int, best: Best) -> Iterator[float]:
    curve, place = found.curves[group], best.place
    yield from (curve.lambdas[place], best.low, best.high, best.share)
    for one in (curve.mean, curve.gain, curve.gain_low, curve.gain_high, findings.kl[group].mean):
        yield float(one[place])
