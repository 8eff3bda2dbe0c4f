"""What one chooses on λ Compare, and what is never lost: Use, Keep, Finer, earlier runs. Both renderers."""

from __future__ import annotations

import io
import json

import pytest
from conftest import READY
from graphs import (
    ALL,
    CURRENT,
    build,
    caption,
    click,
    compare_graph,
    finish,
    is_sweeping,
    js,
    look_at,
    press,
    press_run,
    run_compare,
    sent,
    shown,
    swept_graph,
    told,
    value_of,
)
from looking import QUEUED, RANGE, RUNS, hover, new_workflow, show_node
from PIL import Image


@pytest.mark.parametrize(
    ("lambdas", "column", "wanted"),
    [
        ([0, 0.25, 0.5], 1, [0, 0.125, 0.25, 0.375, 0.5]),
        ([0, 0.25, 0.5], 0, [0, 0.0625, 0.125, 0.1875, 0.25]),  # not below the reference
        ([0, 0.25, 0.5], 2, [0.25, 0.375, 0.5, 0.625, 0.75]),
        ([0, 0.5, 0.75], 1, [0, 0.25, 0.5, 0.625, 0.75]),
        ([1, 0.5], 1, [0, 0.25, 0.5, 0.75, 1]),
        ([-1, -0.5], 0, [-1.5, -1.25, -1, -0.75, -0.5]),
        ([9, 10], 1, [9, 9.25, 9.5, 9.75, 10]),
        ([0.5], 0, []),
    ],
)
def test_five_values_around_one(tab, host, lambdas, column, wanted):
    module = next(path for path in host.get("/extensions") if path.endswith("compare/finer.js"))
    found = js(
        tab, "async ([m, l, c]) => (await import(m)).finerValues(l, c)", [f"{host.url}{module}", lambdas, column]
    )
    assert found == pytest.approx(wanted)


def test_two_rounds_find_lambda_to_an_eighth(tab, host):
    module = next(path for path in host.get("/extensions") if path.endswith("compare/finer.js"))
    code = """async ([m, wanted]) => {
      const { finerValues } = await import(m);
      let values = [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5];
      for (let round = 0; round < 3; round++) {
        const far = values.map((one) => Math.abs(one - wanted)), column = far.indexOf(Math.min(...far));
        if (round === 2) return far[column];
        values = finerValues(values, column);
      }
    }"""
    for wanted in (0.03, 0.41, 0.77, 1.02, 1.47):
        assert js(tab, code, [f"{host.url}{module}", wanted]) <= 0.0313


def test_runs_before_stay_and_open_without_sampling(tab):
    new_workflow(tab)
    compare_graph(tab, sampler={"lambda_": 0.5})
    js(tab, "() => { window.app.graph.id = crypto.randomUUID(); }")
    run_compare(tab)
    look_at(tab, 2, 1)
    sweep = shown(tab)
    click(tab, ".realign-use")
    assert not is_sweeping(tab)
    press_run(tab)
    tab.page.wait_for_function(f"(b) => document.querySelector('{CURRENT}')?.dataset.file !== b", arg=sweep)
    assert caption(tab) == "λ 0.75 | pinned λ 0.75 · seed 8"  # beside the picture that it was chosen from
    told = js(tab, RUNS)
    assert [one.split(" · ")[0] for one in told] == ["λ 0.75", "4 λ × 2"]
    js(tab, QUEUED)
    tab.page.locator(".realign-runs").select_option(index=1)
    tab.page.wait_for_function(f"(b) => document.querySelector('{CURRENT}')?.dataset.file === b", arg=sweep)
    assert caption(tab).startswith("λ 0.75 · seed 8")
    assert js(tab, "() => window.queued") == 0
    tab.shot("history")
    click(tab, ALL)
    assert is_sweeping(tab)
    assert js(tab, "() => document.querySelector('.realign-chip').textContent") == "● λ 0.75 ✕"
    assert sent(tab, "RealignCompare", "picked") == ("λ 0.75, row 2",)
    click(tab, ".realign-chip")
    assert sent(tab, "RealignCompare", "picked") == ("",)
    click(tab, ".realign-switch button:last-child")
    assert value_of(tab, "sampler", "lambda_") == 0.75
    assert js(tab, "() => window.made.sweep.mode") == 4
    assert tab.errors == []


