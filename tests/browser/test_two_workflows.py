"""Two workflows side by side, with nodes of the same ids: each keeps what is its own."""

from __future__ import annotations

import pytest
from graphs import build, compare_graph, js, press_run, text_on, told
from looking import RUNS, new_workflow

ID = 7
HERE = "window.app.extensionManager.workflow.activeWorkflow"
NODE = f"window.app.rootGraph.getNodeById({ID})"
KEPT = f"""() => {{
  const {{ runs, stars }} = {NODE}.properties.realign_compare;
  return [runs.map((one) => one.run), stars];
}}"""


def workflow_with(tab, kind, name):
    """A workflow of its own with one such node, which the page goes on to call `window[name]`."""
    new_workflow(tab)
    build(tab, [["node", kind, [0, 0], {}]], [])
    code = f"""async ([kind, name]) => {{
      const {{ graph }} = window.app, saved = {{ ...graph.serialize(), id: crypto.randomUUID(), last_node_id: {ID} }};
      const [node] = saved.nodes;
      node.id = {ID};
      delete node.properties.realign_memory;
      await window.app.loadGraphData(saved, true, true, name);
      window[name] = {HERE};
    }}"""
    js(tab, code, [kind, name])


def go_to(tab, name):
    """As the page opens a tab; what the page does a few times a second is done."""
    js(tab, "async (name) => await window.app.loadGraphData(window[name].activeState, true, true, window[name])", name)
    tab.page.wait_for_timeout(400)


def run(name, time):
    return {**told(["", ""]), "run": name, "time": time}


@pytest.mark.parametrize("kind", ["RealignCompare", "RealignPick"])
def test_there_and_back_each_keeps_its_runs_and_stars(tab, kind):
    for time, (name, own) in enumerate((("a", "a1"), ("b", "b1"))):
        workflow_with(tab, kind, name)
        js(tab, f"(run) => {NODE}.onExecuted({{ realign_compare: [run] }})", run(own, float(time)))
        js(tab, "() => document.querySelectorAll('.realign-cell')[1].click()")
        js(tab, "() => document.querySelector('.realign-stage').focus()")
        tab.page.keyboard.press("s")
        tab.page.wait_for_timeout(300)
        assert js(tab, KEPT) == [[own], {own: [1]}]
    for name in ("a", "b", "a", "b"):
        go_to(tab, name)
        assert js(tab, KEPT) == [[f"{name}1"], {f"{name}1": [1]}]
        assert len(js(tab, RUNS)) == 1
    tab.errors.clear()  # the page's own, about pictures that are not there


# What the host says of a run's end waits until `window.goOn()`.
HOLD = """() => {
  const { api } = window.app, say = api.dispatchCustomEvent, held = [];
  const names = ['executed', 'executing', 'execution_success'];
  api.dispatchCustomEvent = function (name, detail) {
    return names.includes(name) ? void held.push([name, detail]) : say.call(this, name, detail);
  };
  window.isDone = () => held.some(([name]) => name === 'execution_success');
  window.goOn = () => {
    api.dispatchCustomEvent = say;
    held.forEach((one) => say.apply(api, one));
  };
}"""
RUN_COUNT = """() => window.app.rootGraph.nodes.find((one) => one.type === 'RealignCompare')
  .properties.realign_compare?.runs.length ?? 0"""
SAID = text_on("RealignSampler")
REMEMBERED = "(id) => Object.keys(localStorage).filter((key) => key.startsWith(`realign/${id}/`))"


def test_a_run_that_ends_elsewhere_is_of_its_own_workflow(tab):
    new_workflow(tab)
    compare_graph(tab)
    js(tab, f"() => {{ window.app.graph.id = crypto.randomUUID(); window.mine = {HERE}; }}")
    other = js(tab, "() => ({ ...window.app.graph.serialize(), id: crypto.randomUUID() })")
    for node in other["nodes"]:
        node["properties"].pop("realign_memory", None)
    js(tab, HOLD)
    press_run(tab)
    tab.page.wait_for_function("() => window.isDone()")
    js(tab, "async (other) => await window.app.loadGraphData(other, true, true, 'other')", other)
    js(tab, f"() => {{ window.other = {HERE}; window.goOn(); }}")
    for name, runs, said in (("other", 0, ""), ("mine", 1, "step 2/2"), ("other", 0, "")):
        go_to(tab, name)
        assert js(tab, RUN_COUNT) == runs
        assert said in js(tab, SAID)
        assert bool(js(tab, SAID)) == bool(said)
    tab.page.wait_for_timeout(600)  # what is remembered is written when nothing changes for a moment
    assert js(tab, REMEMBERED, other["id"]) == []
    assert tab.errors == []


def test_a_job_that_the_history_opens_shows_its_own_pictures(tab):
    """The page loads the job's workflow, then tells what it gave; the node knows of newer runs, eight at most."""
    workflow_with(tab, "RealignCompare", "a")
    show = f"(run) => {NODE}.onExecuted({{ realign_compare: [run] }})"
    jobs = []
    for time in range(10):
        jobs.append(js(tab, "() => window.app.graph.serialize()"))
        js(tab, show, run(f"a{time}", float(time)))
    looked_at = f"() => {NODE}.properties.realign_compare.shown"
    opens = f"(run) => {{ window.app.nodeOutputs = {{ {ID}: {{ realign_compare: [run] }} }}; }}"
    for time, listed in ((5, range(2, 10)), (0, [0, *range(3, 10)])):
        js(tab, "async (saved) => await window.app.loadGraphData(saved)", jobs[time])
        tab.page.wait_for_timeout(400)
        js(tab, opens, run(f"a{time}", float(time)))
        assert js(tab, looked_at) == f"a{time}"
        assert js(tab, KEPT)[0] == [f"a{i}" for i in listed]
    # The last one is told again whenever its tab is opened: the picture that is looked at stays.
    js(tab, opens, run("a9", 9.0))
    assert js(tab, looked_at) == "a0"
    tab.errors.clear()  # the page's own, about pictures that are not there
