"""λ Compare as an artist uses it: look, magnify, choose, keep, go back. Both renderers."""

from __future__ import annotations

import io
import json
import re

import pytest
from conftest import PACK, READY
from graphs import (
    ALL,
    CURRENT,
    build,
    caption,
    click,
    compare_graph,
    is_sweeping,
    js,
    look_at,
    press,
    press_run,
    run_compare,
    sent,
    shown,
    value_of,
)
from PIL import Image
from test_survival import UNDO_STEPS, all_alive, kind, name_nodes, press_undo

RANGE = {"values": "range", "start": 0, "end": 1.5, "count": 7, "seeds": 3}
NODES = """() => JSON.stringify(window.app.graph.serialize().nodes.map((node) => {
  const { realign_compare: looked, ...properties } = node.properties;
  return { ...node, properties, size: 0, pos: 0 };
}))"""
LOUPE = "() => document.body.classList.contains('realign-loupe-open')"
RUNS = "() => [...document.querySelectorAll('.realign-runs option')].map((one) => one.textContent)"
QUEUED = "() => { window.queued = 0; window.app.api.addEventListener('promptQueued', () => window.queued++); }"


def capture(tab):
    js(tab, "() => window.app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()")


def stage_box(tab):
    return tab.page.locator(".realign-stage").bounding_box()


def hover(tab, across=0.5, down=0.5):
    box = stage_box(tab)
    tab.page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] * down)


def pixel(tab, across, down):
    """Of the screen, at a place in the stage."""
    box = stage_box(tab)
    with Image.open(io.BytesIO(tab.page.screenshot())) as screen:
        return screen.convert("RGB").getpixel(
            (round(box["x"] + box["width"] * across), round(box["y"] + box["height"] * down))
        )


def new_workflow(tab):
    js(tab, "async () => await window.app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")


@pytest.fixture(scope="module")
def seven(one_tab):
    """A sweep of 7 λ and 3 seeds that has run, all of its node in view."""
    tab = one_tab
    new_workflow(tab)
    compare_graph(tab, RANGE, {"lambda_": 0.5})
    js(tab, "() => { window.app.graph.id = crypto.randomUUID(); }")
    run_compare(tab)
    show_node(tab)
    return tab


def show_node(tab, scale=1):
    code = """(scale) => {
      const node = window.app.graph.nodes.find((n) => n.type === 'RealignCompare'), { ds } = window.app.canvas;
      ds.scale = scale; ds.offset = [300 / scale - node.pos[0], 110 / scale - node.pos[1]];
      window.app.canvas.setDirty(true, true);
    }"""
    js(tab, code, scale)
    tab.page.wait_for_timeout(400)


def test_the_sheet_is_all_pictures_in_words(seven):
    tab = seven
    heads = js(tab, "() => [...document.querySelectorAll('.realign-head')].map((one) => one.textContent)")
    assert heads == ["0", "0.25", "0.5", "0.75", "1", "1.25", "1.5"]
    names = js(tab, "() => [...document.querySelectorAll('.realign-name')].map((one) => one.textContent)")
    assert names == ["seed 7", "seed 8", "seed 9"]
    ringed = js(tab, "() => [...document.querySelectorAll('.realign-slider')].map((one) => one.textContent)")
    assert ringed == ["0.5"]  # the slider's λ, where it opens
    assert caption(tab) == "λ 0.5 · seed 7 | pinned λ 0"
    thumbs = js(tab, "() => [...document.querySelectorAll('.realign-cell img')].map((one) => one.src)")
    assert len(set(thumbs)) == 21
    assert all("type=temp" in src and src.endswith((".jpg", ".jpg&type=temp")) for src in thumbs)
    tab.shot("sheet")


def test_the_picture_has_most_of_the_node(seven):
    tab = seven
    share = """() => {
      const node = window.app.graph.nodes.find((n) => n.type === 'RealignCompare');
      return document.querySelector('.realign-stage').offsetHeight / node.size[1];
    }"""
    assert js(tab, share) >= 0.6


