"""Text in the pack's font: what it can draw, lines of a width, and blocks of lines."""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont

from .colours import AXIS, BACKGROUND, Colour

FONT = Path(__file__).parents[2] / "assets" / "RealignSans.ttf"  # Pillow's own font has no λ or β
LEFT_OUT = "[…]"


@dataclass(frozen=True)
class Text:
    """Lines of one size and colour."""

    lines: Sequence[str]
    size: int  # px
    colour: Colour = AXIS
    apart: int = 0  # px from line to line; 0: as the size asks for
    whole: bool = True  # stands on whole px

    @property
    def width(self) -> int:
        return math.ceil(max((_length(line, self.size) for line in self.lines), default=0))

    @property
    def line_height(self) -> int:
        return self.apart or round(1.45 * self.size)

    @property
    def height(self) -> int:
        return len(self.lines) * self.line_height

    def draw(self, draw: ImageDraw.ImageDraw, x: float, top: float, anchor: str = "l") -> None:
        """anchor: what of each line is at x, its left "l", middle "m" or right "r"."""
        for i, line in enumerate(self.lines):
            place = x, top + (i + 0.5) * self.line_height
            place = (round(place[0]), round(place[1])) if self.whole else place
            draw.text(place, line, fill=self.colour, font=font(self.size), anchor=f"{anchor}m")


Label = tuple[Text, float, float, str]  # a text, its x and top, and what of each line is at x: as `Text.draw` has it


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    # Not raqm, which is not in every Pillow, and raises for characters that the font lacks.
    return ImageFont.truetype(FONT, size, layout_engine=ImageFont.Layout.BASIC)


@functools.lru_cache(2**14)
def _length(line: str, size: int) -> float:
    return font(size).getlength(line)


def drawable(text: str) -> str:
    """The text in characters that the font has: others as their plain form (“，” as “,”, “ấ” as “a”), or as “[…]”.

    The font would draw nothing at all in their place. Line breaks stay, other white space becomes spaces.
    """
    drawn = "".join(_drawable(character) for character in unicodedata.normalize("NFC", text))
    return re.sub(r"(\[…\]\s*)+(?=\[…\])", "", drawn)


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


def filled(parts: Sequence[str], face: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """The parts, " · " between them, in as few lines of at most `width` px as they fill."""
    lines = [""]
    for part in parts:
        joined = f"{lines[-1]} · {part}" if lines[-1] else part
        if face.getlength(joined) <= width:
            lines[-1] = joined
        else:
            lines = [line for line in lines if line] + wrapped(part, face, width)
    return lines


def fitted_lines(paragraphs: Sequence[str], face: ImageFont.FreeTypeFont, width: float, most: int) -> list[list[str]]:
    """The paragraphs in lines of at most `width` px, all together in at most `most` of them.

    Each has a line where there are enough, the first ones more if they need them; otherwise the last ones share one.
    """
    if len(paragraphs) > most:
        paragraphs = [*paragraphs[: most - 1], " · ".join(paragraphs[most - 1 :])]
    lines: list[list[str]] = []
    for i, paragraph in enumerate(paragraphs):
        room = most - sum(map(len, lines)) - (len(paragraphs) - 1 - i)
        lines.append(wrapped(paragraph, face, width, room))
    return lines


def as_image(image: Image.Image) -> torch.Tensor:
    """IMAGE (1, H, W, 3) of a picture."""
    return rearrange(torch.from_numpy(np.asarray(image, dtype=np.float32) / 255), "h w c -> 1 h w c")


def drawn_labels(size: tuple[int, int], labels: Iterable[Label]) -> Image.Image:
    """A sheet with its labels, for pictures to be put on."""
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for text, x, top, anchor in labels:
        text.draw(draw, x, top, anchor)
    return sheet


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


def _drawable(character: str) -> str:
    if character in "\n\xa0":
        return character
    known = " " if character.isspace() else _in_font(character)
    return LEFT_OUT if known is None else known


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
