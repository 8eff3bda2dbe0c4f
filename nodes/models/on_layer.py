"""What a LoRA's patch of one weight adds to its layer's output, in the host's own arithmetic (comfy/weight_adapter)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.weight_adapter
import torch
from comfy.weight_adapter.bypass import BypassForwardHook
from torch import Tensor
from torch.nn import functional as F

from .factors import acts
from .layers import is_convolution, is_matrix, is_packed, weight_shape

# The host's adapters that only add to a layer's output, and where their weights have DoRA's scale, which does not.
ADDITIVE = {"lora": 4, "loha": 7, "lokr": 8}
NORMS = (torch.nn.LayerNorm, torch.nn.GroupNorm, torch.nn.RMSNorm)


class CannotShareError(Exception):
    """Why an anchor cannot run on the reference's weights. The message ends the sentence “… because”."""


class Difference:
    """A plain difference of a layer's weight or bias, with the interface of the host's adapters.

    The layer's output is linear in both, so that a difference of either adds the layer's output for it.
    """

    def __init__(self, layer: torch.nn.Module, name: str, difference: Tensor, scale: float):
        self.layer, self.name, self.scale = layer, name, scale
        self.weights: tuple[Tensor, ...] = (difference,)

    def h(self, x: Tensor, base_out: Tensor) -> Tensor:
        layer, difference = self.layer, self.scale * self.weights[0].to(x.dtype)
        if self.name == "bias":
            channels = 1 if isinstance(layer, torch.nn.GroupNorm) or is_convolution(layer) else base_out.ndim - 1
            return difference.reshape(-1, *[1] * (base_out.ndim - 1 - channels)).expand_as(base_out)
        if is_matrix(layer):
            return F.linear(x, difference)
        if isinstance(layer, torch.nn.LayerNorm):
            return F.layer_norm(x, layer.normalized_shape, difference, None, layer.eps)
        if isinstance(layer, torch.nn.RMSNorm):
            return F.rms_norm(x, layer.normalized_shape, difference, layer.eps)
        if isinstance(layer, torch.nn.GroupNorm):
            return F.group_norm(x, layer.num_groups, difference, None, layer.eps)
        convolve = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[difference.ndim]
        return convolve(x, difference, None, layer.stride, layer.padding, layer.dilation)


@dataclass
class OnLayer:
    """One adapter on one layer. column: whose anchor it is. offset: (dim, start, size) of the weight it changes.
    scale: of the product of its two factors, where it is no more than that; None for others."""

    column: int
    adapter: Any
    offset: tuple[int, int, int] | None
    scale: float | None = None
    _factors: tuple[Tensor, Tensor] | None = None  # down and up, transposed, while they are on the device

    def use(self, weights: tuple[Any, ...]) -> None:
        """The adapter's weights on the device, or none of them."""
        self.adapter.weights = weights
        self._factors = (weights[1].T, weights[0].T) if weights and self.scale is not None else None

    def add_to(self, output: Tensor, x: Tensor, strength: float, out_dim: int) -> None:
        """Adds `strength` times the adapter's part to the layer's output. x: its input. out_dim: the output's axis that
        the weight's rows are."""
        target = output
        if self.offset is not None:
            dim, start, size = self.offset
            if dim == 0:  # rows of the weight: channels of the output
                target = output.narrow(out_dim, start, size)
            else:
                x = x.narrow(out_dim, start, size)
        factors = self._factors
        if factors is not None and factors[0].dtype == x.dtype == target.dtype and output.is_contiguous():
            down, up = factors
            rows = x.reshape(-1, x.shape[-1]) @ down  # einops takes as long as the products of a small layer
            target.view(-1, target.shape[-1]).addmm_(rows, up, alpha=strength * self.scale)  # type: ignore[operator]
        else:
            target.add_(self.adapter.h(x, target), alpha=strength)