def test_hovering_wipes_against_the_pin(seven):
    tab = seven
    look_at(tab, 6, 0)
    hover(tab, 0.5)
    tab.page.wait_for_function("() => !document.querySelector('.realign-wipe').hidden")
    left, right = pixel(tab, 0.4, 0.45), pixel(tab, 0.6, 0.45)
    tab.shot("wipe")
    hover(tab, 0.3)
    tab.page.wait_for_timeout(200)
    assert pixel(tab, 0.4, 0.45) != left  # now the picture's, not the pin's
    assert pixel(tab, 0.6, 0.45) == right
    tab.page.mouse.move(5, 5)
    tab.page.wait_for_function("() => document.querySelector('.realign-pinned').hidden")


def test_holding_flips_to_the_pin(seven):
    tab = seven
    look_at(tab, 6, 0)
    hover(tab)
    before = pixel(tab, 0.6, 0.45)
    for down, up in (
        (lambda: tab.page.keyboard.down(" "), lambda: tab.page.keyboard.up(" ")),
        (tab.page.mouse.down, tab.page.mouse.up),
    ):
        down()
        tab.page.wait_for_timeout(400)  # held, and not pressed
        assert caption(tab) == "pinned λ 0"
        assert pixel(tab, 0.6, 0.45) != before
        up()
        tab.page.wait_for_timeout(200)
        assert pixel(tab, 0.6, 0.45) == before
        assert caption(tab) == "λ 1.5 · seed 7 | pinned λ 0"
    assert not js(tab, LOUPE)


def test_any_picture_can_be_the_pin(seven):
    tab = seven
    look_at(tab, 4, 1)
    press(tab, "p")
    look_at(tab, 1, 2)
    assert caption(tab) == "λ 0.25 · seed 9 | pinned λ 1 · seed 8"
    look_at(tab, 4, 1)
    press(tab, "p")
    look_at(tab, 1, 2)
    assert caption(tab) == "λ 0.25 · seed 9 | pinned λ 0"


def test_looking_writes_nothing(seven):
    tab = seven
    look_at(tab, 2, 0)
    capture(tab)
    before, steps = js(tab, NODES), js(tab, UNDO_STEPS)
    hover(tab)
    for key in ("ArrowRight", "ArrowDown", "p", "End", "Home", " ", "f", "1", "ArrowRight", "0", "Escape"):
        tab.page.keyboard.press(key)
        capture(tab)
    assert not js(tab, LOUPE)
    assert js(tab, NODES) == before
    assert js(tab, UNDO_STEPS) == steps
    press(tab, "p")


def test_the_loupe_keeps_zoom_and_place(seven):
    tab = seven
    look_at(tab, 3, 0)
    hover(tab)
    tab.page.keyboard.press("f")
    assert js(tab, LOUPE)
    assert js(tab, "() => getComputedStyle(document.querySelector('#vue-app')).visibility") == "hidden"
    box = stage_box(tab)
    assert box["width"] > 1400
    tab.page.mouse.move(box["x"] + 0.35 * box["width"], box["y"] + 0.4 * box["height"])
    placed = "() => document.querySelector('.realign-loupe .realign-stage').dataset.place"  # zoom, and where
    whole = js(tab, placed)
    tab.page.mouse.wheel(0, -500)
    tab.page.wait_for_timeout(200)
    near = js(tab, placed)
    assert (whole, float(near.split()[0]) > 2) == ("1.000 0.500 0.500", True)
    under = pixel(tab, 0.35, 0.4)
    tab.shot("loupe")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        tab.page.keyboard.press(key)
        tab.page.wait_for_timeout(200)
        assert js(tab, placed) == near
    assert pixel(tab, 0.36, 0.4) != under
    assert caption(tab).startswith("λ 1.25 · seed 8")
    tab.page.keyboard.press("1")
    assert float(js(tab, placed).split()[0]) == 1  # 64 px are less than the window: nothing is made smaller
    tab.page.keyboard.press("0")
    assert js(tab, placed) == whole
    tab.page.keyboard.press("Escape")
    assert not js(tab, LOUPE)
    all_alive(tab)
    assert js(tab, "() => document.activeElement.className").startswith("realign-stage")
    assert js(tab, "() => getComputedStyle(document.querySelector('#vue-app')).visibility") == "visible"


