"""Writes workflows/*.jpg, which the host shows under Templates: of real runs, or of the graph where models are needed.

    python -m tools.workflows.make_thumbnails --host FOLDER --chromium FILE [NAME …]

Needs playwright and a browser; the environment of `make test` has both. Without names, all but realign_demo, whose
picture is of several runs.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps
from playwright.sync_api import Browser, sync_playwright

from tools.cache import PACK, say
from tools.host.host_process import Host
from tools.host.stand_in_files import stand_in_files
from tools.workflows.workflow_api import to_api
from tools.workflows.workflow_names import TITLES, workflow_file

WORKFLOWS = PACK / "workflows"
SIZE = (512, 320)
LARGEST = 60_000  # bytes
# Of the pictures of a run, which columns are shown, and how many there are: those of the sweep, or of the batch.
COLUMNS = {
    "realign_any_sampler": ((0, 1, 2), 4),
    "realign_demo_sweep": ((0, 1, 2, 4, 6), 7),
    "rescue_over_optimised": ((0, 1, 2, 3, 4), 5),
    "lambda_curve": ((0, 1, 2), 4),
    "lambda_mask": ((0, 2, 3), 4),
    "colourful_hearts": ((0, 2), 4),
    "smaller_jpegs": ((0, 1, 2, 3), 4),
    "corrected_sweep": ((0, 1, 2, 3, 4), 5),
}
VIEW, CLIP = {"width": 1900, "height": 1250}, {"x": 70, "y": 110, "width": 1440, "height": 900}
# All of the graph, in the middle of the picture.
FIT = """([x, y, width, height]) => {
  const ds = window.app.canvas.ds, graph = window.app.graph;
  const boxes = [...graph._groups.map(g => [...g.pos, ...g.size]), ...graph._nodes.map(n => [...n.boundingRect])];
  const left = Math.min(...boxes.map(b => b[0])), right = Math.max(...boxes.map(b => b[0] + b[2]));
  const top = Math.min(...boxes.map(b => b[1])), low = Math.max(...boxes.map(b => b[1] + b[3]));
  ds.scale = Math.min(width / (right - left + 40), height / (low - top + 40));
  ds.offset = [(x + width / 2) / ds.scale - (left + right) / 2, (y + height / 2) / ds.scale - (top + low) / 2];
  graph.setDirtyCanvas(true, true);
}"""
LOADED = "([n]) => window.app?.graph?._nodes.length === n"
READY = "() => !!(window.app?.graph && window.LiteGraph?.registered_node_types?.RealignSampler)"


def ran(host: Host, path: Path, columns: Sequence[int], across: int) -> Image.Image:
    """The workflow's pictures, side by side: a row per row of the sweep, or per run."""
    graph = to_api(json.loads(path.read_text(encoding="utf-8")), host.get("/object_info"))
    decoders = [node for node, content in graph.items() if content["class_type"] == "VAEDecode"]
    for node in decoders:
        graph[f"shown {node}"] = {"class_type": "PreviewImage", "inputs": {"images": [node, 0]}}
    outputs = host.run(graph)
    pictures = [one for node in decoders for one in host.pictures(outputs[f"shown {node}"])]
    return tiled(pictures, columns, across)


def tiled(pictures: Sequence[Image.Image], columns: Sequence[int], across: int) -> Image.Image:
    """Some columns of a table of pictures that is `across` wide, without gaps; each picture is cropped to its cell."""
    rows = len(pictures) // across
    out = Image.new("RGB", SIZE)
    for row in range(rows):
        for place, column in enumerate(columns):
            left, right = (SIZE[0] * i // len(columns) for i in (place, place + 1))
            top, low = (SIZE[1] * i // rows for i in (row, row + 1))
            picture = pictures[row * across + column]
            cell = ImageOps.fit(picture, (right - left, low - top), Image.Resampling.LANCZOS)
            out.paste(cell, (left, top))
    return out


def graph_picture(browser: Browser, host: Host, path: Path) -> Image.Image:
    """The graph as the page shows it."""
    page = browser.new_page(viewport=VIEW)
    page.route("**/*", lambda route: route.continue_() if route.request.url.startswith(host.url) else route.abort())
    page.goto(host.url)
    page.wait_for_function(READY, timeout=120_000)
    page.evaluate("() => window.app.ui.settings.setSettingValueAsync('Comfy.VueNodes.Enabled', true)")
    text = path.read_text(encoding="utf-8")
    load = "async ([name, text]) => window.app.handleFile(new File([text], name, {type: 'application/json'}))"
    page.evaluate(load, [path.name, text])
    page.wait_for_function(LOADED, arg=[len(json.loads(text)["nodes"])])
    page.wait_for_timeout(1000)
    page.evaluate(FIT, list(CLIP.values()))
    page.wait_for_timeout(1500)
    data = page.screenshot(clip=CLIP)
    page.close()
    return Image.open(io.BytesIO(data)).convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)


def save(picture: Image.Image, path: Path) -> None:
    """As a JPEG that is no larger than LARGEST."""
    for quality in range(92, 40, -4):
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=quality, optimize=True)
        if data.tell() < LARGEST:
            break
    path.write_bytes(data.getvalue())
    say(f"wrote {path} ({data.tell()} bytes)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--host", required=True, help="the ComfyUI folder")
    parser.add_argument("--chromium", required=True, help="the browser")
    parser.add_argument("names", nargs="*", help="workflows, as in workflow_names.py")
    options = parser.parse_args()
    names = options.names or [name for name in TITLES if name != "realign_demo"]
    with Host(sys.executable, options.host) as host, sync_playwright() as playwright:
        stand_in_files(host.base / "models", WORKFLOWS)
        host.post("/settings", {"Comfy.TutorialCompleted": True, "Comfy.Minimap.Visible": False})
        flags = ["--headless", "--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=options.chromium, args=flags)
        for name in names:
            path = workflow_file(name)
            picture = ran(host, path, *COLUMNS[name]) if name in COLUMNS else graph_picture(browser, host, path)
            save(picture, path.with_suffix(".jpg"))
        browser.close()


if __name__ == "__main__":
    main()
