"""A workflow as the page saves it (UI format) → the graph its Run button would send (API format).

The page does this in the browser. For headless runs the same is done here from the node descriptions that the host
gives under /object_info: links become [node id, output], widgets take the saved values in the order of their inputs.
"""

from __future__ import annotations

from typing import Any

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "CURVE"}
ONLY_SHOWN = {"Note", "MarkdownNote", "Reroute", "PrimitiveNode"}
NEVER, BYPASS = 2, 4  # node modes


def to_api(workflow: dict[str, Any], descriptions: dict[str, Any]) -> dict[str, Any]:
    """The graph in API format, keyed by the workflow's node ids.

    workflow: UI format 0.4. descriptions: the host's /object_info. Raises ValueError for a node that the host does not
    have, and for what this conversion does not cover (reroutes, muted and bypassed nodes, subgraphs).
    """
    links = {link[0]: link for link in workflow["links"]}
    graph: dict[str, Any] = {}
    for node in workflow["nodes"]:
        kind = node["type"]
        if kind in ("Note", "MarkdownNote"):
            continue
        if kind in ONLY_SHOWN or node.get("mode", 0) in (NEVER, BYPASS):
            raise ValueError(f"node {node['id']} ({kind}): only plain, active nodes can be run without the page")
        if kind not in descriptions:
            raise ValueError(f"node {node['id']}: this ComfyUI has no node {kind}")
        inputs = _widget_values(node, descriptions[kind])
        for slot in node.get("inputs", []):
            if slot.get("link") is not None:
                _, source, output, *_ = links[slot["link"]]
                inputs[slot["name"]] = [str(source), output]
        graph[str(node["id"])] = {"class_type": kind, "inputs": inputs}
    return graph


def _widget_values(node: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    """{input: saved value}. The page saves one value per widget, and one more after a seed: what to do with it next."""
    saved = node.get("widgets_values") or []
    if isinstance(saved, dict):
        return dict(saved)
    # What was saved before an input existed has fewer values: the host takes the default.
    return {name: value for name, value in zip(widgets(description), saved) if name}


def widgets(description: dict[str, Any]) -> list[str]:
    """The inputs that a node's saved values belong to, in their order; "" where one says what becomes of a seed."""
    names = []
    for group in ("required", "optional"):
        for name in description["input_order"].get(group, []):
            spec = description["input"][group][name]
            if is_widget(spec):
                names.append(name)
                names += [""] * bool(len(spec) > 1 and spec[1].get("control_after_generate"))
    return names


def is_widget(spec: list[Any]) -> bool:
    """Whether an input, as /object_info describes it, is one that the page shows as a widget."""
    kind, settings = spec[0], spec[1] if len(spec) > 1 else {}
    return (isinstance(kind, list) or kind in WIDGETS) and not settings.get("forceInput")
