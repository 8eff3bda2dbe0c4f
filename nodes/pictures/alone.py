"""A workflow that makes one picture of a sweep alone: the run's own, with λ Sweep told which cell."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from .graph_words import Graph


def graph_alone(graph: Graph, sweep: str, values: Mapping[str, Any]) -> Graph:
    """The graph in API format, with these inputs of the node `sweep`, and all else shared with the one given."""
    entry = graph[sweep]
    return {**graph, sweep: {**entry, "inputs": {**entry["inputs"], **values}}}


def workflow_alone(workflow: Any, sweep: str, values: Mapping[str, Any], widgets: Sequence[tuple[str, Any]]) -> Any:
    """The same of a workflow as the page saves it, whatever it is; a copy.

    sweep: the node's id, after those of the subgraphs it lies in, "7:3:12". widgets: the node's, in the page's order,
    with their defaults; a file from before a widget was added holds fewer values.
    """
    out = copy.deepcopy(workflow)
    node = _node(out, sweep.split(":"))
    own = node.get("widgets_values") if node else None
    if isinstance(own, list):
        own += [default for _, default in widgets[len(own) :]]
        for i, (name, _) in enumerate(widgets):
            own[i] = values.get(name, own[i])
    elif isinstance(own, dict):
        own.update(values)
    return out


def _node(workflow: Any, path: Sequence[str]) -> dict[str, Any] | None:
    """The node that a path of ids leads to; None where there is none."""
    subgraphs = {str(one.get("id")): one for one in _dicts(_get(_get(workflow, "definitions"), "subgraphs"))}
    graph: Any = workflow
    for number, step in enumerate(path, 1):
        found = next((node for node in _dicts(_get(graph, "nodes")) if str(node.get("id")) == step), None)
        if found is None or number == len(path):
            return found
        graph = subgraphs.get(str(found.get("type")))
    return None


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _dicts(values: Any) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
