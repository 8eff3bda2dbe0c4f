"""Every template as a user opens it on a laptop: readable, and nothing over anything, before and after a run."""

from __future__ import annotations

import itertools
import json

import pytest
from conftest import Page
from graphs import open_template, press_run

from tools.workflows.workflow_layout import Box, LayoutError, Stack, lay_out
from tools.workflows.workflow_names import TITLES, workflow_file

READABLE = 0.6  # the classic renderer draws no text below 0.57
SLACK = 1.5  # px: boxes are rounded
LOADERS = {"CheckpointLoaderSimple", "TripleCLIPLoader", "LoadAnchorModel", "CLIPVisionLoader", "RealignRewardModel"}
PICTURES = {"SaveImage", "RealignGrid", "RealignReport", "RealignRewardReport", "RealignScore", "MaskPreview"}
PREVIEWS = {"RealignParticles", "RealignSampler", "RealignSearch", "KSampler", "SamplerCustomAdvanced"}
TEXTS = PREVIEWS | {"LoadAnchorModel", "RealignRewardModel"}
TEMPLATES = {name: json.loads(workflow_file(name).read_text(encoding="utf-8")) for name in TITLES}

# What is on the page, in px of the screen: [left, top, right, low].
SEEN = """() => {
  const canvas = window.app.canvas, {scale, offset} = canvas.ds, graph = window.app.graph;
  const onScreen = ([x, y, w, h]) => [x, y, x + w, y + h].map((v, i) => (v + offset[i % 2]) * scale);
  const rect = (element) => { const r = element.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
  const all = (selector) => [...document.querySelectorAll(selector)];
  const bars = '[data-testid="topbar-workflow-tabs"], [data-testid="side-toolbar"], [data-testid="queue-button"], '
    + '[data-testid="queue-overlay-toggle"], [aria-label="Workflow actions"], [aria-label="Toggle properties panel"], '
    + '[data-testid="minimap-container"], [data-testid="zoom-controls-button"], [aria-label="Canvas Mode"]';
  return {
    scale, lowQuality: canvas.low_quality,
    nodes: graph.nodes.map(n => {
      const element = document.querySelector(`[data-node-id="${n.id}"]`);
      return [`${n.id} ${n.type}`, element ? rect(element) : onScreen(n.boundingRect)];
    }),
    groups: graph._groups.map(g => [g.title, onScreen([...g.pos, ...g.size])]),
    bars: all(bars).map(e => [e.dataset.testid ?? e.getAttribute('aria-label'), rect(e)]),
    notes: all('.comfy-markdown .tiptap, .comfy-markdown-content').filter(e => e.clientHeight)
      .map(e => [e.innerText, e.scrollHeight - e.clientHeight, e.scrollWidth - e.clientWidth]),
  };
}"""
LOAD = """async (name) => {
  const graph = await (await window.app.api.fetchApi(`/workflow_templates/realign/${name}.json`)).json();
  await window.app.loadGraphData(graph, true, true, name, {openSource: 'template'});
}"""
COUNT = "n => window.app.graph.nodes.length === n"
SETTING = "([name, value]) => window.app.ui.settings.setSettingValueAsync(name, value)"
PREVIEW = "Comfy.Execution.PreviewMethod"
FEWER = """(values) => {
  for (const n of window.app.graph.nodes)
    for (const w of n.widgets ?? []) if (w.name in values) w.value = values[w.name];
}"""
# What the host says of a run, without a run: a picture on every node that shows one, and a text.
PRETEND = """async ([previews, pictures, texts]) => {
  const canvas = new OffscreenCanvas(512, 512);
  canvas.getContext('2d').fillRect(0, 0, 512, 512);
  const blob = await canvas.convertToBlob(), api = window.app.api;
  const images = [{filename: 'realign.png', subfolder: '', type: 'input'}];
  const upload = new FormData();
  upload.append('image', new File([blob], 'realign.png', {type: 'image/png'}));
  upload.append('overwrite', 'true');
  await api.fetchApi('/upload/image', {method: 'POST', body: upload});
  for (const {id, type} of window.app.graph.nodes) {
    const node = String(id);
    if (texts.includes(type))
      api.dispatchCustomEvent('progress_text', {nodeId: node, text: 'step 30/30 · λ 0.5 (β 10000) · KL 434–570 nats'});
    if (previews.includes(type))
      api.dispatchCustomEvent('b_preview_with_metadata', {blob, nodeId: node, displayNodeId: node, jobId: 'a'});
    if (pictures.includes(type))
      api.dispatchCustomEvent('executed', {node, display_node: node, output: {images}, prompt_id: 'a'});
  }
}"""
IDLE = """async () => {
  const queue = await (await window.app.api.fetchApi('/queue')).json();
  return queue.queue_running.length + queue.queue_pending.length === 0;
}"""
# Whether as many nodes of these kinds show a picture.
SHOWING = """([wanted, kinds]) => window.app.graph.nodes.filter(n => {
  const images = document.querySelector(`[data-node-id="${n.id}"]`)?.querySelectorAll('img') ?? n.imgs ?? [];
  return kinds.includes(n.type) && !n.flags.collapsed && [...images].some(i => i.naturalWidth > 0);
}).length === wanted"""


def open_at_once(tab, name):
    """As the Templates dialog does it, but without its animations: the page zooms so that all nodes are seen."""
    tab.page.evaluate("() => window.app.graph.clear()")
    tab.page.evaluate(LOAD, TITLES[name])
    tab.page.wait_for_function(COUNT, arg=len(TEMPLATES[name]["nodes"]))
    tab.page.mouse.move(720, 890)  # no tooltip


