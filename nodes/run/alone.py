"""A run of one model alone: the host's own, bit for bit. What is added only watches: λ, σ and calls of each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from ...realign_core import TraceStep, batch_mean, per_element
from ..models.pair import noise_level
from .own_weights import KEY, Prepared
from .record import Record, nearest_step
from .run import Lambda


class Alone:
    """Fills the record of a run of one model's guider.

    rows: T rows of one λ per anchor. place: which model runs, 0 the reference, k + 1 anchor k. Its KL to itself is 0;
    that to the others is not known, as they are not asked.
    """

    def __init__(self, guider: Any, prepared: Prepared, rows: Sequence[Sequence[Lambda]], place: int, record: Record):
        self.rows, self.place, self.record = rows, place, record
        self._noise, self._theirs = prepared.noise, prepared.callback
        self._sigmas = [float(sigma) for sigma in prepared.sigmas]
        self._levels = [noise_level(guider.model_patcher, sigma) for sigma in self._sigmas]
        self._asked: list[Tensor] = []  # σ of each question of the sampler, left on its device
        self._steps: list[int] = []  # that the sampler told, in its order
        self._counted = 0  # how many of the questions belong to these steps
        add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, self._predict_noise, guider.model_options, True)

    def _predict_noise(self, executor: Any, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Any:
        self._asked.append(timestep)
        return executor(x, timestep, *args, **kwargs)

    def callback(self, step: int, x0: Any, x: Any, total: int) -> None:
        """The host's samplers tell each step once its first question is answered. What else they asked since they told
        the one before belongs to that one."""
        new = len(self._asked) - self._counted
        self._add(self._steps[-1] if self._steps else step, max(new - 1, 0))
        self._add(step, min(new, 1))
        self._counted += new
        self._steps.append(step)
        if self._theirs is not None:
            self._theirs(step, x0, x, total)

    def finish(self) -> None:
        """After the run. Samplers with steps of their own (dpm_fast, dpm_adaptive) are told by their questions' σ."""
        if self._steps == list(range(len(self.rows))):
            self._add(self._steps[-1], len(self._asked) - self._counted)
            return
        self.record.clear()
        for timestep in self._asked:
            self._add(nearest_step(self._sigmas[:-1], float(timestep.flatten()[0])), 1)

    def _add(self, step: int, calls: int) -> None:
        if not calls:
            return
        step = min(step, len(self.rows) - 1)
        zero = torch.zeros(self._noise.shape[0])
        kls = [zero if place == self.place else None for place in range(len(self.rows[step]) + 1)]
        self.record.add(
            step,
            TraceStep(
                sigma=float(self._levels[step].sigma),
                sigma_next=float(self._levels[step + 1].sigma),
                lambdas=[batch_mean(per_element(value, self._noise), self._noise) for value in self.rows[step]],
                kl_reference=kls[0],
                kl_anchors=kls[1:],
                model_calls=calls,
            ),
        )
