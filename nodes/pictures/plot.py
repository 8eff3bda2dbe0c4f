"""Plots on the nodes, drawn with Pillow, which every host has: panels of lines, and text in the pack's font."""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

FONT = Path(__file__).parents[2] / "assets" / "RealignSans.ttf"  # Pillow's own font has no λ or β
WIDTH, PANEL, MARGIN = 640, 260, (64, 20, 16, 48)  # px; margins left, top, right, bottom
BACKGROUND, AXIS, GRID, INK = (24, 24, 27), (161, 161, 170), (52, 52, 58), (244, 244, 245)
BLUE, AMBER = (96, 165, 250), (251, 191, 36)
COLOURS = {"λ": BLUE, "β/λ": AMBER}
RAMP = (BLUE, (167, 139, 250), (244, 114, 182), (251, 146, 60))  # from a low λ to a high one
LEFT_OUT = "[…]"
KEY, KEY_LINE, MOST_KEYS = 260, 20, 10  # px of a legend's texts at the most, of its lines, and how many it lists

Colour = tuple[int, int, int]
Point = tuple[float, float | None]


@dataclass(frozen=True)
class Line:
    """points: (x, y) in order; None or a y that is not finite is a gap. label: in the legend, if not empty."""

    points: Sequence[Point]
    colour: Colour
    label: str = ""


@dataclass(frozen=True)
class Panel:
    """One plot. axis: below it. log: y spans decades. reach: y goes up to this at least. ticks: marks on x, with text.

    empty: what the panel says where there is nothing to draw.
    """

    name: str
    lines: Sequence[Line]
    axis: str
    log: bool = False
    reach: float = 0.0
    ticks: Sequence[tuple[float, str]] = ()
    empty: str = ""


def schedule_plot(lambdas: list[float], beta: float | None, axis: str) -> torch.Tensor:
    """λ of each step, and β/λ below it where β is known. axis: what the steps run over. Returns IMAGE (1, H, W, 3)."""
    return drawn(schedule_panels(lambdas, beta, axis))


def schedule_panels(
    lambdas: Sequence[float | None], beta: float | None, axis: str, ticks: Sequence[tuple[float, str]] = ()
) -> list[Panel]:
    """The panels of `schedule_plot`, with marks on the steps. None: a step whose λ is not known."""
    panels = [Panel("λ", [Line([*enumerate(lambdas)], COLOURS["λ"])], axis, reach=1.0, ticks=ticks)]
    if beta is not None:
        strengths = [(i, beta / v if v is not None and v > 0 else None) for i, v in enumerate(lambdas)]
        panels.append(
            Panel("β/λ", [Line(strengths, COLOURS["β/λ"])], axis, log=True, ticks=ticks, empty="none, λ is 0")
        )
    return panels


def drawn(
    panels: Sequence[Panel],
    width: int = WIDTH,
    height: int = PANEL,
    margin: tuple[int, int, int, int] = MARGIN,
) -> torch.Tensor:
    """The panels below one another, each of `height` px: IMAGE (1, H, W, 3). Legends stand right of the plots."""
    left, upper, right, lower = margin
    small = font(14)
    keys = [small.getlength(_key(line)) for panel in panels for line in panel.lines if line.label]
    box_right = width - right - (math.ceil(max(keys)) + 36 if keys else 0)
    image = Image.new("RGB", (width, height * len(panels)), BACKGROUND)
    for row, panel in enumerate(panels):
        box = (left, row * height + upper, box_right, (row + 1) * height - lower)
        draw_panel(ImageDraw.Draw(image), box, panel, max(upper - 14, 16))
    return as_image(image)


