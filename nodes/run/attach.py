"""A reference that brings its anchors along: one wrapper on a MODEL, which every sampler and guider of the host obeys.

Each run is built around the host's own guider (run.py). An anchor with weights of its own gets a whole guider too
(own_weights.py); one that is only a LoRA on the reference is asked on the reference's weights (shared_weights.py).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ...realign_core import Trace
from ..models.described import own_version
from ..models.pair import check_pair
from ..models.put_on import PutOn
from .alone import Alone
from .by_element import may_couple, quoted, unknown_networks
from .call import KEY, Call, first_wrapper, untouched
from .guiders import held_by
from .models import Models
from .own_weights import OwnWeights
from .parts import parts_of
from .picked import Picked, pick, whole
from .planned import Planned, planned
from .realignment import Realignment
from .result import check_result
from .room import loaded_beside, room_note
from .run import Run
from .shared_weights import NeedsOwnWeights
from .state import State

REMEMBERED = 16  # runs of one MODEL whose traces are kept
MARKS = 4096  # numbers of a latent by which it is known again
BESIDE = (
    "Realign: this guider asks a realigned MODEL beside the one that it samples, where λ would have no effect: give it "
    "the realigned MODEL for its main model, or a model without a Realign node here."
)
UNKNOWN = (
    "This latent is of no run of this MODEL that is still known: connect the sampler's own output, before anything "
    f"changes it or takes a part of it; or sample again, where the MODEL has run more than {REMEMBERED} times since."
)
FOLLOWS = (
    "{} may look at the other pictures of a batch, or remember each by its place, and particles change places: where "
    "pictures look wrong, take it away."
)
MIXES = (
    "The network {} is not known to keep the pictures of a batch apart, and particles are one: where pictures look "
    "wrong, sample without particles."
)


class Listener(Protocol):
    """Hears of a run while it goes on."""

    def part(self, plan: Planned, number: int, count: int) -> Any:
        """The host's callback of one of `count` parts, whose trace is filled as it is sampled."""

    def finish(self, picked: Picked | None) -> None:
        """After the run. picked: which particles became its pictures, where there were any."""

    def say(self, text: str) -> None:
        """On the node that runs."""


Listening = Callable[[Realignment, Any, Call], Listener]  # (realignment, guider, call)


def attach(reference: ModelPatcher, realignment: Realignment, listening: Listening | None = None) -> ModelPatcher:
    """A clone of the reference that is sampled together with the anchors. Raises ValueError for unfit anchors."""
    for anchor in realignment.anchors:
        check_pair(reference, anchor.patcher, anchor.name)
    if realignment.is_masked:
        realignment.fewer_calls.check_masked()
    for patcher in (reference, *(anchor.patcher for anchor in realignment.anchors)):
        if KEY in patcher.wrappers.get(WrappersMP.OUTER_SAMPLE, {}):
            raise ValueError(
                "This MODEL is realigned already. Connect the model before its Realign node, and use “Add Anchor” "
                "to mix several anchors."
            )
    clone, attached = reference.clone(), Attached(realignment, listening)
    clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, attached.outer_sample)
    clone.add_callback_with_key(CallbacksMP.ON_PRE_RUN, KEY, attached.pre_run)
    clone.set_attachments(KEY, attached)
    attached.models = Models(realignment, PutOn.of(clone))
    return clone


