"""A run whose models do not fit on the device together: what is said of it, and which of them is streamed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import comfy.model_management as host
from comfy.model_patcher import ModelPatcher

from ..models.memory import Device, Load
from ..models.small_card import advice, own_sizes
from .call import KEY
from .fewer_calls import REUSE
from .realignment import Realignment


def room_note(reference: ModelPatcher, realignment: Realignment, used: Sequence[int], shape: Sequence[int]) -> str:
    """What the node says, and the log once for these models: see `advice`. used: the anchors, 0 … K - 1, of the run."""
    anchors = [realignment.anchors[k] for k in used]
    fewer = realignment.fewer_calls
    patchers = [anchor.patcher for anchor in anchors]
    text = advice(reference, patchers, shape, fewer.calls_per_step if fewer.method == REUSE else None)
    if text:
        known = (tuple(own_sizes(reference, patchers)), tuple(shape), fewer.method)
        if anchors[0].kept.get("room") != known:
            anchors[0].kept["room"] = known
            logging.warning("Realign: %s", text)
    return text


def streamed_anchor(
    reference: ModelPatcher, others: Sequence[ModelPatcher], shape: Sequence[int]
) -> ModelPatcher | None:
    """An anchor that the host is to stream and not the reference, which is asked more often; None where all fit, or
    the order says nothing. others: all that is loaded beside the reference. shape: of the latents."""
    anchors = [one for one in others if type(one.model) is type(reference.model) and not one.is_clone(reference)]
    device = Device.of(reference.load_device)
    is_ordered = device.streams and not any(one.is_dynamic() for one in (reference, *others))
    sizes = [*own_sizes(reference, others), float(reference.model_size())]
    lacking = Load(sizes, []).lacking(device, device.working(reference, shape))
    return anchors[0] if anchors and is_ordered and lacking else None


def reference_first(
    executor: Any,
    reference: ModelPatcher,
    anchor: ModelPatcher,
    others: Sequence[ModelPatcher],
    shape: Sequence[int],
    *args: Any,
    **more: Any,
) -> Any:
    """The host's preparation, in which the reference is given room before the others: they are what is streamed.

    The host gives room to the last of the models first, and the main one is the first of them: so an anchor is the
    main one of this load, and the reference the last of what it brings along. shape and what follows: the host's.
    """
    _make_room(reference, shape)
    anchor.set_additional_models(KEY, [*(one for one in others if one is not anchor), reference])
    try:
        _, conds, loaded = executor(anchor, shape, *args, **more)
    finally:
        anchor.remove_additional_models(KEY)
    return reference.model, conds, [anchor if one is reference else one for one in loaded]


def _make_room(reference: ModelPatcher, shape: Sequence[int]) -> None:
    """A run before may have left the anchor where the reference is to be: the host takes nothing off that it is to
    load again."""
    device = Device.of(reference.load_device)
    own = [one for one in host.current_loaded_models if one.model is not None and one.model.is_clone(reference)]
    need = reference.model_size() - reference.loaded_size() + device.working(reference, shape)
    host.free_memory(need, reference.load_device, own)


def loaded_beside(beside: Sequence[ModelPatcher], executor: Any, model: ModelPatcher, *args: Any, **kwargs: Any) -> Any:
    """Around the host's preparation: what a run asks besides its models is loaded along with them, in one load."""
    key = f"{KEY}_beside"
    model.set_additional_models(key, list(beside))
    try:
        return executor(model, *args, **kwargs)
    finally:
        model.remove_additional_models(key)
