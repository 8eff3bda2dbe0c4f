"""Expert inputs lie behind the page's own fold in both renderers, and are found again."""

from __future__ import annotations

import json

import pytest
from conftest import PACK
from graphs import build, set_widget, until

MEASURE = """() => Object.values(window.LiteGraph.registered_node_types)
  .filter((type) => type.nodeData?.python_module === 'custom_nodes.realign')
  .map((type) => {
    const node = window.LiteGraph.createNode(type.type);
    window.app.graph.add(node);
    const out = [type.type, node.size[1], node.computeSize()[1]];
    window.app.graph.remove(node);
    return out;
  })"""

def test_measure(tab):
    print(json.dumps(tab.page.evaluate(MEASURE)))
