"""λ Compare in a real page, in a browser without a GPU: how soon, how much memory, how many frames a second.

`make bench-page`, a few minutes. Writes benchmarks/results/compare_page.md. The pictures are drawn here and not
sampled: what is measured is the page. Frames are counted while every frame asks for another view.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from tables import quartiles, table

PACK = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PACK))
from tools.host.host_process import Host  # noqa: E402

RESULT = PACK / "benchmarks" / "results" / "compare_page.md"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
WINDOW = {"width": 1440, "height": 900}
COLUMNS, THUMB = 12, 256
READY = "() => !!(window.app?.graph && window.LiteGraph?.registered_node_types?.RealignCompare)"
# The node alone, large in the window; as long as the host needs to lay it out.
NODE = """async () => {
  window.app.graph.clear();
  const node = window.LiteGraph.createNode('RealignCompare'), { ds } = window.app.canvas;
  node.pos = [100, 100]; window.app.graph.add(node); node.setSize([560, 760]);
  ds.scale = 1; ds.offset = [200, -30]; window.app.canvas.setDirty(true, true);
  await new Promise((then) => setTimeout(then, 1000));
  window.node = node;
}"""
# From the result until all pictures of the sheet and the large one are drawn, s.
SHOW = """async (record) => {
  const start = performance.now();
  window.node.onExecuted({ realign_compare: [record] });
  const root = document.querySelector('.realign-compare');
  const drawn = () => {
    const sheet = root.querySelector('.realign-sheet').getBoundingClientRect();
    const isSeen = (one) => one.getBoundingClientRect().top < sheet.bottom;
    const seen = [...root.querySelectorAll('.realign-cell img')].filter(isSeen);
    const isDrawn = root.querySelector('.realign-current').dataset.file?.startsWith('realign_bench');
    return isDrawn && seen.length > 1 && seen.every((one) => one.complete && one.naturalWidth);
  };
  while (!drawn()) await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  return (performance.now() - start) / 1000;
}"""
# Frames a second while `act` is done at each of them. The first half second is not counted.
FRAMES = """async ([what, seconds]) => {
  const stage = document.querySelector('.realign-stage'), box = stage.getBoundingClientRect();
  const key = (name) => stage.dispatchEvent(new KeyboardEvent('keydown', { key: name, bubbles: true }));
  const middle = { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 };
  const at = (share) => stage.dispatchEvent(new PointerEvent('pointermove', {
    ...middle, clientX: box.left + box.width * share, bubbles: true, pointerId: 1 }));
  const acts = {
    wipe: (i) => at(0.1 + 0.8 * Math.abs(((i / 40) % 2) - 1)),
    flip: (i) => key(i % 2 ? 'ArrowRight' : 'ArrowLeft'),
    zoom: (i) => stage.dispatchEvent(new WheelEvent('wheel', {
      ...middle, deltaY: Math.floor(i / 30) % 2 ? 40 : -40, bubbles: true, cancelable: true })),
  };
  stage.focus();
  const start = performance.now();
  let frames = 0, counted = null;
  for (let i = 0; ; i++) {
    acts[what](i);
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    if (now - start < 500) continue;
    counted ??= now;
    if (now - counted > 1000 * seconds) return (1000 * frames) / (now - counted);
    frames++;
  }
}"""
GOAL = {
    "sheet, s": "≤ 1",
    "memory, MB": "≤ 150",
    "looked at, MB": "",
    "kept, MB": "≤ 150",
    "wipe, fps": ("≥ 50", "≥ 15"),
    "flip, fps": ("≥ 50", "≥ 15"),
    "loupe wipe, fps": "≥ 30",
    "loupe flip, fps": "≥ 30",
    "loupe zoom, fps": "≥ 30",
}


def drawn(host: Host, cells: int, side: int, run: int) -> dict[str, Any]:
    """Pictures in the host's temp folder, and what λ Compare would tell of them."""
    rng = np.random.default_rng(run)
    rows, grain = cells // COLUMNS, rng.integers(0, 24, (side, side, 3), dtype=np.uint8)
    ramp = np.linspace(0, 200, side)
    files, thumbs = [], []
    for i in range(rows * COLUMNS):
        wave = 100 + 80 * np.sin(np.add.outer(ramp / (20 + i), ramp / (30 + run)))
        colour = np.array([1.0, 0.5 + i / (2 * rows * COLUMNS), 0.3 + 0.1 * run])
        picture = rearrange(wave, "h w -> h w 1") * colour + grain
        image = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
        files.append(f"realign_bench_{run}_{i:05}_.png")
        image.save(host.base / "temp" / files[-1], compress_level=1)
        image.thumbnail((THUMB, THUMB))
        thumbs.append(f"realign_bench_{run}_{i:05}_.jpg")
        image.save(host.base / "temp" / thumbs[-1], quality=85)
    columns = [{"name": f"λ {i / 8:g}", "lambda": i / 8, "beta": None, "masked": False} for i in range(COLUMNS)]
    own = {"seed_offset": 0, "cfg": None, "eta": None, "prompt": None}
    told = [{**own, "seed_offset": i, "says": [["seed", 7 + i]]} for i in range(rows)]
    return {
        "run": f"{run:x}",
        "time": time.time(),
        "seed": 7,
        "swept": True,
        "columns": columns,
        "rows": told,
        "files": files,
        "thumbs": thumbs,
    }


