"""`realign search`: a study whose λ are chosen as it goes, until it is known which one a reward likes best.

For each anchor and setting of the plan a search (realign_core.Search) asks rounds of λ and pairs, which are prompts
with seeds; their rows are made and scored as those of any study, by the same back ends, into a folder of their own. A
search asks the same again when it is told the same: so what the folder has is not made again, whatever ended the last
run.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import running
from .backends.interface import Backend
from .errors import PlanError, StudyError
from .parts import Record, whole
from .plan import PlanFile, SearchPlan
from .results import Folder, said
from .rows import Row, Study

if TYPE_CHECKING:
    from realign_core import Found, Search, Seen

    from .progress import Shown


class SearchStudy(Study):
    """The rows that a search has asked so far, and the rewards that it asks."""

    def __init__(self, plan_file: PlanFile):
        """Raises PlanError as a study does, and for a search that the plan does not describe."""
        if plan_file.plan.search is None:
            raise PlanError(f"{plan_file.path.name} says nothing of a search: add “search:” with a reward and a range.")
        self.wanted: SearchPlan = plan_file.plan.search
        super().__init__(plan_file)
        for place, name in (("reward", self.wanted.reward), ("second", self.wanted.second)):
            if name is not None and name not in self.plan.rewards:
                listed = ", ".join(self.plan.rewards) or "none"
                raise plan_file.wrong(("search", place), f"there is no reward “{name}” in the plan; it has {listed}.")
        self.asked: dict[str, Row] = {}

    @property
    def rows(self) -> list[Row]:
        return list(self.asked.values())

    @property
    def rewards(self) -> dict[str, str]:
        names = {self.wanted.reward, self.wanted.second}
        return {name: what for name, what in super().rewards.items() if name in names}

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Prompts with seeds: the first seed of every prompt, then the second …"""
        seeds = [self.plan.seeds_of(prompt) for prompt in range(len(self.prompts))]
        return [(prompt, of_prompt[place]) for place in range(self.seeds) for prompt, of_prompt in enumerate(seeds)]

    def ask(self, anchor: int, setting: int, lambda_: float, pair: int) -> Row:
        """The row of a picture, which is one of the study's from now on."""
        prompt, seed = self.pairs[pair]
        row = Row(len(self.asked), prompt, anchor, setting, lambda_, seed)
        row = replace(row, key=self.key(row))
        return self.asked.setdefault(row.key, row)


def search_folder(plan_file: PlanFile) -> Path:
    """Of a study's search: beside its rows, which are others."""
    return plan_file.folder / "search"


def searches(study: SearchStudy) -> Search:
    """What is looked for with each anchor and setting. Raises PlanError."""
    from realign_core import Limit, Search  # brings torch, which no other stage needs

    wanted = study.wanted
    limits = [Limit("KL", wanted.kl_budget)] if wanted.kl_budget is not None else []
    if wanted.second is not None:
        limits.append(Limit(wanted.second, wanted.may_fall, falls=True))
    try:
        found = Search(
            *(wanted.start, wanted.end, len(study.pairs), sys.maxsize, wanted.precision, tuple(limits)),
            at_once=wanted.at_once,
            reward=wanted.reward,
        )
    except ValueError as error:
        raise study.plan_file.wrong(("search",), str(error)) from None
    if wanted.most < found.least:
        fits = wanted.most // len(found.first)
        raise study.plan_file.wrong(
            ("search", "most"),
            f"a search may make {wanted.most:,} pictures, but its first round alone takes {found.least:,} "
            f"({len(found.first)} λ × {found.block:,} of the {len(study.pairs):,} pairs of prompt and seed): allow more"
            + (f", or ask fewer pairs in a round, as at_once: {fits}." if fits else "."),
        )
    return replace(found, most=wanted.most)


def search(
    study: SearchStudy, folder: Folder, backend: Backend, watch: Shown, retry_failed: bool = False
) -> list[dict[str, Any]]:
    """Until each anchor and setting has its λ; what was found, which also goes into search.json.

    Raises StudyError where a picture could not be made or scored, after the others of its round.
    """
    wanted, results = searches(study), []
    for anchor in range(len(study.anchors)):
        for setting in range(len(study.plan.settings)):
            seen, found = _searched(wanted, study, folder, backend, watch, retry_failed, (anchor, setting))
            results.append(_told(study, wanted, seen, found, folder, (anchor, setting)))
            with said(folder.path), whole(folder.path / "search.json") as temporary:
                temporary.write_text(json.dumps(results, ensure_ascii=False, indent=1), encoding="utf-8")
    return results


