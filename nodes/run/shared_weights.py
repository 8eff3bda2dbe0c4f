"""Reference and LoRA anchors in one batched call of the host's `calc_cond_batch`."""

from __future__ import annotations

import copy
import logging
import math
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import comfy.controlnet
import comfy.sampler_helpers
import comfy.samplers
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from .adapters import RowAdapters, RowsError, Strength
from .own_state import Conditioning
from .own_weights import KEY, set_own_cfg
from .sharing import CannotShareError

MERGED = -1  # the place of the model at strengths λ, beside the reference (0) and the anchors (1 … K)
Conds = list[dict[str, Any]]


class Batch:
    """The models that run on the reference's weights: each has a guider of its own over the one prepared model.

    The first guider to ask the host for its conditionings has those of all the others answered in the same call; the
    others find their answers waiting.
    """

    @staticmethod
    def check(guider: Any, own_conds: tuple[Conditioning | None, Conditioning | None]) -> None:
        """Raise CannotShareError where the host's state cannot serve two models in one batch."""
        every = [c for conds in guider.conds.values() for c in conds]
        if any(isinstance(net, comfy.controlnet.ControlLora) for c in every for net in _controls(c)):
            raise CannotShareError("a ControlLora is built from each model's own weights")
        if any(conds is not None for conds in own_conds):
            every += [c for conds in own_conds if conds for c in comfy.sampler_helpers.convert_cond(conds)]
            kinds = ("control", "hooks", "gligen", "area", "mask")
            if any(c.get(kind) is not None for c in every for kind in kinds):
                raise CannotShareError("its own conditioning comes with ControlNets, hooks, areas or masks")

    def __init__(
        self,
        guider: Any,
        adapters: RowAdapters,
        places: Sequence[int],
        cfg: float | None,
        own_conds: tuple[Conditioning | None, Conditioning | None],
    ):
        self.adapters, self.places, self._cfg = adapters, places, cfg
        self._given = [key for key, conds in zip(("positive", "negative"), own_conds) if conds is not None]
        self.together = self._may_join(guider)
        self._merged: list[Strength] = []
        self._guiders: dict[int, Any] = {}
        self._layout: list[int] = []  # the place of each conditioning in the call that is being computed
        for key, conds in zip(("positive", "negative"), own_conds):
            if conds is not None:  # encoded by the host with the rest, as what they are
                guider.conds[_own(key)] = [{**c, "prompt_type": key} for c in comfy.sampler_helpers.convert_cond(conds)]

    @staticmethod
    def _may_join(guider: Any) -> bool:
        """Whether nothing in the run reads or keeps the batch in a way that more conditionings would upset."""
        options = guider.model_options
        if "model_function_wrapper" in options or "context_handler" in options:
            return False
        nets = {net for conds in guider.conds.values() for c in conds for net in _controls(c)}
        return all(type(net).__module__.startswith("comfy.") for net in nets)

    def add_wrappers(self, model_options: dict[str, Any]) -> None:
        for kind, wrapper in (
            (WrappersMP.CALC_COND_BATCH, self._calc_cond_batch),
            (WrappersMP.APPLY_MODEL, self._apply_model),
        ):
            add_wrapper_with_key(kind, KEY, wrapper, model_options, is_model_options=True)

    @contextmanager
    def prepared(self, guider: Any) -> Iterator[None]:
        """While the context is open, `predict` works. guider: the reference's, with its conditionings processed."""
        options = {**guider.model_options, "transformer_options": {**guider.model_options["transformer_options"]}}
        wrappers = options["transformer_options"]["wrappers"]
        options["transformer_options"]["wrappers"] = {
            kind: by_key for kind, by_key in wrappers.items() if kind != WrappersMP.PREDICT_NOISE
        }
        own = {_own(key): guider.conds.pop(_own(key)) for key in self._given}
        for place in (MERGED, 0, *self.places):
            twin = copy.copy(guider)
            twin.model_options = options  # without the wrapper that would ask for the mixture again
            if place > 0:
                set_own_cfg(twin, self._cfg)
                conds = {**guider.conds, **{key: own[_own(key)] for key in self._given}}
            else:
                conds = guider.conds
            if place != 0:  # patches that keep something per conditioning know it by its uuid
                twin.conds = {key: [{**c, "uuid": uuid.uuid4()} for c in value] for key, value in conds.items()}
            self._guiders[place] = twin
        with self.adapters.injected():
            try:
                yield
            finally:
                self._guiders = {}

    def merge(self, lambdas: Sequence[Strength]) -> None:
        """Set the weights of the model at MERGED, θ_ref + Σ λ_k Δθ_k. lambdas: one per anchor of the realignment."""
        self._merged = [lambdas[place - 1] for place in self.places]

    def predict(
        self, places: Sequence[int], x: Tensor, timestep: Tensor, model_options: dict[str, Any], seed: Any
    ) -> dict[int, Tensor]:
        """D of each of the models, in their order, with the guidance of its own guider."""
        out = {}
        self._waiting: dict[int, list[tuple[Tensor, Sequence[Conds | None], list[Tensor]]]] = {}
        self._options = model_options
        for i, place in enumerate(places):
            self._turn, self._later, self._number = place, places[i + 1 :], 0
            out[place] = self._guiders[place](x, timestep, model_options=model_options, seed=seed)
        return out

    def _calc_cond_batch(
        self, executor: Any, model: Any, conds: list[Conds | None], x: Tensor, timestep: Tensor, options: dict[str, Any]
    ) -> list[Tensor]:
        number, self._number = self._number, self._number + 1
        waiting = self._waiting.get(self._turn, [])
        if number < len(waiting):
            asked_x, asked, answers = waiting[number]
            if asked_x is x and len(asked) == len(conds) and all(a is c for a, c in zip(asked, conds)):
                return answers
            self.together = False  # this run asks each model differently: join no more
        asked_by = {self._turn: conds}
        if self.together and number == 0:
            for place in self._later:
                translated = self._translated(conds, place)
                if translated is not None:
                    asked_by[place] = translated
        try:
            answers = self._compute(executor, model, asked_by, x, timestep, options)
        except RowsError:
            logging.info("Realign: a layer mixes the batch, so that reference and anchor are computed one by one.")
            self.together = False
            asked_by = {self._turn: conds}
            answers = self._compute(executor, model, asked_by, x, timestep, options)
        for place, answer in answers.items():
            if place != self._turn:
                self._waiting.setdefault(place, []).append((x, asked_by[place], answer))
        return answers[self._turn]

    def _compute(
        self,
        executor: Any,
        model: Any,
        asked_by: dict[int, Sequence[Conds | None]],
        x: Tensor,
        timestep: Tensor,
        options: dict[str, Any],
    ) -> dict[int, list[Tensor]]:
        self._layout = [place for place, conds in asked_by.items() for _ in conds]
        self._period = len(next(iter(asked_by.values())))
        try:
            outs = executor(model, [c for conds in asked_by.values() for c in conds], x, timestep, options)
        finally:
            self._layout = []
        answers = {}
        for place, conds in asked_by.items():
            answers[place], outs = outs[: len(conds)], outs[len(conds) :]
        return answers

    def _translated(self, conds: Sequence[Conds | None], place: int) -> list[Conds | None] | None:
        """What the guider of `place` will ask for where the one whose turn it is asks for `conds`; None: unknown."""
        ours, theirs = self._guiders[self._turn], self._guiders[place]
        keys = {id(value): key for key, value in ours.conds.items()}
        out: list[Conds | None] = []
        for cond in conds:
            if cond is not None and id(cond) not in keys:
                return None
            out.append(None if cond is None else theirs.conds[keys[id(cond)]])
        if ours.cfg != theirs.cfg and type(ours) is comfy.samplers.CFGGuider:
            skipped = math.isclose(theirs.cfg, 1.0) and not self._options.get("disable_cfg1_optimization", False)
            out[1] = None if skipped else theirs.conds.get("negative")
        return out

    def _apply_model(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """Around BaseModel.apply_model(x, t, c_concat, c_crossattn, control, transformer_options, …)."""
        options = args[5]
        places = [self._layout[i] for i in options["cond_or_uncond"]] if self._layout else []
        if not places:
            return executor(*args, **kwargs)
        # Patches know 0 and 1, the conditionings of one model.
        options["cond_or_uncond"] = [i % self._period for i in options["cond_or_uncond"]]
        with self.adapters.rows([self._strengths(place) for place in places]):
            return executor(*args, **kwargs)

    def _strengths(self, place: int) -> list[Strength]:
        if place == MERGED:
            return self._merged
        return [float(place == own) for own in self.places]


def _own(key: str) -> str:
    return f"{KEY}_{key}"


def _controls(cond: dict[str, Any]) -> Iterator[Any]:
    net = cond.get("control")
    while net is not None:
        yield net
        net = net.previous_controlnet
