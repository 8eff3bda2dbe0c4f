"""How the help pages' pictures are put together: strips with heads and names, and files that are small enough."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from tools.cache import PACK

Picture = Image.Image

CELL, GAP, MARGIN, LINE, TEXT = 112, 6, 8, 30, 20  # px of the strips: the help panel shows them about 300 wide
BACKGROUND, INK = (24, 24, 27), (228, 228, 231)
LARGEST = 60_000  # bytes


def font(size: int = TEXT) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(PACK / "assets" / "RealignSans.ttf"), size)


def strip(rows: Sequence[tuple[str, Sequence[Picture]]], heads: Sequence[str], cell: int = CELL) -> Picture:
    """Rows of pictures, each with its name on the left, under the columns' heads."""
    text = font()
    left = MARGIN + max(round(text.getlength(name)) for name, _ in rows)
    left += MARGIN if any(name for name, _ in rows) else 0
    columns = max(len(row) for _, row in rows)
    size = left + columns * (cell + GAP) + MARGIN - GAP, MARGIN + LINE + len(rows) * (cell + GAP) + MARGIN - GAP
    out = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(out)
    for column, head in enumerate(heads):
        middle = left + column * (cell + GAP) + cell / 2
        draw.text((middle, MARGIN + LINE / 2 - 2), head, fill=INK, font=text, anchor="mm")
    for row, (name, images) in enumerate(rows):
        top = MARGIN + LINE + row * (cell + GAP)
        draw.text((MARGIN, top + cell / 2), name, fill=INK, font=text, anchor="lm")
        for column, image in enumerate(images):
            out.paste(image.resize((cell, cell), Image.Resampling.NEAREST), (left + column * (cell + GAP), top))
    return out


def lambda_heads(values: Sequence[float]) -> list[str]:
    return [f"λ {value:g}" for value in values]


def stacked(*parts: Picture) -> Picture:
    """Below one another, all as wide as the widest allows."""
    width = max(part.width for part in parts)
    out = Image.new("RGB", (width, sum(part.height for part in parts)), BACKGROUND)
    top = 0
    for part in parts:
        out.paste(part, ((width - part.width) // 2, top))
        top += part.height
    return out


def narrowed(image: Picture, width: int) -> Picture:
    if image.width <= width:
        return image
    return image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)


def encoded(image: Picture, name: str, plot: bool) -> bytes:
    """A plot as PNG with a palette, else a JPEG. Raises ValueError where it is too large for a help page."""
    for quality, colours in ((90, 256), (85, 128), (80, 96), (75, 64), (70, 48)):
        out = io.BytesIO()
        if plot:
            image.quantize(colours, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        else:
            image.save(out, "JPEG", quality=quality, optimize=True, progressive=True)
        if out.tell() <= LARGEST:
            return out.getvalue()
    raise ValueError(f"{name} would have {out.tell()} bytes, more than {LARGEST}")
