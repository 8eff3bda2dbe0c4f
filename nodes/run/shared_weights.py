"""The reference, and the anchors that are only LoRAs on its weights: one weight copy, asked one model after the other.

Each is asked in exactly the call it would have alone. So whatever reads the batch, its rows or its conditionings sees a
stock call, and no index arithmetic is needed.
"""

from __future__ import annotations

import copy
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import comfy.controlnet
import comfy.sampler_helpers
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...realign_core import MERGED, on_elements
from ..models.anchor import Anchor
from ..types import Conditioning
from .adapters import AdapterCache, Adapters
from .call import KEY, Question
from .own_weights import set_own_cfg
from .realignment import Realignment
from .sharing import CannotShareError, own_patches


class NeedsOwnWeights(Exception):
    """An anchor turned out, in the first step, not to run on the reference's weights."""


class SharedWeights:
    """The reference (model 0) and its LoRA anchors, each with a guider of its own over the one prepared model.

    guider: the reference's. adapters: a column for each of the models' anchors; None where there are none.
    """

    def __init__(self, guider: Any, realignment: Realignment, models: Sequence[int], adapters: Adapters | None):
        self.models, self.adapters, self._realignment = (0, *models), adapters, realignment
        self._guiders: dict[int, Any] = {}
        self._own_conds = dict(zip(("positive", "negative"), realignment.anchor_conds)) if adapters else {}
        for key, conds in self._own_conds.items():
            if conds is not None:  # encoded by the host with the rest, as what they are
                converted = comfy.sampler_helpers.convert_cond(conds)
                guider.conds[_own(key)] = [{**cond, "prompt_type": key} for cond in converted]

    @classmethod
    def of(cls, guider: Any, realignment: Realignment, anchors: dict[int, Anchor], share: bool = True) -> SharedWeights:
        """With those of the anchors, by model, that can run on the reference's weights. Logs why another cannot."""
        reference, patches, reasons = guider.model_patcher, {}, {}
        for model, anchor in anchors.items() if share else ():
            if anchor.patcher.is_clone(reference):
                try:
                    _check(guider, realignment.anchor_conds)
                    patches[model] = own_patches(reference, anchor.patcher, KEY)
                except CannotShareError as reason:
                    reasons[model] = reason
        if not patches and not reasons:
            return cls(guider, realignment, (), None)
        cache = next(iter(anchors.values())).kept.setdefault("adapters", AdapterCache())
        adapters, unfit = cache.of(reference, patches)
        for model, reason in {**reasons, **unfit}.items():
            logging.info(
                "Realign: the anchor “%s” gets a weight copy of its own (more memory), because %s.",
                anchors[model].name,
                reason,
            )
        models = [model for model in patches if model not in unfit]
        return cls(guider, realignment, models, adapters if models else None)

    def to_load(self) -> list[ModelPatcher]:
        """Beside the reference."""
        return [self.adapters.patcher] if self.adapters else []

    def prepared(self, reference: Any, options: dict[str, Any], then: Callable[[], None]) -> None:
        """Calls `then` while the models can be asked. reference: its guider, with its conditionings processed."""
        if self.adapters is None:
            then()
            return
        own_conds = {key: reference.conds.pop(_own(key)) for key, own in self._own_conds.items() if own is not None}
        stages = dict(reference.model_options["transformer_options"]["wrappers"])
        stages.pop(WrappersMP.PREDICT_NOISE)  # a twin must not ask for the mixture again
        own_options = {**reference.model_options}
        own_options["transformer_options"] = {**own_options["transformer_options"], "wrappers": stages}
        for model in (*self.models[1:], MERGED):
            twin = copy.copy(reference)
            twin.model_options = own_options
            twin.conds = dict(reference.conds)
            if model != MERGED:
                set_own_cfg(twin, self._realignment.anchor_cfg)
                twin.conds |= own_conds
            # Patches that keep something per conditioning know it by its uuid.
            twin.conds = {key: [{**c, "uuid": uuid.uuid4()} for c in value] for key, value in twin.conds.items()}
            self._guiders[model] = twin
        with self.adapters.injected():
            try:
                then()
            finally:
                self._guiders = {}

    def ask(self, question: Question, called: Tensor, merged: Sequence[Tensor] | None) -> dict[int, Tensor]:
        """D by model, for the elements that need it, in the order of asking. called: (K + 1, B) bool. merged: λ per
        anchor, if the model of mixed weights is asked too."""
        out: dict[int, Tensor] = {}
        if merged is not None:
            out[MERGED] = self._mixed_weights(question, merged)
        for model in self.models:
            if bool(called[model].any()):
                guider = self._guiders.get(model, question.reference)
                strengths = [float(model == own) for own in self.models[1:]]
                out[model] = on_elements(
                    called[model], question.x, lambda i, g=guider, s=strengths: self._at(s, question.of(i), g)
                )
        return out

    def _at(self, strengths: Sequence[float], question: Question, guider: Any) -> Tensor:
        if self.adapters is None:
            return question.to(guider)
        with self.adapters.at(strengths):
            answer = question.to(guider)
        unreached = self.adapters.unreached()
        if unreached:
            raise NeedsOwnWeights(f"the model uses the weight of {unreached} outside of its layer")
        return answer

    def _mixed_weights(self, question: Question, lambdas: Sequence[Tensor]) -> Tensor:
        """D at θ_ref + Σ λ_k Δθ_k. Elements of equal λ are asked together: a call has one strength per adapter."""
        guider = self._guiders[MERGED]
        own = [lambdas[model - 1] for model in self.models[1:]]
        if all(value.ndim == 0 for value in own):
            return self._at([float(value) for value in own], question, guider)
        size = len(question.x)
        table = torch.stack([value.expand(size, *value.shape[1:]).reshape(size) for value in own], 1).tolist()
        out = torch.zeros_like(question.x)
        for strengths, elements in _alike(table):
            index = torch.tensor(elements, device=out.device)
            out[index] = self._at(strengths, question.of(index), guider).to(out.dtype)
        return out


def _alike(table: Sequence[Sequence[float]]) -> Iterator[tuple[list[float], list[int]]]:
    """Elements that have equal strengths: (the strengths, the elements)."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for element, strengths in enumerate(table):
        groups.setdefault(tuple(strengths), []).append(element)
    return ((list(strengths), elements) for strengths, elements in groups.items())


def _check(guider: Any, own_conds: tuple[Conditioning | None, Conditioning | None]) -> None:
    """Raise CannotShareError where the host's state cannot serve two models on one weight copy."""
    every = [c for conds in guider.conds.values() for c in conds]
    if any(isinstance(net, comfy.controlnet.ControlLora) for c in every for net in _controls(c)):
        raise CannotShareError("a ControlLora is built from each model's own weights")
    if any(conds is not None for conds in own_conds):
        every += [c for conds in own_conds if conds for c in comfy.sampler_helpers.convert_cond(conds)]
        kinds = ("control", "hooks", "gligen", "area", "mask")
        if any(c.get(kind) is not None for c in every for kind in kinds):
            raise CannotShareError("its own conditioning comes with ControlNets, hooks, areas or masks")


def _own(key: str) -> str:
    return f"{KEY}_{key}"


def _controls(cond: dict[str, Any]) -> Iterator[Any]:
    net = cond.get("control")
    while net is not None:
        yield net
        net = net.previous_controlnet
