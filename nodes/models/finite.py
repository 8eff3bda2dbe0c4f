"""Are weights finite numbers? A model with one that is not makes black pictures, and nothing says why."""

from __future__ import annotations

from collections.abc import Iterable

import torch

PLAIN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
AT_ONCE = 1 << 22  # values that are converted at once, of number formats that torch only stores


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether no value is NaN or infinity. One pass without a copy; whole numbers and packed ones always are."""
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.device.type == "meta":
        return True
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    if tensor.dtype in PLAIN:
        parts: Iterable[torch.Tensor] = (tensor,)
    else:  # 8 bits
        parts = (part.to(torch.float32) for part in tensor.reshape(-1).split(AT_ONCE))
    return all(bool(torch.isfinite(torch.stack(part.aminmax())).all()) for part in parts)


def not_finite(tensors: Iterable[tuple[str, torch.Tensor]]) -> str | None:
    """The name of the first tensor that is not finite; None where all are."""
    return next((name for name, tensor in tensors if not is_finite(tensor)), None)
