"""The reference, and the anchors that are only LoRAs on its weights: one weight copy, asked one model after the other.

Each is asked in exactly the call it would have alone. So whatever reads the batch, its rows or its conditionings sees a
stock call, and no index arithmetic is needed.
"""

from __future__ import annotations

import copy
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import comfy.controlnet
import comfy.sampler_helpers
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...realign_core import MERGED, on_elements
from ..models.adapters import AdapterCache, Adapters
from ..models.options import OwnOptions, copied
from ..types import Conditioning
from .call import KEY, Question
from .guiders import held_by
from .own_weights import set_own_cfg
from .realignment import Realignment
from .sharing import Beyond, CannotShareError, beyond
from .state import State


class NeedsOwnWeights(Exception):
    """An anchor turned out, in the first step, not to run on the reference's weights."""


class SharedWeights:
    """The reference (model 0) and its LoRA anchors, each with a guider of its own over the one prepared model.

    guider: the reference's. own: what each of the models' anchors has beyond the reference; adapters: a column for each
    of them, None where there are none.
    """

    def __init__(
        self,
        guider: Any,
        realignment: Realignment,
        state: State,
        own: dict[int, Beyond] | None = None,
        adapters: Adapters | None = None,
    ):
        self.own, self.adapters, self._realignment, self._state = own or {}, adapters, realignment, state
        self.models, self._guider = (0, *self.own), guider
        self._guiders: dict[int, Any] = {}
        self._options: dict[int, OwnOptions] = {}
        self._own_conds = dict(zip(("positive", "negative"), realignment.anchor_conds)) if adapters else {}
        for key, conds in self._own_conds.items():
            if conds is not None:  # encoded by the host with the rest, as what they are
                converted = comfy.sampler_helpers.convert_cond(conds)
                guider.conds[_own(key)] = [{**cond, "prompt_type": key} for cond in converted]

    @classmethod
    def of(
        cls, guider: Any, realignment: Realignment, patchers: dict[int, ModelPatcher], state: State, share: bool = True
    ) -> SharedWeights:
        """With those of the anchors that can run on the reference's weights. Logs why another cannot. patchers: of the
        anchors, by model."""
        reference, own, reasons = guider.model_patcher, {}, {}
        for model, patcher in patchers.items() if share else ():
            if patcher.is_clone(reference):
                try:
                    own[model] = beyond(reference, patcher)
                    _check(guider, realignment.anchor_conds, own[model])
                except CannotShareError as reason:
                    reasons[model] = reason
        own = {model: one for model, one in own.items() if model not in reasons}
        if not own and not reasons:
            return cls(guider, realignment, state)
        anchors = {model: realignment.anchors[model - 1] for model in patchers}
        cache = next(iter(anchors.values())).kept.setdefault("adapters", AdapterCache())
        adapters, unfit = cache.of(reference, {model: one.patches for model, one in own.items()})
        for model, reason in {**reasons, **unfit}.items():
            logging.info(
                "Realign: the anchor “%s” gets a weight copy of its own (more memory), because %s.",
                anchors[model].name,
                reason,
            )
        own = {model: one for model, one in own.items() if model not in unfit}
        return cls(guider, realignment, state, own, adapters if own else None)

    @property
    def networks(self) -> list[torch.nn.Module]:
        """Those that several models use."""
        return [self._guider.model_patcher.model.diffusion_model] if self.own else []

    def to_load(self) -> list[ModelPatcher]:
        """Beside the reference."""
        return [self.adapters.patcher] if self.adapters else []

    def prepared(self, reference: Any, options: dict[str, Any], then: Callable[[], None]) -> None:
        """Calls `then` while the models can be asked. reference: its guider, with its conditionings processed."""
        self._options = {model: OwnOptions(copied(options), options) for model in (*self.models, MERGED)}
        if self.adapters is None:
            then()
            return
        own_conds = {key: reference.conds.pop(_own(key)) for key, own in self._own_conds.items() if own is not None}
        own_options = copied(reference.model_options)
        own_options["transformer_options"]["wrappers"][WrappersMP.PREDICT_NOISE].pop(KEY)  # it asks for the mixture
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
        self._state.prepared((*self.own, MERGED))
        with self.adapters.injected():
            try:
                then()
            finally:
                self._guiders = {}
                reference.conds |= {_own(key): own for key, own in own_conds.items()}  # for another run of it

    def ask(self, question: Question, called: Tensor, merged: Sequence[Tensor] | None) -> dict[int, Tensor]:
        """D by model, for the elements that need it, in the order of asking. called: (K + 1, B) bool. merged: λ per
        anchor, if the model of mixed weights is asked too."""
        out: dict[int, Tensor] = {}
        if merged is not None:
            out[MERGED] = self._mixed_weights(question, merged)
        for model in self.models:
            if bool(called[model].any()):
                out[model] = on_elements(called[model], question.x, partial(self._alone, model, question))
        return out

    def _alone(self, model: int, question: Question, index: Tensor | slice) -> Tensor:
        """D of one model, for some elements of the batch."""
        return self._at(model, [float(model == own) for own in self.own], question.of(index))

    def _at(self, model: int, strengths: Sequence[float], question: Question) -> Tensor:
        """D with these strengths of the adapters. model: whose guider, options and state are used."""
        guider = self._guiders.get(model, question.reference)
        question = replace(question, options=self._options[model].following(question.options))
        with self._state.of(model), self._injected(model):
            if self.adapters is None:
                return question.to(guider)
            with self.adapters.at(strengths):
                answer = question.to(guider)
        unreached = self.adapters.unreached()
        if unreached:
            raise NeedsOwnWeights(f"the model uses the weight of {unreached} outside of its layer")
        return answer

    @contextmanager
    def _injected(self, model: int) -> Iterator[None]:
        """With the model's own bypass LoRAs in the network."""
        done, injections = [], self.own[model].injections if model in self.own else []
        try:
            for injection in injections:
                done.append(injection)
                injection.inject(self._guider.model_patcher)
            yield
        finally:
            for injection in reversed(done):
                injection.eject(self._guider.model_patcher)

    def _mixed_weights(self, question: Question, lambdas: Sequence[Tensor]) -> Tensor:
        """D at θ_ref + Σ λ_k Δθ_k. Elements of equal λ are asked together: a call has one strength per adapter."""
        own = [lambdas[model - 1] for model in self.own]
        if all(value.ndim == 0 for value in own):
            return self._at(MERGED, [float(value) for value in own], question)
        size = len(question.x)
        table = torch.stack([value.expand(size, *value.shape[1:]).reshape(size) for value in own], 1).tolist()
        out = torch.zeros_like(question.x)
        for strengths, elements in _alike(table):
            index = torch.tensor(elements, device=out.device)
            out[index] = self._at(MERGED, strengths, question.of(index)).to(out.dtype)
        return out


def _alike(table: Sequence[Sequence[float]]) -> Iterator[tuple[list[float], list[int]]]:
    """Elements that have equal strengths: (the strengths, the elements)."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for element, strengths in enumerate(table):
        groups.setdefault(tuple(strengths), []).append(element)
    return ((list(strengths), elements) for strengths, elements in groups.items())


def _check(guider: Any, own_conds: tuple[Conditioning | None, Conditioning | None], own: Beyond) -> None:
    """Raise CannotShareError where the host's state cannot serve two models on one weight copy."""
    reference = guider.model_patcher
    if any(held.is_clone(reference) and held.get_attachment(KEY) is None for held in held_by(guider)):
        raise CannotShareError("the guider has the reference itself for another of its models")
    every = [c for conds in guider.conds.values() for c in conds]
    if any(isinstance(net, comfy.controlnet.ControlLora) for c in every for net in _controls(c)):
        raise CannotShareError("a ControlLora is built from each model's own weights")
    if own.injections and any(c.get("hooks") is not None for c in every):
        raise CannotShareError("the host takes bypass LoRAs out of the network while it applies hooks")
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
