"""Rounds of stars on Pick, as an artist does them: what the next run is told, undo, and which λ is liked."""

from __future__ import annotations

import json
import re
from itertools import count

from graphs import FIXED, build, compare_graph, js, press, press_run, sent, set_widget, shown, value_of
from PIL import Image
from test_survival import press_undo

NAMES = count(1)  # of a session, for each test
PICTURES = 6
COUNT = "(n) => document.querySelectorAll('.realign-compare .realign-cell').length === n"
RUNS = "(n) => document.querySelectorAll('.realign-runs option').length === n"
DONE = "() => window.app.ui.lastQueueSize === 0 || !document.querySelector('.realign-compare .realign-busy')"
TEXT = """(name) => {
  const node = window.made[name];
  return node.widgets.find((w) => w.name === '$$node-text-preview')?.value ?? '';
}"""


def pick_graph(tab, name):
    settings = {"steps": 3, "seed": 7, "particles": 2, "pictures": PICTURES, **FIXED}
    nodes = [
        ["demo", "RealignDemoModels", [0, 0], {"shape": "heart"}],
        ["empty", "EmptyLatentImage", [0, 330], {"width": 64, "height": 64}],
        ["learned", "RealignLearnedTaste", [0, 480], {"name": name}],
        ["sampler", "RealignParticles", [330, 0], settings],
        ["decode", "VAEDecode", [330, 640], {}],
        ["pick", "RealignPick", [720, 0], {}],
    ]
    links = [
        ["demo", 0, "sampler", "model"],
        ["demo", 2, "sampler", "positive"],
        ["demo", 3, "sampler", "negative"],
        ["empty", 0, "sampler", "latent_image"],
        ["learned", 0, "sampler", "reward"],
        ["learned", 1, "pick", "preference"],
        ["demo", 4, "sampler", "vae"],
        ["sampler", 0, "decode", "samples"],
        ["demo", 4, "decode", "vae"],
        ["decode", 0, "pick", "images"],
        ["sampler", 4, "pick", "trace"],
    ]
    build(tab, nodes, links)


def star(tab, *places):
    for place in places:
        js(tab, "(i) => document.querySelectorAll('.realign-compare .realign-cell')[i].click()", place)
        press(tab, "s")


def stars(tab):
    """The places that are marked on the sheet."""
    code = """() => [...document.querySelectorAll('.realign-compare .realign-cell')]
      .flatMap((cell, i) => (cell.textContent.includes('★') ? [i] : []))"""
    return js(tab, code)


def stars_are(tab, *places):
    code = """(wanted) => JSON.stringify([...document.querySelectorAll('.realign-compare .realign-cell')]
      .flatMap((cell, i) => (cell.textContent.includes('★') ? [i] : []))) === JSON.stringify(wanted)"""
    tab.page.wait_for_function(code, arg=list(places))


def told(tab, kind="RealignLearnedTaste"):
    """The stars that the next run would tell the host, newest run last."""
    (text,) = sent(tab, kind, "picks")
    return [one["picked"] for one in json.loads(text).values()] if text else []


def saved(host, name):
    path = host.base / "user" / "realign" / "preferences" / f"{name}.json"
    return [one["picked"] for one in json.loads(path.read_text(encoding="utf-8"))["rounds"]]


def says(tab, node, text):
    tab.page.wait_for_function(f"([name, text]) => ({TEXT})(name).includes(text)", arg=[node, text])


