"""What nodes say and draw of their result stays on them: also where the host has kept it, and where the page makes them
anew."""

from __future__ import annotations

from itertools import count

import pytest
from graphs import FIXED, LOAD, SAVED, build, js, pictures_on, press_run, set_widget, text_on

SEEDS = count(51)  # another for each run: the host runs nothing twice
END = """() => {
  window.ended = false;
  window.app.api.addEventListener('execution_success', () => { window.ended = true; }, { once: true });
}"""
REMEMBERED = "() => Object.keys(localStorage).filter((key) => key.endsWith('#realign_strip')).length"


def best_of(tab):
    nodes = [
        ["picture", "EmptyImage", [0, 0], {"width": 32, "height": 32, "batch_size": 2}],
        ["good", "RealignPictureReward", [0, 300], {"reward": "brightness"}],
        ["best", "RealignBestOf", [420, 0], {"count": 3}],
        ["shown", "PreviewImage", [840, 0], {}],
    ]
    links = [["picture", 0, "best", "images"], ["good", 0, "best", "reward"], ["best", 0, "shown", "images"]]
    build(tab, nodes, links)


def sweep(tab):
    settings = {"steps": 2, "seed": next(SEEDS), "lambda_": 0.5}
    _sampled(tab, "RealignSampler", settings, [["sweep", "RealignSweep", [300, 330], {"values": "list"}]])
    code = """() => {
      const { empty, sweep, run } = window.made;
      empty.connect(0, sweep, 'latent');
      sweep.connect(0, run, 'latent_image');
      sweep.connect(1, run, 'lambda_schedule');
    }"""
    js(tab, code)


def particles(tab):
    settings = {"steps": 2, "seed": next(SEEDS), "particles": 2}
    _sampled(tab, "RealignParticles", settings, [["good", "RealignPictureReward", [0, 500], {"reward": "brightness"}]])
    js(tab, "() => { const { good, run } = window.made; good.connect(0, run, 'reward'); }")
    js(tab, "() => { const { demo, run } = window.made; demo.connect(4, run, 'vae'); }")


def _sampled(tab, node, settings, more):
    nodes = [
        ["demo", "RealignDemoModels", [0, 0], {"shape": "heart"}],
        ["empty", "EmptyLatentImage", [0, 330], {"width": 64, "height": 64}],
        ["run", node, [620, 0], {**settings, **FIXED}],
        ["decode", "VAEDecode", [300, 200], {}],
        ["shown", "PreviewImage", [1020, 0], {}],
        *more,
    ]
    links = [
        *(["demo", i, "run", name] for i, name in enumerate(("model", "anchor", "positive", "negative"))),
        ["empty", 0, "run", "latent_image"],
        ["run", 0, "decode", "samples"],
        ["demo", 4, "decode", "vae"],
        ["decode", 0, "shown", "images"],
    ]
    build(tab, nodes, links)
    js(tab, "() => { window.app.canvas.ds.scale = 0.7; }")


@pytest.mark.parametrize(
    ("made", "node", "words", "pictures"),
    [
        (best_of, "RealignBestOf", "picture 1:", 0),
        (sweep, "RealignSampler", "step 2/2", 1),
        (particles, "RealignParticles", "step 2/2", 1),
    ],
)
def test_what_a_node_says_and_draws_stays_on_it(tab, made, node, words, pictures):
    made(tab)
    said, shown = text_on(node), pictures_on(node)

    def there():
        tab.page.wait_for_function(f"(words) => ({said})().includes(words)", arg=words)
        if pictures:
            tab.page.wait_for_function(f"() => ({shown})().length")
        tab.page.wait_for_timeout(700)
        return js(tab, said), js(tab, shown)

    js(tab, END)
    press_run(tab)
    tab.page.wait_for_function("() => window.ended")
    first, graph = there(), js(tab, SAVED)
    assert len(first[1]) == pictures
    js(tab, LOAD, graph)  # the page makes its nodes anew
    assert there() == first
    js(tab, "() => localStorage.clear()")
    tab.reopen()  # a page that has heard nothing, and a host that does not run it again
    js(tab, LOAD, graph)
    tab.page.wait_for_timeout(700)
    assert (js(tab, said), js(tab, shown)) == ("", [])
    press_run(tab)
    assert there() == first
    tab.shot(f"said_{node}")
    assert tab.errors == []


def test_a_run_that_is_no_sweep_has_no_strip_of_the_one_before(tab):
    js(tab, "() => localStorage.clear()")
    sweep(tab)
    press_run(tab)
    tab.page.wait_for_function(f"() => ({REMEMBERED})() === 1")
    code = """() => {
      const { empty, run } = window.made;
      run.disconnectInput('lambda_schedule');
      empty.connect(0, run, 'latent_image');
    }"""
    js(tab, code)
    set_widget(tab, "run", "seed", next(SEEDS))
    press_run(tab)
    tab.page.wait_for_function(f"() => ({REMEMBERED})() === 0")