def draw_panel(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], panel: Panel, lift: int = 16) -> None:
    """box: left, top, right, bottom of the plot itself. Its name begins `lift` px above; axis and ticks are outside."""
    name_font, small = font(18), font(14)
    scale = math.log10 if panel.log else float  # decades, as λ nears 0
    lines = [[(x, y) for x, y in line.points] for line in panel.lines]
    values = [scale(y) for line in lines for _, y in line if _is_known(y)]
    if not values:
        draw.text((box[0] + 8, box[1] + 8), f"{panel.name}: {panel.empty}", fill=AXIS, font=name_font)
        return
    ticks = _ticks(min(values), max(values), panel.log, panel.reach)
    low, high = ticks[0], ticks[-1]
    xs = [x for line in lines for x, _ in line]
    first, span = min(xs), max(max(xs) - min(xs), 1e-9)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / span * (box[2] - box[0])
        return box[0] + across, box[3] - (scale(y) - low) / (high - low) * (box[3] - box[1])

    for tick in ticks:
        y = at(first, 10**tick if panel.log else tick)[1]
        draw.line([(box[0], y), (box[2], y)], fill=GRID)
        draw.text((box[0] - 8, y), f"{10**tick if panel.log else tick:g}", fill=AXIS, font=small, anchor="rm")
    free = -math.inf
    for tick_x, text in panel.ticks:
        x, half = at(tick_x, 10**low if panel.log else low)[0], small.getlength(text) / 2
        if x - half > free:
            draw.text((x, box[3] + 14), text, fill=AXIS, font=small, anchor="mm")
            free = x + half + 8
    for line in panel.lines:
        _draw_line(draw, [at(x, y) if _is_known(y) else None for x, y in line.points], line.colour)
    draw.text((box[0] + 8, box[1] - lift), panel.name, fill=INK, font=name_font)
    below = 34 if panel.ticks else 26
    draw.text(((box[0] + box[2]) / 2, box[3] + below), panel.axis, fill=AXIS, font=small, anchor="mm")
    _draw_keys(draw, box, panel.lines)


def ramp(count: int) -> list[Colour]:
    """`count` colours along RAMP, evenly spaced."""
    colours = []
    for i in range(count):
        place = i / max(count - 1, 1) * (len(RAMP) - 1)
        start = min(int(place), len(RAMP) - 2)
        low, high = RAMP[start], RAMP[start + 1]
        r, g, b = (round(a + (place - start) * (c - a)) for a, c in zip(low, high))
        colours.append((r, g, b))
    return colours


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    # Not raqm, which is not in every Pillow, and raises for characters that the font lacks.
    return ImageFont.truetype(FONT, size, layout_engine=ImageFont.Layout.BASIC)


def drawable(text: str) -> str:
    """The text in characters that the font has: others as their plain form (“，” as “,”, “ấ” as “a”), or as “[…]”.

    The font would draw nothing at all in their place. Line breaks stay, other white space becomes spaces.
    """
    out: list[str] = []
    for character in unicodedata.normalize("NFC", text):
        known = character if character in "\n\xa0" else " " if character.isspace() else _in_font(character)
        if known is not None:
            out.append(known)
        else:
            out.append(LEFT_OUT)
    return re.sub(r"(\[…\]\s*)+(?=\[…\])", "", "".join(out))


def wrapped(text: str, face: ImageFont.FreeTypeFont, width: float, most: int = 10**6) -> list[str]:
    """`text`, drawable, in lines of at most `width` px and at most `most` of them, the last then ending in “…”.

    Lines end between words, and within a word that is wider than a line.
    """
    paragraphs = drawable(text).strip().splitlines()
    lines = [line for paragraph in paragraphs for line in _wrapped(paragraph, face, width)]
    if len(lines) > most:
        lines = [*lines[: most - 1], shortened(lines[most - 1] + "…", face, width)]
    return lines


def shortened(text: str, face: ImageFont.FreeTypeFont, width: float) -> str:
    """`text` if it is no wider than `width` px, otherwise as much of it as fits, and “…”."""
    if face.getlength(text) <= width:
        return text
    kept = text.removesuffix("…")
    while kept and face.getlength(kept.rstrip() + "…") > width:
        kept = kept[:-1]
    return kept.rstrip() + "…"


def as_image(image: Image.Image) -> torch.Tensor:
    """IMAGE (1, H, W, 3) of a picture."""
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)[None]


