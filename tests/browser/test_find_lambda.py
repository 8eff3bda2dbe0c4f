"""λ Search in the page: its words and pictures stay on the node, whole, and a range that cannot be is said at once."""

from __future__ import annotations

from itertools import count

import pytest
from graphs import FIXED, LOAD, SAVED, build, js, kind, pictures_on, press_run, set_widget, text_on

SEEDS = count(31)  # another for each run: the host runs nothing twice
TEXT, PICTURES = text_on("RealignSearch"), pictures_on("RealignSearch")
FOUND = f"() => ({TEXT})().includes('ended')"
SHOWN = f"() => ({PICTURES})().length"
SAY = f"""(text) => {{
  window.app.api.dispatchCustomEvent('progress_text', {{ nodeId: String({kind("RealignSearch")}.id), text }});
}}"""
# What of the text on the node cannot be read: px that each box around it hides, up to the node or the page's layer.
HIDDEN = """(line) => {
  const all = [...document.querySelectorAll('.dom-widget *, .lg-node *')];
  const last = all.filter((e) => e.innerText?.includes(line)).at(-1), hidden = [];
  for (let e = last; !e.matches('.dom-widget, .lg-node'); e = e.parentElement) {
    if (getComputedStyle(e).display === 'inline') continue;
    hidden.push(e.scrollHeight - e.clientHeight);
    hidden.push(e.getBoundingClientRect().bottom - e.parentElement.getBoundingClientRect().bottom);
  }
  return Math.max(0, ...hidden);
}"""
# All that it can say: no λ keeps the limits, and the end of the range is chosen.
MOST = """best λ 1.485 (1.321 to 1.499) · β 3367
for other seeds: λ 1.114 to 1.5
1024 pictures at 64 prompts and seeds · ended: all pictures of the range are seen
no λ of the range keeps the limits: this one comes nearest
this is the upper end of the range: a wider range may have a better one"""
ERRORS = "() => Object.values(window.app.lastNodeErrors ?? {}).flatMap(node => node.errors.map(one => one.details))"


@pytest.fixture
def graph(tab):
    nodes = [
        ["demo", "RealignDemoModels", [0, 0], {"shape": "heart"}],
        ["empty", "EmptyLatentImage", [0, 330], {"width": 64, "height": 64}],
        ["good", "RealignPictureReward", [0, 500], {"reward": "colourfulness"}],
        ["search", "RealignSearch", [380, 0], {"steps": 2, "seeds": 2, "seed": next(SEEDS), "precision": 0.5, **FIXED}],
    ]
    links = [
        *(["demo", i, "search", name] for i, name in enumerate(("model", "anchor", "positive", "negative"))),
        ["demo", 4, "search", "vae"],
        ["empty", 0, "search", "latent_image"],
        ["good", 0, "search", "reward"],
    ]
    build(tab, nodes, links)
    js(tab, "() => { window.app.canvas.ds.scale = 0.7; }")


@pytest.fixture
def ran(tab, graph):
    press_run(tab)
    tab.page.wait_for_function(FOUND)
    tab.page.wait_for_function(SHOWN)
    tab.page.wait_for_timeout(700)
    tab.shot("find_lambda")
    return tab


def test_what_the_host_does_not_run_again_is_told_and_shown_all_the_same(ran):
    """On a page that is opened after the run, and has heard nothing of it."""
    tab, text, pictures = ran, js(ran, TEXT), js(ran, PICTURES)
    assert len(pictures) == 1
    graph = js(tab, SAVED)
    tab.reopen()
    js(tab, LOAD, graph)
    tab.page.wait_for_timeout(700)
    assert (js(tab, TEXT), js(tab, PICTURES)) == ("", [])
    press_run(tab)
    tab.page.wait_for_function(FOUND)
    tab.page.wait_for_function(SHOWN)
    tab.page.wait_for_timeout(700)
    tab.shot("find_lambda_kept")
    assert js(tab, TEXT) == text
    assert js(tab, PICTURES) == pictures
    assert tab.errors == []


def test_both_come_again_where_the_page_makes_the_node_anew(ran):
    tab, text, pictures = ran, js(ran, TEXT), js(ran, PICTURES)
    js(tab, LOAD, js(tab, SAVED))  # as another tab and back
    tab.page.wait_for_function(FOUND)
    tab.page.wait_for_function(SHOWN)
    assert js(tab, TEXT) == text
    assert js(tab, PICTURES) == pictures


def test_all_its_lines_can_be_read(ran):
    tab = ran
    for text in (js(tab, TEXT), MOST):
        js(tab, SAY, text)
        tab.page.wait_for_timeout(700)
        assert js(tab, HIDDEN, text.split("\n")[-1][-20:]) <= 1, text
    tab.shot("find_lambda_most")


def test_a_range_that_cannot_be_is_said_before_anything_runs(tab, graph):
    set_widget(tab, "search", "start", 3)
    set_widget(tab, "search", "end", 1)
    press_run(tab)
    tab.page.wait_for_function(f"() => ({ERRORS})().length")
    said = js(tab, ERRORS)
    sentence = "λ is searched from 3 to 1, but the range must rise, within -10 to 10: e.g. from 0 to 1.5."
    assert sorted(said) == ["end - " + sentence, "start - " + sentence]
    tab.page.wait_for_timeout(700)
    tab.shot("find_lambda_refused")
    tab.page.get_by_role("button", name="View details").click()
    tab.page.locator(".icon-\\[lucide--info\\]:visible").first.click()
    tab.page.get_by_text(sentence).first.wait_for()
    tab.shot("find_lambda_refused_details")
    js(tab, "() => window.app.ui.settings.setSettingValueAsync('Comfy.RightSidePanel.IsOpen', false)")
