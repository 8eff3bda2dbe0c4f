"""How large pictures are on a sheet, and the sheets of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import comfy.utils
import torch
from einops import rearrange, repeat

from .sheet import PIXELS, Grid, Size, draw_captions
from .tables import Table

BATCH_PIXELS = PIXELS  # of all pictures of a batch with their labels below, without these
SMALLEST = 160  # px: a picture that nobody chose a size for
ENOUGH = 64  # px: pictures smaller than that are not worth labels of their own


def sheets(
    images: torch.Tensor, table: Table, captions: Sequence[Sequence[str]], cell_size: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """The grid, IMAGE (1, H, W, 3), and each picture with its labels below, (B, h, w, 3).

    A single picture is its own grid, as it is: one that is to be kept has no labels in it.
    """
    size_of, wanted = sizes_of(images, cell_size)
    if len(images) == 1:
        return images, draw_captions(scaled(images, size_of(wanted)), captions)
    grid = fitted(table, size_of, wanted)
    cells = scaled(images, grid.size)
    room = math.isqrt(BATCH_PIXELS * max(grid.size) ** 2 // (math.prod(grid.size) * len(images)))
    own = size_of(max(min(wanted, room), max(grid.size)))
    return grid.draw(cells), draw_captions(cells if own == grid.size else scaled(images, own), captions)


def sizes_of(images: torch.Tensor, cell_size: int) -> tuple[Callable[[int], Size], int]:
    """The size of a picture by its longer side, and the longer side that is wanted. cell_size: that, or 0."""
    height, width = images.shape[1:3]
    own = max(height, width)

    def size_of(side: int) -> Size:
        return max(round(width * side / own), 1), max(round(height * side / own), 1)

    return size_of, cell_size or own * math.ceil(SMALLEST / own)


def scaled(images: torch.Tensor, size: Size) -> torch.Tensor:
    """IMAGE (B, H, W, 3) of this size, untouched where they have it already.

    Small pictures are enlarged by whole pixels, so that they stay what they are; others by the host's Lanczos.
    """
    images = images[..., :3] if images.shape[-1] >= 3 else repeat(images[..., :1], "b h w 1 -> b h w c", c=3)
    images = images.float().cpu()
    height, width = images.shape[1:3]
    if (width, height) == size:
        return images
    whole = size[0] % width == 0 and size[1] % height == 0 and max(width, height) < SMALLEST
    channels = rearrange(images, "b h w c -> b c h w")
    channels = comfy.utils.common_upscale(channels, *size, "nearest-exact" if whole else "lanczos", "disabled")
    return rearrange(channels, "b c h w -> b h w c")


def fitted(table: Table, size_of: Callable[[int], tuple[int, int]], wanted: int) -> Grid:
    """The grid with pictures of a longer side of `wanted` px, or the largest that has room for them.

    size_of: (width, height) of a picture by its longer side.
    """
    table = table.in_font
    side = _largest(wanted, lambda side: Grid(table, size_of(side)).fits)
    if side >= min(wanted, ENOUGH):
        return Grid(table, size_of(side))
    side = _largest(wanted, lambda side: Grid(table, size_of(side), thinned=True).fits)
    return Grid(table, size_of(max(side, 1)), thinned=True)


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `most` that fits, where all below one that does fit too; 0 for none."""
    if fits(most):
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