def settled(tab):
    """What is seen as soon as nothing moves any more."""
    seen, same = None, 0
    for _ in range(100):
        tab.page.wait_for_timeout(100)
        now = tab.page.evaluate(SEEN)
        seen, same = now, same + 1 if now == seen else 0
        if same == 3:
            break
    return seen


def overlapping(first, second):
    return all(first[i] < second[i + 2] - SLACK and second[i] < first[i + 2] - SLACK for i in (0, 1))


def covered(seen):
    """Pairs of nodes of which one lies over the other; nodes and groups under a bar or the minimap, or out of sight."""
    window = (0, 0, 1440, 900)
    out = [name for name, box in seen["nodes"] + seen["groups"] if any(a < b for a, b in zip(box, window[:2]))]
    out += [name for name, box in seen["nodes"] + seen["groups"] if any(a > b for a, b in zip(box[2:], window[2:]))]
    pairs = list(itertools.combinations(seen["nodes"], 2))
    pairs += itertools.product(seen["nodes"] + seen["groups"], seen["bars"])
    return [(a, b) for (a, one), (b, other) in pairs if overlapping(one, other)] + out


@pytest.fixture(scope="module", params=list(TITLES))
def opened(one_tab, request):
    one_tab.reopen()  # the page keeps a run's preview for whatever node has the same number in the next workflow
    show(one_tab, request.param)
    return request.param


@pytest.fixture
def template(tab, opened):
    """Its name. After a test that has failed the page is a new one."""
    if tab.holds != opened:
        show(tab, opened)
    return opened


def show(tab, name):
    closed = "() => window.app.ui.settings.setSettingValueAsync('Comfy.RightSidePanel.IsOpen', false)"
    tab.page.evaluate(closed)  # as a new user's page is; the help of a node opens it
    open_at_once(tab, name)
    tab.holds = name


def test_a_template_opens_readable(tab, template):
    seen = settled(tab)
    tab.shot(f"template_{template}")
    assert seen["scale"] >= READABLE
    assert seen["lowQuality"] is False
    assert len(seen["nodes"]) == len(TEMPLATES[template]["nodes"])
    assert [name for name, _ in seen["bars"] if name == "minimap-container"]
    assert len(seen["bars"]) == 9
    assert covered(seen) == []
    ((text, hidden, aside),) = seen["notes"]
    assert len(text) > 100
    assert (hidden, aside) == (0, 0)


def test_the_dialog_opens_it_so(tab):
    tab.holds = None
    open_at_once(tab, "realign_demo_sweep")
    seen = settled(tab)
    open_template(tab, "realign_demo_sweep")
    assert settled(tab) == seen


def test_its_nodes_are_as_large_as_its_file_says(tab, template):
    """So that what was laid out is what is seen, in both renderers."""
    sizes = "() => window.app.graph.nodes.map(n => [+n.id, [...n.size], n.flags.collapsed])"
    saved = {node["id"]: node["size"] for node in TEMPLATES[template]["nodes"]}
    grown = [
        (node, size, saved[node])
        for node, size, folded in tab.page.evaluate(sizes)
        if not folded and any(abs(a - b) > SLACK for a, b in zip(size, saved[node]))
    ]
    assert grown == []


def test_a_run_lets_nothing_grow_over_another_node(tab, template):
    nodes = [node for node in TEMPLATES[template]["nodes"] if not node["flags"].get("collapsed")]
    kinds = [node["type"] for node in nodes]
    if LOADERS & set(kinds):
        tab.page.evaluate(PRETEND, [sorted(PREVIEWS), sorted(PICTURES), sorted(TEXTS)])
    else:
        tab.page.evaluate(SETTING, [PREVIEW, "latent2rgb"])
        tab.page.evaluate(FEWER, {"steps": 2, "count": 3, "seeds": 2})
        press_run(tab)
    wanted = sum(kind in PREVIEWS | PICTURES for kind in kinds)
    tab.page.wait_for_function(SHOWING, arg=[wanted, sorted(PREVIEWS | PICTURES)])
    tab.page.wait_for_function(IDLE)
    seen = settled(tab)
    tab.shot(f"template_{template}_ran")
    tab.page.evaluate(SETTING, [PREVIEW, "default"])
    assert covered(seen) == []


@pytest.fixture
def bare(tab, browser, host):
    """A page as on a host that has none of the models."""
    files = [path for path in (host.base / "models").rglob("*") if path.is_file()]
    for path in files:
        path.unlink()
    try:
        bare = Page(browser, host, tab.new_renderer)
        yield bare
        bare.page.close()
    finally:
        for path in files:
            path.touch()


def test_errors_about_missing_models_cover_nothing(bare):
    """In the new renderer a node with an error has a line more."""
    for name, content in TEMPLATES.items():
        if not LOADERS & {node["type"] for node in content["nodes"]}:
            continue
        open_at_once(bare, name)
        bare.page.wait_for_function("() => window.app.graph.nodes.some(n => n.has_errors)")
        seen = settled(bare)
        bare.shot(f"template_{name}_bare")
        assert covered(seen) == [], name


def node(height):
    return {"type": "VAEDecode", "flags": {}, "pos": [0, 0], "size": [0, height]}


@pytest.mark.parametrize(
    ("stacks", "said"),
    [
        ([(600, 1100)], "it opens at"),
        ([(1000, 500), (800, 500)], "it opens at"),
        ([(1000, 1000), (600, 1000)], "free above the minimap"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_written(stacks, said):
    with pytest.raises(LayoutError, match=said):
        lay_out(*(Stack(width, Box("", [node(height)])) for width, height in stacks))


def test_a_group_without_a_note_beside_it_would_lie_under_the_bars():
    with pytest.raises(LayoutError, match="under the page's bars"):
        lay_out(Stack(900, Box("Models", [node(900)])))