def test_a_click_opens_the_loupe_and_tab_stays_in_it(seven):
    tab = seven
    hover(tab)
    tab.page.mouse.down()
    tab.page.mouse.up()
    assert js(tab, LOUPE)
    inside = "() => Boolean(document.activeElement.closest('.realign-loupe'))"
    for _ in range(12):
        tab.page.keyboard.press("Tab")
        assert js(tab, inside)
    tab.page.locator(".realign-close").click()
    assert not js(tab, LOUPE)


def test_a_star_is_a_step_of_undo(seven):
    tab = seven
    look_at(tab, 5, 1)
    capture(tab)
    steps = js(tab, UNDO_STEPS)
    press(tab, "s")
    star = "() => [...document.querySelectorAll('.realign-marks')].map((one) => one.textContent).join('')"
    assert js(tab, star) == "★"
    assert js(tab, UNDO_STEPS) == steps + 1
    press_undo(tab)
    tab.page.wait_for_function(f"() => ({star})() === ''")
    assert caption(tab).startswith("λ 1.25 · seed 8")
    press_undo(tab, redo=True)
    tab.page.wait_for_function(f"() => ({star})() === '★'")
    name_nodes(tab)
    press(tab, "s")
    assert js(tab, star) == ""


def test_keys_are_not_the_pages(seven):
    """P pins a node on the page, and S, F, Space and Enter may be anything there."""
    tab = seven
    before = js(tab, NODES)
    js(tab, "() => { window.heard = []; window.addEventListener('keydown', (e) => window.heard.push(e.key)); }")
    for key in ("p", "p", "s", "s", " ", "f", "Escape", "PageDown", "PageUp"):
        press(tab, key)
    assert js(tab, "() => window.heard") == []
    assert js(tab, NODES) == before


def test_finer_sweeps_around_the_choice(seven):
    tab = seven
    name = kind("RealignSweep")
    look_at(tab, 3, 0)
    click(tab, ".realign-finer")
    values = f"() => {name}.widgets.filter((w) => ['values', 'listed'].includes(w.name)).map((w) => w.value)"
    assert js(tab, values) == ["list", "0.5, 0.625, 0.75, 0.875, 1"]
    tab.page.keyboard.press("Escape")
    press_undo(tab)
    assert js(tab, values)[0] == "range"
    all_alive(tab)


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


@pytest.mark.parametrize("width", [320, 640])
def test_every_control_is_in_reach_and_named(tab, width):
    compare_graph(tab, RANGE)
    run_compare(tab)
    look_at(tab, 6, 2)
    js(tab, "(width) => { const { compare } = window.made; compare.setSize([width, compare.size[1]]); }", width)
    show_node(tab)
    tab.shot(f"compare_{width}")
    hidden = """() => {
      const root = document.querySelector('.realign-compare'), box = root.getBoundingClientRect();
      return [...root.querySelectorAll('button, select')].filter((one) => one.offsetParent).flatMap((one) => {
        const own = one.getBoundingClientRect();
        const across = own.left >= box.left - 1 && own.right <= box.right + 1;
        const isIn = across && own.top >= box.top - 1 && own.bottom <= box.bottom + 1;
        const name = one.getAttribute('aria-label') ?? one.textContent;
        const scrolls = one.classList.contains('realign-cell');
        return (isIn || scrolls) && name ? [] : [`${one.className} ${name}`];
      });
    }"""
    assert js(tab, hidden) == []
    reach = "() => [...document.querySelectorAll('.realign-cell')].filter((one) => one.tabIndex === 0).length"
    assert js(tab, reach) == 1  # the sheet is one stop of the Tab key, and arrows go on in it
    cell = js(tab, "() => document.querySelectorAll('.realign-cell')[20].getAttribute('aria-label')")
    assert cell == "λ 1.5 · seed 9"


