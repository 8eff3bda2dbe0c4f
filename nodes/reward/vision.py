"""A picture in the numbers of an image encoder of the host's: as its own nodes do it, but with a gradient."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange

from ..models.gradients import called

CENTRE, WHOLE = "center", "none"  # as the host's CLIP Vision Encode calls them
CROPS = [CENTRE, WHOLE]
PATCHES_OF_ANY_SIZE = "siglip2_vision_model"  # an encoder that takes a list of patches, not a picture
CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]


def check_encoder(clip_vision: Any) -> None:
    """Raises ValueError for a CLIP_VISION that does not take a picture as `encoded` gives it."""
    if getattr(clip_vision, "model_type", None) == PATCHES_OF_ANY_SIZE:
        raise ValueError("“clip_vision” is SigLIP 2 NaFlex, which cannot be used here: load a CLIP, SigLIP or DINO.")


def prepared(images: torch.Tensor, size: int, crop: str, mean: list[float], std: list[float]) -> torch.Tensor:
    """images: (B, H, W, 3) in [0, 1] -> (B, 3, size, size), as the encoder was trained on them.

    The shorter side becomes `size` and the middle stays (center), or all of the picture is squeezed into the square
    (none). The host rounds to 8 bits besides, which has no gradient.
    """
    x = rearrange(images, "b h w c -> b c h w")
    height, width = x.shape[2:]
    if (height, width) != (size, size):
        scale = size / min(height, width)
        sides = (round(scale * height), round(scale * width)) if crop == CENTRE else (size, size)
        x = torch.nn.functional.interpolate(x, size=sides, mode="bicubic", antialias=True)
        top, left = (sides[0] - size) // 2, (sides[1] - size) // 2
        x = x[:, :, top : top + size, left : left + size]
    shift, scale_of = (torch.tensor(values, dtype=x.dtype, device=x.device)[:, None, None] for values in (mean, std))
    return (x.clamp(0, 1) - shift) / scale_of


def unit(embeds: torch.Tensor) -> torch.Tensor:
    """(B, C), or (B, tokens, C) of which the mean counts -> (B, C) of length 1."""
    embeds = embeds.mean(1) if embeds.ndim == 3 else embeds
    return torch.nn.functional.normalize(embeds, dim=-1)


def encoded(clip_vision: Any, images: torch.Tensor, crop: str) -> torch.Tensor:
    """A CLIP_VISION's embedding of each picture, (B, C) of length 1, on the pictures' device. It must be loaded."""
    x = images.to(clip_vision.load_device)
    x = prepared(x, clip_vision.image_size, crop, clip_vision.image_mean, clip_vision.image_std)
    out = called(clip_vision.patcher, pixel_values=x, intermediate_output=-2)
    return unit(out[2]).to(images.device)
