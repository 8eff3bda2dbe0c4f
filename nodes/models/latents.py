"""Latents as the host has them."""

from __future__ import annotations

from typing import Any

import torch


def streams(samples: Any) -> list[torch.Tensor]:
    """The tensors of a latent: one, or several where it is nested (a video and its sound)."""
    return list(samples.unbind()) if getattr(samples, "is_nested", False) else [samples]
