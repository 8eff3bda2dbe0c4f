"""What the page does to a graph again and again (undo, tabs, reload, copies, subgraphs) leaves our widgets alive.

The page makes all nodes anew each time. After each of them: every widget of ours on the screen is that of the node that
is in the graph, λ Compare shows the same picture at the same place, and what it writes arrives in this graph.
"""

from __future__ import annotations

import pytest
from conftest import READY
from graphs import (
    ALL,
    CURRENT,
    INK,
    build,
    click,
    compare_graph,
    finish,
    is_sweeping,
    js,
    kind,
    look_at,
    press,
    run_compare,
    schedule_graph,
    shown,
    slide,
    told,
)
from looking import LOUPE, new_workflow

PLACE = (2, 1)  # column and row that the artist looks at
# Widgets of ours on nodes of the open graph that are not what is on the screen, by node and name.
DEAD = """() => window.app.canvas.graph.nodes.flatMap((node) => (node.widgets ?? [])
  .filter((w) => w.element && w.name.startsWith('realign_'))
  .filter((w) => !w.element.isConnected || !w.element.getBoundingClientRect().width)
  .map((w) => `${node.id} ${w.name}`))"""
MANY = "() => document.querySelectorAll('.realign-compare').length"
VIEW = """() => {
  const root = document.querySelector('.realign-compare');
  const { file } = root.querySelector('.realign-current').dataset;
  return [file ?? '', root.querySelector('.realign-caption').textContent];
}"""
UNDO_STEPS = "() => window.app.extensionManager.workflow.activeWorkflow.changeTracker.undoQueue.length"


