"""Realign Check in the page: the table stands on the node, whole, in both renderers."""

from __future__ import annotations

from graphs import build, js, press_run

TABLE = "() => document.querySelector('.realign-table').innerText"
DONE = f"() => ({TABLE})().includes('model calls')"  # of the table's last line
FITS = """() => {
  const table = document.querySelector('.realign-table');
  return [table.scrollHeight - table.clientHeight, table.scrollWidth - table.clientWidth];
}"""


def check_graph(tab):
    nodes = [
        ["demo", "RealignDemoModels", [0, 0], {"shape": "heart"}],
        ["empty", "EmptyLatentImage", [0, 330], {"width": 64, "height": 64}],
        ["check", "RealignCheck", [380, 0], {"steps": 2, "cfg": 1.5}],
        ["text", "PreviewAny", [860, 0], {}],
    ]
    links = [
        *(["demo", i, "check", name] for i, name in enumerate(("model", "anchor", "positive", "negative"))),
        ["empty", 0, "check", "latent"],
        ["check", 0, "text", "source"],
    ]
    build(tab, nodes, links)


def test_the_table_is_on_the_node_and_stays(tab):
    check_graph(tab)
    press_run(tab)
    tab.page.wait_for_function(DONE)
    tab.page.wait_for_timeout(500)
    tab.shot("check")
    assert js(tab, TABLE).startswith("All is right")
    assert js(tab, TABLE).count("✓") == 5
    hidden, aside = js(tab, FITS)
    assert (max(hidden, 0), aside) == (0, 0)
    js(tab, "() => window.app.loadGraphData(window.app.graph.serialize())")  # as another tab and back
    tab.page.wait_for_function(DONE)
    assert tab.errors == []
