"""A LoRA that a model applies in its forward pass, as it is.

Where a model's weights have 8 bits, the host rounds them again once it has merged a LoRA into them, at
random (comfy/float.py), and a good part of a LoRA's effect is then rounding. So on such a model the LoRA stays beside
the weights, as in the host's bypass mode, here for every kind of patch that can be applied so.
"""

from __future__ import annotations

import logging
import uuid
from contextlib import ExitStack
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import PatcherInjection

from .adapters import Adapters
from .layers import is_compiled, is_rounded
from .on_layer import CannotShareError
from .options import additions
from .put_on import compiling


class ForwardLora(PatcherInjection):  # type: ignore[misc]
    """The host puts it into the network when it loads the MODEL, and takes it out when it unloads it.

    patches: of weights, as the host's `ModelPatcher.patches`. Raises CannotShareError for one that can only be merged.
    """

    def __init__(self, patcher: ModelPatcher, patches: dict[str, list[Any]]):
        super().__init__(self._inject, self._eject)
        self.patches = patches
        self._adapters(patcher)
        self._open: dict[int, tuple[torch.nn.Module, ExitStack]] = {}  # by the network's id

    def _adapters(self, patcher: ModelPatcher) -> Adapters:
        adapters = Adapters(patcher)
        adapters.add(self.patches)
        return adapters

    def _inject(self, patcher: ModelPatcher) -> None:
        self._eject(patcher)
        adapters, stack = self._adapters(patcher), ExitStack()
        stack.enter_context(adapters.injected())
        stack.enter_context(adapters.at([1.0]))
        self._open[id(patcher.model)] = patcher.model, stack

    def _eject(self, patcher: ModelPatcher) -> None:
        _, stack = self._open.pop(id(patcher.model), (None, None))
        if stack is not None:
            stack.close()


def with_lora(model: ModelPatcher, patches: dict[Any, Any], strength: float) -> ModelPatcher:
    """A clone of the model with the LoRA on it. patches: as the host's `add_patches` takes them."""
    clone = model.clone()
    clone.add_patches(patches, strength)
    own = {key: additions(model.patches.get(key, []), entries) for key, entries in clone.patches.items()}
    own = {key: entries for key, entries in own.items() if entries}
    parts = [part for part in model.object_patches.values() if isinstance(part, torch.nn.Module)]
    compiled = compiling(model) or any(map(is_compiled, [model.model, *parts]))  # what is compiled runs no hooks
    if compiled or not any(is_rounded(model.model, key) for key in own):
        return clone
    try:
        lora = ForwardLora(model, own)
    except CannotShareError as reason:
        logging.info("Realign: the LoRA is merged into weights that are rounded again, because %s.", reason)
        return clone
    clone = model.clone()
    clone.set_injections(f"realign_{uuid.uuid4()}", [lora])
    return clone


def rounds(reference: ModelPatcher, anchor: ModelPatcher) -> bool:
    """Whether the anchor is a LoRA on the reference that the host merges into weights of 8 bits: then λ = 1 is what λ
    just below 1 is, and no stock run."""
    if not anchor.is_clone(reference):
        return False
    own = (k for k, entries in anchor.patches.items() if additions(reference.patches.get(k, []), entries))
    return any(is_rounded(reference.model, key) for key in own)
