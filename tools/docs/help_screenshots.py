"""The help pages' pictures of nodes as the page shows them: taken in a Chromium, of a host that runs."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tools.host.host_process import Host

READY = "() => !!(window.app && window.app.graph && window.LiteGraph?.registered_node_types?.RealignSampler)"
SETTING = "([name, value]) => window.app.ui.settings.setSettingValueAsync(name, value)"
TITLE, EDGE = 36, 14  # px: above a node's position, and around what is pictured

# Nodes by name with their widgets, and links [from, output, to, input], on an empty page.
BUILD = """([nodes, links]) => {
  const graph = window.app.graph, made = {};
  graph.clear();
  for (const [name, kind, pos, size, widgets] of nodes) {
    const node = window.LiteGraph.createNode(kind);
    node.pos = pos;
    graph.add(node);
    for (const w of node.widgets ?? []) if (w.name in widgets) w.value = widgets[w.name];
    if (size) node.setSize(size);
    made[name] = node;
  }
  for (const [from, output, to, input] of links) {
    made[from].connect(output, made[to], made[to].inputs.findIndex((i) => i.name === input));
  }
  window.made = made;
  window.app.canvas.ds.scale = 1;
  window.app.canvas.ds.offset = [140, 190];
  window.app.canvas.background_image = null;  // the dots of the grid take most of a file
  window.app.canvas.clear_background_color = '#18181b';
  graph.setDirtyCanvas(true, true);
}"""
PLACE = """(names) => {
  const of = names.map((name) => window.made[name]);
  const ds = window.app.canvas.ds, box = window.app.canvas.canvas.getBoundingClientRect();
  const left = Math.min(...of.map((n) => n.pos[0])), top = Math.min(...of.map((n) => n.pos[1]));
  const right = Math.max(...of.map((n) => n.pos[0] + n.size[0]));
  const bottom = Math.max(...of.map((n) => n.pos[1] + n.size[1]));
  const x = box.left + (left + ds.offset[0]) * ds.scale, y = box.top + (top + ds.offset[1]) * ds.scale;
  return [x, y, (right - left) * ds.scale, (bottom - top) * ds.scale];
}"""
ALIGNED = "diffusion_models/dpo-sdxl-text2image-v1.safetensors"
LOUPE = 960  # px, the width of its picture
RUN = '[data-testid*="queue-button"]'


@contextmanager
def page(host: Host, browser: str) -> Iterator[Page]:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=flags)
        tab = chromium.new_page(viewport={"width": 1680, "height": 1050})
        local = (host.url, "data:", "blob:")
        tab.route("**/*", lambda route: route.continue_() if route.request.url.startswith(local) else route.abort())
        tab.goto(host.url)
        tab.wait_for_function(READY, timeout=120_000)
        for name in ("Comfy.VueNodes.Enabled", "Comfy.Minimap.Visible"):  # the map of the graph lies over the nodes
            tab.evaluate(SETTING, [name, False])
        yield tab
        chromium.close()


def pictured(tab: Page, *names: str) -> Image.Image:
    """The named nodes, as they stand on the page."""
    tab.wait_for_timeout(1000)
    x, y, width, height = tab.evaluate(PLACE, list(names))
    clip = {"x": x - EDGE, "y": y - TITLE, "width": width + 2 * EDGE, "height": height + TITLE + EDGE}
    return Image.open(io.BytesIO(tab.screenshot(clip=clip))).convert("RGB")


def load_anchor(tab: Page) -> Image.Image:
    """Load Checkpoint and Load Anchor Model, with links that leave the picture for the sampler."""
    base = {"ckpt_name": "sd_xl_base_1.0.safetensors"}
    aligned = {"anchor_name": ALIGNED, "beta_source": "typed", "beta": 5000.0}
    nodes: list[list[Any]] = [
        ["checkpoint", "CheckpointLoaderSimple", [0, 0], [300, 100], base],
        ["anchor", "LoadAnchorModel", [90, 170], [320, 180], aligned],
        ["sampler", "RealignSampler", [560, 0], None, {}],
    ]
    links = [
        ["checkpoint", 0, "anchor", "model"],
        ["checkpoint", 0, "sampler", "model"],
        ["anchor", 0, "sampler", "anchor"],
    ]
    tab.evaluate(BUILD, [nodes, links])
    return pictured(tab, "checkpoint", "anchor")


def swept(tab: Page) -> None:
    """λ Compare after a sweep over the demo models, wiped between λ 1 of the second row and the row's λ 0."""
    sweep = {"values": "list", "listed": "0, 0.25, 0.5, 0.75, 1, 1.25", "seeds": 2}
    settings = {"steps": 30, "seed": 7, "cfg": 1.5, "sampler_name": "ddpm", "scheduler": "normal"}
    nodes: list[list[Any]] = [
        ["demo", "RealignDemoModels", [0, 0], None, {"shape": "heart"}],
        ["empty", "EmptyLatentImage", [0, 330], None, {"width": 64, "height": 64}],
        ["sweep", "RealignSweep", [300, 330], None, sweep],
        ["sampler", "RealignSampler", [620, 0], None, settings],
        ["decode", "VAEDecode", [300, 200], None, {}],
        ["compare", "RealignCompare", [1040, 0], None, {}],
    ]
    links = [
        *(["demo", i, "sampler", name] for i, name in enumerate(("model", "anchor", "positive", "negative"))),
        ["empty", 0, "sweep", "latent"],
        ["sweep", 0, "sampler", "latent_image"],
        ["sweep", 1, "sampler", "lambda_schedule"],
        ["sampler", 0, "decode", "samples"],
        ["demo", 4, "decode", "vae"],
        ["decode", 0, "compare", "images"],
        ["sweep", 1, "compare", "sweep"],
        ["sampler", 2, "compare", "trace"],
    ]
    tab.evaluate(BUILD, [nodes, links])
    _press_run(tab)
    _look(tab, "End", "ArrowLeft", "ArrowDown")


