"""The subgraph “Realign”: an anchor's loader and its sampler in one node, as a blueprint that the page offers."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from tools.workflows.workflow_graph import NODE_BLUE, Graph, write_json

NAME = "Realign"
SPACE = uuid.UUID("5f0c1b3a-94d7-4a52-9a7e-6d1d2e8f4b10")  # ids that stay the same from one writing to the next
INPUTS = ("model", "positive", "negative", "latent_image", "lambda_schedule")
OUTPUTS = {"latent": 0, "trace": 2}  # of RealignSampler
ENTRY, EXIT = -10, -20  # the page's ids of a subgraph's own input and output
WIDGETS = {"anchor_name": "anchor", "lambda_": "λ", "seed": "seed", "steps": "steps", "cfg": "cfg"}  # and their labels
DESCRIPTION = (
    "Samples between a reference and the model aligned from it: choose the anchor's file, and λ. 0 is the reference, "
    "1 the anchor, between them a blend, as DeRaDiff mixes them at each step."
)


def realign(known: dict[str, Any], folder: Path) -> None:
    graph = Graph(known)
    loader = graph.add("LoadAnchorModel", colours=NODE_BLUE, anchor_name="")
    sampler = graph.add("RealignSampler", colours=NODE_BLUE, anchor=(loader, 0), steps=30)
    graph.box("", [loader]).place(200, 60, 380, 0)
    graph.box("", [sampler]).place(640, 60, 400, 0)
    for node in graph.nodes:
        _open_widgets(node, known[node["type"]])
    links = [dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), graph.links[0]))]
    names = (*INPUTS, *WIDGETS)
    inputs = [_entry(graph, slot, name, (loader, sampler), links) for slot, name in enumerate(names)]
    outputs = [_exit(graph, slot, name, sampler, links) for slot, name in enumerate(OUTPUTS)]
    inner = {"id": _id("subgraph"), "version": 1, "revision": 0, "config": {}, "name": NAME}
    inner["state"] = {"lastGroupId": 0, "lastNodeId": len(graph.nodes), "lastLinkId": len(links), "lastRerouteId": 0}
    inner["inputNode"] = {"id": ENTRY, "bounding": [0, 90, 120, 40 + 20 * len(inputs)]}
    inner["outputNode"] = {"id": EXIT, "bounding": [1120, 90, 120, 40 + 20 * len(outputs)]}
    inner |= {"inputs": inputs, "outputs": outputs, "widgets": [], "nodes": graph.nodes, "groups": [], "links": links}
    inner |= {"extra": {"workflowRendererVersion": "LG"}, "category": "realign", "description": DESCRIPTION}
    shown = [[str(loader if name == "anchor_name" else sampler), name] for name in WIDGETS]
    outer = {"id": 1, "type": inner["id"], "title": NAME, "pos": [0, 0], "size": [400, 290], "flags": {}, "order": 0}
    outer |= {"mode": 0, "properties": {"proxyWidgets": shown}, "widgets_values": []}
    outer["inputs"] = [_socket(one) for one in inputs]
    outer["outputs"] = [{"name": one["name"], "type": one["type"], "links": []} for one in outputs]
    blueprint = {"revision": 0, "last_node_id": 1, "last_link_id": 0, "nodes": [outer], "links": [], "version": 0.4}
    write_json(folder / f"{NAME}.json", blueprint | {"definitions": {"subgraphs": [inner]}, "extra": {}})


def _id(name: str) -> str:
    return str(uuid.uuid5(SPACE, name))


def _open_widgets(node: dict[str, Any], info: dict[str, Any]) -> None:
    """Give the node's promoted widgets the sockets that the page makes when something is linked to them."""
    for name in WIDGETS:
        spec = info["input"]["required"].get(name)
        if spec:
            kind = spec[0] if isinstance(spec[0], str) else "COMBO"
            node["inputs"].append({"name": name, "type": kind, "widget": {"name": name}, "link": None})


def _socket(entry: dict[str, Any]) -> dict[str, Any]:
    """An input of the subgraph as its node has it."""
    name = entry["name"]
    socket = {"name": name, "type": entry["type"], "link": None}
    if name in WIDGETS:
        socket |= {"label": WIDGETS[name], "widget": {"name": name}}
    if name == "lambda_schedule":
        socket["shape"] = 7  # may be left open
    return socket


def _entry(graph: Graph, slot: int, name: str, nodes: tuple[int, ...], links: list[dict[str, Any]]) -> dict[str, Any]:
    """An input of the subgraph, linked to all inner inputs of that name."""
    kind, ids = "", []
    for node in nodes:
        for target, inner in enumerate(graph.nodes[node - 1]["inputs"]):
            if inner["name"] == name:
                kind = inner["type"]
                inner["link"] = _link(links, (ENTRY, slot), (node, target), kind)
                ids.append(inner["link"])
    entry = {"id": _id(f"input {name}"), "name": name, "type": kind, "linkIds": ids, "pos": [100, 110 + 20 * slot]}
    return entry | ({"label": WIDGETS[name]} if name in WIDGETS else {})


def _exit(graph: Graph, slot: int, name: str, node: int, links: list[dict[str, Any]]) -> dict[str, Any]:
    """An output of the subgraph, linked from the inner node's."""
    output = graph.nodes[node - 1]["outputs"][OUTPUTS[name]]
    output["links"].append(_link(links, (node, OUTPUTS[name]), (EXIT, slot), output["type"]))
    at = [1080, 110 + 20 * slot]
    return {"id": _id(f"output {name}"), "name": name, "type": output["type"], "linkIds": [len(links)], "pos": at}


def _link(links: list[dict[str, Any]], source: tuple[int, int], target: tuple[int, int], kind: str) -> int:
    ends = {"origin_id": source[0], "origin_slot": source[1], "target_id": target[0], "target_slot": target[1]}
    links.append({"id": len(links) + 1, **ends, "type": kind})
    return len(links)
