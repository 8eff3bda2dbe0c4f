"""A workflow in the page's UI format, put together node by node: slots and widgets as the host describes its nodes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host_process import say
from model_files import downloads
from workflow_api import is_widget
from workflow_names import TITLES

HUGGING_FACE = "https://huggingface.co"
NODE_BLUE = ("#223", "#335")
BARS, FREE = (75, 90), (1585, 930)  # px: the page's bars at the left and the top, and what is left of 1680 × 1050
READABLE = 0.62  # the page leaves texts out below 0.6
TOP, TITLE, GAP = 90, 30, 30  # px: the first node of a column, a node's title, and what is left free below a node

# px without the title, in the page's renderer that needs more. Others are given a height of their own.
HEIGHTS = {
    "BasicScheduler": 118,
    "CheckpointLoaderSimple": 102,
    "EmptyLatentImage": 118,
    "EmptySD3LatentImage": 118,
    "FeatherMask": 146,
    "KSamplerSelect": 62,
    "LoadAnchorModel": 240,
    "MaskComposite": 138,
    "ModelMergeAdd": 54,
    "ModelMergeSubtract": 82,
    "RandomNoise": 82,
    "RealignAddAnchor": 134,
    "RealignAnchorFromModel": 114,
    "RealignDemoModels": 246,
    "RealignGuider": 344,
    "RealignSampler": 660,
    "RealignSweep": 390,
    "RealignTrace": 98,
    "SolidMask": 118,
    "TripleCLIPLoader": 118,
    "VAEDecode": 54,
}


@dataclass
class Graph:
    """A workflow being put together. Nodes get ids in the order they are added; links are made by input names."""

    known: dict[str, Any]
    nodes: list[dict[str, Any]] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        kind: str,
        at: tuple[int, int],
        size: tuple[int, int],
        title: str | None = None,
        colours: tuple[str, str] | None = None,
        **values: Any,
    ) -> int:
        """Add a node: values are widget values, or (node id, output index) for a link. Returns its id."""
        node: dict[str, Any] = {"id": len(self.nodes) + 1, "type": kind, "pos": list(at), "size": list(size)}
        node |= {"flags": {}, "order": len(self.nodes), "mode": 0, "inputs": [], "outputs": []}
        node["properties"] = {"Node name for S&R": kind}
        if title:
            node["title"] = title
        if colours:
            node["color"], node["bgcolor"] = colours
        self.nodes.append(node)
        info = self.known[kind]
        node["outputs"] = [
            {"name": name, "type": type_, "links": []} for name, type_ in zip(info["output_name"], info["output"])
        ]
        node["widgets_values"] = self._inputs(node, info, values)
        if models := downloads(node["widgets_values"]):
            node["properties"]["models"] = models
        if values:
            raise ValueError(f"{kind} has no input {', '.join(values)}")
        return int(node["id"])

    def _inputs(self, node: dict[str, Any], info: dict[str, Any], values: dict[str, Any]) -> list[Any]:
        saved: list[Any] = []
        for group in ("required", "optional"):
            for name in info["input_order"].get(group, []):
                spec = info["input"][group][name]
                kind = spec[0] if isinstance(spec[0], str) else "COMBO"
                settings = spec[1] if len(spec) > 1 else {}
                if is_widget(spec):
                    saved.append(values.pop(name, _default(spec)))
                    if settings.get("control_after_generate"):
                        saved.append("fixed")
                    continue
                slot = {"name": name, "type": kind, "link": None}
                if group == "optional":
                    slot["shape"] = 7  # a hollow dot
                if name in values:
                    slot["link"] = self._link(values.pop(name), node["id"], len(node["inputs"]), kind)
                node["inputs"].append(slot)
        return saved

    def _link(self, source: tuple[int, int], target: int, slot: int, kind: str) -> int:
        node_id, output = source
        self.links.append([len(self.links) + 1, node_id, output, target, slot, kind])
        self.nodes[node_id - 1]["outputs"][output]["links"].append(len(self.links))
        return len(self.links)

    def note(self, at: tuple[int, int], size: tuple[int, int], text: str) -> None:
        node = {"id": len(self.nodes) + 1, "type": "MarkdownNote", "pos": list(at), "size": list(size), "flags": {}}
        node |= {"order": len(self.nodes), "mode": 0, "inputs": [], "outputs": [], "title": "Read me", "properties": {}}
        node |= {"widgets_values": [text]}
        self.nodes.append(node)

    def group(self, title: str, box: tuple[int, int, int, int]) -> None:
        group = {"id": len(self.groups) + 1, "title": title, "bounding": list(box), "color": "#3f789e"}
        self.groups.append(group | {"font_size": 24, "flags": {}})

    def write(self, folder: Path, name: str, fit: bool = False) -> None:
        """name: in TITLES. fit: the page shows all groups, or as many as stay readable, on a screen of 1680 × 1050."""
        workflow = {"last_node_id": len(self.nodes), "last_link_id": len(self.links), "nodes": self.nodes}
        workflow |= {"links": self.links, "groups": self.groups, "config": {}, "version": 0.4}
        workflow["extra"] = {"ds": self._view() if fit else {"scale": 0.75, "offset": [60, 120]}}
        write_json(folder / f"{TITLES[name]}.json", workflow)

    def _view(self) -> dict[str, Any]:
        boxes = [group["bounding"] for group in self.groups]
        left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
        right, low = max(box[0] + box[2] for box in boxes), max(box[1] + box[3] for box in boxes)
        scale = round(max(min(FREE[0] / (right - left), FREE[1] / (low - top)), READABLE), 3)
        return {"scale": scale, "offset": [round(BARS[0] / scale) - left, round(BARS[1] / scale) - top]}


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    say(f"wrote {path}")


def _default(spec: list[Any]) -> Any:
    settings = spec[1] if len(spec) > 1 else {}
    options = spec[0] if isinstance(spec[0], list) else settings.get("options", [None])
    return settings.get("default", options[0] if options else None)


class Column:
    """Nodes of one width, one below the other."""

    def __init__(self, graph: Graph, x: int, width: int, y: int = TOP):
        self.graph, self.x, self.width, self.y = graph, x, width, y
        self.first = y

    def add(self, kind: str, height: int = 0, /, **values: Any) -> int:
        """As Graph.add; height without the title, 0 for the node's own."""
        height = height or HEIGHTS[kind]
        node = self.graph.add(kind, (self.x, self.y), (self.width, height), **values)
        self.y += height + TITLE + GAP
        return node

    def note(self, height: int, text: str) -> None:
        self.graph.note((self.x, self.y), (self.width, height), text)
        self.y += height + TITLE + GAP

    @property
    def end(self) -> int:
        """Below the last node."""
        return self.y - TITLE - GAP

    def beside(self, width: int, apart: int = 60) -> Column:
        """The next column to the right."""
        return Column(self.graph, self.x + self.width + apart, width, self.first)


def group_around(title: str, *columns: Column, to: int = 0) -> None:
    """A group around columns that lie side by side. to: its lower edge, where it is to be lower than theirs."""
    left, right = columns[0].x - 20, columns[-1].x + columns[-1].width + 20
    top = min(column.first for column in columns) - 80
    low = max(to, *(column.end + 20 for column in columns))
    columns[0].graph.group(title, (left, top, right - left, low - top))


def group_all(titles: dict[str, Column], to: int = 0) -> None:
    """Groups of one height, each around a column. to: as in `group_around`."""
    low = max(to, *(column.end + 20 for column in titles.values()))
    for title, column in titles.items():
        group_around(title, column, to=low)
