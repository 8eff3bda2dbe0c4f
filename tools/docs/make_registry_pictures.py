"""Draws the pack's icon and banner for the registry, docs/icon.png and docs/banner.png, from the demo's own shapes.

    python -m tools.docs.make_registry_pictures

The registry takes an icon of at most 400×400 px and a banner of 21:9.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from tools.cache import PACK, say
from tools.train.demo_data import HUES, LIGHT, SHAPES, hsv_to_rgb

ICON, BANNER = (400, 400), (1680, 720)
SMOOTH = 3  # what Pillow draws is made this much larger, and then reduced
TOP, BOTTOM = (46, 46, 54), (20, 20, 23)  # the background, from above to below
INK, DIM, TRACK = (244, 244, 245), (161, 161, 170), (82, 82, 91)
BLUE = (96, 165, 250)  # the slider's, up to its knob
LAMBDAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)


def shaded(shape: str, hue: float, vivid: Tensor, size: int) -> Image.Image:
    """The shape, size px wide, lit from above. vivid: (1, 1) or (1, size), from 0 for pale to 1."""
    axis = (torch.arange(size) + 0.5) / size * 2.3 - 1.15
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    distance = SHAPES[shape](x[None], y[None])[0]
    pixel = 2.3 / size
    depth = softened(distance, size // 14)  # the shape's parts meet in seams, which the light would show
    slope_y, slope_x = torch.gradient(depth, spacing=pixel)
    tilt = 0.75 * (1 + depth / 0.26).clamp(0, 1)  # of the surface: rounded off towards the edge
    lit = (LIGHT[0] * slope_x + LIGHT[1] * slope_y) * tilt + LIGHT[2] * (1 - 0.5 * tilt**2)
    gloss = (0.2 + 0.35 * vivid) * ((lit - 0.8).clamp(min=0) / 0.2) ** 1.5
    value = (0.70 + 0.24 * vivid) * (0.62 + 0.52 * lit) + gloss
    saturation = (0.10 + 0.78 * vivid) * (1 - gloss)
    colour = hsv_to_rgb(torch.tensor(hue), saturation[None], value.clamp(0, 1)[None])[0]
    cover = (0.5 - distance / pixel).clamp(0, 1)
    pixels = torch.cat([colour, cover[None]]).permute(1, 2, 0)
    return Image.fromarray((pixels * 255).round().byte().numpy(), "RGBA")


def softened(field: Tensor, width: int) -> Tensor:
    """field: (H, W), averaged over about `width` pixels, four times."""
    out = field[None, None]
    for _ in range(4):
        padded = functional.pad(out, [width // 2] * 4, mode="replicate")
        out = functional.avg_pool2d(padded, width // 2 * 2 + 1, stride=1)
    return out[0, 0]


def backdrop(size: tuple[int, int]) -> Image.Image:
    fall = np.linspace(0, 1, size[1])[:, None, None]
    tones = (1 - fall) * np.array(TOP) + fall * np.array(BOTTOM)
    return Image.fromarray(np.broadcast_to(tones, (size[1], size[0], 3)).round().astype(np.uint8), "RGB")


class Sheet:
    """A picture under way: coordinates are those of the finished one, of `size`."""

    def __init__(self, size: tuple[int, int]):
        self.size = size
        self.image = backdrop((size[0] * SMOOTH, size[1] * SMOOTH))
        self.draw = ImageDraw.Draw(self.image)

    def shape(self, shape: str, colour: str, vivid: Tensor, middle: tuple[float, float], width: float) -> None:
        picture = shaded(shape, HUES[colour], vivid, round(width * SMOOTH))
        place = [round(at * SMOOTH - picture.width / 2) for at in middle]
        self.image.paste(picture, (place[0], place[1]), picture)

    def text(self, middle: tuple[float, float], words: str, px: float, fill: tuple[int, ...] = INK) -> None:
        font = ImageFont.truetype(str(PACK / "assets" / "RealignSans.ttf"), round(px * SMOOTH))
        self.draw.text((middle[0] * SMOOTH, middle[1] * SMOOTH), words, fill=fill, font=font, anchor="mm")

    def slider(self, left: float, right: float, y: float, at: float, thick: float) -> None:
        """at: how far the knob is, from 0 to 1."""
        knob = left + at * (right - left)
        self._bar(left, right, y, thick, TRACK)
        self._bar(left, knob, y, thick, BLUE)
        self._dot(knob, y, 2.2 * thick, BLUE)
        self._dot(knob, y, 1.5 * thick, INK)

    def _bar(self, left: float, right: float, y: float, thick: float, fill: tuple[int, ...]) -> None:
        box = [at * SMOOTH for at in (left - thick / 2, y - thick / 2, right + thick / 2, y + thick / 2)]
        self.draw.rounded_rectangle(box, thick / 2 * SMOOTH, fill=fill)

    def _dot(self, x: float, y: float, radius: float, fill: tuple[int, ...]) -> None:
        self.draw.ellipse([at * SMOOTH for at in (x - radius, y - radius, x + radius, y + radius)], fill=fill)

    def finished(self) -> Image.Image:
        return self.image.resize(self.size, Image.Resampling.LANCZOS)


def icon() -> Image.Image:
    """A heart that is pale on the left and vivid on the right, and the slider between the two."""
    sheet = Sheet(ICON)
    width = 300
    vivid = torch.linspace(-0.15, 1.1, width * SMOOTH).clamp(0, 1)[None]
    sheet.shape("heart", "red", vivid, (200, 172), width)
    sheet.text((200, 162), "λ", 140)
    sheet.slider(64, 336, 344, 0.5, 15)
    return sheet.finished()


def banner() -> Image.Image:
    """The name, and the demo's shapes along the slider."""
    sheet = Sheet(BANNER)
    sheet.text((840, 130), "Realign", 120)
    sheet.text((840, 236), "the alignment strength of a diffusion model, with a slider", 38, DIM)
    left, right = 210, 1470
    for place, lam in enumerate(LAMBDAS):
        x = left + place * (right - left) / (len(LAMBDAS) - 1)
        sheet.shape("heart", "red", torch.full((1, 1), lam / LAMBDAS[-1]), (x, 425), 200)
        sheet.text((x, 645), f"λ {lam:g}", 34, INK if lam == 0.5 else DIM)
    sheet.slider(left, right, 576, 0.5 / LAMBDAS[-1], 14)
    return sheet.finished()


def main() -> None:
    for name, picture in (("icon", icon()), ("banner", banner())):
        path = PACK / "docs" / f"{name}.png"
        picture.save(path, optimize=True)
        say(f"wrote {path} ({picture.width}×{picture.height}, {path.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
