"""A study's table as numbers over λ: one Curve for each metric, anchor and setting, and the best λ of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..rows import Row, Study
from .statistics import Array, Best, Curve, base_of, best, best_within, budgets, curve, drawn_means, gains

LARGEST = 1e100  # of a number that can be averaged; what a broken host says may be larger


@dataclass(frozen=True)
class Group:
    """Rows that are one curve: an anchor and a setting."""

    anchor: int  # places in the plan's lists
    setting: int
    label: str  # what tells it from the others; "" where it is the only one
    lambdas: list[float]  # in order
    named: tuple[str, str]  # anchor and setting, as the table has them


@dataclass
class Found:
    """Of one reward."""

    name: str
    curves: list[Curve]  # by group
    best: list[Best | None]
    within: list[list[Best | None]] = field(default_factory=list)  # by budget and group


@dataclass
class Findings:
    units: int  # prompts × seeds
    groups: list[Group]
    pictures: list[NDArray[np.int64]]  # by group, how many at each λ
    kl: list[Curve]  # by group
    scores: list[Found]
    budgets: list[float]  # nats
    left_out: int  # numbers beyond LARGEST


def find(study: Study, table: pa.Table, wanted: Sequence[float] = ()) -> Findings:
    """table: as Folder.table gives it. wanted: KL budgets in nats; none: round ones."""
    groups = list(_groups(study))
    cells, left_out = _cells(study, table, groups, ["bytes", "kl", *(f"score_{name}" for name in study.rewards)])
    pictures = [(~np.isnan(one)).sum(axis=0) for one in cells.pop(0)]
    found = _curves(study, groups, cells)
    kl = found.pop(0)
    limits = sorted(set(wanted)) or budgets([one.mean for one in kl])
    scores = [Found(name, own, [best(one) for one in own]) for name, own in zip(study.rewards, found)]
    for one in scores:
        one.within = [[best_within(*pair, limit) for pair in zip(one.curves, kl)] for limit in limits]
    return Findings(len(study.prompts) * study.seeds, groups, pictures, kl, scores, limits, left_out)


def _curves(study: Study, groups: list[Group], cells: list[list[Array]]) -> list[list[Curve]]:
    """By column and group, as the cells, (prompts × seeds, λ). All are drawn at once."""
    flat = [values for of_column in cells for values in of_column]
    ordered = [group.lambdas for _ in cells for group in groups]
    bases = [base_of(lambdas, values) for lambdas, values in zip(ordered, flat)]
    columns = [*flat, *(gains(values, base) for values, base in zip(flat, bases))]
    draws = drawn_means(np.hstack(columns), len(study.prompts), study.seeds, study.plan.shares_seeds)
    parts = np.split(draws, np.cumsum([one.shape[1] for one in columns])[:-1], axis=1)
    made = [curve(*one) for one in zip(ordered, flat, bases, parts[: len(flat)], parts[len(flat) :])]
    return [made[start : start + len(groups)] for start in range(0, len(made), len(groups))]


def _cells(study: Study, table: pa.Table, groups: list[Group], columns: list[str]) -> tuple[list[list[Array]], int]:
    """By column and group (prompts × seeds, λ), NaN where there is nothing, and how many numbers were too large."""
    units = len(study.prompts) * study.seeds
    places = {(group.anchor, group.setting): place for place, group in enumerate(groups)}
    seeds = [{seed: at for at, seed in enumerate(study.plan.seeds_of(one))} for one in range(len(study.prompts))]
    lines = {key: line for line, key in enumerate(table["key"].to_pylist())}
    at: list[list[tuple[int, int, int]]] = [[] for _ in groups]  # the unit, the λ and the table's line
    for row in study.rows:
        if row.key in lines:
            group = places[row.anchor, row.setting]
            unit = row.prompt * study.seeds + seeds[row.prompt][row.seed]
            at[group].append((unit, groups[group].lambdas.index(row.lambda_), lines[row.key]))
    cells, left_out = [], 0
    for column in columns:
        told = np.array([np.nan if value is None else value for value in table[column].to_pylist()], np.float64)
        large = np.abs(told) > LARGEST
        left_out += int(large.sum())
        told[large] = np.nan
        cells.append([_filled(units, len(group.lambdas), told, found) for group, found in zip(groups, at)])
    return cells, left_out


def _filled(units: int, lambdas: int, told: Array, found: list[tuple[int, int, int]]) -> Array:
    values = np.full((units, lambdas), np.nan)
    if found:
        unit, place, line = np.array(found).T
        values[unit, place] = told[line]
    return values


def _groups(study: Study) -> Iterator[Group]:
    names = [str(study.facts(Row(0, 0, place, 0, 0.0, 0))["anchor"]) for place in range(len(study.anchors))]
    short = [PureWindowsPath(name).name.removesuffix(".safetensors") for name in names]  # either kind of path
    short = short if len(set(short)) == len(short) else names
    for anchor, one in enumerate(study.anchors):
        lambdas = sorted(study.plan.lambdas_of(one))
        for setting, values in enumerate(study.plan.settings):
            parts = [short[anchor] or "the workflow’s anchor"] if len(names) > 1 else []
            parts += [_told(values, study.plan.settings)] if len(study.plan.settings) > 1 else []
            told = str(study.facts(Row(0, 0, anchor, setting, 0.0, 0))["setting"])
            yield Group(anchor, setting, " · ".join(parts), lambdas, (names[anchor], told))


def _told(setting: dict[str, Any], others: Sequence[dict[str, Any]]) -> str:
    """What of a setting is not the same in all."""
    own = {key: value for key, value in setting.items() if any(other.get(key) != value for other in others)}
    return ", ".join(f"{key} {value}" for key, value in own.items()) or "as the workflow"
