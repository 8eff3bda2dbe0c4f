"""Rewards that need the picture alone: colourfulness, sharpness, brightness, in their published units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange, reduce

WHITE = 255.0  # the papers' scale; ours is 0 to 1
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as JPEG's Y
LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


@dataclass(frozen=True)
class PictureReward:
    """A differentiable function of pictures, (B, H, W, 3) -> (B,)."""

    name: str
    measure: Callable[[torch.Tensor], torch.Tensor]
    differentiable: bool = True

    def score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return self.measure(images)


def colourfulness(images: torch.Tensor) -> torch.Tensor:
    """Hasler and Süsstrunk, Measuring colourfulness in natural images (2003), M̂⁽³⁾ in RGB.

    0: grey, 33: moderately colourful, 59: quite, 109: extremely.
    """
    r, g, b = WHITE * rearrange(images, "b h w c -> c b (h w)")
    opponents = torch.stack([r - g, 0.5 * (r + g) - b])
    spread = root(opponents.var(-1, unbiased=False).sum(0))
    return spread + 0.3 * root(opponents.mean(-1).square().sum(0))


def sharpness(images: torch.Tensor) -> torch.Tensor:
    """Variance of the Laplacian of the luminance (Pech-Pacheco et al. 2000), as OpenCV computes it.

    Soft pictures are below about 100. Noise counts as sharp.
    """
    luma = rearrange(_luma(images), "b h w -> b 1 h w")
    side = min(luma.shape[-2:])
    padded = torch.nn.functional.pad(luma, (1, 1, 1, 1), mode="reflect" if side > 1 else "replicate")
    kernel = torch.tensor(LAPLACIAN, dtype=images.dtype, device=images.device)
    edges = torch.nn.functional.conv2d(padded, kernel[None, None])
    return edges.flatten(1).var(1, unbiased=False)


def brightness(images: torch.Tensor) -> torch.Tensor:
    """Mean luminance, from 0 (black) to 255 (white)."""
    return reduce(_luma(images), "b h w -> b", "mean")


def _luma(images: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 3) -> (B, H, W), 0 to 255."""
    return WHITE * (images * torch.tensor(LUMA, dtype=images.dtype, device=images.device)).sum(-1)


def root(x: torch.Tensor) -> torch.Tensor:
    """√x, with the gradient 0 where x is 0: a grey picture's would be infinite."""
    positive = x > 0
    return torch.where(positive, x, 1).sqrt() * positive


PICTURE_REWARDS = {
    measure.__name__: PictureReward(measure.__name__, measure) for measure in (colourfulness, sharpness, brightness)
}
