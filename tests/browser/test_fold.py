"""Expert inputs lie behind the page's own fold in both renderers, and are found again."""

from __future__ import annotations

import json

import pytest
from graphs import build, js, open_graph, sent, value_of

from tools.workflows.workflow_names import workflow_file

KINDS = ["RealignSampler", "RealignGuider", "RealignModel", "RealignParticles", "RealignSweep", "LambdaSchedule"]
TALLEST = 600  # px of the classic renderer, without a preview: Realign Particles was 956
FACTS = """(name) => {
  const node = window.made[name], shown = node.widgets.filter((w) => node.isWidgetVisible(w));
  return {
    expert: node.widgets.filter((w) => w.options?.advanced).map((w) => w.name),
    shown: shown.map((w) => w.name),
    gaps: shown.slice(1).map((w, i) => w.y - shown[i].y - shown[i].computedHeight),
    height: node.size[1],
    needed: node.computeSize()[1],
    elements: document.querySelector(`.lg-node[data-node-id="${node.id}"]`)?.innerText ?? '',
  };
}"""
# Where the classic renderer has drawn the button.
BUTTON = """(name) => {
  const node = window.made[name], button = node.widgets.find((w) => w.name === 'realign_advanced_inputs');
  const {scale, offset} = window.app.canvas.ds, box = window.app.canvas.canvas.getBoundingClientRect();
  const [x, y] = [node.pos[0] + node.size[0] / 2, node.pos[1] + button.y + 10];
  return [box.left + (x + offset[0]) * scale, box.top + (y + offset[1]) * scale];
}"""
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def add(tab, kind):
    build(tab, [["node", kind, [0, 0], {}]], [])
    js(tab, "() => { window.app.canvas.ds.scale = 0.7; window.app.graph.setDirtyCanvas(true, true); }")
    tab.page.wait_for_timeout(200)
    return facts(tab)


def facts(tab, name="node"):
    js(tab, DRAWN)
    return js(tab, FACTS, name)


def read(tab, facts):
    """The names of a node's widgets that can be read on it."""
    return set(facts["elements"].splitlines() if tab.new_renderer else facts["shown"])


def press_fold(tab, name="node"):
    if tab.new_renderer:
        node = tab.page.locator(f'.lg-node[data-node-id="{js(tab, "(n) => window.made[n].id", name)}"]')
        box = node.locator('[data-testid="advanced-inputs-button"]').bounding_box()
        tab.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] - 8)  # the rest is below the node
    else:
        tab.page.mouse.click(*js(tab, BUTTON, name))
    tab.page.wait_for_timeout(200)


@pytest.mark.parametrize("kind", KINDS)
def test_expert_inputs_are_folded_and_a_button_shows_them(tab, kind):
    new = add(tab, kind)
    assert new["expert"]
    if tab.new_renderer:
        assert not js(tab, "() => window.made.node.showAdvanced")
        hidden = js(tab, "() => window.made.node.widgets.filter((w) => w.options?.advanced).map((w) => w.label)")
        assert not [name for name in hidden if f"\n{name}\n" in new["elements"]]
    else:
        assert not set(new["expert"]) & set(new["shown"])
        assert new["gaps"] == [0] * len(new["gaps"])
        assert new["needed"] <= TALLEST
    press_fold(tab)
    opened = facts(tab)
    if tab.new_renderer:
        assert js(tab, "() => window.made.node.showAdvanced") is True
        assert opened["elements"].count("\n") >= new["elements"].count("\n") + len(new["expert"])
    else:
        assert set(new["expert"]) <= set(opened["shown"])
        assert opened["height"] == new["height"] + 24 * len(new["expert"])
    press_fold(tab)
    assert facts(tab)["shown"] == new["shown"]
    assert facts(tab)["height"] == new["height"] or tab.new_renderer


def test_a_file_with_changed_expert_inputs_opens_with_these(tab):
    workflow = json.loads(workflow_file("realign_demo").read_text(encoding="utf-8"))
    (sampler,) = (node for node in workflow["nodes"] if node["type"] == "RealignSampler")
    open_graph(tab, workflow)
    plain = facts(tab, "RealignSampler")
    names = js(tab, "() => window.made.RealignSampler.widgets.filter((w) => w.serialize !== false).map((w) => w.name)")
    sampler["widgets_values"][names.index("anchor_cfg")] = 3.5
    open_graph(tab, workflow)
    now = facts(tab, "RealignSampler")
    assert value_of(tab, "RealignSampler", "anchor_cfg") == 3.5
    assert sent(tab, "RealignSampler", "anchor_cfg", "eta") == (3.5, -1)
    assert {"anchor_cfg"} == (read(tab, now) - read(tab, plain)) & set(plain["expert"])
    if not tab.new_renderer:
        assert now["gaps"] == [0] * len(now["gaps"])
    assert tab.errors == []


def test_a_linked_expert_input_is_seen(tab):
    build(
        tab,
        [["number", "PrimitiveFloat", [0, 0], {"value": 3.5}], ["sampler", "RealignSampler", [400, 0], {}]],
        [["number", 0, "sampler", "anchor_cfg"]],
    )
    assert read(tab, facts(tab, "sampler")) & {"anchor_cfg", "eta"} == {"anchor_cfg"}


def test_the_pages_setting_shows_them_all(tab):
    setting = "(on) => window.app.ui.settings.setSettingValueAsync('Comfy.Node.AlwaysShowAdvancedWidgets', on)"
    js(tab, setting, True)
    try:
        shown = add(tab, "RealignSampler")
        assert set(shown["expert"]) <= set(shown["shown"]) or tab.new_renderer
    finally:
        js(tab, setting, False)
