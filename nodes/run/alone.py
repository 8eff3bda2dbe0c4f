"""A run of one model alone: the host's own, bit for bit. What is added only watches: λ, σ and calls of each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from ...realign_core import Trace
from .call import KEY, Call
from .steps import ADAPTIVE, Account, chooses_its_steps, nearest_step


class Alone:
    """Fills the trace of a run of one model's guider. model: its index. Its KL to itself is 0; that to the others is
    not known, as they are not asked."""

    def __init__(self, guider: Any, model: int, trace: Trace, call: Call):
        self.trace, self._theirs = trace, call.callback
        self._kl = torch.full_like(trace.kl[0], torch.nan)
        self._kl[model] = 0.0
        self._asked: list[Tensor] = []  # σ of each question of the sampler, left on its device
        self._chooses = chooses_its_steps(call.sampler)
        self._account = Account(over=chooses_its_steps(call.sampler, ADAPTIVE))
        self._place = (-1, 0)  # the last step that the sampler has chosen, and as which of the schedule it counts
        add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, self._predict_noise, guider.model_options, True)

    def _predict_noise(self, executor: Any, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Any:
        self._asked.append(timestep)
        self._account.asked(timestep)
        return executor(x, timestep, *args, **kwargs)

    def callback(self, step: int, x0: Any, x: Any, total: int) -> None:
        self._record(self._account.tell(step))
        if self._theirs is not None:
            self._theirs(step, x0, x, total)

    def finish(self) -> None:
        """After the run. Where other packs' samplers tell other steps than the schedule's, each question's σ tells."""
        if self._chooses or self._account.told == list(range(len(self.trace.calls))):
            self._record(self._account.rest())
            return
        self.trace.clear()
        self._record([(sigma, self._nearest(sigma)) for sigma in self._asked])

    def _record(self, settled: Sequence[tuple[Tensor, int]]) -> None:
        for sigma, step in settled:
            if self._chooses:
                if step != self._place[0]:
                    self._place = step, self._nearest(sigma)
                step = self._place[1]
            self.trace.record(min(step, len(self.trace.calls) - 1), self._kl, 1)

    def _nearest(self, sigma: Tensor) -> int:
        return nearest_step(self.trace.sigmas[:-1], float(sigma.flatten()[0]))
