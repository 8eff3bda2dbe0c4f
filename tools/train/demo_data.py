"""Procedurally drawn pictures for the demo model: one shaded shape on a background, named by a three-word caption.

Everything is drawn from signed distances on a pixel grid (negative inside, in units of half the picture's width), so
edges are anti-aliased and thousands of pictures take seconds. How vivid a picture is varies much and is mostly low:
that is what the demo's reward prefers, and what its anchor overdoes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]  # x, y (B, H, W), the shape spanning about [-1, 1] -> distance (B, H, W)

HUES = {  # turns of the colour circle: red, yellow, green …
    "red": 0.99,
    "orange": 0.075,
    "yellow": 0.145,
    "green": 0.33,
    "teal": 0.48,
    "blue": 0.60,
    "purple": 0.755,
    "pink": 0.90,
}
VIVID = 0.9  # how vivid a picture is: the product of two uniform numbers, to this power
LIGHT = (-0.45, -0.60, 0.66)  # towards the light: left, up (y points down), out of the picture


def _smooth_max(distances: list[Tensor], radius: float) -> Tensor:
    """Intersection with corners rounded by about `radius`."""
    return radius * torch.logsumexp(torch.stack(distances) / radius, 0)


def _polygon(sides: int, turn: float, apothem: float, radius: float) -> Distance:
    def distance(x: Tensor, y: Tensor) -> Tensor:
        angles = [turn + math.tau * k / sides for k in range(sides)]
        return _smooth_max([math.cos(a) * x + math.sin(a) * y - apothem for a in angles], radius)

    return distance


def _star(x: Tensor, y: Tensor) -> Tensor:
    """Five points: fold the plane onto half a point, which is then one straight edge."""
    sector = math.tau / 5
    angle = torch.remainder(torch.atan2(x, -y) + sector / 2, sector) - sector / 2
    radius = torch.hypot(x, y)
    along, across = radius * torch.cos(angle), radius * torch.sin(angle).abs()
    tip, inner = 1.06, 0.50  # radii of the points and of the notches between them
    dx, dy = inner * math.cos(sector / 2) - tip, inner * math.sin(sector / 2)
    return ((along - tip) * dy - across * dx) / math.hypot(dx, dy) - 0.03


def _heart(x: Tensor, y: Tensor) -> Tensor:
    """A square on its tip and a circle on each of its two upper edges."""
    side = 0.62
    y = y + 0.08
    u, v = (x + y) * math.sqrt(0.5), (y - x) * math.sqrt(0.5)  # along the square's edges
    square = _smooth_max([u.abs() - side, v.abs() - side], 0.04)
    left = torch.hypot(u + side, v) - side
    right = torch.hypot(u, v + side) - side
    return torch.minimum(square, torch.minimum(left, right))


def _moon(x: Tensor, y: Tensor) -> Tensor:
    """A disc with a bite. A half-plane ends at the tips: without it the distance is too small beyond, and shadows."""
    bite = 0.90 - torch.hypot(x - 0.47, y + 0.17)
    return _smooth_max([torch.hypot(x, y) - 0.98, bite, 0.94 * x - 0.34 * y - 0.42], 0.03)


def _flower(x: Tensor, y: Tensor) -> Tensor:
    return 0.75 * (torch.hypot(x, y) - 0.80 - 0.19 * torch.cos(6 * torch.atan2(y, x)))


SHAPES: dict[str, Distance] = {
    "ball": lambda x, y: torch.hypot(x, y) - 0.92,
    "square": _polygon(4, 0.0, 0.80, 0.05),
    "triangle": lambda x, y: _polygon(3, math.pi / 2, 0.56, 0.07)(x, y - 0.16),
    "star": _star,
    "heart": _heart,
    "ring": lambda x, y: (torch.hypot(x, y) - 0.70).abs() - 0.25,
    "moon": _moon,
    "flower": _flower,
}
BACKGROUNDS = ("plain", "hills", "stripes", "dots", "rays")


class Painter:
    """Draws batches of captioned pictures; the same seed draws the same ones."""

    def __init__(self, size: int, seed: int, device: torch.device | str = "cpu"):
        self.random = torch.Generator(device).manual_seed(seed)
        self.device = torch.device(device)
        axis = (torch.arange(size, device=device) + 0.5) / size * 2 - 1
        self.y, self.x = torch.meshgrid(axis, axis, indexing="ij")
        self.pixel = 2 / size

    def captions(self, count: int) -> Tensor:
        """(count, 3): index of shape, colour and background, uniform."""
        kinds = [torch.randint(len(kind), (count,), generator=self.random, device=self.device) for kind in KINDS]
        return torch.stack(kinds, 1)

    def draw(self, captions: Tensor, vivid: Tensor | None = None) -> Tensor:
        """captions: (B, 3) -> pictures (B, 3, H, W), RGB in [-1, 1]. vivid: (B, 1, 1) in [0, 1]; None: drawn."""
        count = len(captions)
        if vivid is None:
            vivid = (self._uniform(count) * self._uniform(count)) ** VIVID  # mostly low, seldom above 0.7
        canvas = self._background(captions[:, 2], vivid)
        place = torch.stack([self._between(count, -0.14, 0.14), self._between(count, -0.10, 0.14)])
        scale, turn = self._between(count, 0.46, 0.68), self._between(count, -0.30, 0.30)
        drop = 0.10 * torch.ones_like(scale)
        shadow = self._distance(captions[:, 0], place + drop, scale, turn)
        canvas = canvas * (1 - 0.38 * torch.sigmoid(-shadow / 0.05))[:, None]
        distance = self._distance(captions[:, 0], place, scale, turn)
        cover = (0.5 - distance / self.pixel).clamp(0, 1)[:, None]
        return (canvas + cover * (self._surface(captions[:, 1], vivid, distance) - canvas)).clamp(0, 1) * 2 - 1

    def _uniform(self, count: int) -> Tensor:
        return torch.rand(count, 1, 1, generator=self.random, device=self.device)

    def _between(self, count: int, low: float, high: float) -> Tensor:
        return low + (high - low) * self._uniform(count)

    def _distance(self, shapes: Tensor, place: Tensor, scale: Tensor, turn: Tensor) -> Tensor:
        """(B, H, W): signed distance of each picture's shape, in units of the canvas."""
        x, y = (self.x - place[0]) / scale, (self.y - place[1]) / scale
        x, y = x * turn.cos() + y * turn.sin(), y * turn.cos() - x * turn.sin()
        distance = torch.empty_like(x)
        for index, shape in enumerate(SHAPES.values()):
            rows = shapes == index
            if rows.any():
                distance[rows] = shape(x[rows], y[rows])
        return distance * scale

    def _surface(self, colours: Tensor, vivid: Tensor, distance: Tensor) -> Tensor:
        """(B, 3, H, W): the shape's colour under the light, rounded off towards its edge."""
        count = len(colours)
        hues = torch.tensor(list(HUES.values()), device=self.device)[colours][:, None, None]
        hue = hues + self._between(count, -0.018, 0.018)
        saturation = (0.20 + 0.72 * vivid + self._between(count, -0.05, 0.05)).clamp(0.1, 0.97)
        value = self._between(count, 0.62, 0.92)
        inside = (1 + distance / 0.16).clamp(0, 1)  # 1 at the edge, 0 from 0.16 inwards
        slope_y, slope_x = torch.gradient(distance, spacing=self.pixel, dim=(1, 2))
        tilt = 0.75 * inside
        lit = (LIGHT[0] * slope_x + LIGHT[1] * slope_y) * tilt + LIGHT[2] * (1 - 0.5 * tilt**2)
        shade = 0.62 + 0.52 * lit
        gloss = 0.55 * self._uniform(count) * ((lit - 0.80).clamp(min=0) / 0.2) ** 1.5
        return hsv_to_rgb(hue, saturation * (1 - gloss), (value * shade + gloss).clamp(0, 1))

    def _background(self, kinds: Tensor, vivid: Tensor) -> Tensor:
        """(B, 3, H, W): two tones of nearby hues, mixed by a pattern, darker towards the bottom."""
        count = len(kinds)
        pattern = torch.empty(count, *self.x.shape, device=self.device)
        for index, kind in enumerate(BACKGROUNDS):
            rows = kinds == index
            if rows.any():
                pattern[rows] = getattr(self, f"_{kind}")(int(rows.sum()))
        hue, other = self._uniform(count), self._between(count, -0.16, 0.16)
        saturation = (0.05 + 0.62 * vivid * self._between(count, 0.6, 1.2)).clamp(0, 0.9)
        value, step = self._between(count, 0.54, 0.84), self._between(count, 0.14, 0.28)
        light = value + step * (pattern - 0.5) - self._between(count, 0.02, 0.14) * self.y
        return hsv_to_rgb(hue + other * pattern, saturation.expand_as(light), light.clamp(0.05, 1))

    # The patterns: (count, H, W) in [0, 1]; 0 is the darker tone.

    def _plain(self, count: int) -> Tensor:
        corner = torch.hypot(self.x - self._between(count, -0.4, 0.4), self.y - self._between(count, -0.6, 0.1))
        return (1.15 - 0.6 * corner).clamp(0, 1)

    def _hills(self, count: int) -> Tensor:
        pattern = 1 - 0.15 * (self.y + 1).expand(count, -1, -1)
        for level, tone in ((0.05, 0.45), (0.45, 0.0)):
            swing, phase = self._between(count, 0.10, 0.2), math.tau * self._uniform(count)
            edge = level + swing * torch.sin(self.x * self._between(count, 2.2, 4.2) + phase)
            pattern = pattern + self._cover(edge - self.y) * (tone - pattern)
        return pattern

    def _stripes(self, count: int) -> Tensor:
        angle, waves = self._between(count, 0.5, 1.07), self._between(count, 9, 14)
        return self._edge(torch.sin((self.x * angle.cos() + self.y * angle.sin()) * waves), 1 / waves)

    def _dots(self, count: int) -> Tensor:
        cells = self._between(count, 2.2, 3.2)
        x = (self.x + 1) * cells + self._uniform(count)
        y = (self.y + 1) * cells + self._uniform(count)
        x = x + 0.5 * torch.remainder(y.floor(), 2)  # every other row is shifted by half a cell
        return self._cover((torch.hypot(x.frac() - 0.5, y.frac() - 0.5) - 0.27) / cells)

    def _rays(self, count: int) -> Tensor:
        x, y = self.x - self._between(count, -0.2, 0.2), self.y - self._between(count, -0.1, 0.5)
        angle = torch.atan2(y, x) + math.tau * self._uniform(count)
        return self._edge(torch.sin(angle * 8), torch.hypot(x, y).clamp(min=0.05) / 8)

    def _cover(self, distance: Tensor) -> Tensor:
        """1 inside, 0 outside, smooth over a pixel."""
        return (0.5 - distance / self.pixel).clamp(0, 1)

    def _edge(self, wave: Tensor, length: Tensor) -> Tensor:
        """A square wave of a sine; length: the canvas length of one radian of it."""
        return (0.5 + wave * length / self.pixel).clamp(0, 1)


KINDS: tuple[tuple[str, ...], ...] = (tuple(SHAPES), tuple(HUES), BACKGROUNDS)


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """(B, H, W) each, hue in turns, the others in [0, 1] -> (B, 3, H, W) in [0, 1]."""
    hue, saturation, value = torch.broadcast_tensors(hue, saturation, value)
    channels = []
    for sixths in (5, 3, 1):  # red, green, blue: the standard trapezium of each channel over the colour circle
        position = torch.remainder(sixths + hue * 6, 6)
        channels.append(value - value * saturation * torch.minimum(position, 4 - position).clamp(0, 1))
    return torch.stack(channels, 1)


def colourfulness(pictures: Tensor) -> Tensor:
    """The demo's reward. pictures: (B, 3, H, W) in [-1, 1] -> (B,), the mean chroma (max − min over RGB) in [0, 1]."""
    pictures = pictures.clamp(-1, 1)
    return (pictures.amax(1) - pictures.amin(1)).mean((1, 2)) / 2
