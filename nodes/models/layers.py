"""The layers of a network, whatever keeps their weights: plain floats, fp8, int8, packed bytes.

What is stored says nothing of a quantised weight's size; the layer does.
"""

from __future__ import annotations

from collections.abc import Iterator

import comfy.utils
import torch
from comfy.quant_ops import QuantizedTensor

CONVOLUTIONS = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)


def is_matrix(layer: torch.nn.Module) -> bool:
    """Whether it multiplies by one matrix; quantised ones are no `torch.nn.Linear`."""
    if isinstance(layer, torch.nn.Linear):
        return True
    sizes = [getattr(layer, name, None) for name in ("in_features", "out_features")]
    return all(isinstance(size, int) for size in sizes) and not hasattr(layer, "num_experts")


def is_convolution(layer: torch.nn.Module) -> bool:
    return isinstance(layer, CONVOLUTIONS)


def weight_shape(layer: torch.nn.Module, name: str = "weight") -> tuple[int, ...]:
    """Of the layer's parameter or buffer, as it is multiplied by."""
    if name == "weight" and is_matrix(layer):
        return int(layer.out_features), int(layer.in_features)
    if name == "weight" and is_convolution(layer):
        sizes = layer.out_channels, layer.in_channels // layer.groups
        return (*map(int, sizes), *map(int, layer.kernel_size))
    return tuple(getattr(layer, name).shape)


def weight_shapes(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Of all parameters and buffers, by name."""
    return {
        f"{path}.{name}" if path else name: weight_shape(layer, name)
        for path, layer in model.named_modules()
        for name in _own(layer)
    }


def _own(layer: torch.nn.Module) -> Iterator[str]:
    for own in (layer._parameters, layer._buffers):
        yield from (name for name, value in own.items() if value is not None)


def shape_of(model: torch.nn.Module, key: str) -> tuple[int, ...]:
    """Of one weight."""
    path, _, name = key.rpartition(".")
    return weight_shape(model.get_submodule(path), name)


def is_compiled(model: torch.nn.Module) -> bool:
    """Whether a part of it is a compiled module, in its place or by itself."""
    return any("_orig_mod" in part._modules or part._compiled_call_impl is not None for part in model.modules())


def stored_bits(weight: torch.Tensor) -> float:
    """Of a number of the weight, as it is kept: 4 where two share a byte."""
    if isinstance(weight, QuantizedTensor):
        return 8 * weight.nbytes / max(weight.numel(), 1)
    return 8.0 * weight.dtype.itemsize


def is_rounded(model: torch.nn.Module, key: str) -> bool:
    """Whether the host rounds this weight to 8 bits again once it has merged something into it."""
    weight = _kept(model, key)
    known = isinstance(weight, QuantizedTensor) or weight.is_floating_point()  # not another pack's bytes
    return known and 6 < stored_bits(weight) <= 8


def is_packed(model: torch.nn.Module, key: str) -> bool:
    """Whether the host keeps this weight in 4 bits."""
    weight = _kept(model, key)
    return isinstance(weight, QuantizedTensor) and stored_bits(weight) <= 6


def _kept(model: torch.nn.Module, key: str) -> torch.Tensor:
    weight = comfy.utils.get_attr(model, key)
    kept: torch.Tensor = getattr(weight, "data", weight)
    return kept