def on_layer(model: torch.nn.Module, column: int, key: str, entry: Any) -> OnLayer:
    """key, entry: of the host's `ModelPatcher.patches`. Raises CannotShareError for a patch that can only be merged."""
    strength, patch, strength_model, offset, function = entry
    path, _, name = key.rpartition(".")
    try:
        layer = model.get_submodule(path)
    except AttributeError:
        raise CannotShareError(f"it changes {key}, which belongs to no layer") from None
    if is_packed(
        model, key
    ):  # a LoRA beside the weights would be another model than the host's, of which λ = 1 is the run
        raise CannotShareError("ComfyUI rounds weights of 4 bits to others when it merges a LoRA into them")
    if strength_model != 1.0:
        raise CannotShareError(f"it scales the weight of {key}")
    if isinstance(patch, comfy.weight_adapter.WeightAdapterBase):
        adapter = _adapter(layer, patch, key, strength, function)
        if not acts(adapter, layer, offset):
            raise CannotShareError(f"the factors for {key} have other dimensions than the layer")
        return OnLayer(column, adapter, offset, _scale(layer, adapter))
    if not (isinstance(patch, tuple) and patch[0] == "diff" and len(patch[1]) == 1 and offset is None):
        raise CannotShareError(f"its patch of {key} replaces the weight")
    if name not in ("weight", "bias") or not (_multiplies(layer) or isinstance(layer, NORMS)):
        raise CannotShareError(f"it changes {key} of a {type(layer).__name__}")
    difference = patch[1][0] if function is None else function(patch[1][0])
    if tuple(difference.shape) != weight_shape(layer, name):
        raise CannotShareError(f"it changes the shape of {key}")
    _check_plain(layer, key)
    return OnLayer(column, Difference(layer, name, difference, strength), None)


def _scale(layer: torch.nn.Module, adapter: Any) -> float | None:
    """Of up · down, where an adapter of the host's is that alone."""
    if adapter.name != "lora" or not is_matrix(layer):
        return None
    up, down, alpha, mid = adapter.weights[:4]
    if mid is not None or up.ndim != 2 or down.ndim != 2 or isinstance(alpha, Tensor):
        return None
    return float(adapter.multiplier) * (1.0 if alpha is None else float(alpha) / len(down))


def _multiplies(layer: torch.nn.Module) -> bool:
    return is_matrix(layer) or is_convolution(layer)


def _adapter(layer: torch.nn.Module, patch: Any, key: str, strength: float, function: Any) -> Any:
    """A copy of the host's adapter that knows its layer. Raises CannotShareError for one that can only be merged."""
    if patch.name not in ADDITIVE:
        raise CannotShareError(f"it is a {patch.name} adapter, which changes more than it adds")
    if not _multiplies(layer):
        raise CannotShareError(f"it changes {key} of a {type(layer).__name__}")
    if patch.weights[ADDITIVE[patch.name]] is not None:
        raise CannotShareError("it is a DoRA, which scales the reference's weights")
    if patch.name == "lora" and patch.weights[5] is not None:
        raise CannotShareError(f"it changes the shape of {key}")
    if is_convolution(layer) and (layer.groups != 1 or layer.padding_mode != "zeros"):
        raise CannotShareError(f"it is a {patch.name} on the convolution {key}")
    patch = copy.copy(patch)
    if function is not None:
        patch.weights = _with_function(patch, function, key)
    return BypassForwardHook(layer, patch, multiplier=strength).adapter


def _check_plain(layer: torch.nn.Module, key: str) -> None:
    if is_convolution(layer) and (layer.groups != 1 or layer.padding_mode != "zeros"):
        raise CannotShareError(f"it changes the grouped or padded convolution {key}")


def _with_function(patch: Any, function: Callable[[Tensor], Tensor], key: str) -> tuple[Any, ...]:
    """The adapter of function(ΔW), for a function that moves the weight's rows: it acts on the up matrix alone."""
    if patch.name != "lora" or patch.weights[3] is not None:
        raise CannotShareError(f"the host rearranges {key}")
    up, down = (w.float().flatten(1) for w in patch.weights[:2])
    if not torch.allclose(function(up) @ down, function(up @ down), atol=1e-5):
        raise CannotShareError(f"the host rearranges {key}")
    return (function(patch.weights[0]), *patch.weights[1:])