def _wrapped(paragraph: str, face: ImageFont.FreeTypeFont, width: float) -> list[str]:
    lines = [""]
    for word in filter(None, paragraph.split(" ")):  # not at non-breaking spaces
        joined = f"{lines[-1]} {word}".strip()
        if face.getlength(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if lines[-1] and face.getlength(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
    return lines


@functools.lru_cache(4096)
def _in_font(character: str) -> str | None:
    """The character, or its plain form without accents, as far as the font has it; "" for what is invisible."""
    if unicodedata.category(character) in ("Cf", "Cc", "Mn", "Me"):
        return ""
    for form in (character, unicodedata.normalize("NFKC", character), unicodedata.normalize("NFKD", character)):
        plain = "".join(c for c in form if not unicodedata.combining(c))
        if plain and plain != character and unicodedata.east_asian_width(character) in "FW":
            plain += " " if unicodedata.category(character) == "Po" else ""
        if plain and all(c == " " or _glyph(c) != _glyph("\U0010ffff") for c in plain):
            return plain
    return None


def _glyph(character: str) -> tuple[float, bytes]:
    return font(20).getlength(character), bytes(font(20).getmask(character))


def _draw_line(draw: ImageDraw.ImageDraw, places: list[tuple[float, float] | None], colour: Colour) -> None:
    """places: px, None for a gap. Only neighbours are joined."""
    run: list[tuple[float, float]] = []
    known = [place for place in places if place is not None]
    for place in [*places, None]:
        if place is not None:
            run.append(place)
            continue
        if len(run) > 1:
            draw.line(run, fill=colour, width=3, joint="curve")
        run = []
    radius = 4 if len(known) <= 40 else 2
    for px, py in known:
        draw.ellipse([px - radius, py - radius, px + radius, py + radius], fill=colour)


def _draw_keys(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], lines: Sequence[Line]) -> None:
    keyed = [line for line in lines if line.label]
    if len(keyed) > MOST_KEYS:  # the first, the last, and some between
        keyed = [keyed[round(i * (len(keyed) - 1) / (MOST_KEYS - 1))] for i in range(MOST_KEYS)]
    for i, line in enumerate(keyed):
        y = box[1] + 8 + i * KEY_LINE
        draw.line([(box[2] + 14, y), (box[2] + 30, y)], fill=line.colour, width=3)
        draw.text((box[2] + 36, y), _key(line), fill=AXIS, font=font(14), anchor="lm")


def _key(line: Line) -> str:
    missing = "" if any(_is_known(y) for _, y in line.points) else " – not measured"
    return shortened(drawable(line.label), font(14), KEY - font(14).getlength(missing)) + missing


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _ticks(low: float, high: float, log: bool, reach: float = 1.0) -> list[float]:
    """Two to seven round values that enclose [low, high]; where `low` is 0 or more and not log, [0, `reach`] too."""
    if log:
        return _decades(low, high)
    low = min(low, 0.0)
    high = (max(high, reach) or 1.0) if low == 0 else high
    span = max(high - low, 1e-6)
    step = 10 ** math.floor(math.log10(span / 3))
    step = next((step * m for m in (1, 2, 5, 10, 20) if span / (step * m) <= 5), step * 20)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, max(last, first + 1) + 1)]


def _decades(low: float, high: float) -> list[float]:
    """log10 of round values, 1, 2 and 5 of each decade or of some, that enclose [low, high] (log10 too)."""
    for digits, apart in (((1, 2, 5), 1), *(((1,), n) for n in range(1, 100))):
        first, last = math.floor((low - 0.7) / apart) * apart, math.ceil(high + 0.7) + apart
        ticks = [exponent + math.log10(digit) for exponent in range(first, last + 1, apart) for digit in digits]
        start = max(i for i, tick in enumerate(ticks) if tick <= low + 1e-9)
        stop = min(i for i, tick in enumerate(ticks) if tick >= high - 1e-9)
        if stop - start < 7:
            break
    return ticks[start : stop + 1] if stop > start else ticks[start - 1 : stop + 2]
