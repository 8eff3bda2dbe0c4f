"""A workflow that makes one picture of a sweep alone: the run's own, with λ Sweep told which cell."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any

from .graph_words import Graph


def graph_alone(graph: Graph, sweep: str, values: Mapping[str, Any]) -> Graph:
    """The graph in API format, with these inputs of the node `sweep`, and all else shared with the one given."""
    entry = graph[sweep]
    return {**graph, sweep: {**entry, "inputs": {**entry["inputs"], **values}}}


def workflow_alone(workflow: Any, sweep: str, values: Mapping[str, Any], widgets: Sequence[tuple[str, Any]]) -> Any:
    """The same of a workflow as the page saves it, whatever it is.

    sweep: the node's id, after those of the subgraphs it lies in, "7:3:12". widgets: the node's, in the page's order,
    with their defaults; a file from before a widget was added holds fewer values.
    """
    place = _place(workflow, sweep.split(":"))
    if place is None:
        return workflow
    node = reduce(getitem, place, workflow)
    own = node.get("widgets_values")
    if isinstance(own, list):
        filled = [*own, *(default for _, default in widgets[len(own) :])]
        named = [values.get(name, value) for (name, _), value in zip(widgets, filled, strict=False)]
        own = [*named, *filled[len(named) :]]
    elif isinstance(own, dict):
        own = {**own, **values}
    else:
        return workflow
    return _replaced(workflow, place, {**node, "widgets_values": own})


def _replaced(value: Any, place: Sequence[str | int], new: Any) -> Any:
    """The value with this at that place; what does not lie on the way there is shared."""
    if not place:
        return new
    out = copy.copy(value)
    out[place[0]] = _replaced(value[place[0]], place[1:], new)
    return out


def _place(workflow: Any, path: Sequence[str]) -> Sequence[str | int] | None:
    """Where the node lies that a path of ids leads to, as keys and indices; None where there is none."""
    subgraphs = _list(_get(workflow, "definitions"), "subgraphs")
    number_of = {str(_get(one, "id")): i for i, one in enumerate(subgraphs)}
    graph = workflow
    place: list[str | int] = []
    for number, step in enumerate(path, 1):
        nodes = _list(graph, "nodes")
        found = next((i for i, one in enumerate(nodes) if str(_get(one, "id")) == step), None)
        if found is None or number == len(path):
            return None if found is None else [*place, "nodes", found]
        inner = number_of.get(str(_get(nodes[found], "type")))
        if inner is None:
            return None
        graph, place = subgraphs[inner], ["definitions", "subgraphs", inner]
    return None


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _list(value: Any, name: str) -> list[Any]:
    found = _get(value, name)
    return found if isinstance(found, list) else []
