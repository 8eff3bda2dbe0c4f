"""A workflow in the page's UI format, put together node by node: slots and widgets as the host describes its nodes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.cache import say
from tools.workflows.model_files import downloads
from tools.workflows.workflow_api import is_widget
from tools.workflows.workflow_layout import HEIGHTS, LINE, Box, Group, Stack, lay_out
from tools.workflows.workflow_names import TITLES

HUGGING_FACE = "https://huggingface.co"
NODE_BLUE = ("#223", "#335")


@dataclass
class Graph:
    """A workflow being put together. Nodes get ids in the order they are added; links are made by input names."""

    known: dict[str, Any]
    nodes: list[dict[str, Any]] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)

    def add(
        self,
        kind: str,
        title: str | None = None,
        colours: tuple[str, str] | None = None,
        folded: bool = False,
        **values: Any,
    ) -> int:
        """Add a node: values are widget values, or (node id, output index) for a link; seed_then: what becomes of the
        seed after a run. Returns its id."""
        node = self._node(kind, HEIGHTS[kind])
        node["properties"] = {"Node name for S&R": kind}
        if folded:
            node["flags"] = {"collapsed": True}
        if title:
            node["title"] = title
        if colours:
            node["color"], node["bgcolor"] = colours
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
                    if settings.get("advanced") and saved[-1] != _default(spec):
                        node["size"][1] += LINE  # the page shows such an input, the others of its kind are folded
                    if settings.get("control_after_generate"):
                        saved.append(values.pop(f"{name}_then", "fixed"))
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

    def note(self, height: int, text: str) -> Box:
        node = self._node("MarkdownNote", height)
        node |= {"title": "Read me", "widgets_values": [text]}
        return Box("", [node])

    def _node(self, kind: str, height: int) -> dict[str, Any]:
        node: dict[str, Any] = {"id": len(self.nodes) + 1, "type": kind, "pos": [0, 0], "size": [0, height]}
        node |= {"flags": {}, "order": len(self.nodes), "mode": 0, "inputs": [], "outputs": [], "properties": {}}
        self.nodes.append(node)
        return node

    def box(self, title: str, *columns: Sequence[int]) -> Box:
        """A group of nodes, by their ids, to be laid out."""
        return Box(title, *([self.nodes[node - 1] for node in column] for column in columns))

    def write(self, folder: Path, name: str, *stacks: Stack) -> None:
        """Lay out the nodes, as `lay_out`, and write the file. name: in TITLES. A node in no column is an error."""
        groups, view = lay_out(*stacks)
        lost = [node["type"] for node in self.nodes if not node["size"][0]]
        if lost:
            raise ValueError(f"{name} has no place for {', '.join(lost)}")
        workflow: dict[str, Any] = {"last_node_id": len(self.nodes), "last_link_id": len(self.links)}
        workflow |= {"nodes": self.nodes, "links": self.links, "groups": list(map(_group, groups, range(1, 99)))}
        workflow |= {"config": {}, "version": 0.4, "extra": {"ds": view}}
        write_json(folder / f"{TITLES[name]}.json", workflow)


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    say(f"wrote {path}")


def _group(group: Group, number: int) -> dict[str, Any]:
    title, box = group
    return {"id": number, "title": title, "bounding": list(box), "color": "#3f789e", "font_size": 24, "flags": {}}


def _default(spec: list[Any]) -> Any:
    settings = spec[1] if len(spec) > 1 else {}
    options = spec[0] if isinstance(spec[0], list) else settings.get("options", [None])
    return settings.get("default", options[0] if options else None)
