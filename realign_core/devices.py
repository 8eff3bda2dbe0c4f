"""Small numbers on a device, copied there once: each copy would wait for all that the device has to do."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

SMALL = 4096  # numbers


def kept_on(device: torch.device, value: Tensor) -> Tensor:
    """The value on the device, not to be changed: what is small and comes from the CPU stays there for the next one."""
    if value.device == device or value.device.type != "cpu" or value.numel() > SMALL:
        return value.to(device)
    return _kept(tuple(value.flatten().tolist()), value.dtype, tuple(value.shape), device)


@lru_cache(maxsize=256)
def _kept(values: tuple[float, ...], dtype: torch.dtype, shape: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # for what comes later with gradients
        return torch.tensor(values, dtype=dtype).reshape(shape).to(device)