def test_a_pin_of_another_shape_keeps_its_shape(tab):
    """It is as large as it fits over the picture, and not drawn out to it."""
    new_workflow(tab)
    compare_graph(tab, {**RANGE, "count": 3, "seeds": 1}, {"steps": 1})
    js(tab, "() => { window.app.graph.id = crypto.randomUUID(); }")
    js(tab, "() => { window.made.empty.widgets.find((w) => w.name === 'width').value = 128; }")
    run_compare(tab)
    press(tab, "p")
    before = shown(tab)
    js(tab, "() => { window.made.empty.widgets.find((w) => w.name === 'width').value = 64; }")
    press_run(tab)
    tab.page.wait_for_function(f"(b) => document.querySelector('{CURRENT}')?.dataset.file !== b", arg=before)
    show_node(tab)
    hover(tab, 0.9)
    tab.page.wait_for_function("() => !document.querySelector('.realign-pinned').hidden")
    tab.shot("other_shape")
    drawn = """(layer) => {
      const canvas = document.querySelector(layer), { width, height } = canvas;
      const line = canvas.getContext('2d').getImageData(Math.floor(width / 2), 0, 1, height).data;
      return Array.from({ length: height }, (_, y) => line[4 * y + 3]).filter((alpha) => alpha > 128).length / width;
    }"""
    picture, pin = js(tab, drawn, ".realign-current"), js(tab, drawn, ".realign-pinned")
    assert pin == pytest.approx(picture / 2, rel=0.05)


def test_enter_uses_what_was_meant_and_not_where_the_mouse_happens_to_be(tab):
    compare_graph(tab)
    run_compare(tab)
    show_node(tab)
    look_at(tab, 2, 0)
    js(tab, "() => document.activeElement?.blur()")
    hover(tab)
    assert js(tab, "() => document.activeElement.className").startswith("realign-stage")
    tab.page.keyboard.press("Enter")
    assert value_of(tab, "sampler", "lambda_") == 0.3
    press(tab, "Enter")
    assert value_of(tab, "sampler", "lambda_") == 0.75


def test_keep_saves_the_clean_picture_with_what_makes_it(tab, host):
    compare_graph(tab)
    run_compare(tab)
    look_at(tab, 2, 1)
    js(tab, QUEUED)
    click(tab, ".realign-keep")
    tab.page.wait_for_function("() => document.querySelector('.realign-said').textContent.includes('Realign/')")
    tab.shot("kept")
    path = js(tab, "() => document.querySelector('.realign-said').textContent").split(": ")[1]
    assert path == "Realign/lambda0.75_seed8.png"
    assert js(tab, "() => window.queued") == 0
    whole = host.get_bytes(f"/view?type=temp&filename={shown(tab)}")
    with Image.open(io.BytesIO(whole)) as seen, Image.open(host.base / "output" / path) as kept:
        assert kept.tobytes() == seen.tobytes()
        assert json.loads(kept.info["prompt"])
        assert json.loads(kept.info["workflow"])["nodes"]
    assert js(tab, "() => document.querySelector('.realign-keep').textContent") == "Kept ✓"
    press(tab, "ArrowLeft")
    assert js(tab, "() => document.querySelector('.realign-keep').textContent") == "Keep"
    (host.base / "output" / path).unlink()


