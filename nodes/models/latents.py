"""Latents as the host has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import comfy.nested_tensor
import comfy.sample
import torch
from comfy.model_patcher import ModelPatcher

from ...realign_core import Sweep


def streams(samples: Any) -> list[torch.Tensor]:
    """The tensors of a latent: one, or several where it is nested (a video and its sound)."""
    return list(samples.unbind()) if getattr(samples, "is_nested", False) else [samples]


def taken(latent: Mapping[str, Any], index: Sequence[int]) -> dict[str, Any]:
    """These elements of a latent, and what of it belongs to them, as the host's Latent From Batch takes them."""
    samples, out = latent["samples"], dict(latent)
    parts = [part[list(index)] for part in streams(samples)]
    out["samples"] = type(samples)(parts) if getattr(samples, "is_nested", False) else parts[0]
    if isinstance(latent.get("noise_mask"), torch.Tensor):
        mask = latent["noise_mask"]
        out["noise_mask"] = mask[[i % len(mask) for i in index]]
    places = latent.get("batch_index")
    out["batch_index"] = [places[i] for i in index] if places else list(index)
    return out


def multiplied(latent: Mapping[str, Any], pictures: int) -> dict[str, Any]:
    """Each element of a latent so often, with another starting noise each, as that of a larger batch."""
    size = len(streams(latent["samples"])[0])
    if pictures == 1:
        return dict(latent)
    out = taken(latent, [element for element in range(size) for _ in range(pictures)])
    places = latent.get("batch_index")
    if places:
        apart = max(places) + 1
        out["batch_index"] = [place + apart * again for place in places for again in range(pictures)]
    else:
        del out["batch_index"]
    return out


def check_streams(latent_image: dict[str, Any]) -> None:
    if len(streams(latent_image["samples"])) > 1:
        raise ValueError("Rewards judge pictures, but this latent has several streams, as a video with its sound.")


def shape_of(model: ModelPatcher, latent_image: dict[str, Any]) -> torch.Size:
    """Of the latents that will be sampled: the host makes an empty one fit the model."""
    given = [latent_image.get(name) for name in ("downscale_ratio_spacial", "downscale_ratio_temporal")]
    ratios = [ratio for ratio in given if ratio is not None]  # which older hosts neither give nor take
    fixed: torch.Tensor = comfy.sample.fix_empty_latent_channels(model, latent_image["samples"], *ratios)
    return fixed.shape


def swept_latent(latent: dict[str, Any], sweep: Sweep) -> dict[str, Any]:
    """The latent image with one element per cell. Equal batch indices give the host's samplers equal noise."""
    images = [cell.image for cell in sweep.cells()]
    out = {**latent, "samples": _picked(latent["samples"], images)}
    out["batch_index"] = [sweep.batch_index[image] for image in images]
    if latent.get("noise_mask") is not None:
        out["noise_mask"] = _picked(latent["noise_mask"], images)
    return out


def _picked(tensor: torch.Tensor, images: list[int]) -> torch.Tensor:
    """Elements of a batch; one that is shorter than the images is repeated, as the host does."""
    if tensor.is_nested:
        return comfy.nested_tensor.NestedTensor([_picked(part, images) for part in tensor.unbind()])
    return tensor[[image % tensor.shape[0] for image in images]]
