"""What the tests of λ Compare do on the page, as an artist does."""

from __future__ import annotations

import io

from graphs import js
from PIL import Image

RANGE = {"values": "range", "start": 0, "end": 1.5, "count": 7, "seeds": 3}
NODES = """() => JSON.stringify(window.app.graph.serialize().nodes.map((node) => {
  const { realign_compare: looked, ...properties } = node.properties;
  return { ...node, properties, size: 0, pos: 0 };
}))"""
LOUPE = "() => document.body.classList.contains('realign-loupe-open')"
RUNS = "() => [...document.querySelectorAll('.realign-runs option')].map((one) => one.textContent)"
QUEUED = "() => { window.queued = 0; window.app.api.addEventListener('promptQueued', () => window.queued++); }"


def capture(tab):
    js(tab, "() => window.app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()")


def stage_box(tab):
    return tab.page.locator(".realign-stage").bounding_box()


def hover(tab, across=0.5, down=0.5):
    box = stage_box(tab)
    tab.page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] * down)


def pixel(tab, across, down):
    """Of the screen, at a place in the stage."""
    box = stage_box(tab)
    with Image.open(io.BytesIO(tab.page.screenshot())) as screen:
        return screen.convert("RGB").getpixel(
            (round(box["x"] + box["width"] * across), round(box["y"] + box["height"] * down))
        )


def new_workflow(tab):
    js(tab, "async () => await window.app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")


def show_node(tab, scale=1):
    code = """(scale) => {
      const node = window.app.graph.nodes.find((n) => n.type === 'RealignCompare'), { ds } = window.app.canvas;
      ds.scale = scale; ds.offset = [300 / scale - node.pos[0], 110 / scale - node.pos[1]];
      window.app.canvas.setDirty(true, true);
    }"""
    js(tab, code, scale)
    tab.page.wait_for_timeout(400)
