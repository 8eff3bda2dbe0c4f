"""The colours of what is drawn."""

from __future__ import annotations

import colorsys

Colour = tuple[int, int, int]

BACKGROUND, AXIS, GRID, INK = (24, 24, 27), (161, 161, 170), (52, 52, 58), (244, 244, 245)
BLUE, AMBER = (96, 165, 250), (251, 191, 36)
FRONT = (74, 222, 128)  # of pictures that no other beats
RAMP = (BLUE, (167, 139, 250), (244, 114, 182), (251, 146, 60))  # from a low λ to a high one


def faint(colour: Colour, share: float = 0.3) -> Colour:
    """Of which so much is left before the background."""
    r, g, b = (round(share * own + (1 - share) * back) for own, back in zip(colour, BACKGROUND))
    return r, g, b


def lineage(root: int) -> Colour:
    """The colour of a family: of neighbours far apart, and of many the hue of none the same."""
    hue, light = root * 0.618034 % 1, 0.7 + 0.06 * (root % 3 - 1)  # the golden ratio's turns never meet
    r, g, b = (round(255 * part) for part in colorsys.hls_to_rgb(hue, light, 0.75))
    return r, g, b


def ramp(count: int) -> list[Colour]:
    """`count` colours along RAMP, evenly spaced."""
    colours = []
    for i in range(count):
        place = i / max(count - 1, 1) * (len(RAMP) - 1)
        start = min(int(place), len(RAMP) - 2)
        r, g, b = (round(a + (place - start) * (c - a)) for a, c in zip(RAMP[start], RAMP[start + 1]))
        colours.append((r, g, b))
    return colours