def test_two_rounds_with_undo(tab, host):
    tab.errors.clear()
    name = f"rounds {next(NAMES)} {'new' if tab.new_renderer else 'classic'}"
    pick_graph(tab, name)
    assert told(tab) == []
    press_run(tab)
    tab.page.wait_for_function(COUNT, arg=PICTURES)
    says(tab, "learned", f"nothing is starred as “{name}” yet")
    first = shown(tab)
    assert told(tab) == []
    star(tab, 1, 4, 2)
    stars_are(tab, 1, 2, 4)
    press_undo(tab)
    stars_are(tab, 1, 4)
    assert told(tab) == told(tab, "RealignPick") == [[1, 4]]
    js(tab, "() => document.querySelectorAll('.realign-compare .realign-cell')[0].click()")
    js(tab, "() => document.querySelectorAll('.realign-compare .realign-cell')[0].click()")  # pressed again
    stars_are(tab, 0, 1, 4)
    tab.page.wait_for_timeout(300)
    tab.shot("pick_starred")
    set_widget(tab, "sampler", "seed", 8)
    press_run(tab)
    says(tab, "learned", f"3 of {PICTURES} pictures starred as “{name}” (rounds: 1)")
    tab.page.wait_for_function(RUNS, arg=2)
    assert shown(tab) != first
    assert saved(host, name) == [[0, 1, 4], []]
    star(tab, 5)
    assert told(tab) == [[0, 1, 4], [5]]
    set_widget(tab, "sampler", "seed", 9)
    press_run(tab)
    says(tab, "learned", f"4 of {2 * PICTURES} pictures starred as “{name}” (rounds: 2)")
    tab.page.wait_for_function(RUNS, arg=3)
    tab.shot("pick_third_round")
    # What was told once and is taken back is taken back there, too.
    press_undo(tab)
    if told(tab) != [[0, 1, 4], []]:  # the page has taken the growth of a node that ran for a step of its own
        press_undo(tab)
    assert told(tab) == [[0, 1, 4], []]
    press_run(tab)
    says(tab, "learned", f"3 of {PICTURES} pictures starred as “{name}” (rounds: 1)")
    assert saved(host, name)[:2] == [[0, 1, 4], []]
    assert value_of(tab, "learned", "picks") == ""  # nothing of it is in the workflow but the stars themselves
    assert tab.errors == []


def pick_for_compare(tab):
    """Pick in the place of λ Compare, with what that gets."""
    code = """() => {
      const { compare, decode, sweep, sampler } = window.made, { graph } = window.app;
      graph.remove(compare);
      const pick = window.LiteGraph.createNode('RealignPick');
      pick.pos = [1020, 0];
      graph.add(pick);
      const slot = (name) => pick.inputs.findIndex((one) => one.name === name);
      decode.connect(0, pick, slot('images'));
      sweep.connect(1, pick, slot('sweep'));
      sampler.connect(2, pick, slot('trace'));
      window.made.pick = pick;
    }"""
    js(tab, code)


def test_stars_on_a_sweep_say_which_lambda_is_liked(tab):
    tab.errors.clear()
    compare_graph(tab)
    pick_for_compare(tab)
    press_run(tab)
    tab.page.wait_for_function(COUNT, arg=8)
    says(tab, "pick", "star the better pictures of a λ sweep")
    star(tab, 2, 6)  # λ 0.75 in both rows
    press_run(tab)
    says(tab, "pick", "is liked best, from")
    told = re.search(r"λ (\S+) is liked best, from (\S+) to (\S+) ", js(tab, TEXT, "pick"))
    value, low, high = map(float, told.groups())
    assert low <= 0.75 <= high
    assert 0.5 <= value <= 1.25
    assert js(tab, RUNS, 1)  # nothing was sampled
    stars_are(tab, 2, 6)
    tab.shot("pick_sweep")
    assert tab.errors == []


def test_a_draft_is_kept(tab, host):
    tab.errors.clear()
    compare_graph(tab, {"values": "list", "listed": "0.5, 1", "draft": True})
    pick_for_compare(tab)
    press_run(tab)
    tab.page.wait_for_function(COUNT, arg=2)
    js(tab, "() => document.querySelector('.realign-compare .realign-keep').click()")
    tab.page.wait_for_function("() => document.querySelector('.realign-said').textContent.includes(': ')")
    path = host.base / "output" / js(tab, "() => document.querySelector('.realign-said').textContent").split(": ")[1]
    with Image.open(path) as kept:
        graph = json.loads(kept.info["prompt"])
    assert "RealignPick" not in {node["class_type"] for node in graph.values()}
    path.unlink()
    assert tab.errors == []
