"""A reward report in words and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

from .labels import number
from .reported import Column, Reported

UNKNOWN = "–"
CLEAR = 2  # standard errors: a change that is smaller may be chance
MOST_LISTED = 12  # pictures of a front that a sentence lists


def as_markdown(report: Reported) -> str:
    """The sentences, then a table of the rewards, of their rank correlations, and of λ; each where there is one."""
    parts = ["\n".join(f"- {sentence}" for sentence in sentences(report)), rewards_table(report)]
    if len(report.rewards) > 1:
        parts.append(f"Rank correlation (Spearman):\n\n{correlation_table(report)}")
    if report.by_lambda:
        parts.append(f"Mean ± standard error:\n\n{lambda_table(report)}")
    return "\n\n".join(parts)


def sentences(report: Reported) -> list[str]:
    """What the pictures are, which are on the front, and which rewards rose or fell beside the reference pictures."""
    count, known = len(report.scores), len(report.rewards)
    said = [f"{count} {'pictures' if count > 1 else 'picture'}, {known} {'rewards' if known > 1 else 'reward'}"]
    said[0] += f"; {len(report.reference)} without, to compare with" if report.reference else ""
    said += [front_sentence(report)] if known > 1 else []
    changes = changes_of(report)
    rose = [changes[r][0] > CLEAR * changes[r][1] for r in range(report.optimised)] if changes else []
    for reward in range(report.optimised, known) if any(rose) else ():
        change, error = changes[reward]
        if change < -CLEAR * error:
            said.append(
                f"{report.rewards[reward]}, held out, fell by {plus_minus(-change, error)} while the optimised rose: "
                "look whether that is exploited"
            )
    return said


def front_sentence(report: Reported) -> str:
    places = [str(place + 1) for place in report.front]
    listed = ", ".join(places[:MOST_LISTED]) + ", …" * (len(places) > MOST_LISTED)
    *others, last = [report.rewards[r] for r in report.front_of]
    where = f"{', '.join(others)} and {last} at once" if others else last
    return f"front, {len(places)} of {len(report.scores)}, beaten by none in {where}: {listed}"


def changes_of(report: Reported) -> list[tuple[float, float]]:
    """Of each reward, how much more its mean is than that of the reference pictures, and its standard error.

    Empty where nothing can be said: no reference pictures, or one picture alone on a side.
    """
    pairs = list(zip(report.columns, report.reference_columns or []))
    if not pairs or any(one.error is None for pair in pairs for one in pair):
        return []
    return [
        (ours.mean - other.mean, ((ours.error or 0) ** 2 + (other.error or 0) ** 2) ** 0.5) for ours, other in pairs
    ]


def rewards_table(report: Reported) -> str:
    """A row for each reward."""
    head = ["reward", "", "mean", "spread", "best"]
    head += ["without", "change"] if report.reference_columns else []
    changes, rows = changes_of(report), []
    for r, (name, column) in enumerate(zip(report.rewards, report.columns)):
        best = f"{number(float(column.values.max()))} (picture {column.best + 1})"
        cells = [name, report.role(r), number(column.mean), known(column.spread), best]
        if report.reference_columns:
            other = report.reference_columns[r]
            change = plus_minus(*changes[r], sign=True) if changes else signed(column.mean - other.mean)
            cells += [plus_minus(other.mean, other.error), change]
        rows.append(cells)
    return markdown(head, rows)


def correlation_table(report: Reported) -> str:
    rows = [[name, *map(correlated, row)] for name, row in zip(report.rewards, report.correlation)]
    return markdown(["", *report.rewards], rows)


def correlation_line(report: Reported) -> str:
    """The same in a line: each two rewards once."""
    pairs = combinations(range(len(report.rewards)), 2)
    return " · ".join(
        f"{report.rewards[one]} and {report.rewards[other]} {correlated(report.correlation[one][other])}"
        for one, other in pairs
    )


def lambda_table(report: Reported) -> str:
    """A row for each λ; the last that of the reference pictures."""

    def row(label: str, columns: Sequence[Column]) -> list[str]:
        return [label, f"{len(columns[0].values)}", *(plus_minus(one.mean, one.error) for one in columns)]

    rows = [row(f"{'×' * report.scheduled}{number(lam)}", columns) for lam, columns in report.by_lambda]
    rows += [row("without", report.reference_columns)] if report.reference_columns else []
    return markdown(["λ", "pictures", *report.rewards], rows)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def known(value: float | None) -> str:
    return UNKNOWN if value is None else number(value)


def correlated(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"


def signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{number(value)}"


def plus_minus(value: float, error: float | None, sign: bool = False) -> str:
    """“12.3 ± 0.5”: the error in two digits, and the value in as many decimals."""
    if not error or not 1e-4 < error < 1e7:
        told = signed(value) if sign else number(value)
        return told if error is None else f"{told} ± {number(error, 2)}"
    decimals = max(1 - math.floor(math.log10(float(f"{error:.1e}"))), 0)  # of it as rounded: 0.999 is 1.0
    return f"{value:{'+' * sign}.{decimals}f} ± {error:.{decimals}f}"
