"""Shared workflow files keep loading: node ids, input names, order and types, and outputs stay what was released."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import BY_THE_PACK
from realign.nodes import NODES
from realign.nodes.types import WORDS

CONTRACT = Path(__file__).parent / "contract.json"


def described(node):
    info = node.GET_NODE_INFO_V1()
    kinds = {name: spec for group in ("required", "optional") for name, spec in info["input"].get(group, {}).items()}
    return {
        "inputs": {
            group: [[name, kinds[name][0] if isinstance(kinds[name][0], str) else "COMBO"] for name in names]
            for group, names in info["input_order"].items()
            if group != "hidden"
        },
        "outputs": info["output"],
    }


def test_nodes_are_as_released():
    """After a release, lines of contract.json are only ever added: see AGENTS.md."""
    assert {node.define_schema().node_id: described(node) for node in NODES} == json.loads(CONTRACT.read_text())


def test_ids_follow_the_design():
    for node in NODES:
        node_id = node.define_schema().node_id
        assert node_id in ("LoadAnchorModel", "LambdaSchedule") or node_id.startswith("Realign")


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_every_input_and_output_is_explained(node):
    schema = node.define_schema()
    assert schema.description
    assert schema.category == "realign"
    assert set(WORDS) <= {word for alias in schema.search_aliases for word in alias.split()}
    assert all(item.tooltip for item in [*schema.inputs, *schema.outputs])
    for item in schema.inputs:
        if getattr(item, "min", None) is not None and item.id != "seed":
            assert any(c.isdigit() for c in item.tooltip), f"{item.id}: the tooltip names no range"


def test_importing_the_pack_loads_and_reads_nothing_but_code():
    """So that a host starts as fast with it, whatever the machine."""
    assert BY_THE_PACK["packages"] - sys.stdlib_module_names <= {"realign", "comfy_extras", "comfy_api"}
    assert BY_THE_PACK["files"]
    assert {Path(name).suffix for name in BY_THE_PACK["files"]} <= {".py", ".pyc"}