def test_what_ends_in_another_workflow_leaves_that_alone(tab):
    """The tab is changed while something is still saved: the node with the same id over there knows nothing of it."""
    new_workflow(tab)
    compare_graph(tab)
    js(tab, "() => { window.app.graph.id = crypto.randomUUID(); }")
    run_compare(tab)
    other = js(tab, "() => ({ ...window.app.graph.serialize(), id: crypto.randomUUID() })")
    for node in other["nodes"]:
        for name in ("realign_memory", "realign_compare"):
            node["properties"].pop(name, None)
    js(
        tab,
        """() => {
      const { fetch } = window;
      window.held = new Promise((then) => { window.goOn = then; });
      window.fetch = async (...args) => {
        const response = await fetch(...args);
        if (String(args[0]?.url ?? args[0]).includes('/upload/image')) await window.held;
        return response;
      };
    }""",
    )
    click(tab, ".realign-keep")
    js(tab, "async (other) => await window.app.loadGraphData(other, true, true, 'other')", other)
    js(tab, "() => window.goOn()")
    tab.page.wait_for_timeout(700)
    told = """() => {
      const { changeTracker } = window.app.extensionManager.workflow.activeWorkflow;
      const kept = (nodes) => nodes.find((node) => node.type === 'RealignCompare').properties.realign_compare;
      return [kept(window.app.graph.nodes), kept(changeTracker.activeState.nodes)].filter(Boolean).length;
    }"""
    assert js(tab, told) == 0
    tab.reopen()


HOSTILE = "<img src=x onerror='window.hacked=1'>"


def test_a_workflow_of_a_stranger_is_text_and_safe_names(tab, host):
    """Whatever its history says is shown as text, and asked for in the temp folder by a plain name, or not at all."""
    compare_graph(tab)
    run_compare(tab)
    asked = []
    tab.page.on("request", lambda request: asked.append(request.url))
    load = """async ([evil]) => {
      const saved = window.app.graph.serialize();
      const { properties } = saved.nodes.find((node) => node.type === 'RealignCompare');
      const [run] = properties.realign_compare.runs;
      const bad = (change) => ({ ...JSON.parse(JSON.stringify(run)), ...change });
      const files = (name) => run.files.map(() => name);
      properties.realign_compare = {
        shown: 'a1', at: { a1: [0, 0, evil], b2: 3 }, pin: { run: 'a1', index: 1e9 },
        stars: { a1: [evil, -1] }, kept: [evil],
        runs: [
          bad({ run: 'a1', columns: run.columns.map((one) => ({ ...one, name: evil })),
                rows: run.rows.map((one) => ({ ...one, says: [['seed', evil], [evil, evil], ['prompt', evil]] })) }),
          bad({ run: evil }), bad({ run: 'b2', files: files('../../secret.png') }),
          bad({ run: 'b3', thumbs: files('/etc/passwd') }), bad({ run: 'b5', columns: [] }), evil, null, 7,
          bad({ run: 'b4', files: files('x.png?type=output&filename=y.png') }),
        ],
      };
      for (const node of saved.nodes) delete node.properties.realign_memory;
      await window.app.loadGraphData({ ...saved, id: crypto.randomUUID() }, false);
    }"""
    js(tab, load, [HOSTILE])
    tab.page.wait_for_function("() => document.querySelectorAll('.realign-cell').length === 8")
    tab.page.wait_for_timeout(500)
    tab.shot("hostile")
    assert js(tab, "() => window.hacked ?? null") is None
    assert js(tab, "() => document.querySelector('.realign-compare').querySelectorAll('[onerror]').length") == 0
    assert HOSTILE in caption(tab)
    assert len(js(tab, RUNS)) == 1  # the others are no runs
    shown_now = js(tab, "() => [...document.querySelectorAll('.realign-compare img')].map((one) => one.src)")
    views = [*shown_now, *(url for url in asked if "/view?" in url)]
    assert len(shown_now) == 8
    assert all("type=temp" in url and "realign_compare_" in url for url in views)
    assert not [url for url in asked if "secret" in url or "passwd" in url or "type=output" in url]
    tab.errors.clear()


