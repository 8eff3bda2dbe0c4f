"""Every shared workflow in the real page, and the demo graph by its Run button."""

from __future__ import annotations

import json

import pytest
from conftest import PACK
from graphs import press_run
from PIL import Image

from tools.workflows.workflow_names import workflow_file

DEMO = workflow_file("realign_demo")
WORKFLOWS = sorted((PACK / "workflows").glob("*.json"))

# What the page holds after loading: types, widget values, links, and what it thinks is wrong.
LOADED = """() => {
  const nodes = window.app.graph.nodes ?? window.app.graph._nodes;
  return {
    types: nodes.map(n => n.type),
    unknown: nodes.filter(n => !window.LiteGraph.registered_node_types[n.type]).map(n => n.type),
    red: nodes.filter(n => n.has_errors).map(n => n.type),
    links: nodes.flatMap(n => (n.inputs ?? []).filter(i => i.link != null)).length,
    widgets: Object.fromEntries(nodes.map(n => [n.id, (n.widgets ?? []).map(w => [w.name, w.value])])),
  };
}"""
FIT = """() => {
  const nodes = window.app.graph.nodes ?? window.app.graph._nodes, ds = window.app.canvas.ds;
  const right = Math.max(...nodes.map(n => n.pos[0] + n.size[0]));
  const low = Math.max(...nodes.map(n => n.pos[1] + n.size[1]));
  ds.scale = Math.min(1500 / (right + 60), 900 / (low + 60)); ds.offset = [90 / ds.scale, 80 / ds.scale];
  window.app.graph.setDirtyCanvas(true, true);
}"""


def drop(tab, path):
    """As a file dropped onto the page."""
    tab.errors.clear()
    load = "async ([name, text]) => window.app.handleFile(new File([text], name, {type: 'application/json'}))"
    tab.page.evaluate(load, [path.name, path.read_text(encoding="utf-8")])
    count = len(json.loads(path.read_text(encoding="utf-8"))["nodes"])
    tab.page.wait_for_function("n => (window.app.graph.nodes ?? window.app.graph._nodes).length === n", arg=count)
    tab.page.evaluate(FIT)
    tab.page.wait_for_timeout(700)


def set_widgets(tab, kind, values):
    code = """([kind, values]) => {
      const node = (window.app.graph.nodes ?? window.app.graph._nodes).find(n => n.type === kind);
      for (const w of node.widgets) if (w.name in values) w.value = values[w.name];
    }"""
    tab.page.evaluate(code, [kind, values])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_opens_complete(tab, path):
    drop(tab, path)
    tab.shot(path.stem)
    saved, loaded = json.loads(path.read_text(encoding="utf-8")), tab.page.evaluate(LOADED)
    assert sorted(loaded["types"]) == sorted(node["type"] for node in saved["nodes"])
    assert loaded["unknown"] == []
    assert loaded["red"] == []
    assert loaded["links"] == len(saved["links"])
    for node in saved["nodes"]:
        values = [value for _, value in loaded["widgets"][str(node["id"])]]
        assert values[: len(node.get("widgets_values", []))] == node.get("widgets_values", []), node["type"]
    assert tab.errors == []


def test_demo_runs_by_the_button_and_its_picture_appears(tab, host):
    drop(tab, DEMO)
    prefix = f"browser_{'new' if tab.new_renderer else 'classic'}"
    set_widgets(tab, "RealignSampler", {"steps": 4})
    set_widgets(tab, "SaveImage", {"filename_prefix": prefix})
    press_run(tab)
    shown = f"""() => {{
      const nodes = window.app.graph.nodes ?? window.app.graph._nodes;
      const images = [...document.images, ...nodes.flatMap(n => n.imgs ?? [])];
      return images.some(i => i.src.includes('{prefix}') && i.naturalWidth > 0);
    }}"""
    tab.page.wait_for_function(shown)
    tab.page.wait_for_timeout(700)
    tab.shot("demo_run")
    saved = sorted((host.base / "output").glob(f"{prefix}*.png"))
    assert len(saved) == 4
    with Image.open(saved[0]) as picture:
        assert picture.size == (256, 256)
        assert "RealignSampler" in picture.info["workflow"]  # dropping the picture on the page opens the graph
    assert tab.errors == []


def test_wrong_input_says_so_in_the_page(tab):
    drop(tab, DEMO)
    set_widgets(tab, "RealignSampler", {"denoise": 0.0})
    press_run(tab)
    red = "() => window.app.lastExecutionError?.exception_message ?? document.body.innerText"
    said = f"() => String(({red})()).includes('There is no step to sample')"
    tab.page.wait_for_function(said)
    tab.page.wait_for_timeout(500)
    tab.shot("wrong_input")
    tab.page.keyboard.press("Escape")


def test_lambda_is_a_slider(tab):
    drop(tab, DEMO)
    code = """() => {
      const node = (window.app.graph.nodes ?? window.app.graph._nodes).find(n => n.type === 'RealignSampler');
      const w = node.widgets.find(w => w.name === 'lambda_');
      return [w.type, w.label ?? w.name, w.options.min, w.options.max];
    }"""
    assert tab.page.evaluate(code) == ["slider", "λ", 0, 3]


def test_schedule_plot_appears_on_the_node(tab):
    drop(tab, DEMO)
    code = """() => {
      const graph = window.app.graph, node = window.LiteGraph.createNode('LambdaSchedule');
      node.pos = [400, 660]; graph.add(node);
      const sampler = (graph.nodes ?? graph._nodes).find(n => n.type === 'RealignSampler');
      node.connect(0, sampler, sampler.inputs.findIndex(i => i.name === 'lambda_schedule'));
      sampler.widgets.find(w => w.name === 'steps').value = 3;
      sampler.widgets.find(w => w.name === 'seed').value = 99;
    }"""
    tab.page.evaluate(code)
    press_run(tab)
    plotted = """() => {
      const node = (window.app.graph.nodes ?? window.app.graph._nodes).find(n => n.type === 'LambdaSchedule');
      return (node.imgs ?? []).length > 0 || (window.app.nodeOutputs?.[node.id]?.images ?? []).length > 0;
    }"""
    tab.page.wait_for_function(plotted)
    tab.page.evaluate(FIT)
    tab.page.wait_for_timeout(700)
    tab.shot("schedule_plot")
