"""Guiders that hold further models: those of them that are the realigned MODEL become each model in turn."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import comfy.samplers
from comfy.model_patcher import ModelPatcher

from ..models.options import copied

Swap = Callable[[ModelPatcher], ModelPatcher]
ITS_OWN = ("model_patcher", "loaded_models")  # attributes of a guider's own model


def held_by(guider: Any) -> Iterator[ModelPatcher]:
    """The MODELs in a guider's attributes, in lists and in guiders that it holds, but its own."""
    for name, value in vars(guider).items():
        if name not in ITS_OWN:
            yield from _models(value)


def _models(value: Any) -> Iterator[ModelPatcher]:
    if isinstance(value, ModelPatcher):
        yield value
    elif isinstance(value, comfy.samplers.CFGGuider):
        yield value.model_patcher
        yield from held_by(value)
    elif type(value) in (list, tuple, dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _models(one)


def for_model(guider: Any, patcher: ModelPatcher, swap: Swap) -> Any:
    """A copy of the guider for another model. patcher: its own there. swap: of the further models that it holds."""
    own = copy.copy(guider)
    for name, value in vars(guider).items():
        if name not in ITS_OWN:
            setattr(own, name, _swapped(value, swap))
    options = guider.model_options if patcher is guider.model_patcher else patcher.model_options
    own.model_patcher, own.model_options = patcher, copied(options)
    return own


def _swapped(value: Any, swap: Swap) -> Any:
    if isinstance(value, ModelPatcher):
        return swap(value)
    if isinstance(value, comfy.samplers.CFGGuider):
        return for_model(value, swap(value.model_patcher), swap)
    if type(value) in (list, tuple):
        own = [_swapped(one, swap) for one in value]
        return value if all(a is b for a, b in zip(own, value)) else type(value)(own)
    if type(value) is dict:
        own_dict = {key: _swapped(one, swap) for key, one in value.items()}
        return value if all(own_dict[key] is one for key, one in value.items()) else own_dict
    return value
