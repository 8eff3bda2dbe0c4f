"""Where in a graph (API format) the plan's values go: named in the plan, marked in a title, or found by the nodes."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from .errors import PlanError

Graph = dict[str, dict[str, Any]]
Slot = tuple[str, str]  # a node's id and one of its inputs
MARK = re.compile(r"\[study:\s*(\w+)(?:\s*=\s*(\w+))?\s*\]")
# What an input is called where the plan's name for it is another.
CALLED = {
    "lambda": ("lambda_", "value"),
    "prompt": ("text", "value"),
    "negative": ("text", "value"),
    "seed": ("seed", "noise_seed", "value"),
    "anchor": ("anchor_name",),
}
TEXTS = ("text", "text_g", "text_l", "clip_l", "clip_g", "t5xxl")  # of the host's text encoders


def is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def title_of(graph: Graph, node: str) -> str:
    meta = graph[node].get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    return f"{title or graph[node]['class_type']} ({node})"


class Slots:
    """The slots of a graph by the plan's names. named: the plan's `inputs`."""

    def __init__(self, graph: Graph, named: dict[str, list[str]]):
        self.graph = graph
        self._known: dict[str, list[Slot]] = {name: [self.at(place) for place in named[name]] for name in named}
        for node, inputs in self._inputs():
            for name, wanted in MARK.findall(title_of(graph, node)):
                if name not in named:
                    self._known.setdefault(name, []).append((node, self._marked(node, inputs, name, wanted)))

    def at(self, place: str) -> Slot:
        """A slot that is written “node.input”. Raises PlanError where there is none."""
        node, _, name = place.partition(".")
        inputs = self.graph.get(node, {}).get("inputs", {})
        if name not in inputs:
            there = f"; node {node} has {', '.join(inputs) or 'no inputs'}" if node in self.graph else ""
            raise PlanError(f"the workflow has no input “{place}”{there}.")
        if is_link(inputs[name]):
            raise PlanError(f"“{place}” is connected to another node: name the input that is typed in there.")
        return node, name

    def of(self, name: str) -> list[Slot]:
        """Where a value of this name goes; none where nothing takes it. Raises PlanError where it is not clear."""
        if name not in self._known:
            self._known[name] = self._found(name)
        return self._known[name]

    def value(self, name: str) -> Any:
        """What the workflow itself has there; None where nothing takes it."""
        slots = self.of(name)
        return self.graph[slots[0][0]]["inputs"][slots[0][1]] if slots else None

    def _inputs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for node, content in self.graph.items():
            yield node, content["inputs"]

    def _marked(self, node: str, inputs: dict[str, Any], name: str, wanted: str) -> str:
        typed = [key for key, value in inputs.items() if not is_link(value)]
        names = (wanted,) if wanted else (name, *CALLED.get(name, ()))
        found = [key for key in names if key in typed] or (typed if len(typed) == 1 and not wanted else [])
        if not found:
            raise PlanError(
                f"node {title_of(self.graph, node)} is marked for {name}, and it is not clear which of its inputs "
                f"takes it ({', '.join(typed) or 'it has none'}): mark it as [study: {name} = input]."
            )
        return found[0]

    def _found(self, name: str) -> list[Slot]:
        if name == "lambda":
            return self._only(name, [slot for node, _ in self._inputs() for slot in self._typed(node, "lambda_")])
        sampler = self.sampler()
        if name in ("prompt", "negative") and sampler:
            return self._texts(sampler, "positive" if name == "prompt" else "negative")
        if name in ("anchor", "beta", "beta_source") and sampler:
            files = [node for node in self.above(sampler, "anchor") if "anchor_name" in self.graph[node]["inputs"]]
            return self._only(name, [(node, "anchor_name" if name == "anchor" else name) for node in files])
        names = ("seed", "noise_seed") if name == "seed" else (name,)
        if sampler and (own := [slot for key in names for slot in self._typed(sampler, key)]):
            return own[:1]
        return self._only(
            name, [slot for node, _ in self._inputs() for key in names for slot in self._typed(node, key)]
        )

    def sampler(self) -> str | None:
        """The node that has λ."""
        try:
            having = [node for node, inputs in self._inputs() if "lambda_" in inputs]
            return having[0] if len(having) == 1 else self.of("lambda")[0][0]
        except (PlanError, IndexError):
            return None

    def _typed(self, node: str, name: str) -> list[Slot]:
        """The slot of an input, also where a plain value node is connected to it."""
        inputs = self.graph[node]["inputs"]
        if name not in inputs:
            return []
        if not is_link(inputs[name]):
            return [(node, name)]
        source = inputs[name][0]
        value = self.graph.get(source, {}).get("inputs", {}).get("value")
        return [(source, "value")] if value is not None and not is_link(value) else []

    def _only(self, name: str, slots: list[Slot]) -> list[Slot]:
        slots = list(dict.fromkeys(slots))
        if len(slots) > 1:
            places = ", ".join(f"{node}.{key}" for node, key in slots)
            raise PlanError(f"several inputs of the workflow could take “{name}”: say which under inputs ({places}).")
        return slots

    def _texts(self, sampler: str, name: str) -> list[Slot]:
        """The texts of the encoder that comes first above a conditioning."""
        for node in self.above(sampler, name):
            inputs = self.graph[node]["inputs"]
            kinds = [key for key in TEXTS if key in inputs and (isinstance(inputs[key], str) or is_link(inputs[key]))]
            found = [slot for key in kinds for slot in self._typed(node, key)]
            if found:
                return found
        return []

    def above(self, node: str, name: str) -> list[str]:
        """The nodes that an input comes from, nearest first."""
        return walked(self.graph, [self.graph[node]["inputs"].get(name)], lambda _: True)


def walked(graph: Graph, values: list[Any], wanted: Callable[[str], bool]) -> list[str]:
    """The ids of the nodes that the links among `values` lead to, and of those above them, nearest first."""
    found: dict[str, None] = {}
    waiting = deque(value[0] for value in values if is_link(value))
    while waiting:
        node = waiting.popleft()
        if node in found or node not in graph:
            continue
        found[node] = None
        waiting.extend(value[0] for value in graph[node]["inputs"].values() if is_link(value))
    return [node for node in found if wanted(node)]
