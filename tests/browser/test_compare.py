"""λ Compare as an artist looks with it: sheet, wipe, pin, loupe, stars, keys. Both renderers."""

from __future__ import annotations

import re

import pytest
from conftest import PACK
from graphs import caption, click, compare_graph, js, kind, look_at, name_nodes, press, run_compare
from looking import LOUPE, NODES, RANGE, capture, hover, new_workflow, pixel, show_node, stage_box
from test_survival import UNDO_STEPS, all_alive, press_undo


@pytest.fixture
def seven(tab, once):
    """A sweep of 7 λ and 3 seeds that has run, all of its node in view."""
    if tab.holds is once:
        return tab
    new_workflow(tab)
    compare_graph(tab, RANGE, {"lambda_": 0.5})
    js(tab, "() => { window.app.graph.id = crypto.randomUUID(); }")
    run_compare(tab)
    show_node(tab)
    tab.holds = once
    return tab


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
