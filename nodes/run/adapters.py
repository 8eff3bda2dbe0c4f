"""LoRA anchors in the forward pass: one weight copy, with a strength for each anchor's adapters.

A forward hook on each adapted layer adds what the adapters add, at the strengths that are set for the whole call: zeros
are the reference, a unit vector is an anchor, λ the model of mixed weights. The adapters' arithmetic is the host's own
(comfy/weight_adapter, bypass mode). No weight is patched.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.weight_adapter
import torch
from comfy.model_patcher import ModelPatcher
from comfy.weight_adapter.bypass import BypassForwardHook
from torch import Tensor
from torch.nn import functional as F

from ..models.factors import acts
from ..models.options import alike
from .sharing import ADDITIVE, CannotShareError

CONVOLUTIONS = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
MATRICES = (torch.nn.Linear, *CONVOLUTIONS)
NORMS = (torch.nn.LayerNorm, torch.nn.GroupNorm, torch.nn.RMSNorm)


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
            channels = 1 if isinstance(layer, (torch.nn.GroupNorm, *CONVOLUTIONS)) else base_out.ndim - 1
            return difference.reshape(-1, *[1] * (base_out.ndim - 1 - channels)).expand_as(base_out)
        if isinstance(layer, torch.nn.Linear):
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
class _Stored:
    index: int


@dataclass
class _OnLayer:
    """One adapter on one layer. column: whose anchor it is. offset: (dim, start, size) of the weight it changes."""

    column: int
    adapter: Any
    offset: tuple[int, int, int] | None

    def h(self, x: Tensor, base_out: Tensor, out_dim: int) -> tuple[Tensor, Tensor]:
        """What the adapter adds, and the part of the output it is added to. Slices of the rows it acts on."""
        if self.offset is None:
            return self.adapter.h(x, base_out), base_out
        dim, start, size = self.offset
        if dim == 0:  # rows of the weight: channels of the output
            part = base_out.narrow(out_dim, start, size)
            return self.adapter.h(x, part), part
        return self.adapter.h(x.narrow(out_dim, start, size), base_out), base_out


class Adapters:
    """The adapters of several anchors on one model: a column for each anchor."""

    def __init__(self, reference: ModelPatcher):
        self.layers: dict[str, list[_OnLayer]] = {}
        self._columns = 0
        self._called: set[str] = set()
        self._model = reference.model
        self._dtype = reference.model.get_dtype_inference()
        self._strengths: Sequence[float] | None = None  # one per column, while a model is asked
        # The host moves and counts a module's parameters; the adapters read them from there once they are loaded.
        self._tensors = torch.nn.ParameterList()
        self._adapters: list[tuple[Any, list[Any]]] = []  # with its weights, a tensor as its place in _tensors
        self.patcher = ModelPatcher(self._tensors, reference.load_device, reference.offload_device)

    def add(self, patches: dict[str, list[Any]]) -> None:
        """Another column. patches: an anchor's own weight patches, beyond the reference's.

        Raises CannotShareError, and adds nothing, where one of them cannot be applied in the forward pass.
        """
        parts = [
            (key.rpartition(".")[0], self._on_layer(key, entry))
            for key, entries in patches.items()
            for entry in entries
        ]
        for path, part in parts:
            self.layers.setdefault(path, []).append(part)
            weights = list(part.adapter.weights)
            for i, value in enumerate(weights):
                if isinstance(value, Tensor):
                    weights[i] = _Stored(len(self._tensors))
                    self._tensors.append(torch.nn.Parameter(value.to(self._dtype), requires_grad=False))
            self._adapters.append((part.adapter, weights))
        self._columns += 1
        self.patcher.size = 0  # counted anew

    def _on_layer(self, key: str, entry: Any) -> _OnLayer:
        strength, patch, strength_model, offset, function = entry
        path, _, name = key.rpartition(".")
        try:
            layer = self._model.get_submodule(path)
        except AttributeError:
            raise CannotShareError(f"it changes {key}, which belongs to no layer") from None
        if strength_model != 1.0:
            raise CannotShareError(f"it scales the weight of {key}")
        if isinstance(patch, comfy.weight_adapter.WeightAdapterBase):
            adapter = _adapter(layer, patch, key, strength, function)
            if not acts(adapter, layer, offset):
                raise CannotShareError(f"the factors for {key} have other dimensions than the layer")
            return _OnLayer(self._columns, adapter, offset)
        if not (isinstance(patch, tuple) and patch[0] == "diff" and len(patch[1]) == 1 and offset is None):
            raise CannotShareError(f"its patch of {key} replaces the weight")
        if name not in ("weight", "bias") or not isinstance(layer, (*MATRICES, *NORMS)):
            raise CannotShareError(f"it changes {key} of a {type(layer).__name__}")
        difference = patch[1][0] if function is None else function(patch[1][0])
        if difference.shape != getattr(layer, name).shape:
            raise CannotShareError(f"it changes the shape of {key}")
        _check_plain(layer, key)
        return _OnLayer(self._columns, Difference(layer, name, difference, strength), None)

    @contextmanager
    def injected(self) -> Iterator[None]:
        """While the context is open, the layers apply the adapters as `at` says. The host has loaded
        `patcher` by then, or as much of it as had room."""
        device = self.patcher.load_device
        handles = []
        try:
            for adapter, weights in self._adapters:
                adapter.weights = tuple(
                    self._tensors[w.index].to(device) if isinstance(w, _Stored) else w for w in weights
                )
            for path, parts in self.layers.items():
                layer = self._model.get_submodule(path)
                handles.append(layer.register_forward_hook(self._hook(path, parts), with_kwargs=True))
            yield
        finally:
            for handle in handles:
                handle.remove()
            for adapter, _ in self._adapters:
                adapter.weights = ()

    @contextmanager
    def at(self, strengths: Sequence[float]) -> Iterator[None]:
        """strengths: one per column, for all that is computed while the context is open."""
        self._strengths = strengths
        try:
            yield
        finally:
            self._strengths = None

    def unreached(self) -> str | None:
        """A layer that did not run while the models were asked, so that its adapters had no effect."""
        if len(self._called) == len(self.layers):
            return None
        return next(path for path in self.layers if path not in self._called)

    def _hook(self, path: str, parts: list[_OnLayer]) -> Callable[..., Tensor | None]:
        # A weight's second axis is the last axis of a matrix's input and the channels of a convolution's.
        out_dim = -1 if isinstance(self._model.get_submodule(path), torch.nn.Linear) else 1

        def add(layer: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor | None:
            if self._strengths is None:
                return None
            self._called.add(path)
            x = args[0] if args else kwargs["input"]
            for part in parts:
                strength = self._strengths[part.column]
                if strength:
                    added, target = part.h(x, output, out_dim)
                    target.add_(added, alpha=strength)
            return output

        return add


class AdapterCache:
    """The adapters of the last set of anchors, so that the next run finds them where the host has loaded them."""

    def __init__(self) -> None:
        self._key: Any = None

    def of(
        self, reference: ModelPatcher, patches: dict[int, dict[str, list[Any]]]
    ) -> tuple[Adapters, dict[int, CannotShareError]]:
        """patches: by the anchor's index. Returns the adapters, a column for each anchor that fits, and why others do
        not."""
        key = reference.model, reference.model.get_dtype_inference(), patches
        if (
            self._key is None
            or self._key[0] is not key[0]
            or self._key[1] != key[1]
            or not alike(self._key[2], patches)
        ):
            self._adapters, self._unfit = Adapters(reference), {}
            for model, own in patches.items():
                try:
                    self._adapters.add(own)
                except CannotShareError as reason:
                    self._unfit[model] = reason
            self._key = key
        return self._adapters, self._unfit


def _adapter(layer: torch.nn.Module, patch: Any, key: str, strength: float, function: Any) -> Any:
    """A copy of the host's adapter that knows its layer. Raises CannotShareError for one that can only be merged."""
    if patch.name not in ADDITIVE:
        raise CannotShareError(f"it is a {patch.name} adapter, which changes more than it adds")
    if not isinstance(layer, MATRICES):
        raise CannotShareError(f"it changes {key} of a {type(layer).__name__}")
    if patch.weights[ADDITIVE[patch.name]] is not None:
        raise CannotShareError("it is a DoRA, which scales the reference's weights")
    if patch.name == "lora" and patch.weights[5] is not None:
        raise CannotShareError(f"it changes the shape of {key}")
    if not isinstance(layer, torch.nn.Linear) and (layer.groups != 1 or layer.padding_mode != "zeros"):
        raise CannotShareError(f"it is a {patch.name} on the convolution {key}")
    patch = copy.copy(patch)
    if function is not None:
        patch.weights = _with_function(patch, function, key)
    return BypassForwardHook(layer, patch, multiplier=strength).adapter


def _check_plain(layer: torch.nn.Module, key: str) -> None:
    if isinstance(layer, CONVOLUTIONS) and (layer.groups != 1 or layer.padding_mode != "zeros"):
        raise CannotShareError(f"it changes the grouped or padded convolution {key}")


def _with_function(patch: Any, function: Callable[[Tensor], Tensor], key: str) -> tuple[Any, ...]:
    """The adapter of function(ΔW), for a function that moves the weight's rows: it acts on the up matrix alone."""
    if patch.name != "lora" or patch.weights[3] is not None:
        raise CannotShareError(f"the host rearranges {key}")
    up, down = (w.float().flatten(1) for w in patch.weights[:2])
    if not torch.allclose(function(up) @ down, function(up @ down), atol=1e-5):
        raise CannotShareError(f"the host rearranges {key}")
    return (function(patch.weights[0]), *patch.weights[1:])
