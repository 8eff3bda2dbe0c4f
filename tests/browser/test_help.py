"""Help pages behind a node's info button, and names and tooltips in the page's language."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from graphs import until
from playwright.sync_api import TimeoutError

from tools.docs.make_locales import locale, nodes_of, read

ADD = """(kind) => {
  const graph = window.app.graph;
  // One by one, as a user deletes them: cleared at once while its panel opens, the page shows no node any more.
  for (const old of [...graph.nodes]) graph.remove(old);
  graph.state.lastNodeId = window.lastId = (window.lastId ?? 5000) + 100;
  const node = window.LiteGraph.createNode(kind);
  node.pos = [100, 80];
  graph.add(node);
  window.app.canvas.ds.scale = 1;
  window.app.canvas.ds.offset = [200, 120];
  graph.setDirtyCanvas(true, true);
  window.made = node;
}"""
# The node is on the screen: at the place of its title is its element, or the canvas that has drawn it by now.
THERE = """async (inDocument) => {
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const element = document.querySelector(`.lg-node[data-node-id="${window.made.id}"]`);
  return inDocument ? Boolean(element?.getBoundingClientRect().height) : true;
}"""
# What the classic renderer draws, and the title.
LABELS = """() => {
  const node = window.made;
  return {
    title: node.title,
    inputs: Object.fromEntries(node.inputs.map((i) => [i.name, i.label ?? i.localized_name ?? i.name])),
    widgets: Object.fromEntries(node.widgets.map((w) => [w.name, w.label ?? w.name])),
    outputs: node.outputs.map((o) => o.label ?? o.localized_name ?? o.name),
  };
}"""
SHOTS = ("RealignSampler", "RealignParticles", "RealignCompare", "LoadAnchorModel")
HELP = ".node-help-content"
LOADED = """() => {
  const images = [...document.querySelectorAll('.node-help-content img')];
  return images.length > 0 && images.every((image) => image.complete && image.naturalWidth > 0);
}"""
FITS = """() => {
  const help = document.querySelector('.node-help-content');
  const { right } = help.getBoundingClientRect();
  return [...help.querySelectorAll('img')].every((image) => image.getBoundingClientRect().right <= right + 1);
}"""


@pytest.fixture(scope="module", params=["en", "zh", "ja"])
def language(request):
    return request.param


@pytest.fixture(scope="session")
def names(host):
    """The nodes' names and tooltips by language."""
    nodes = nodes_of(host)
    return {language: locale(language, nodes) for language in ("en", "zh", "ja")}


@pytest.fixture
def spoken(tab, language, page_in):
    """The tab in that language, in the same renderer."""
    return tab if language == "en" else page_in(language, tab.new_renderer)


def add(tab, kind):
    tab.errors.clear()
    tab.page.evaluate(ADD, kind)
    tab.page.wait_for_function(THERE, arg=tab.new_renderer)


TITLE = """() => {
  const node = window.made, ds = window.app.canvas.ds, box = window.app.canvas.canvas.getBoundingClientRect();
  return [box.left + (node.pos[0] + 110 + ds.offset[0]), box.top + (node.pos[1] - 14 + ds.offset[1])];
}"""


def open_help(tab, heading):
    """As an artist does: a click on the node's title, and one on the info button above it."""
    info = tab.page.locator('[data-testid="info-button"]').first

    def clicks():
        tab.page.mouse.click(*tab.page.evaluate(TITLE))
        with suppress(TimeoutError):  # the bar with the button comes, and may go again while the page is still busy
            info.click(timeout=1000)

    title = tab.page.get_by_role("heading", level=1, name=heading, exact=True)
    until(clicks, tab.page.locator(HELP).filter(has=title))


def test_help_opens_with_its_pictures(spoken, language, names):
    """Every page in English; of the other languages, whose texts tests/host/test_help.py reads, some."""
    spoken.reopen()  # the new renderer loses nodes that go while its panel, which another test opened, is open
    for kind in names["en"] if language == "en" else SHOTS:
        add(spoken, kind)
        open_help(spoken, names[language][kind]["display_name"])
        spoken.page.wait_for_function(LOADED)
        assert spoken.page.evaluate(FITS), kind
        text = spoken.page.locator(HELP).first.inner_text()
        assert "<!--" not in text, kind
        assert not re.search(r"\*\*|^\| ", text, re.MULTILINE), kind  # all of it is understood as Markdown
        if kind in SHOTS:
            spoken.shot(f"help_{kind}_{language}")
            spoken.page.locator(f"{HELP} table").first.scroll_into_view_if_needed()
            spoken.page.wait_for_timeout(200)
            spoken.shot(f"help_{kind}_{language}_table")
        # The page asks for docs/<node>/<language>.md first, which English pages do not have.
        assert [error for error in spoken.errors if f"docs/{kind}/en.md" not in error] == []


@pytest.mark.parametrize("kind", ["RealignSampler", "LambdaSchedule", "RealignSweep"])
def test_names_are_in_the_pages_language(spoken, language, names, kind):
    add(spoken, kind)
    shown, told = spoken.page.evaluate(LABELS), names[language][kind]
    assert shown["title"] == told["display_name"]
    assert shown["outputs"] == [one["name"] for one in told["outputs"].values()]
    for name, label in {**shown["inputs"], **shown["widgets"]}.items():
        if name in told["inputs"]:
            assert label == told["inputs"][name]["name"], name
    if kind == "RealignSampler":
        assert shown["widgets"]["lambda_"] == "λ"
        spoken.shot(f"labels_{language}")
        line = spoken.page.locator(".realign-line").first.inner_text()
        assert line.startswith({"en": "strength 0.5 ", "zh": "强度 0.5", "ja": "強さ 0.5"}[language])
        if spoken.new_renderer:  # the classic one draws on a canvas
            text = spoken.page.locator(".lg-node").first.inner_text()
            for name in ("model", "anchor", "steps", "lambda_", "sampler_name"):
                assert told["inputs"][name]["name"] in text


def test_tooltips_are_in_the_pages_language(spoken, language, names):
    add(spoken, "RealignSampler")
    told = names[language]["RealignSampler"]["inputs"]
    if spoken.new_renderer:
        spoken.page.locator(".lg-node").first.get_by_text(told["steps"]["name"], exact=True).first.hover()
    else:
        where = """() => {
          const node = window.made, w = node.widgets.find((one) => one.name === 'steps');
          const ds = window.app.canvas.ds, box = window.app.canvas.canvas.getBoundingClientRect();
          const y = node.pos[1] + (w.last_y ?? w.y) + 10, x = node.pos[0] + node.size[0] / 2;
          return [box.left + (x + ds.offset[0]) * ds.scale, box.top + (y + ds.offset[1]) * ds.scale];
        }"""
        x, y = spoken.page.evaluate(where)
        spoken.page.mouse.move(x - 5, y)
        spoken.page.mouse.move(x, y)
    said = "(text) => document.body.innerText.includes(text)"
    spoken.page.wait_for_function(said, arg=told["steps"]["tooltip"])


def test_the_library_names_the_category(spoken, language):
    told = "realign" if language == "en" else read(language, "main")["nodeCategories"]["realign"]
    categories = """() => window.LiteGraph.registered_node_types.RealignSampler.category"""
    assert spoken.page.evaluate(categories) == told
