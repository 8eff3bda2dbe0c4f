"""The pack's own widgets in the real page: λ Compare, and the schedule's live plot and presets."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
from pathlib import Path

import pytest
from conftest import PACK
from graphs import (
    ALL,
    CURRENT,
    INK,
    SWEEP,
    caption,
    click,
    compare_graph,
    is_sweeping,
    js,
    line_is,
    press,
    press_run,
    run_compare,
    schedule_graph,
    sent,
    set_widget,
    shown,
    slide,
    value_of,
    visible,
)

sys.path.insert(0, str(PACK))
from realign_core import LambdaSchedule, even_values


@pytest.fixture
def compared(tab, once):
    """A sweep of 4 λ and 2 seeds that has run."""
    if tab.holds is once:
        return tab
    compare_graph(tab)
    tab.shot("compare_before")
    run_compare(tab)
    tab.page.wait_for_timeout(500)
    tab.shot("compare")
    tab.holds = once
    return tab


def test_compare_flips_through_the_pictures(compared):
    slide(compared, 0)
    seen = [shown(compared)]
    for column in (1, 2, 3):
        slide(compared, column)
        seen.append(shown(compared))
    assert len(set(seen)) == 4
    assert all(file.startswith("realign_compare_") for file in seen)
    for key, column in [("Home", 0), ("ArrowRight", 1), ("End", 3), ("ArrowRight", 3), ("ArrowLeft", 2)]:
        press(compared, key)
        assert shown(compared) == seen[column], key
    press(compared, "ArrowDown")
    assert shown(compared) not in seen
    text = js(compared, "() => document.querySelector('.realign-compare').innerText")
    assert "seed 8" in text
    assert "λ 0.75" in text
    press(compared, "ArrowUp")
    assert shown(compared) == seen[2]
    assert compared.errors == []


def test_keys_stay_in_the_widget(compared):
    js(compared, "() => { window.heard = []; window.addEventListener('keydown', (e) => window.heard.push(e.key)); }")
    for key in ("ArrowRight", "End", "Home", "ArrowDown", "ArrowUp"):
        press(compared, key)
    assert js(compared, "() => window.heard") == []


def test_use_lambda_and_sweep_again(compared):
    slide(compared, 2)
    press(compared, "ArrowDown")
    assert visible(compared, ".realign-use")
    assert is_sweeping(compared)
    click(compared, ".realign-use")
    assert value_of(compared, "sampler", "lambda_") == 0.75
    assert value_of(compared, "sampler", "seed") == 8
    assert js(compared, "() => window.made.sweep.mode") == 4
    compared.page.wait_for_timeout(300)
    compared.shot("compare_used")
    assert not is_sweeping(compared)
    assert not visible(compared, ".realign-use")
    press(compared, "ArrowUp")
    assert visible(compared, ".realign-use")  # another picture can be taken instead
    press(compared, "p")
    assert value_of(compared, "sampler", "seed") == 8  # looking writes nothing
    click(compared, ".realign-use")
    assert value_of(compared, "sampler", "seed") == 7
    click(compared, ALL)
    assert js(compared, "() => window.made.sweep.mode") == 0
    assert value_of(compared, "sampler", "seed") == 7
    assert value_of(compared, "sampler", "lambda_") == 0.75
    assert is_sweeping(compared)
    assert js(compared, "() => window.made.compare.properties.realign_used ?? null") is None


def test_compare_survives_another_workflow_tab(compared):
    slide(compared, 1)
    before = shown(compared)
    store = "window.app.extensionManager"
    js(compared, f"async () => {{ window.here = {store}.workflow.activeWorkflow; }}")
    js(compared, f"async () => await {store}.command.execute('Comfy.NewBlankWorkflow')")
    compared.page.wait_for_function(f"() => !document.querySelector('{CURRENT}')?.dataset.file")
    js(compared, "async () => await window.app.loadGraphData(window.here.activeState, true, true, window.here)")
    compared.page.wait_for_function(f"() => Boolean(document.querySelector('{CURRENT}')?.dataset.file)")
    slide(compared, 1)
    assert shown(compared) == before
    assert compared.errors == []


def test_use_alone_runs_one_picture(tab):
    compare_graph(tab, {**SWEEP, "listed": "0, 1", "seeds": 1, "rows": "cfg", "row_values": "2, 4"})
    run_compare(tab)
    slide(tab, 1)
    press(tab, "ArrowDown")
    click(tab, ".realign-use")
    assert value_of(tab, "sampler", "lambda_") == 1
    assert value_of(tab, "sampler", "cfg") == 4
    before = shown(tab)
    press_run(tab)
    tab.page.wait_for_function(f"(b) => document.querySelector('{CURRENT}')?.dataset.file !== b", arg=before)
    assert js(tab, "() => document.querySelector('.realign-caption').title") == "β 500"  # as its trace says
    assert caption(tab).startswith("λ 1 | pinned λ ")
    click(tab, ALL)
    assert value_of(tab, "sampler", "cfg") == 7
    assert tab.errors == []


def test_lambda_beyond_the_slider_is_said(tab):
    compare_graph(tab, {**SWEEP, "listed": "1, 5", "seeds": 1})
    run_compare(tab)
    slide(tab, 1)
    click(tab, ".realign-use")
    assert value_of(tab, "sampler", "lambda_") == 0.3
    assert js(tab, "() => window.made.sweep.mode") == 0
    assert "beyond the slider" in js(tab, "() => document.querySelector('.realign-said').textContent")


def test_a_swept_schedule_is_scaled_instead_of_the_slider(tab):
    """The bypassed sweep hands the schedule on, which then replaces the slider."""
    compare_graph(tab, {**SWEEP, "listed": "1, 0.5", "seeds": 1})
    connect = """() => {
      const { sweep } = window.made, schedule = window.LiteGraph.createNode('LambdaSchedule');
      window.app.graph.add(schedule);
      schedule.connect(0, sweep, sweep.inputs.findIndex((i) => i.name === 'lambda_schedule'));
      schedule.widgets.find((w) => w.name === 'scale').value = 1.5;
      window.made.schedule = schedule;
    }"""
    js(tab, connect)
    run_compare(tab)
    slide(tab, 1)
    assert "Use λ ×0.5" in js(tab, "() => document.querySelector('.realign-use').textContent")
    for _ in range(2):  # again, it is still the schedule's own scale that is multiplied
        press(tab, "Enter")
        assert (value_of(tab, "schedule", "scale"), value_of(tab, "sampler", "lambda_")) == (0.75, 0.3)
    assert not visible(tab, ".realign-use")
    click(tab, ALL)
    assert value_of(tab, "schedule", "scale") == 1.5
    assert tab.errors == []


def test_everything_works_through_a_subgraph(tab):
    """The sampler and the decoder in a subgraph; the anchor, the sweep and λ Compare outside of it."""
    compare_graph(tab)
    make = """() => {
      const made = window.made;
      window.sub = window.app.graph.convertToSubgraph(new Set([made.sampler, made.decode])).subgraph;
      made.sampler = [...window.sub.nodes].find((n) => n.type === 'RealignSampler');
    }"""
    js(tab, make)
    run_compare(tab)
    slide(tab, 2)
    press(tab, "ArrowDown")
    click(tab, ".realign-use")
    # The page shows the seed on the subgraph's node, whose own it then is.
    assert sent(tab, "RealignSampler", "lambda_", "seed") == (0.75, 8)
    js(tab, "() => window.app.canvas.openSubgraph(window.sub, window.app.graph.nodes.find((n) => n.subgraph))")
    line_is(tab, "anchor β 500 · λ 0.75 → β 666.7 (stronger pull to the reference)")
    js(tab, "() => window.app.canvas.setGraph(window.app.rootGraph ?? window.app.graph)")
    tab.page.wait_for_timeout(400)
    click(tab, ALL)
    assert sent(tab, "RealignSampler", "lambda_", "seed") == (0.75, 7)
    assert tab.errors == []


DEFAULTS = {"shape": "linear", "start": 0.0, "end": 1.0, "begin": 0.0, "stop": 1.0, "scale": 1.0, "offset": 0.0}
DEFAULTS |= {"over": "steps", "sigma_max": 0.0, "sigma_min": 0.0, "curve": None}
CURVE = {"points": [[0, 0.1], [0.3, 0.9], [0.55, 0.2], [0.7, 0.2], [1, 1]]}
SETTINGS = [
    {},
    {"shape": "constant", "start": 0.7, "scale": 1.5, "offset": 0.1},
    *({"shape": s, "start": -0.5, "end": 1.5, "begin": 0.2, "stop": 0.7} for s in ("linear", "cosine", "ease in")),
    *({"shape": s, "start": 1.5, "end": 0.2, "begin": 0.5, "stop": 0.5} for s in ("ease out", "ease in-out", "step")),
    {"shape": "interval", "start": 0.8, "begin": 0.25, "stop": 0.75, "offset": 0.2},
    {"shape": "curve", "curve": {**CURVE, "interpolation": "monotone_cubic"}, "scale": 1.5, "offset": 0.25},
    {"shape": "curve", "curve": {**CURVE, "interpolation": "linear"}},
    {"shape": "curve", "curve": {"points": [[0.5, 0.3]], "interpolation": "linear"}},
    {
        "shape": "curve",
        "curve": {"points": [[0, 0], [0.4, 0.02], [0.5, 0.9], [1, 1]], "interpolation": "monotone_cubic"},
    },
    {"over": "noise level"},
    {"over": "noise level", "sigma_max": 10.0, "sigma_min": 0.1, "shape": "cosine"},
    {"over": "noise level", "sigma_max": 0.2, "sigma_min": 0.01},
    {"over": "noise level", "sigma_min": 20.0, "shape": "step", "begin": 0.5},
]


def host_curve(curve):
    """The node's own points of a curve, by the host's interpolation."""
    folder = Path(os.environ.get("REALIGN_HOST") or os.environ["COMFYUI_PATH"])
    source = folder / "comfy_api" / "latest" / "_input" / "curve_types.py"
    spec = importlib.util.spec_from_file_location("curve_types", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn = module.CurveInput.from_raw(curve)
    return tuple((i / 128, float(drawn.interp(i / 128))) for i in range(129))


@pytest.mark.parametrize("changed", SETTINGS, ids=lambda c: " ".join(map(str, c)) or "default")
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_plot_draws_what_the_run_gets(tab, host, changed, steps):
    values = {**DEFAULTS, **changed}
    sigmas = [14.6 * math.exp(-i * 0.7) for i in range(steps)] + [0.0]
    module = [path for path in host.get("/extensions") if path.endswith("lib/schedule.js")]
    code = "async ([m, v, s]) => { const x = await import(m); return x.over(x.scheduleOf(v), s); }"
    drawn = js(tab, code, [f"{host.url}{module[0]}", values, sigmas])
    schedule = LambdaSchedule(
        **{name: values[name] for name in ("shape", "start", "end", "begin", "stop", "scale", "offset")},
        points=host_curve(values["curve"]) if values["curve"] else (),
        domain="sigma" if values["over"] == "noise level" else "progress",
        sigma_max=values["sigma_max"] or None,
        sigma_min=values["sigma_min"] or None,
    )
    assert drawn == pytest.approx(schedule.over(sigmas), abs=1e-9)


def test_plot_follows_the_widgets_and_presets_fill_the_curve(tab):
    schedule_graph(tab)
    tab.page.wait_for_function("() => document.querySelector('.realign-plot')?.innerText.includes('12 steps')")
    tab.shot("schedule_live")
    width, height, first = js(tab, INK)
    assert width > 300
    assert height > 150
    set_widget(tab, "schedule", "end", 0.25)
    tab.page.wait_for_function(f"(b) => ({INK})()[2] !== b", arg=first)
    choose = """(name) => {
      const menu = document.querySelector('.realign-plot select');
      menu.value = name; menu.dispatchEvent(new Event('change', {bubbles: true}));
    }"""
    names = js(tab, "() => [...document.querySelectorAll('.realign-plot option')].map((o) => o.value)")
    assert names[0] == ""
    for name in names[1:]:
        js(tab, choose, name)
        curve = value_of(tab, "schedule", "curve")
        assert value_of(tab, "schedule", "shape") == "curve"
        points = curve["points"]
        assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in points)
        assert points == sorted(points, key=lambda point: point[0])
        assert host_curve(curve)
    js(tab, choose, "bell")
    tab.page.wait_for_timeout(400)
    tab.shot("schedule_bell")
    sent = js(tab, "async () => (await window.app.graphToPrompt()).output[window.made.schedule.id].inputs.curve")
    assert json.dumps(value_of(tab, "schedule", "curve")["points"]) in json.dumps(sent)
    assert tab.errors == []


def test_widgets_are_no_part_of_the_workflow(tab):
    """widgets_values and prompts are those of the same nodes without this pack's widgets."""
    schedule_graph(tab)
    code = """async () => {
      const saved = () => {
        const nodes = window.app.graph.serialize().nodes;
        return JSON.stringify(nodes.map((n) => [n.type, n.widgets_values]));
      };
      const prompt = async () => JSON.stringify((await window.app.graphToPrompt()).output);
      const before = [saved(), await prompt()];
      const isOurs = (widget) => widget.name.startsWith('realign_');
      const ours = window.app.graph.nodes.flatMap((n) => (n.widgets ?? []).filter(isOurs));
      const last = window.app.graph.nodes.every((n) => {
        const own = (n.widgets ?? []).map(isOurs);
        return own.lastIndexOf(false) < own.indexOf(true) || !own.includes(true);
      });
      for (const n of window.app.graph.nodes) n.widgets = n.widgets?.filter((w) => !isOurs(w));
      return [ours.length, last, before, [saved(), await prompt()]];
    }"""
    count, last, before, after = js(tab, code)
    assert count == 5  # the curve, the line of the λ, and the fold of each of the three
    assert last
    assert before == after
    assert "realign_" not in before[1]


def test_range_of_the_sweep_is_what_the_page_shows(tab):
    compare_graph(tab, {"values": "range", "start": 0, "end": 1, "count": 3, "seeds": 1})
    run_compare(tab)
    for column, value in enumerate(even_values(0, 1, 3)):
        slide(tab, column)
        assert f"λ {value:g}" in js(tab, "() => document.querySelector('.realign-compare').innerText")
