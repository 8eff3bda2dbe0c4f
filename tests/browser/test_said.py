"""What nodes say of their result stays on them: also where the host has kept it, and where the page makes them anew."""

from __future__ import annotations

from graphs import build, js, press_run

TEXT = """() => window.app.graph.nodes.find((one) => one.type === 'RealignBestOf')?.widgets
  .find((w) => w.name === '$$node-text-preview')?.value ?? ''"""
SAVED = "() => window.app.graph.serialize()"
LOAD = "(graph) => window.app.loadGraphData(graph)"


def test_what_a_node_says_stays_on_it(tab):
    nodes = [
        ["picture", "EmptyImage", [0, 0], {"width": 32, "height": 32, "batch_size": 2}],
        ["good", "RealignPictureReward", [0, 300], {"reward": "brightness"}],
        ["best", "RealignBestOf", [420, 0], {"count": 3}],
        ["shown", "PreviewImage", [840, 0], {}],
    ]
    links = [["picture", 0, "best", "images"], ["good", 0, "best", "reward"], ["best", 0, "shown", "images"]]
    build(tab, nodes, links)
    press_run(tab)
    tab.page.wait_for_function(TEXT)
    text, graph = js(tab, TEXT), js(tab, SAVED)
    assert "picture 1:" in text
    js(tab, LOAD, graph)  # the page makes its nodes anew
    tab.page.wait_for_function(TEXT)
    assert js(tab, TEXT) == text
    tab.reopen()  # a page that has heard nothing, and a host that does not run it again
    js(tab, LOAD, graph)
    tab.page.wait_for_timeout(700)
    assert js(tab, TEXT) == ""
    press_run(tab)
    tab.page.wait_for_function(TEXT)
    assert js(tab, TEXT) == text
    assert tab.errors == []
