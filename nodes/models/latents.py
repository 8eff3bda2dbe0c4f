"""Latents as the host has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch


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
