"""The line below λ, which says what β it stands for, in the real page."""

from __future__ import annotations

import pytest
from graphs import SAVED, SWEEP, build, compare_graph, js, line_is, open_graph, press_run, run_compare, set_widget


@pytest.mark.parametrize("kind", ["RealignSampler", "RealignGuider", "RealignModel"])
def test_beta_line(tab, kind):
    nodes = [
        ["load", "CheckpointLoaderSimple", [0, 0], {}],
        ["from", "RealignAnchorFromModel", [360, 0], {"beta_source": "typed", "beta": 5000}],
        ["node", kind, [720, 0], {"lambda_": 0.5}],
        ["add", "RealignAddAnchor", [360, 200], {}],
        ["schedule", "LambdaSchedule", [360, 420], {}],
    ]
    links = [["load", 0, "from", "model"], ["load", 0, "node", "model"], ["from", 0, "node", "anchor"]]
    build(tab, nodes, links)
    line_is(tab, "anchor β 5000 · λ 0.5 → β 10000 (stronger pull to the reference)")
    tab.shot(f"beta_line_{kind}")
    for value, text in [
        (1, "anchor β 5000 · λ 1: the anchor itself"),
        (0, "anchor β 5000 · λ 0: the reference itself"),
        (2, "anchor β 5000 · λ 2 → β 2500 (weaker pull to the reference)"),
        (-0.5, "anchor β 5000 · λ -0.5: away from the anchor"),
    ]:
        set_widget(tab, "node", "lambda_", value)
        line_is(tab, text)
    set_widget(tab, "node", "lambda_", 0.5)
    set_widget(tab, "from", "beta_source", "unknown / no KL term")
    line_is(tab, "strength 0.5 (the anchor has no known β)")
    connect = """([from, output, to, input]) => {
      const slot = window.made[to].inputs.findIndex((i) => i.name === input);
      window.made[from].connect(output, window.made[to], slot);
    }"""
    js(tab, connect, ["schedule", 0, "node", "lambda_schedule"])
    line_is(tab, "λ comes from the connected schedule/sweep")
    js(tab, "() => { window.made.schedule.mode = 4; }")  # bypassed, it hands on nothing
    line_is(tab, "strength 0.5 (the anchor has no known β)")
    js(tab, connect, ["from", 0, "add", "anchor"])
    js(tab, connect, ["add", 0, "node", "anchor"])
    line_is(tab, "several anchors: strength 0.5")
    assert tab.errors == []


OF_DEMO = "anchor β 500 · λ 0.3 → β 1667 (stronger pull to the reference)"


@pytest.fixture
def beta_told(tab):
    """A graph whose run has told the demo models' β."""
    compare_graph(tab, {**SWEEP, "listed": "0.5", "seeds": 1})
    js(tab, "() => { window.made.sweep.mode = 4; }")
    line_is(tab, "strength 0.3 (β is known after a run)")
    run_compare(tab)
    line_is(tab, OF_DEMO)
    return tab


def test_beta_of_the_demo_models_is_known_after_a_run_and_remembered(beta_told):
    """Where the workflow is opened again, and where all but the changed node come from the host's cache."""
    graph = js(beta_told, SAVED)
    open_graph(beta_told, graph)
    line_is(beta_told, OF_DEMO)
    for node in graph["nodes"]:
        node["properties"].pop("realign_memory", None)
    open_graph(beta_told, graph)
    line_is(beta_told, "strength 0.3 (β is known after a run)")
    set_widget(beta_told, "RealignSampler", "lambda_", 0.25)
    press_run(beta_told)
    line_is(beta_told, "anchor β 500 · λ 0.25 → β 2000 (stronger pull to the reference)")