@pytest.fixture
def looked_at(tab):
    """A sweep of 4 λ × 2 seeds that has run, its seventh picture on the screen, in a workflow of its own."""
    js(tab, "async () => await window.app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    compare_graph(tab)
    run_compare(tab)
    look_at(tab, *PLACE)
    shown(tab)  # drawn, and not only asked for
    return tab


def view_is(tab, wanted):
    tab.page.wait_for_function(f"(w) => JSON.stringify(({VIEW})()) === JSON.stringify(w)", arg=wanted)


def all_alive(tab, compares=1):
    tab.page.wait_for_function(f"() => ({DEAD})().length === 0")
    tab.page.wait_for_function(f"(n) => ({MANY})() === n", arg=compares)


def writes_into_this_graph(tab):
    """Use, with the λ and seed of the picture on the screen, and the line below the slider that follows it."""
    click(tab, ".realign-use")
    values = (
        f"() => ['lambda_', 'seed'].map((name) => {kind('RealignSampler')}.widgets.find((w) => w.name === name).value)"
    )
    assert js(tab, values) == [0.75, 8]
    line = "() => document.querySelector('.realign-line').textContent"
    tab.page.wait_for_function(f"() => ({line})().includes('λ 0.75')")


def change(tab):
    """One step for undo that has nothing to do with λ: a node is moved."""
    before = js(tab, UNDO_STEPS)
    code = f"""() => {{
      const {{ canvas }} = window.app, node = {kind("EmptyLatentImage")};
      canvas.emitBeforeChange(); node.pos = [node.pos[0], node.pos[1] + 40]; canvas.emitAfterChange();
    }}"""
    js(tab, code)
    assert js(tab, UNDO_STEPS) == before + 1


def press_undo(tab, redo=False):
    js(tab, "() => { document.activeElement?.blur(); window.old = window.app.rootGraph.nodes[0]; }")
    # The keys are let go after the step, as by hand: within the same frame the page first looks for changes, finds the
    # empty `widgets_values` that it gives each node it loads, and forgets what redo would do.
    keys = ("Control", "y" if redo else "z")
    for key in keys:
        tab.page.keyboard.down(key)
    tab.page.wait_for_function("() => window.app.rootGraph.nodes[0] !== window.old")
    for key in reversed(keys):
        tab.page.keyboard.up(key)
    # The page takes no further step while it still restores this one.
    tracker = "window.app.extensionManager.workflow.activeWorkflow.changeTracker"
    tab.page.wait_for_function(f"() => !{tracker}._restoringState")


def test_undo_and_redo(looked_at):
    tab, before = looked_at, js(looked_at, VIEW)
    change(tab)
    for redo in (False, True, False):
        press_undo(tab, redo)
        all_alive(tab)
        view_is(tab, before)
    tab.shot("undo")
    slide(tab, 0)
    slide(tab, PLACE[0])
    writes_into_this_graph(tab)
    assert tab.errors == []


def test_looking_is_no_step_of_undo(looked_at):
    tab = looked_at
    js(tab, "() => window.app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()")
    before = js(tab, UNDO_STEPS)
    look_at(tab, 0, 0)
    look_at(tab, 3, 0)
    js(tab, "() => window.app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()")
    assert js(tab, UNDO_STEPS) == before


def test_undo_of_use_opens_at_the_sliders_lambda(looked_at):
    """Where undo moves the slider, the picture of its λ is shown."""
    tab = looked_at
    click(tab, ".realign-use")
    press_undo(tab)
    assert js(tab, f"() => {kind('RealignSampler')}.widgets.find((w) => w.name === 'lambda_').value") == 0.3
    assert js(tab, f"() => {kind('RealignSweep')}.mode") == 0
    tab.page.wait_for_function("() => document.querySelector('.realign-caption')?.textContent.startsWith('λ 0.5 ')")
    all_alive(tab)


def test_another_tab_and_back(looked_at):
    """Beside it a workflow with nodes of the same ids, which the page could take for these."""
    tab, before = looked_at, js(looked_at, VIEW)
    state = "() => ({ ...window.app.graph.serialize(), id: crypto.randomUUID() })"
    other = js(tab, state)
    for node in other["nodes"]:
        for name in ("realign_memory", "realign_compare"):
            node["properties"].pop(name, None)
    js(tab, "() => { window.here = window.app.extensionManager.workflow.activeWorkflow; }")
    js(tab, "async (other) => await window.app.loadGraphData(other, true, true, 'other')", other)
    all_alive(tab)
    assert js(tab, f"() => document.querySelector('{CURRENT}').dataset.file ?? null") is None
    js(tab, "async () => await window.app.loadGraphData(window.here.activeState, true, true, window.here)")
    all_alive(tab)
    view_is(tab, before)
    writes_into_this_graph(tab)
    assert tab.errors == []


def test_a_reload_of_the_page(looked_at, host):
    tab, before = looked_at, js(looked_at, VIEW)
    saved = js(tab, "() => window.app.graph.serialize()")
    tab.page.wait_for_timeout(600)  # what is remembered is written when nothing changes for a moment
    tab.page.goto("about:blank")
    tab.page.goto(host.url)
    tab.page.wait_for_function(READY)
    js(tab, "async (saved) => await window.app.loadGraphData(saved)", saved)
    all_alive(tab)
    view_is(tab, before)
    tab.shot("reload")
    writes_into_this_graph(tab)
    assert tab.errors == []


def test_a_reload_after_use_still_offers_the_sweep(looked_at, host):
    tab, before = looked_at, js(looked_at, VIEW)
    click(tab, ".realign-use")
    saved = js(tab, "() => window.app.graph.serialize()")
    tab.page.wait_for_timeout(600)
    for forgotten in (False, True):
        if forgotten:
            js(tab, "() => (localStorage.clear(), sessionStorage.clear())")
        tab.page.goto("about:blank")
        tab.page.goto(host.url)
        tab.page.wait_for_function(READY)
        js(tab, "async (saved) => await window.app.loadGraphData(saved)", saved)
        all_alive(tab)
        if not forgotten:
            view_is(tab, before)
        tab.page.wait_for_function("() => document.querySelector('.realign-switch')?.offsetParent")
        assert not is_sweeping(tab)
    click(tab, ALL)
    assert js(tab, f"() => {kind('RealignSweep')}.mode") == 0
    assert js(tab, f"() => {kind('RealignSampler')}.widgets.find((w) => w.name === 'seed').value") == 7


def test_copy_and_paste(looked_at):
    """The copy has the pictures too, at the same place, and both live."""
    tab, before = looked_at, js(looked_at, VIEW)
    code = f"""() => {{
      const {{ canvas }} = window.app, node = {kind("RealignCompare")};
      canvas.selectNode(node); canvas.copyToClipboard(); canvas.pasteFromClipboard({{ connectInputs: true }});
      canvas.ds.scale = 0.7; canvas.setDirty(true, true);
    }}"""
    js(tab, code)
    both = """() => [...document.querySelectorAll('.realign-compare')].map((root) => [
      root.querySelector('.realign-current').dataset.file, root.querySelector('.realign-caption').textContent])"""
    all_alive(tab, 2)
    tab.page.wait_for_function(f"(w) => JSON.stringify(({both})()) === JSON.stringify([w, w])", arg=before)
    assert tab.errors == []


def test_the_other_renderer_and_back(looked_at):
    tab, before = looked_at, js(looked_at, VIEW)
    setting = "(on) => window.app.ui.settings.setSettingValueAsync('Comfy.VueNodes.Enabled', on)"
    for new in (not tab.new_renderer, tab.new_renderer):
        js(tab, setting, new)
        all_alive(tab)
        view_is(tab, before)
    slide(tab, 0)
    slide(tab, PLACE[0])
    writes_into_this_graph(tab)


def test_into_a_subgraph_and_out(looked_at):
    """λ Compare becomes part of a subgraph; the page goes in and out again."""
    tab, before = looked_at, js(looked_at, VIEW)
    made = """() => {
      const nodes = ['RealignSampler', 'VAEDecode', 'RealignCompare'].map(
        (kind) => window.app.graph.nodes.find((n) => n.type === kind));
      const { subgraph, node } = window.app.graph.convertToSubgraph(new Set(nodes));
      window.sub = subgraph; window.box = node;
    }"""
    js(tab, made)
    into = """() => {
      window.app.canvas.openSubgraph(window.sub, window.box);
      const node = window.sub.nodes.find((n) => n.type === 'RealignCompare');
      window.app.canvas.ds.offset = [300 - node.pos[0], 100 - node.pos[1]];
      window.app.canvas.ds.scale = 1; window.app.canvas.setDirty(true, true);
    }"""
    for _ in range(2):
        js(tab, into)
        tab.page.wait_for_function(f"() => ({MANY})() === 1")
        view_is(tab, before)
        js(tab, "() => window.app.canvas.setGraph(window.app.rootGraph)")
    js(tab, into)
    press_undo_in_subgraph(tab)
    view_is(tab, before)
    js(tab, "() => window.app.canvas.setGraph(window.app.rootGraph)")
    assert tab.errors == []


def test_another_workflow_closes_the_loupe_of_a_node_in_a_subgraph(tab):
    new_workflow(tab)
    build(tab, [["compare", "RealignCompare", [0, 0], {}]], [])
    finish(tab, told(["", ""]))
    inside = """() => {
      const { subgraph, node } = window.app.graph.convertToSubgraph(new Set([window.made.compare]));
      window.app.canvas.openSubgraph(subgraph, node);
      [window.made.compare] = subgraph.nodes;
    }"""
    js(tab, inside)
    finish(tab, told(["", ""]))
    tab.page.wait_for_function("() => document.querySelectorAll('.realign-cell').length === 4")
    press(tab, "f")
    assert js(tab, LOUPE)
    new_workflow(tab)
    tab.page.wait_for_function(f"() => !({LOUPE})()")
    tab.errors.clear()  # the page's own, about pictures that are not there


def press_undo_in_subgraph(tab):
    code = """() => {
      const { canvas } = window.app, node = window.sub.nodes.find((n) => n.type === 'VAEDecode');
      canvas.emitBeforeChange(); node.pos = [node.pos[0], node.pos[1] + 40]; canvas.emitAfterChange();
    }"""
    js(tab, code)
    press_undo(tab)


def test_the_plot_after_undo(tab):
    js(tab, "async () => await window.app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    schedule_graph(tab)
    js(tab, "() => window.app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()")
    move = """() => {
      const { canvas, graph } = window.app, node = graph.nodes.find((n) => n.type === 'RealignSweep');
      canvas.emitBeforeChange(); node.pos = [node.pos[0], node.pos[1] + 40]; canvas.emitAfterChange();
    }"""
    js(tab, move)
    press_undo(tab)
    tab.page.wait_for_function(f"() => ({DEAD})().length === 0")
    tab.page.wait_for_function("() => document.querySelector('.realign-plot')?.innerText.includes('12 steps')")
    first = js(tab, INK)[2]
    js(tab, f"() => {{ {kind('LambdaSchedule')}.widgets.find((w) => w.name === 'end').value = 0.25; }}")
    tab.page.wait_for_function(f"(b) => ({INK})()[2] !== b", arg=first)
    assert tab.errors == []