def test_a_strip_of_many_goes_on_in_the_next_line(tab):
    """64 λ in one line would be too small to see; ↓ goes to the line below."""
    compare_graph(tab, {"values": "range", "start": 0, "end": 1.6, "count": 33, "seeds": 1}, {"steps": 1})
    run_compare(tab)
    show_node(tab)
    look_at(tab, 0, 0)
    tab.shot("strip_of_33")
    size = js(tab, "() => document.querySelector('.realign-cell').offsetWidth")
    assert size >= 30
    tops = js(tab, "() => [...document.querySelectorAll('.realign-cell')].map((one) => one.offsetTop)")
    line = tops.count(tops[0])
    assert 6 < line < 33
    press(tab, "ArrowDown")
    assert caption(tab).startswith(f"λ {0.05 * line:g} ")
    press(tab, "ArrowUp")
    assert caption(tab).startswith("λ 0")
    labels = js(tab, "() => [...document.querySelectorAll('.realign-label')].map((one) => one.textContent)")
    assert labels[:3] == ["0", "0.05", "0.1"]
    assert tab.errors == []


def test_nothing_moves_by_itself():
    """So there is nothing that prefers-reduced-motion would have to stop."""
    for path in (PACK / "web").rglob("*.js"):
        assert not re.search(
            r"transition|animation|@keyframes|[^r]scroll-behavior", path.read_text(encoding="utf-8")
        ), path


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
      delete properties.realign_memory;
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


def told(rows):
    """A run of two λ, as the host tells the page of it; its files are none."""
    own = {"seed_offset": 0, "cfg": None, "eta": None}
    columns = [{"name": f"λ {value:g}", "lambda": value, "beta": None, "masked": False} for value in (0.5, 1.0)]
    files = [f"realign_none_{i}.png" for i in range(2 * len(rows))]
    run = {"run": "abc", "time": 1.0, "seed": 7, "swept": True, "columns": columns, "files": files, "thumbs": files}
    return {**run, "rows": [{**own, "prompt": text, "says": [["prompt", text or "prompt 2"]]} for text in rows]}


def test_use_of_a_rows_prompt_writes_the_text(tab):
    """Where the sampler's prompt is one text; a row whose prompt is not known as text says so."""
    nodes = [
        ["load", "CheckpointLoaderSimple", [0, 0], {}],
        ["encode", "CLIPTextEncode", [0, 150], {"text": "a cat"}],
        ["empty", "EmptyLatentImage", [0, 400], {}],
        ["sweep", "RealignSweep", [300, 330], {}],
        ["sampler", "RealignSampler", [620, 0], {"seed": 7}],
        ["decode", "VAEDecode", [300, 200], {}],
        ["compare", "RealignCompare", [1020, 0], {}],
    ]
    links = [
        ["load", 1, "encode", "clip"],
        ["encode", 0, "sampler", "positive"],
        ["empty", 0, "sweep", "latent"],
        ["sweep", 0, "sampler", "latent_image"],
        ["sweep", 1, "sampler", "lambda_schedule"],
        ["sampler", 0, "decode", "samples"],
        ["decode", 0, "compare", "images"],
        ["sweep", 1, "compare", "sweep"],
    ]
    build(tab, nodes, links)
    run = told(["a red heart, " * 9, ""])
    js(tab, "(run) => window.made.compare.onExecuted({ realign_compare: [run] })", run)
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
