"""Networks of the host's under autograd, for which neither its weights nor its code are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch.utils._pytree import tree_map


@contextmanager
def plain(patchers: Sequence[ModelPatcher]) -> Iterator[None]:
    """Around calls of loaded networks of the host's: under autograd, gradients with respect to their inputs.

    Three things of the host's networks are not made for gradients. Their weights are often made in inference mode: here
    they take part as plain tensors on the same memory. They add in place to what a layer has kept for its gradient, and
    a weight that is brought to the device for its layer alone is gone when the next one comes: here what is kept is a
    copy, but for weights that stay.
    """
    if not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
        yield
        return
    weights = [weight for one in patchers for weight in one.model.parameters() if _is_plain_type(weight)]
    stay = {weight.untyped_storage().data_ptr() for weight in weights}

    def copied(kept: torch.Tensor) -> torch.Tensor:
        return kept if kept.untyped_storage().data_ptr() in stay else kept.clone()

    with torch.autograd.graph.saved_tensors_hooks(copied, lambda kept: kept), _PlainTensors():
        yield


def called(patcher: ModelPatcher, *args: Any, **kwargs: Any) -> Any:
    """What a loaded network gives; under autograd with gradients, see `plain`."""
    with plain([patcher]):
        return patcher.model(*args, **kwargs)


class _PlainTensors(torch.overrides.TorchFunctionMode):
    """What was made in inference mode, and weights that want a gradient, take part as tensors of neither kind."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map(_plain, (args, kwargs or {}))
        return func(*args, **kwargs)


def _plain(value: Any) -> Any:
    """A tensor as a plain one on the same memory; everything else as it is."""
    if not _is_plain_type(value) or value.device.type == "meta":
        return value
    if value.is_inference():
        alias = torch.empty(0, dtype=value.dtype, device=value.device)
        return alias.set_(value.untyped_storage(), value.storage_offset(), value.shape, value.stride())
    return value.detach() if isinstance(value, torch.nn.Parameter) else value


def _is_plain_type(value: Any) -> bool:
    return type(value) in (torch.Tensor, torch.nn.Parameter)
