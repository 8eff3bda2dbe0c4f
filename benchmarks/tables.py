"""Figures with their spread, and tables in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, first and third quartile."""
    if len(values) < 2:
        return (values[0],) * 3 if values else (float("nan"),) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, low, high


def spread(values: Sequence[float], percent: bool = False) -> str:
    middle, low, high = (v * (100 if percent else 1) for v in quartiles(values))
    digits, sign = (1, " %") if percent else (2, "")
    return f"{middle:.{digits}f}{sign} ({low:.{digits}f} … {high:.{digits}f})"


def table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [rows[0], ["---"] * len(rows[0]), *rows[1:]])
