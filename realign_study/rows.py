"""A plan and its workflow as rows: a row is one picture, known by the hash of all that decides it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .backends.interface import Task, Wanted
from .errors import PlanError
from .plan import Anchor, PlanFile
from .scoring import asked, reward_graph
from .slots import Graph
from .version import version
from .workflow import PICTURE, TRACE, Workflow

FORMAT = 1  # of keys: raise it where the same graph would no longer give the same picture
OWN = ("lambda", "seed", "prompt", "anchor", "beta")  # have places of their own in the plan, and columns


@dataclass(frozen=True, slots=True)
class Row:
    """Places in the plan's lists, and the values that are numbers there."""

    place: int  # in the plan's order, from 0
    prompt: int
    anchor: int
    setting: int
    lambda_: float
    seed: int
    key: str = ""  # 32 hexadecimal digits


class Study:
    """`rows`, all of them; `graph`, `task` and `facts` of a row. `seeds`: how many each prompt has.

    The order keeps what a host has loaded: anchors outermost, then sampler settings, prompts, seeds and λ. Each row is
    a prompt of its own on the host. The λ of a group could share one as a sweep, which is faster where the batch fits
    the card; but then a row would hold the bits of its batch, be lost with it, and know its time only as a share.
    """

    def __init__(self, plan_file: PlanFile):
        """Raises PlanError, with the line where there is one, for values that go nowhere and for rows that are there
        twice."""
        self.plan_file, self.plan, self.prompts = plan_file, plan_file.plan, plan_file.prompts
        self.workflow = Workflow(plan_file)
        self.anchors, self.seeds = self.plan.all_anchors(), len(self.plan.seeds_of(0))
        self._check_slots()
        _ = self.reward_graphs  # refused before anything runs

    @cached_property
    def rows(self) -> list[Row]:
        found: dict[str, Row] = {}
        for row in self._rows():
            key = self.key(row)
            if key in found:
                raise PlanError(
                    f"Two rows would be the same picture: {self._named(found[key])} and {self._named(row)}."
                )
            found[key] = Row(row.place, row.prompt, row.anchor, row.setting, row.lambda_, row.seed, key)
        return list(found.values())

    def _rows(self) -> Iterator[Row]:
        place = 0
        for anchor, one in enumerate(self.anchors):
            lambdas = self.plan.lambdas_of(one)
            for setting in range(len(self.plan.settings)):
                for prompt in range(len(self.prompts)):
                    for seed in self.plan.seeds_of(prompt):
                        for value in lambdas:
                            yield Row(place, prompt, anchor, setting, value, seed)
                            place += 1

    def graph(self, row: Row) -> Graph:
        """What makes the picture, without what only gives it out."""
        return self.workflow.filled(self._values(row))

    def _values(self, row: Row) -> dict[str, Any]:
        prompt, anchor = self.prompts[row.prompt], self.anchors[row.anchor]
        values: dict[str, Any] = {"lambda": row.lambda_}
        if self.workflow.takes("seed"):
            values["seed"] = row.seed
        if self.workflow.takes("prompt"):
            values["prompt"] = prompt.text
        values |= _of_anchor(anchor, self.workflow)
        return values | self.plan.settings[row.setting] | prompt.inputs

    def key(self, row: Row) -> str:
        """Of all that decides the row's picture."""
        return self._key(self.graph(row))

    def _key(self, graph: Graph) -> str:
        used = json.dumps(graph, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        files = {name: value.lower() for name, value in self.plan.files.items() if json.dumps(name)[1:-1] in used}
        told = f"{FORMAT}\0{used}\0{json.dumps(files, sort_keys=True)}"
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    @cached_property
    def reward_graphs(self) -> dict[str, Graph]:
        """The plan's rewards as nodes, by name."""
        try:
            return {name: reward_graph(name, reward) for name, reward in self.plan.rewards.items()}
        except PlanError as error:
            raise self.plan_file.wrong(("rewards",), str(error)) from None

    @property
    def rewards(self) -> dict[str, str]:
        """By name, what each asks: the hash of its nodes."""
        return {name: asked(reward) for name, reward in self.plan.rewards.items()}

    def task(self, row: Row) -> Task:
        wanted = {"trace": Wanted(TRACE, "trace")} if self.workflow.trace is not None else {}
        return Task(row.key, self.workflow.watched(self.graph(row)), PICTURE, wanted)

    def facts(self, row: Row) -> dict[str, Any]:
        """The row's columns that the plan knows."""
        prompt, anchor = self.prompts[row.prompt], self.anchors[row.anchor]
        return {
            "key": row.key,
            "study": self.plan.study,
            "prompt": prompt.text,
            "inputs": _json(prompt.inputs),
            "anchor": anchor.name or str(self.workflow.own("anchor") or ""),
            "setting": _json(self.plan.settings[row.setting]),
            "lambda": row.lambda_,
            "seed": str(row.seed),
            "files": _json(self.plan.files),
            "realign": version(),
        }

    def _named(self, row: Row) -> str:
        prompt = self.prompts[row.prompt]
        line = f" (line {prompt.line} of the prompts)" if prompt.line else ""
        return f"“{prompt.text[:60]}”{line}, λ {row.lambda_:g}, seed {row.seed}"

    def _check_slots(self) -> None:
        """Whatever the plan says must go somewhere: nothing is dropped in silence."""
        plan, wrong = self.plan, self.plan_file.wrong
        self._needs("lambda", ("lambda",), "the workflow has no λ: name its input under inputs, as lambda: node.input.")
        if self.seeds > 1 or "seeds" in plan.model_fields_set:
            self._needs("seed", ("seeds",), "nothing in the workflow takes a seed.")
        for place, anchor in enumerate(self.anchors):
            if anchor.name is not None:
                self._needs("anchor", ("anchors", place), "no node of the workflow loads an anchor file.")
            if anchor.beta is not None:
                self._takes("beta", ("anchors", place))
        for place, setting in enumerate(plan.settings):
            for name in setting:
                self._free(name, ("settings", place, name), f"“{name}”")
        names = {name for prompt in self.prompts for name in prompt.inputs}
        for name in sorted(names):
            self._free(name, ("prompts",), f"the column “{name}”")
        if not names:
            self._needs("prompt", ("prompts",), "nothing in the workflow takes a prompt: name its input under inputs.")
        for name in plan.inputs:
            if name not in {*OWN, *names, *(k for s in plan.settings for k in s)}:
                raise wrong(("inputs", name), f"nothing in the plan says what “{name}” is.")

    def _free(self, name: str, place: tuple[str | int, ...], called: str) -> None:
        """Refuse what a setting or a prompt's line says where the workflow does not take it, and where the plan says
        it elsewhere: the table would tell that, and the picture would be of this."""
        if name in OWN:
            raise self.plan_file.wrong(place, f"{called} has a place of its own in the plan: say it there alone.")
        self._needs(name, place, f"nothing in the workflow takes {called}.")

    def _needs(self, name: str, place: tuple[str | int, ...], sentence: str) -> None:
        if not self._takes(name, place):
            raise self.plan_file.wrong(place, sentence)

    def _takes(self, name: str, place: tuple[str | int, ...]) -> bool:
        """Raises PlanError where it is not clear what of the workflow does."""
        try:
            return self.workflow.takes(name)
        except PlanError as error:
            raise self.plan_file.wrong(place, str(error)) from None


def _of_anchor(anchor: Anchor, workflow: Workflow) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if anchor.name is not None:
        values["anchor"] = anchor.name
    if anchor.beta is not None and workflow.slots.of("beta"):
        values |= {"beta": anchor.beta, "beta_source": "typed"}
    return values


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
