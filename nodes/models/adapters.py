"""LoRA anchors in the forward pass: one weight copy, with a strength for each anchor's adapters.

A forward hook on each adapted layer adds what the adapters add, at the strengths that are set for the whole call: zeros
are the reference, a unit vector is an anchor, λ the model of mixed weights. No weight is patched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from .layers import is_compiled, is_matrix
from .on_layer import CannotShareError, OnLayer, on_layer
from .options import alike


@dataclass
class _Stored:
    index: int


class Adapters:
    """The adapters of several anchors on one model: a column for each anchor."""

    def __init__(self, reference: ModelPatcher):
        self.layers: dict[str, list[OnLayer]] = {}
        self._columns = 0
        self._called: set[str] = set()
        self._model = reference.model
        self._dtype = reference.model.get_dtype_inference()
        self._strengths: Sequence[float] | None = None  # one per column, while a model is asked
        self._eager = False
        # The host moves and counts a module's parameters; the adapters read them from there once they are loaded.
        self._tensors = torch.nn.ParameterList()
        self._parts: list[tuple[OnLayer, list[Any]]] = []  # with its weights, a tensor as its place in _tensors
        # Of the host's core class: where it streams weights on demand, another would have all others unloaded.
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            self._tensors, reference.load_device, reference.offload_device
        )

    def add(self, patches: dict[str, list[Any]]) -> None:
        """Another column. patches: an anchor's own weight patches, beyond the reference's.

        Raises CannotShareError, and adds nothing, where one of them cannot be applied in the forward pass.
        """
        parts = [
            (key.rpartition(".")[0], on_layer(self._model, self._columns, key, entry))
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
            self._parts.append((part, weights))
        self._columns += 1
        self.patcher.size = 0  # counted anew

    @contextmanager
    def injected(self) -> Iterator[None]:
        """While the context is open, the layers apply the adapters as `at` says. The host has loaded
        `patcher` by then, or as much of it as had room."""
        device = self.patcher.load_device
        self._eager = is_compiled(self._model)
        handles = []
        try:
            for part, weights in self._parts:
                part.use(tuple(self._tensors[w.index].to(device) if isinstance(w, _Stored) else w for w in weights))
            for path, parts in self.layers.items():
                layer = self._model.get_submodule(path)
                handles.append(layer.register_forward_hook(self._hook(path, parts), with_kwargs=True))
            yield
        finally:
            for handle in handles:
                handle.remove()
            for part, _ in self._parts:
                part.use(())

    @contextmanager
    def at(self, strengths: Sequence[float]) -> Iterator[None]:
        """strengths: one per column, for all that is computed while the context is open. Code that was compiled without
        the hooks would go on without them: what they act on is not run compiled."""
        self._strengths = strengths
        try:
            with torch.compiler.set_stance("force_eager") if self._eager and any(strengths) else nullcontext():
                yield
        finally:
            self._strengths = None

    def unreached(self) -> str | None:
        """A layer that did not run while the models were asked, so that its adapters had no effect."""
        if len(self._called) == len(self.layers):
            return None
        return next(path for path in self.layers if path not in self._called)

    def _hook(self, path: str, parts: list[OnLayer]) -> Callable[..., Tensor | None]:
        # A weight's second axis is the last axis of a matrix's input and the channels of a convolution's.
        out_dim = -1 if is_matrix(self._model.get_submodule(path)) else 1

        def add(layer: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor | None:
            if self._strengths is None:
                return None
            self._called.add(path)
            x = args[0] if args else kwargs["input"]
            for part in parts:
                strength = self._strengths[part.column]
                if strength:
                    part.add_to(output, x, strength, out_dim)
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
