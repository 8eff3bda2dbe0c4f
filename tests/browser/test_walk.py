"""The whole way, as an artist goes it: from the template to a picture that is kept, back, and on the next day."""

from __future__ import annotations

import io

import pytest
from conftest import READY
from graphs import (
    CURRENT,
    caption,
    click,
    compare_graph,
    is_sweeping,
    js,
    look_at,
    open_template,
    press_run,
    run_compare,
    shown,
)
from looking import LOUPE, RUNS, hover, show_node
from PIL import Image
from test_journey import NODE, drop_picture, wait_for_pictures
from test_page import set_widgets
from test_survival import UNDO_STEPS, press_undo

SAID = "() => document.querySelector('.realign-said').textContent"
KEEP = "() => document.querySelector('.realign-keep').textContent"
LAMBDA = f"() => {NODE.format('RealignSampler')}.widgets.find((w) => w.name === 'lambda_').value"


def pixels(data):
    with Image.open(io.BytesIO(data)) as picture:
        return picture.convert("RGB").tobytes()


def kept_path(tab):
    tab.page.wait_for_function(f"() => ({SAID})().includes('Realign/')")
    return js(tab, SAID).split(": ")[1]


def test_the_whole_way(tab, host):
    open_template(tab, "realign_demo_sweep")
    set_widgets(tab, "RealignSampler", {"steps": 6})
    tab.page.wait_for_timeout(500)
    tab.shot("walk_1_template")
    press_run(tab)
    wait_for_pictures(tab, 21)
    tab.shot("walk_2_result")
    show_node(tab, 0.85)
    hover(tab, 0.55)
    tab.page.wait_for_function("() => !document.querySelector('.realign-wipe').hidden")
    tab.shot("walk_3_wipe")
    tab.page.keyboard.press("f")
    assert js(tab, LOUPE)
    tab.page.mouse.move(640, 300)
    tab.page.mouse.wheel(0, -400)
    place = js(tab, "() => document.querySelector('.realign-stage').dataset.place")
    seen = [shown(tab)]
    for _ in range(3):
        tab.page.keyboard.press("ArrowRight")
        seen.append(shown(tab))
    assert len(set(seen)) == 4
    assert js(tab, "() => document.querySelector('.realign-stage').dataset.place") == place
    tab.page.mouse.move(700, 320)
    tab.page.wait_for_timeout(200)
    tab.shot("walk_4_loupe")
    tab.page.keyboard.press("Escape")
    assert not js(tab, LOUPE)
    chosen = float(caption(tab).split()[1])
    before = js(tab, LAMBDA)
    assert chosen != before

    click(tab, ".realign-use")
    assert js(tab, LAMBDA) == chosen
    assert not is_sweeping(tab)
    assert js(tab, "() => document.querySelectorAll('.realign-cell').length") == 21  # the sheet stays
    assert (
        js(tab, "() => [...document.querySelectorAll('.realign-marks')].filter((one) => one.textContent).length") == 1
    )
    tab.shot("walk_5_used")
    click(tab, ".realign-keep")
    path = kept_path(tab)
    tab.shot("walk_6_kept")
    kept = (host.base / "output" / path).read_bytes()
    assert pixels(kept) == pixels(host.get_bytes(f"/view?type=temp&filename={seen[-1]}"))

    while js(tab, UNDO_STEPS):
        press_undo(tab)
    tab.page.wait_for_function(f"() => ({LAMBDA})() === {before}")
    tab.page.wait_for_function(f"() => Boolean(document.querySelector('{CURRENT}')?.dataset.file)")
    assert js(tab, "() => document.querySelectorAll('.realign-cell').length") == 21  # nothing is lost
    assert js(tab, KEEP) in ("Keep", "Kept ✓")
    tab.shot("walk_7_undone")

    saved = js(tab, "() => window.app.graph.serialize()")
    runs = js(tab, RUNS)
    tab.page.goto("about:blank")
    tab.page.goto(host.url)
    tab.page.wait_for_function(READY)
    js(tab, "async (saved) => await window.app.loadGraphData(saved)", saved)
    tab.page.wait_for_function(f"() => Boolean(document.querySelector('{CURRENT}')?.dataset.file)")
    assert js(tab, RUNS) == runs
    tab.page.locator(".realign-runs").select_option(index=len(runs) - 1)
    look_at(tab, 2, 1)
    assert shown(tab)
    tab.shot("walk_8_reloaded")
    tab.render(tab.new_renderer)
    assert tab.errors == []


ROWS = {
    "seeds": {"values": "list", "listed": "0, 0.5, 1.25", "seeds": 2},
    "cfg": {"values": "list", "listed": "0.5, 0.75", "seeds": 1, "rows": "cfg", "row_values": "2, 4"},
    "eta": {"values": "range", "start": 0.5, "end": 1.5, "count": 3, "seeds": 1, "rows": "η", "row_values": "0, 0.5"},
}


@pytest.mark.parametrize("rows", ROWS)
def test_a_kept_picture_dropped_on_the_page_makes_itself_again(tab, host, rows):
    compare_graph(tab, ROWS[rows], {"cfg": 3.0})
    run_compare(tab)
    look_at(tab, 1, 1)
    before = shown(tab)
    click(tab, ".realign-keep")
    path = host.base / "output" / kept_path(tab)
    drop_picture(tab, path)
    only = f"() => {NODE.format('RealignSweep')}.widgets.find((w) => w.name === 'only').value"
    assert js(tab, only) == "2, 2"
    press_run(tab)
    tab.page.wait_for_function(f"(b) => (document.querySelector('{CURRENT}')?.dataset.file ?? b) !== b", arg=before)
    again = shown(tab)
    assert js(tab, "() => document.querySelectorAll('.realign-cell').length") == 1
    made = pixels(host.get_bytes(f"/view?type=temp&filename={again}"))
    first = pixels(path.read_bytes())
    assert max(abs(a - b) for a, b in zip(made, first)) <= 1  # of 255: rounding
    path.unlink()
    assert tab.errors == []


def test_a_draft_is_kept_exactly(tab, host):
    """Keep samples that one picture, and no other node of the graph saves anything."""
    sweep = {**ROWS["seeds"], "draft": True}
    compare_graph(tab, sweep, {"steps": 12})
    run_compare(tab)
    assert "draft" in caption(tab)
    assert js(tab, "() => [...document.querySelectorAll('.realign-draft')].length") == 6
    look_at(tab, 1, 1)
    tab.shot("draft")
    draft = pixels(host.get_bytes(f"/view?type=temp&filename={shown(tab)}"))
    click(tab, ".realign-keep")
    path = host.base / "output" / kept_path(tab)
    assert len(js(tab, RUNS)) == 1  # what is sampled for it is no run to look at
    kept = pixels(path.read_bytes())
    exact = {**ROWS["seeds"]}
    compare_graph(tab, exact, {"steps": 12})
    run_compare(tab)
    look_at(tab, 1, 1)
    whole = pixels(host.get_bytes(f"/view?type=temp&filename={shown(tab)}"))
    assert max(abs(a - b) for a, b in zip(kept, whole)) <= 1
    assert max(abs(a - b) for a, b in zip(draft, whole)) > 1
    path.unlink()
    assert tab.errors == []
