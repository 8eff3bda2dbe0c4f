"""A reference that brings its anchors along: one wrapper on a MODEL, which every sampler and guider of the host obeys.

Each run is built around the host's own guider (run.py). An anchor with weights of its own gets a whole guider too
(anchor_guider.py); one that is only a LoRA on the reference runs in the reference's own batch (batching.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.model_patcher
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..realign_core import LambdaSchedule
from .anchor import Anchor, check_mask
from .anchor_guider import KEY, AnchorGuider, Prepared
from .conditioning import Conditioning
from .fewer_calls import OFF, FewerCalls
from .model_pair import check_pair
from .run import Lambda, NeedsOwnWeights, Run


@dataclass(eq=False)
class Realignment:
    """What is mixed, and how. lambdas: σ of a run (T + 1) -> T rows of one λ per anchor, without their masks.

    anchor_cfg, anchor_conds: the anchors' own; None: the reference's.
    """

    anchors: Sequence[Anchor]
    lambdas: Callable[[list[float]], list[list[Lambda]]]
    anchor_cfg: float | None = None
    anchor_conds: tuple[Conditioning | None, Conditioning | None] = (None, None)
    mask: Tensor | None = None
    fewer_calls: FewerCalls = field(default_factory=lambda: FewerCalls(OFF, 2.0))
    running: Run | None = None  # while a run goes on that has more than one model

    @classmethod
    def of(
        cls,
        anchor: Anchor,
        lambda_: float,
        lambda_schedule: LambdaSchedule | None,
        mask: Tensor | None,
        anchor_cfg: float,
        fewer_calls: FewerCalls,
    ) -> Realignment:
        """From the inputs of a node. anchor_cfg: below 0 for the reference's."""
        anchors = anchor.all()
        rows = schedule_rows(schedules(anchors, lambda_, lambda_schedule), [one.share for one in anchors])
        return cls(
            anchors,
            rows,
            anchor_cfg=None if anchor_cfg < 0 else anchor_cfg,
            mask=check_mask(mask),
            fewer_calls=fewer_calls,
        )

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
        return clone

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
        used = [k for k in range(len(self.anchors)) if not all(_is(row[k], 0) for row in rows)]
        if not used:
            return executor(*args, **kwargs)
        anchor = self.anchors[used[0]]
        if len(used) == 1 and all(_is(row[used[0]], 1) for row in rows) and not self.masks(anchor):
            # The host's own run of the anchor, with neither the reference nor Realign in it.
            alone = self.anchor_guider(anchor.patcher, executor.class_obj, prepared, kwargs)
            return alone.run(prepared.sampler, prepared.callback, prepared.disable_pbar)
        return self._together(executor, rows, used, prepared, kwargs, share=True)

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
        unprepared = dict(guider.conds), comfy.model_patcher.create_model_options_clone(guider.model_options)
        run = Run(self, guider, rows, used, prepared, more, share)
        try:
            self.running = run
            return executor(*prepared, **more)
        except NeedsOwnWeights as error:
            logging.info("Realign: the anchor gets a weight copy of its own, because %s", error)
        finally:
            self.running = None
            if run.saved:
                logging.info("Realign: %g model calls, %g saved", run.calls, run.saved)
        guider.conds, guider.model_options = unprepared
        return self._together(executor, rows, used, prepared, more, share=False)


def _is(value: Lambda, number: float) -> bool:
    return bool((torch.as_tensor(value) == number).all())


def schedules(anchors: Sequence[Anchor], lambda_: float, connected: LambdaSchedule | None) -> list[LambdaSchedule]:
    """One λ schedule per anchor: its own, else the connected one, else the slider's constant."""
    return [anchor.schedule or connected or LambdaSchedule(start=lambda_) for anchor in anchors]


def schedule_rows(schedules: Sequence[LambdaSchedule], shares: Sequence[float]) -> Callable[[list[float]], Any]:
    """`Realignment.lambdas` for one λ schedule per anchor."""

    def rows(sigmas: list[float]) -> list[list[float]]:
        columns = [[share * v for v in schedule.over(sigmas)] for schedule, share in zip(schedules, shares)]
        return [list(row) for row in zip(*columns)]

    return rows
