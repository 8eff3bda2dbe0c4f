"""The λ plot on the schedule node, drawn with Pillow, which every host has."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

FONT = Path(__file__).parent.parent / "assets" / "RealignSans.ttf"  # Pillow's own font has no λ or β
WIDTH, PANEL, MARGIN = 640, 260, (64, 20, 16, 48)  # px; margins left, top, right, bottom
BACKGROUND, AXIS, GRID, INK = (24, 24, 27), (161, 161, 170), (52, 52, 58), (244, 244, 245)
COLOURS = {"λ": (96, 165, 250), "β/λ": (251, 191, 36)}


def schedule_plot(lambdas: list[float], beta: float | None, axis: str) -> torch.Tensor:
    """λ of each step, and β/λ below it where β is known. axis: what the steps run over. Returns IMAGE (1, H, W, 3)."""
    panels = [("λ", lambdas)]
    if beta is not None:
        panels.append(("β/λ", [beta / v if v > 0 else math.inf for v in lambdas]))
    image = Image.new("RGB", (WIDTH, PANEL * len(panels)), BACKGROUND)
    for row, (name, values) in enumerate(panels):
        _panel(ImageDraw.Draw(image), row * PANEL, name, values, axis)
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)[None]


def _panel(draw: ImageDraw.ImageDraw, top: int, name: str, values: list[float], axis: str) -> None:
    font, small = (ImageFont.truetype(FONT, size) for size in (18, 14))
    left, upper, right, lower = MARGIN
    box = (left, top + upper, WIDTH - right, top + PANEL - lower)
    log = name == "β/λ"  # spans decades as λ nears 0
    scale = (lambda v: math.log10(v)) if log else (lambda v: v)
    finite = [scale(v) for v in values if math.isfinite(v)]
    if not finite:
        draw.text((box[0] + 8, box[1] + 8), f"{name}: none, λ is 0", fill=AXIS, font=font)
        return
    ticks = _ticks(min(finite), max(finite), log)
    low, high = ticks[0], ticks[-1]

    def y(value: float) -> float:
        return box[3] - (scale(value) - low) / (high - low) * (box[3] - box[1])

    def x(step: int) -> float:
        return box[0] + (step / max(len(values) - 1, 1)) * (box[2] - box[0])

    for tick in ticks:
        level = 10**tick if log else tick
        draw.line([(box[0], y(level)), (box[2], y(level))], fill=GRID)
        draw.text((box[0] - 8, y(level)), f"{level:g}", fill=AXIS, font=small, anchor="rm")
    points = [(x(i), y(v)) for i, v in enumerate(values) if math.isfinite(v)]
    if len(points) > 1:
        draw.line(points, fill=COLOURS[name], width=3, joint="curve")
    radius = 4 if len(points) <= 40 else 2
    for px, py in points:
        draw.ellipse([px - radius, py - radius, px + radius, py + radius], fill=COLOURS[name])
    draw.text((box[0] + 8, box[1] - 16), name, fill=INK, font=font)
    draw.text(((box[0] + box[2]) / 2, box[3] + 26), axis, fill=AXIS, font=small, anchor="mm")


def _ticks(low: float, high: float, log: bool) -> list[float]:
    """Three to seven round values that enclose [low, high]."""
    if not log:
        low = min(low, 0.0)
        high = max(high, low + 1e-6, 1.0 if low == 0 else high)
    span = max(high - low, 1e-6 if not log else 0.5)
    step = 10 ** math.floor(math.log10(span / 3))
    step = next((step * m for m in (1, 2, 5, 10, 20) if span / (step * m) <= 5), step * 20)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, max(last, first + 1) + 1)]
