"""As a new user: from the Templates dialog to a λ of one's own, with the mouse."""

from __future__ import annotations

import base64

from conftest import PACK
from graphs import open_template, press_run
from test_page import set_widgets

COLLECT = """() => {
  window.realignStrips = [];
  window.app.api.addEventListener('b_preview_with_metadata', async (event) => {
    const picture = await createImageBitmap(event.detail.blob);
    window.realignStrips.push([picture.width, picture.height]);
  });
}"""
NODE = "(window.app.graph.nodes ?? window.app.graph._nodes).find(n => n.type === '{}')"
COMPARED = f"() => window.app.nodeOutputs?.[{NODE.format('RealignCompare')}?.id]?.realign_compare?.[0]?.files.length"
LAMBDA = f"() => {NODE.format('RealignSampler')}.widgets.find(w => w.name === 'lambda_').value"


def wait_for_pictures(tab, count):
    tab.page.wait_for_function(f"() => ({COMPARED})() === {count}")
    tab.page.wait_for_timeout(700)


def drop_picture(tab, path):
    """Onto an empty page: the graph that made it opens."""
    tab.page.evaluate("() => window.app.graph.clear()")
    load = """async ([name, data]) => {
      const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
      await window.app.handleFile(new File([bytes], name, {type: 'image/png'}));
    }"""
    tab.page.evaluate(load, [path.name, base64.b64encode(path.read_bytes()).decode()])
    tab.page.wait_for_function(f"() => !!{NODE.format('RealignSweep')}")


def test_from_the_template_to_a_lambda_of_ones_own(tab, host):
    tab.errors.clear()
    open_template(tab, "realign_demo_sweep")
    prefix = f"journey_{'new' if tab.new_renderer else 'classic'}"
    set_widgets(tab, "RealignSampler", {"steps": 8})
    set_widgets(tab, "SaveImage", {"filename_prefix": prefix})
    tab.page.evaluate(COLLECT)
    press_run(tab)
    tab.page.wait_for_function("() => window.realignStrips.length >= 1")
    tab.page.wait_for_timeout(300)
    tab.shot("journey_strip")
    sweep = f"() => {NODE.format('RealignSweep')}.widgets.map(w => [w.name, w.value])"
    values = dict(tab.page.evaluate(sweep))
    wait_for_pictures(tab, values["count"] * values["seeds"])
    tab.shot("journey_compare")
    strips = tab.page.evaluate("() => window.realignStrips")
    assert all(width > 2 * height or values["seeds"] > 2 for width, height in strips)
    assert max(width for width, _ in strips) > 1000

    for key in ("Home", "ArrowRight", "ArrowRight"):
        tab.page.locator(".realign-stage").press(key)
    tab.page.locator(".realign-compare .realign-use").click()
    chosen = round(values["start"] + 2 * (values["end"] - values["start"]) / (values["count"] - 1), 6)
    assert tab.page.evaluate(LAMBDA) == chosen
    press_run(tab)
    wait_for_pictures(tab, 1)
    tab.shot("journey_chosen")
    saved = sorted((host.base / "output").glob(f"{prefix}*.png"))
    assert len(saved) == 2  # the grid of all, and of the chosen one
    drop_picture(tab, saved[0])
    assert dict(tab.page.evaluate(sweep)) == values
    assert tab.page.evaluate(f"() => {NODE.format('RealignSweep')}.mode") == 0
    assert tab.errors == []


def test_every_template_has_a_thumbnail():
    for path in (PACK / "workflows").glob("*.json"):
        assert path.with_suffix(".jpg").read_bytes()[:3] == b"\xff\xd8\xff", path.stem
