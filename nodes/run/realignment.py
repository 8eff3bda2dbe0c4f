"""A reference that brings its anchors along: one wrapper on a MODEL, which every sampler and guider of the host obeys.

Each run is built around the host's own guider (run.py). An anchor with weights of its own gets a whole guider too
(anchor_guider.py); one that is only a LoRA on the reference runs in the reference's own batch (batching.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...realign_core import LambdaSchedule, Sweep, Trace
from ..live import Progress
from ..models.anchor import Anchor, check_mask
from ..models.pair import check_pair
from .alone import Alone
from .fewer_calls import OFF, FewerCalls
from .own_state import Conditioning
from .own_weights import KEY, AnchorGuider, Prepared, restore, taken
from .parts import SweptRun
from .record import Record
from .run import Lambda, NeedsOwnWeights, Run


@dataclass(eq=False)
class Realignment:
    """What is mixed, and how. lambdas: σ of a run (T + 1) -> T rows of one λ per anchor, without their masks.

    sweep: one λ per batch element, which the rows of `swept` anchors are multiplied by. anchor_cfg, anchor_conds: the
    anchors' own; None: the reference's.
    """

    anchors: Sequence[Anchor]
    lambdas: Callable[[list[float]], list[list[Lambda]]]
    anchor_cfg: float | None = None
    anchor_conds: tuple[Conditioning | None, Conditioning | None] = (None, None)
    mask: Tensor | None = None
    fewer_calls: FewerCalls = field(default_factory=lambda: FewerCalls(OFF, 2.0))
    sweep: Sweep | None = None
    # Of the run, or the part of a sweep, that goes on or was the last:
    running: Run | None = None  # while it has more than one model
    rows: list[list[Lambda]] = field(default_factory=list)  # λ of its steps, per anchor, without masks
    eta: float | None = None  # for RealignSampler; None: the plan's
    record: Record = field(default_factory=Record)
    finished: Trace = field(default_factory=Trace)  # of the last whole run

    @classmethod
    def of(
        cls,
        anchor: Anchor,
        lambda_: float,
        lambda_schedule: LambdaSchedule | Sweep | None,
        mask: Tensor | None,
        anchor_cfg: float,
        fewer_calls: FewerCalls,
    ) -> Realignment:
        """From the inputs of a node. anchor_cfg: below 0 for the reference's. Raises ValueError for a sweep over η."""
        anchors = anchor.all()
        sweep = lambda_schedule if isinstance(lambda_schedule, Sweep) else None
        if sweep is not None and sweep.etas:
            raise ValueError(
                "Only Realign Sampler has an η to sweep: use it, or set the sweep's rows to “seed” or “cfg”."
            )
        rows = schedule_rows(schedules(anchors, lambda_, lambda_schedule), [one.share for one in anchors])
        return cls(
            anchors,
            rows,
            anchor_cfg=None if anchor_cfg < 0 else anchor_cfg,
            mask=check_mask(mask),
            fewer_calls=fewer_calls,
            sweep=sweep,
        )

    @property
    def swept(self) -> list[bool]:
        """Whether the sweep's λ applies to each anchor: one with a schedule of its own keeps that."""
        return [self.sweep is not None and anchor.schedule is None for anchor in self.anchors]

    def attach(self, reference: ModelPatcher) -> ModelPatcher:
        """A clone of the reference that is sampled together with the anchors. Raises ValueError for unfit anchors."""
        for anchor in self.anchors:
            check_pair(reference, anchor.patcher, anchor.name)
        if any(self.masks(anchor) for anchor in self.anchors):
            self.fewer_calls.check_masked()
        for patcher in (reference, *(anchor.patcher for anchor in self.anchors)):
            if KEY in patcher.wrappers.get(WrappersMP.OUTER_SAMPLE, {}):
                raise ValueError(
                    "This MODEL is realigned already. Connect the model before its Realign node, and use “Add Anchor” "
                    "to mix several anchors."
                )
        clone = reference.clone()
        clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, self._outer_sample)
        clone.set_attachments(KEY, self)
        return clone

    @staticmethod
    def behind(patcher: ModelPatcher) -> Realignment | None:
        """What `attach` put on this MODEL, or on the one it was cloned from."""
        found: Realignment | None = patcher.get_attachment(KEY)
        return found

    def trace(self, **settings: Any) -> Trace:
        """Of the last whole run, with what is known of it."""
        anchors = [
            {"name": one.name, "beta": one.beta, "share": one.share} | ({"masked": True} if self.masks(one) else {})
            for one in self.anchors
        ]
        sweep = {"sweep": self.sweep.to_dict()} if self.sweep else {}
        self.finished.info = {"anchors": anchors, **settings, **sweep}
        return self.finished

    def masks(self, anchor: Anchor) -> list[Tensor]:
        return [mask for mask in (self.mask, anchor.mask) if mask is not None]

    def anchor_guider(
        self, patcher: ModelPatcher, guider: Any, prepared: Prepared, more: dict[str, Any]
    ) -> AnchorGuider:
        """For an anchor on weights of its own. guider: the reference's."""
        return AnchorGuider(patcher, guider, prepared, more, self.anchor_cfg, self.anchor_conds)

    def _outer_sample(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """Around CFGGuider.outer_sample."""
        prepared = Prepared(*args)
        rows = self.lambdas([float(s) for s in prepared.sigmas])
        if self.sweep is not None:
            return SweptRun(self, executor, prepared, kwargs, rows).sample()
        if prepared.callback is not None:
            progress = Progress.of(self, executor.class_obj, prepared, kwargs)
            prepared = prepared._replace(callback=progress.part(range(prepared.noise.shape[0]), 0, 1))
        out = self.sample(executor, prepared, kwargs, rows)
        self.finished = self.record.trace()
        return out

    def sample(self, executor: Any, prepared: Prepared, more: dict[str, Any], rows: list[list[Lambda]]) -> Any:
        """One run of the host's. rows: T rows of one λ per anchor."""
        self.rows, self.record = rows, self._new_record(rows)
        every = self.sweep is not None and self.sweep.measure_ends
        used = [k for k in range(len(self.anchors)) if every or not all(_is(row[k], 0) for row in rows)]
        if not used:
            alone = Alone(executor.class_obj, prepared, rows, 0, self.record)
            out = executor(*prepared._replace(callback=alone.callback), **more)
            alone.finish()
            return out
        anchor = self.anchors[used[0]]
        if len(used) == 1 and not every and all(_is(row[used[0]], 1) for row in rows) and not self.masks(anchor):
            own = self.anchor_guider(anchor.patcher, executor.class_obj, prepared, more)
            alone = Alone(own.guider, prepared, rows, used[0] + 1, self.record)
            out = own.run(prepared.sampler, alone.callback, prepared.disable_pbar)
            alone.finish()
            return out
        return self._together(executor, rows, used, prepared, more, share=True)

    def _new_record(self, rows: list[list[Lambda]]) -> Record:
        return Record(rows if any(self.masks(anchor) for anchor in self.anchors) else None)

    def _together(
        self,
        executor: Any,
        rows: list[list[Lambda]],
        used: list[int],
        prepared: Prepared,
        more: dict[str, Any],
        share: bool,
    ) -> Any:
        guider = executor.class_obj
        state = taken(guider)
        run = Run(self, guider, rows, used, prepared, more, share)
        try:
            self.running = run
            return executor(*prepared, **more)
        except NeedsOwnWeights as error:
            logging.info("Realign: the anchor gets a weight copy of its own, because %s", error)
        finally:
            self.running = None
            saved = sum(step.calls_saved for step in self.record.steps.values())
            if saved:
                logging.info("Realign: %g model calls, %g saved", self.record.calls, saved)
        restore(guider, state)
        self.record = self._new_record(rows)
        return self._together(executor, rows, used, prepared, more, share=False)


def _is(value: Lambda, number: float) -> bool:
    return bool((torch.as_tensor(value) == number).all())


def schedules(
    anchors: Sequence[Anchor], lambda_: float, connected: LambdaSchedule | Sweep | None
) -> list[LambdaSchedule]:
    """One λ schedule per anchor: its own, else the connected one, else the slider's constant.

    Where a sweep is connected: its schedule, to be multiplied by the λ of its cells.
    """
    if isinstance(connected, Sweep):
        lambda_, connected = 1.0, connected.schedule
    return [anchor.schedule or connected or LambdaSchedule(start=lambda_) for anchor in anchors]


def schedule_rows(schedules: Sequence[LambdaSchedule], shares: Sequence[float]) -> Callable[[list[float]], Any]:
    """`Realignment.lambdas` for one λ schedule per anchor."""

    def rows(sigmas: list[float]) -> list[list[float]]:
        columns = [[share * v for v in schedule.over(sigmas)] for schedule, share in zip(schedules, shares)]
        return [list(row) for row in zip(*columns)]

    return rows