def test_a_reload_brings_runs_pin_and_stars_back(tab, host):
    new_workflow(tab)
    compare_graph(tab)
    js(tab, "() => { window.app.graph.id = crypto.randomUUID(); }")
    run_compare(tab)
    look_at(tab, 1, 1)
    press(tab, "p")
    look_at(tab, 3, 0)
    press(tab, "s")
    saved = js(tab, "() => window.app.graph.serialize()")
    told, runs = caption(tab), js(tab, RUNS)
    assert told == "★ λ 1.25 · seed 7 | pinned λ 0.5 · seed 8"
    for forget in (False, True):  # all that is needed is in the file
        if forget:
            js(tab, "() => (localStorage.clear(), sessionStorage.clear())")
        tab.page.goto("about:blank")
        tab.page.goto(host.url)
        tab.page.wait_for_function(READY)
        js(tab, "async (saved) => await window.app.loadGraphData(saved)", saved)
        tab.page.wait_for_function(
            "(told) => document.querySelector('.realign-caption')?.textContent === told", arg=told
        )
        assert js(tab, RUNS) == runs
    tab.render(tab.new_renderer)
    assert tab.errors == []


def test_a_run_whose_pictures_are_gone_stays_with_its_stars(tab):
    """They count, and the pictures may only be out of reach for a moment."""
    build(tab, [["compare", "RealignCompare", [0, 0], {}]], [])
    for time, name in enumerate(("a1", "b1")):
        run = {**told(["", ""]), "run": name, "time": float(time)}
        finish(tab, run)
        press(tab, "s")
        tab.page.wait_for_function("() => document.querySelector('.realign-runs').innerText.includes('(gone)')")
    kept = "() => window.made.compare.properties.realign_compare"
    assert len(js(tab, RUNS)) == 2
    assert js(tab, kept)["stars"] == {"a1": [0], "b1": [0]}
    tab.errors.clear()  # the page's own, about pictures that are not there


@pytest.mark.parametrize(("when", "control"), [("after", "randomize"), ("before", "fixed")])
def test_finer_is_of_the_runs_own_seed(tab, when, control):
    """As new nodes have it, the page puts another one there, after each run or before."""
    seed = {"seed": 99, "control_after_generate": "randomize"}
    swept_graph(tab, seed, sweep={"values": "list", "listed": "0.5, 1"})
    finish(tab, told(["", ""]))
    setting = "(when) => window.app.ui.settings.setSettingValueAsync('Comfy.WidgetControlMode', when)"
    js(tab, setting, when)
    click(tab, ".realign-finer")
    js(tab, setting, "after")
    assert value_of(tab, "sweep", "listed") != "0.5, 1"
    assert value_of(tab, "sampler", "seed") == told([])["seed"]
    assert value_of(tab, "sampler", "control_after_generate") == control
    tab.errors.clear()  # the page's own, about pictures that are not there


def test_use_of_a_rows_prompt_writes_the_text(tab):
    """Where the sampler's prompt is one text; a row whose prompt is not known as text says so."""
    nodes = [
        ["load", "CheckpointLoaderSimple", [0, 0], {}],
        ["encode", "CLIPTextEncode", [0, 150], {"text": "a cat"}],
        ["empty", "EmptyLatentImage", [0, 400], {}],
    ]
    links = [
        ["load", 1, "encode", "clip"],
        ["encode", 0, "sampler", "positive"],
        ["empty", 0, "sweep", "latent"],
    ]
    swept_graph(tab, {"seed": 7}, nodes, links)
    run = told(["a red heart, " * 9, ""])
    finish(tab, run)
    names = js(tab, "() => [...document.querySelectorAll('.realign-name')].map((one) => one.textContent)")
    assert names[1] == "prompt 2"
    look_at(tab, 1, 1)
    tab.page.wait_for_timeout(300)
    no = js(tab, "() => document.querySelector('.realign-use').title")
    assert no.startswith("its prompt cannot be set here")
    look_at(tab, 1, 0)
    tab.page.wait_for_timeout(300)
    click(tab, ".realign-use")
    assert value_of(tab, "encode", "text") == "a red heart, " * 9
    assert value_of(tab, "sampler", "lambda_") == 1
    assert js(tab, "() => window.made.sweep.mode") == 4
    tab.errors.clear()  # the page's own, about pictures that are not there
