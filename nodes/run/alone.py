"""A run of one model alone: the host's own, bit for bit. What is added only watches: λ, σ and calls of each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from ...realign_core import Trace
from .call import KEY
from .steps import Account, nearest_step


class Alone:
    """Fills the trace of a run of one model's guider. model: its index. Its KL to itself is 0; that to the others is
    not known, as they are not asked."""

    def __init__(self, guider: Any, model: int, trace: Trace, callback: Any):
        self.trace, self._theirs = trace, callback
        self._kl = torch.full_like(trace.kl[0], torch.nan)
        self._kl[model] = 0.0
        self._asked: list[Tensor] = []  # σ of each question of the sampler, left on its device
        self._account = Account()
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
        """After the run. Samplers with steps of their own (dpm_fast, dpm_adaptive) are told by their questions' σ."""
        sigmas = self.trace.sigmas[:-1]
        if self._account.told == list(range(len(sigmas))):
            self._record(self._account.rest())
            return
        self.trace.clear()
        self._record([(sigma, nearest_step(sigmas, float(sigma.flatten()[0]))) for sigma in self._asked])

    def _record(self, settled: Sequence[tuple[Tensor, int]]) -> None:
        for _, step in settled:
            self.trace.record(min(step, len(self.trace.calls) - 1), self._kl, 1)