def compare(tab: Page) -> Image.Image:
    swept(tab)
    return pictured(tab, "compare")


def readme(tab: Page, workflow: str) -> Image.Image:
    """The page with a workflow that has run. workflow: a file of workflows/."""
    tab.set_viewport_size({"width": 1440, "height": 900})
    tab.evaluate("async (text) => { await window.app.loadGraphData(JSON.parse(text)); }", workflow)
    tab.wait_for_timeout(1000)
    _press_run(tab)
    _look(tab, "ArrowRight")
    tab.wait_for_timeout(8000)  # until the page's notice of the run is gone
    return Image.open(io.BytesIO(tab.screenshot())).convert("RGB")


def _look(tab: Page, *keys: str) -> None:
    """Waits for λ Compare's pictures, goes to one by keys, and wipes to the middle of it."""
    shown = "() => Boolean(document.querySelector('.realign-current')?.dataset.file)"
    tab.wait_for_function(shown, timeout=240_000)
    stage = tab.locator(".realign-compare .realign-stage")
    stage.focus()
    for key in keys:
        tab.keyboard.press(key)
    stage.hover()
    tab.wait_for_function("() => !document.querySelector('.realign-wipe').hidden")


def loupe(tab: Page) -> Image.Image:
    """The same over the whole window."""
    swept(tab)
    _look(tab, "f")
    tab.wait_for_timeout(1000)
    picture = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    tab.keyboard.press("Escape")
    return picture.resize((LOUPE, round(picture.height * LOUPE / picture.width)), Image.Resampling.LANCZOS)


def check(tab: Page) -> Image.Image:
    """Realign Check after a check of the demo models."""
    nodes: list[list[Any]] = [
        ["demo", "RealignDemoModels", [0, 0], None, {"shape": "heart"}],
        ["empty", "EmptyLatentImage", [0, 330], None, {"width": 64, "height": 64}],
        ["check", "RealignCheck", [380, 0], None, {"cfg": 1.5}],
    ]
    links = [
        *(["demo", i, "check", name] for i, name in enumerate(("model", "anchor", "positive", "negative"))),
        ["empty", 0, "check", "latent"],
    ]
    tab.evaluate(BUILD, [nodes, links])
    _press_run(tab)
    done = "() => document.querySelector('.realign-table')?.innerText.includes('model calls')"
    tab.wait_for_function(done, timeout=240_000)
    tab.mouse.move(20, 1000)
    return pictured(tab, "check")


def pick(tab: Page) -> Image.Image:
    """Pick with a round of the demo models, four of them starred."""
    settings = {"steps": 20, "seed": 7, "cfg": 1.5, "scheduler": "normal", "particles": 1, "pictures": 16}
    nodes: list[list[Any]] = [
        ["demo", "RealignDemoModels", [0, 0], None, {"shape": "heart"}],
        ["empty", "EmptyLatentImage", [0, 330], None, {"width": 64, "height": 64}],
        ["sampler", "RealignParticles", [380, 0], None, settings],
        ["decode", "VAEDecode", [0, 480], None, {}],
        ["pick", "RealignPick", [820, 0], [440, 800], {}],
    ]
    links = [
        *(["demo", slot, "sampler", name] for slot, name in ((0, "model"), (2, "positive"), (3, "negative"))),
        ["empty", 0, "sampler", "latent_image"],
        ["sampler", 0, "decode", "samples"],
        ["demo", 4, "decode", "vae"],
        ["decode", 0, "pick", "images"],
    ]
    tab.evaluate(BUILD, [nodes, links])
    _press_run(tab)
    shown = "() => document.querySelectorAll('.realign-cell img').length === 16"
    tab.wait_for_function(shown, timeout=240_000)
    tab.wait_for_timeout(1000)
    for place in (3, 6, 12, 9):
        tab.locator(".realign-cell").nth(place).click()
        tab.keyboard.press("s")
    tab.mouse.move(20, 1000)
    return pictured(tab, "pick")


def _press_run(tab: Page) -> None:
    button = tab.locator(RUN).first
    inner = button.locator("button")
    (inner.first if inner.count() else button).click()


OF_THE_PAGE: dict[str, Callable[[Page], Image.Image]] = {
    "load_anchor": load_anchor,
    "compare": compare,
    "loupe": loupe,
    "check": check,
    "pick": pick,
}