def memory(browser: int) -> float:
    """MB that the browser's processes hold, pages that several share counted once."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it has ended
            continue
    wanted, grown = {browser}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in wanted} - wanted
        wanted, grown = wanted | more, bool(more)
    return sum(_own(pid) for pid in wanted) / 1024


def _own(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)[1])


@contextmanager
def page(host: Host, chromium: str, new: bool) -> Iterator[tuple[Page, int]]:
    """A page of its own browser, and that one's process."""
    with sync_playwright() as playwright:
        before = {int(path.name) for path in Path("/proc").glob("[0-9]*")}
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        tab = browser.new_page(viewport=WINDOW)
        local = (host.url, "data:", "blob:")
        tab.route("**/*", lambda route: route.continue_() if route.request.url.startswith(local) else route.abort())
        tab.set_default_timeout(120_000)
        tab.goto(host.url)
        tab.wait_for_function(READY)
        tab.evaluate("(on) => window.app.ui.settings.setSettingValueAsync('Comfy.VueNodes.Enabled', on)", new)
        tab.evaluate(NODE)
        yield tab, min(pid for pid in {int(path.name) for path in Path("/proc").glob("[0-9]*")} - before if _is(pid))
        browser.close()


def _is(pid: int) -> bool:
    try:
        return b"--headless" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def measured(host: Host, chromium: str, new: bool, record: dict[str, Any], seconds: float) -> dict[str, float]:
    with page(host, chromium, new) as (tab, browser):
        tab.wait_for_timeout(2000)
        before = memory(browser)
        out = {"sheet, s": tab.evaluate(SHOW, record)}
        tab.wait_for_timeout(1000)
        out["memory, MB"] = memory(browser) - before
        for name in ("wipe", "flip"):
            out[f"{name}, fps"] = tab.evaluate(FRAMES, [name, seconds])
        for key in ["ArrowRight"] * (COLUMNS - 1) + ["ArrowDown"] * len(record["rows"]):  # one sees many of them
            tab.locator(".realign-stage").press(key)
            tab.wait_for_timeout(60)
        out["looked at, MB"] = memory(browser) - before
        tab.context.new_cdp_session(tab).send("HeapProfiler.collectGarbage")
        tab.wait_for_timeout(1000)
        out["kept, MB"] = memory(browser) - before
        tab.locator(".realign-stage").press("f")
        for name in ("wipe", "flip", "zoom"):
            out[f"loupe {name}, fps"] = tab.evaluate(FRAMES, [name, seconds])
        return out


def goal(name: str, new: bool) -> str:
    wanted = GOAL[name]
    return wanted if isinstance(wanted, str) else wanted[new]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=os.environ.get("REALIGN_HOST"))
    parser.add_argument("--chromium", default=os.environ.get("REALIGN_CHROMIUM"))
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    found: dict[tuple[bool, str], list[float]] = {}
    with Host(sys.executable, args.host) as host:
        host.post("/settings", {"Comfy.TutorialCompleted": True})
        (host.base / "temp").mkdir(exist_ok=True)
        for number in range(args.rounds):
            record = drawn(host, args.cells, args.side, number + 1)
            for new in (False, True):
                for name, value in measured(host, args.chromium, new, record, args.seconds).items():
                    found.setdefault((new, name), []).append(value)
                    print(f"round {number + 1}, {'new' if new else 'classic'} renderer: {name} {value:.3g}", flush=True)
    count = args.cells // COLUMNS * COLUMNS
    rows = [[f"{count} pictures of {args.side} × {args.side}", "classic renderer", "wanted", "new renderer", "wanted"]]
    for name in GOAL:
        cells = [name]
        for new in (False, True):
            middle, low, high = quartiles(found[new, name])
            cells += [f"{middle:.3g} ({low:.3g} … {high:.3g})", goal(name, new)]
        rows.append(cells)
    about = (
        f"Median (quartiles) of {args.rounds} rounds, each in a browser of its own, {os.cpu_count()} cores, no GPU, "
        f"window {WINDOW['width']} × {WINDOW['height']}. sheet: from the result to the last picture of the sheet and "
        "the large one. memory: what the browser's processes hold more a second later; looked at: after looking at a "
        "row and a column and 360 frames of wipes and flips, with what the browser has not cleared away yet; kept: "
        "once it has. fps: frames a second while each frame asks for another view; a browser draws 60 at the most."
    )
    text = f"# λ Compare in the page\n\n`make bench-page`\n\n{table(rows)}\n\n{about}\n"
    args.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