def _searched(
    wanted: Search,
    study: SearchStudy,
    folder: Folder,
    backend: Backend,
    watch: Shown,
    retry_failed: bool,
    place: tuple[int, int],
) -> tuple[Seen, Found]:
    import torch

    from realign_core import Seen

    seen = Seen.none(len(wanted.limits))
    while True:
        found = None if wanted.missing(seen) else wanted.found(seen)
        asked = wanted.missing(seen) if found is None else wanted.after(seen, found)
        if found is not None:
            watch.say(line_of(found, len(seen)))
            if not asked:
                return seen, found
        rows = {value: [study.ask(*place, value, pair) for pair in pairs] for value, pairs in asked}
        running.sample(study, folder, backend, watch, retry_failed)
        running.score(study, folder, backend, watch, retry_failed)
        known = _records(study, folder)
        for value, pairs in asked:
            numbers = list(_numbers(study, known, rows[value]))
            seen = seen.add(value, pairs, torch.tensor(numbers, dtype=torch.float64))


def _numbers(study: SearchStudy, known: dict[str, Record], rows: list[Row]) -> Iterator[list[float]]:
    """Of each row: the reward, and what each limit is about. known: the folder's records, by key."""
    wanted = study.wanted
    scores = [wanted.reward] + ([wanted.second] if wanted.second is not None else [])
    for row in rows:
        record = known.get(row.key, {})
        told = [record.get(f"score_{name}") for name in scores]
        why = record.get("error") or next((f"no {name}." for name, one in zip(scores, told) if one is None), "")
        if why:
            text = study.prompts[row.prompt].text[:60]
            raise StudyError(
                f"The search cannot go on without the picture at λ {row.lambda_:g}, “{text}”, seed {row.seed}: {why} "
                "Mend it, and run the same command with --retry-failed."
            )
        if wanted.kl_budget is not None:
            told.insert(1, record["kl"])
        yield [math.nan if value is None else float(value) for value in told]


def _told(
    study: SearchStudy, wanted: Search, seen: Seen, found: Found, folder: Folder, place: tuple[int, int]
) -> dict[str, Any]:
    """What was found with an anchor and a setting, for search.json."""
    rows = [row for row in study.rows if (row.anchor, row.setting) == place]
    known = _records(study, folder)
    beta = next((known[row.key]["beta_anchor"] for row in rows if known[row.key]["beta_anchor"]), None)
    return {
        "anchor": study.facts(rows[0])["anchor"],
        "setting": study.plan.settings[place[1]],
        "lambda": found.lambda_,
        "low": found.low,
        "high": found.high,
        "other_pairs": list(found.elsewhere),
        "beta_anchor": beta,
        "beta": beta / found.lambda_ if beta and found.lambda_ > 0 else None,
        "keeps_limits": found.keeps,
        "limits": [asdict(limit) for limit in wanted.limits],
        "ended": wanted.ended(seen, found),
        "pictures": len(seen),
        "pairs": wanted.pairs,
        "lambdas": found.lambdas.tolist(),
        "curves": [
            {"name": one.name, "mean": one.mean.tolist(), "low": one.low.tolist(), "high": one.high.tolist()}
            for one in found.curves
        ],
    }


def _records(study: SearchStudy, folder: Folder) -> dict[str, Record]:
    return {record["key"]: record for record in folder.table(study).to_pylist()}


def line_of(found: Found, pictures: int) -> str:
    return f"λ {found.lambda_:.3g} ({found.low:.3g} to {found.high:.3g}) of {pictures} pictures"


def lines_of(results: list[dict[str, Any]]) -> Iterator[str]:
    """What was found, a line for each anchor and setting."""
    for one in results:
        named = " · ".join(filter(None, (one["anchor"], json.dumps(one["setting"]) if one["setting"] else "")))
        beta = f" · β {one['beta']:.4g}" if one["beta"] else ""
        low, high = one["other_pairs"]
        keeps = "" if one["keeps_limits"] else " · no λ of the range keeps the limits, this one comes nearest"
        span = f"{one['low']:.3g} to {one['high']:.3g}; for other prompts and seeds {low:.3g} to {high:.3g}"
        best = f"{named + ': ' if named else ''}best λ {one['lambda']:.3g} ({span}){beta}"
        yield f"{best} · {one['pictures']} pictures · {one['ended']}{keeps}"
