"""A run of one model alone: the host's own, bit for bit. What is added only watches: λ, σ and calls of each step."""

from __future__ import annotations

from typing import Any

import torch
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from ...realign_core import Trace
from .call import KEY
from .steps import nearest_step


class Alone:
    """Fills the trace of a run of one model's guider. model: its index. Its KL to itself is 0; that to the others is
    not known, as they are not asked."""

    def __init__(self, guider: Any, model: int, trace: Trace, callback: Any):
        self.trace, self._theirs = trace, callback
        self._kl = torch.full_like(trace.kl[0], torch.nan)
        self._kl[model] = 0.0
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
        if self._steps == list(range(len(self.trace.calls))):
            self._add(self._steps[-1], len(self._asked) - self._counted)
            return
        self.trace.calls = [0.0] * len(self.trace.calls)
        for timestep in self._asked:
            self._add(nearest_step(self.trace.sigmas[:-1], float(timestep.flatten()[0])), 1)

    def _add(self, step: int, calls: int) -> None:
        if calls:
            self.trace.record(min(step, len(self.trace.calls) - 1), self._kl, calls)