class Attached:
    """What `attach` puts on a MODEL: the realignment, and the traces of the last runs by the latents they gave."""

    models: Models  # set once all is attached

    def __init__(self, realignment: Realignment, listening: Listening | None):
        self.realignment, self._listening = realignment, listening
        self._running: list[Any] = []  # guiders
        self._said: set[str] = set()
        self._traces: deque[tuple[tuple[int, ...], Tensor, Trace]] = deque(maxlen=REMEMBERED)

    @staticmethod
    def behind(patcher: ModelPatcher) -> Attached | None:
        """What `attach` put on this MODEL, or on the one it was cloned from."""
        found: Attached | None = patcher.get_attachment(KEY)
        return found

    def trace(self, latent: Tensor | None = None) -> Trace:
        """Of the run that gave this latent, or of the last one. Raises ValueError where no run is known to have."""
        if latent is not None:
            packed = comfy.utils.pack_latents(latent.unbind())[0] if latent.is_nested else latent
            for shape, marks, trace in reversed(self._traces):
                if shape == tuple(packed.shape) and torch.equal(marks.to(packed.dtype), _marks(packed)):
                    return trace
            if self._traces:
                raise ValueError(UNKNOWN)
        return self._traces[-1][2] if self._traces else Trace.of([], torch.zeros(0, 0, 0))

    def pre_run(self, patcher: ModelPatcher) -> None:
        """Before the host asks the MODEL. Raises ValueError for a guider that asks it beside its own model."""
        if not self._running:
            raise ValueError(BESIDE)

    def outer_sample(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """Around CFGGuider.outer_sample."""
        guider = executor.class_obj
        if any(guider is one for one in self._running):  # it has taken the wrappers of another of its MODELs as well
            return executor(*args, **kwargs)
        self._running.append(guider)
        try:
            return self._run(executor, guider, Call(*args, kwargs=kwargs))
        finally:
            self._running = [one for one in self._running if one is not guider]

    def _run(self, executor: Any, guider: Any, call: Call) -> Tensor:
        if self.behind(guider.model_patcher) is not self:
            raise ValueError(BESIDE)
        self.models.check(guider)
        parts = parts_of(self.realignment, guider, call)
        plans = [planned(self.realignment, self.models, guider, part, call) for part in parts]
        listener = self._listening(self.realignment, guider, call) if self._listening else None
        self._say(guider, plans, listener)
        state = self.models.state(guider)
        latents = []
        with untouched(guider) as again, self.models.remembering(state) as begin:
            for number, plan in enumerate(plans):
                afresh = partial(again, plan.part.positive)
                afresh()
                if plan.part.cfg is not None:
                    guider.set_cfg(plan.part.cfg)
                own = plan.call
                if listener is not None:
                    own = replace(own, callback=listener.part(plan, number, len(plans)))
                begin()
                latents.append(self._sample(executor, plan, own, state, afresh))
        picked = None
        if self.realignment.steering is None:
            out, trace = whole(latents, plans)
        else:
            picked = pick(self.realignment, self.realignment.steering, plans, latents, call)
            out, trace = picked.latents, picked.trace
        if listener is not None:
            listener.finish(picked)
        check_result(out, None if listener is None else listener.say)
        self._remember(out, trace)
        return out

    def _say(self, guider: Any, planned: Sequence[Planned], listener: Listener | None) -> None:
        """On the node whenever it runs, in the log once: what is to be known of the pair, and of the room for it."""
        reference = guider.model_patcher
        notes = self.models.notes(reference, _used(planned))
        if any(plan.population is not None and plan.part.particles > 1 for plan in planned):
            notes += self._of_particles(guider)
        for note in notes:
            if note not in self._said:
                logging.warning("Realign: %s", note)
        self._said |= {*notes}
        mixed = [plan for plan in planned if plan.alone is None]
        largest = max((plan.call.noise.shape for plan in mixed), key=lambda shape: shape[0], default=None)
        room = room_note(reference, self.realignment, _used(mixed), largest) if largest else ""
        for text in filter(None, [*notes, room] if listener else ()):
            listener.say(text)

    def _of_particles(self, guider: Any) -> list[str]:
        anchors = [anchor.patcher for anchor in self.realignment.anchors]
        found = {
            FOLLOWS: may_couple(guider, anchors),
            MIXES: unknown_networks([guider.model_patcher, *anchors]),
        }
        return [text.format(quoted(names)) for text, names in found.items() if names]

    def _sample(
        self,
        executor: Any,
        plan: Planned,
        call: Call,
        state: State,
        again: Callable[[], None],
        share: bool = True,
    ) -> Tensor:
        """One run of the host's."""
        guider, realignment, trace = executor.class_obj, self.realignment, plan.trace
        plan.part.seeded()
        if realignment.steering is not None and realignment.steering.beside:
            first_wrapper(
                WrappersMP.PREPARE_SAMPLING, partial(loaded_beside, realignment.steering.beside), guider.model_options
            )
        out: Tensor
        model = plan.alone
        if model is not None:
            own = self._own_guider(guider, model, call, state) if model else None
            alone = Alone(own.guider if own else guider, model, trace, call)
            outside = executor.wrappers[: executor.idx]
            out = own.alone(alone.callback, outside) if own else replace(call, callback=alone.callback).on(executor)
            alone.finish()
            return out
        Run(realignment, guider, call, plan.lambdas, plan.used, plan.steps, trace, state, self.models.swap, share)
        try:
            out = call.on(executor)
        except NeedsOwnWeights as error:
            logging.info("Realign: the anchor gets a weight copy of its own, because %s", error)
        else:
            if sum(trace.saved):
                logging.info("Realign: %g model calls, %g saved", trace.model_calls, sum(trace.saved))
            return out
        again()
        trace.clear()
        state.begin()
        return self._sample(executor, plan, call, state, again, share=False)

    def _own_guider(self, guider: Any, model: int, call: Call, state: State) -> OwnWeights:
        """For an anchor that is sampled alone."""
        others = [held for held in held_by(guider) if held.get_attachment(KEY) is None]
        swap = self.models.swap(model, self.realignment.anchors[model - 1].beside(others))
        return OwnWeights(model, swap(guider.model_patcher), guider, call, self.realignment, state, swap)

    def _remember(self, latent: Tensor, trace: Trace) -> None:
        trace.info |= self.realignment.describe() | {"realign": own_version()}
        self._traces.append((tuple(latent.shape), _marks(latent), trace))


def _used(planned: Sequence[Planned]) -> list[int]:
    return sorted({k for plan in planned for k in plan.used})


def _marks(latent: Tensor) -> Tensor:
    """Some of its numbers, evenly spread, on the CPU."""
    flat = latent.detach().flatten()
    return flat[:: max(1, len(flat) // MARKS)].cpu()
