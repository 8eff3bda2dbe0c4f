"""The plot of a speed measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from speed_cases import NAMES, PACK, STOCK
from speed_report import quartiles
from speed_runs import Result

BACKGROUND, AXIS, GRID, INK = (24, 24, 27), (161, 161, 170), (52, 52, 58), (244, 244, 245)
COLOURS = [(96, 165, 250), (251, 191, 36), (74, 222, 128), (244, 114, 182), (167, 139, 250), (248, 113, 113)]
SCALE, BAR, LABEL, PANEL, GAP, TOP = 2, 7, 190, 420, 40, 64  # px, before SCALE


def plot(results: Sequence[Result], memory: Sequence[dict[str, Any]], path: Path) -> None:
    """Bars per method and anchor: time at λ = 0.5, one bar per architecture, and beside them the memory."""
    from PIL import Image, ImageDraw, ImageFont

    rows = [(STOCK, "–"), *dict.fromkeys((run.method, run.anchor) for result in results for run in result.runs)]
    height = len(results) * BAR + 8
    size = (LABEL + PANEL + GAP + PANEL // 2 + 40, TOP + height * len(rows) + 18 * ((len(results) + 1) // 2) + 34)
    image = Image.new("RGB", (size[0] * SCALE, size[1] * SCALE), BACKGROUND)
    draw = ImageDraw.Draw(image)
    font, small = (ImageFont.truetype(PACK / "assets" / "RealignSans.ttf", px * SCALE) for px in (14, 11))

    def text(x: float, y: float, words: str, fill: Any = INK, face: Any = small, anchor: str = "lm") -> None:
        draw.text((x * SCALE, y * SCALE), words, fill=fill, font=face, anchor=anchor)

    def box(x0: float, y0: float, x1: float, y1: float, **look: Any) -> None:
        draw.rectangle([v * SCALE for v in (x0, y0, x1, y1)], **look)

    def axis(left: float, width: float, top: float, title: str) -> Callable[[float], float]:
        text(left, 18, title, face=font)
        for tick in range(int(top) + 1):
            x, bottom = left + tick / top * width, TOP + height * len(rows)
            box(x, TOP - 8, x, bottom, fill=AXIS if tick in (0, 1) else GRID)
            text(x, TOP - 18, str(tick), AXIS, anchor="mm")
        return lambda value: left + min(value, top) / top * width

    def ratios(result: Result, method: str, anchor: str) -> list[float]:
        if method == STOCK:
            return result.unit.ratios
        run = result.find(method, anchor, 0.5) or result.find(method, anchor, None)
        return run.ratios if run else []

    found = [quartiles(r)[2] for result in results for row in rows if (r := ratios(result, *row))]
    time_x = axis(LABEL, PANEL, max(3.0, int(max(found)) + 1.0), "time, one model = 1, λ = 0.5")
    most = max([2.0, *(one[key] / memory[0][key] for one in memory for key in ("host", "peak"))])
    memory_x = axis(LABEL + PANEL + GAP, PANEL / 2, int(most) + 1.0, "memory, one model = 1")
    for i, (method, anchor) in enumerate(rows):
        y = TOP + i * height
        text(LABEL - 10, y + height / 2 - 4, method if method == STOCK else f"{method}, {anchor}", anchor="rm")
        for j, result in enumerate(results):
            values = ratios(result, method, anchor)
            if values:
                middle, low, high = quartiles(values)
                centre = y + j * BAR + BAR / 2
                box(time_x(0), y + j * BAR, time_x(middle), y + (j + 1) * BAR - 2, fill=COLOURS[j % len(COLOURS)])
                box(time_x(low), centre - 1.2, time_x(high), centre - 0.6, fill=INK)
                for end in (low, high):
                    box(time_x(end), centre - 2.5, time_x(end) + 0.5, centre + 1, fill=INK)
        for one in memory:
            if (one["method"], one["anchor"]) == (method, anchor):
                middle = y + (height - 8) / 2
                box(memory_x(0), y, memory_x(one["host"] / memory[0]["host"]), middle - 1, fill=COLOURS[0])
                box(memory_x(0), middle + 1, memory_x(one["peak"] / memory[0]["peak"]), y + height - 9, fill=AXIS)
    y = TOP + height * len(rows) + 20
    for j, result in enumerate(results):
        x, line = LABEL + j % 2 * PANEL / 2, y + j // 2 * 18
        box(x, line - 5, x + 10, line + 5, fill=COLOURS[j % len(COLOURS)])
        text(x + 15, line, f"{NAMES[result.kind]}, batch {result.batch}")
    for j, (colour, name) in enumerate(((COLOURS[0], "loaded models"), (AXIS, "peak while sampling"))):
        x, line = LABEL + PANEL + GAP, y + j * 18
        box(x, line - 5, x + 10, line + 5, fill=colour)
        text(x + 15, line, name)
    image.save(path, optimize=True)
