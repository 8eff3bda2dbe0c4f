"""A run with particles as an artist sees it: every particle while it runs, words at the end, and both after undo."""

from __future__ import annotations

import re
from itertools import count

import pytest
from graphs import js, kind, press_run, text_on
from test_layout import FEWER, SHOWING, open_at_once
from test_survival import change, press_undo

SEEDS = count(11)  # another for each run: what the host has kept is not run again, and says nothing
STEPS, ROWS = 8, 4  # groups of the template, a row of the strip each
BRIGHT = 80  # of 255: what no empty cell of a strip has, nor its ground
# Of each preview: its width and height, and which share of each of its rows is bright.
COLLECT = """([rows, bright]) => {
  window.realignParticleStrips = [];
  window.app.api.addEventListener('b_preview_with_metadata', async (event) => {
    const picture = await createImageBitmap(event.detail.blob), { width, height } = picture;
    const drawn = new OffscreenCanvas(width, height).getContext('2d');
    drawn.drawImage(picture, 0, 0);
    const shares = Array.from({ length: rows }, (_, row) => {
      const top = Math.floor(height * row / rows), size = Math.floor(height / rows);
      const { data } = drawn.getImageData(0, top, width, size);
      let count = 0;
      for (let i = 0; i < data.length; i += 4) count += Math.max(data[i], data[i + 1], data[i + 2]) > bright;
      return count / (width * size);
    });
    window.realignParticleStrips.push([width, height, shares]);
  });
}"""
NODE, TEXT = kind("RealignParticles"), text_on("RealignParticles")
PREVIEWED = f"() => !!({NODE}.imgs?.length || document.querySelector(`[data-node-id='${{{NODE}.id}}'] img`))"
REACHED = re.compile(r"colourfulness \d+(\.\d+)? → \d+(\.\d+)? \(mean of 4 × 4\)")


def lines_on_the_node(tab):
    """As they are on the screen, in either renderer."""
    said = tab.page.locator("span, p").filter(has_text=REACHED).last
    said.wait_for()
    return said.inner_text().splitlines()


@pytest.fixture
def ran(tab):
    tab.errors.clear()
    open_at_once(tab, "colourful_hearts")
    js(tab, FEWER, {"steps": STEPS, "seed": next(SEEDS)})
    js(tab, COLLECT, [ROWS, BRIGHT])
    press_run(tab)
    tab.page.wait_for_function("() => window.realignParticleStrips.length >= 1")
    tab.page.wait_for_function(f"() => ({TEXT})().includes('step ') && ({PREVIEWED})()")
    tab.shot("particles_running")
    tab.page.wait_for_function(SHOWING, arg=[2, ["RealignReport", "RealignScore"]])
    tab.page.wait_for_function(f"() => ({TEXT})().includes('held-out')")
    return tab


def test_a_run_is_seen_told_and_kept(ran):
    tab, text = ran, js(ran, TEXT)
    tab.page.wait_for_timeout(700)
    tab.shot("particles_ran")
    assert f"step {STEPS}/{STEPS}" in text
    assert REACHED.search(text)
    assert re.search(r"held-out sharpness [\d.]+", text)
    assert "KL 0 nats" not in text  # which is said of anchors, and there is none
    lines = lines_on_the_node(tab)
    assert lines == text.split("\n")
    *_, (width, height, shares) = js(tab, "() => window.realignParticleStrips")
    assert 0.8 < width / height < 1.2
    assert all(share > 0.5 for share in shares), shares
    change(tab)
    press_undo(tab)
    tab.page.wait_for_function(f"(t) => ({TEXT})() === t", arg=text)
    assert lines_on_the_node(tab) == lines
    tab.page.wait_for_function(PREVIEWED)
    tab.page.wait_for_timeout(500)
    tab.shot("particles_undone")
    assert tab.errors == []


def test_a_copy_has_run_nothing(ran):
    """Its text would be of another node's run."""
    select = f"() => {{ const node = {NODE}; window.app.canvas.selectItems([node]); }}"
    js(ran, select)
    js(ran, "() => { window.app.canvas.copyToClipboard(); window.app.canvas.pasteFromClipboard(); }")
    ran.page.wait_for_function("() => window.app.graph.nodes.filter(n => n.type === 'RealignParticles').length === 2")
    texts = "() => window.app.graph.nodes.filter(n => n.type === 'RealignParticles').map(n => "
    texts += "n.widgets.find(w => w.name === '$$node-text-preview')?.value ?? '')"
    assert sorted(bool(text) for text in js(ran, texts)) == [False, True]
