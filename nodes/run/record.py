"""What the steps of a run did, while it goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...realign_core import Trace, TraceStep


class Record:
    """The steps of one run, by their number, and what they add up to.

    before_mask: of a run with λ masks, T rows of one λ per anchor, a number or one per batch element.
    """

    def __init__(self, before_mask: Sequence[Sequence[Any]] | None = None) -> None:
        self.before_mask = before_mask
        self.clear()

    def clear(self) -> None:
        self.steps: dict[int, TraceStep] = {}
        self.calls = 0.0
        self._kl: Tensor | None = None
        self._unknown = False

    def add(self, number: int, step: TraceStep) -> None:
        """A step; for one that is there already, the calls of a sampler that asks more than once per step."""
        self.calls += step.model_calls
        if number in self.steps:
            before = self.steps[number]
            self.steps[number] = replace(
                before,
                model_calls=before.model_calls + step.model_calls,
                calls_saved=before.calls_saved + step.calls_saved,
            )
            return
        if self.before_mask is not None:
            size = len(step.lambdas[0])
            values = [torch.as_tensor(value, dtype=torch.float32) for value in self.before_mask[number]]
            step = replace(step, before_mask=[value.expand(size) for value in values])
        self.steps[number] = step
        if step.kl_reference is None:
            self._unknown = True
        else:
            self._kl = step.kl_reference if self._kl is None else self._kl + step.kl_reference

    def last(self) -> TraceStep | None:
        return self.steps[max(self.steps)] if self.steps else None

    def kl_reference(self) -> list[float]:
        """KL to the reference so far, nats, of those batch elements of which it is known."""
        if self._kl is None or self._unknown:
            return []
        return [value for value in self._kl.tolist() if math.isfinite(value)]

    def trace(self) -> Trace:
        return Trace([self.steps[number] for number in sorted(self.steps)])


def nearest_step(sigmas: Sequence[float], sigma: float) -> int:
    """The step whose σ is the nearest in log σ: samplers ask between the schedule's levels too, and adaptive ones at
    levels of their own."""
    return min(range(len(sigmas)), key=lambda i: abs(_log(sigmas[i]) - _log(sigma)))


def _log(sigma: float) -> float:
    return math.log(max(sigma, 1e-8))
