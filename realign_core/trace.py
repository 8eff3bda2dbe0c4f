"""What a realigned run did, step by step: λ, σ, the KL it spent, the model calls it made."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class TraceStep:
    """One step σ → sigma_next. Tensors are per batch element, (B,); they stay on the device until read.

    lambdas: one (B,) per anchor (a map's mean over the pixels). kl_reference: KL(realigned ‖ reference) that this step
    adds, in nats. kl_anchors: the same to each anchor. None: that model was not called in this step; NaN: not for that
    element.
    model_calls, calls_saved, correction: see `Prediction`. before_mask: as `lambdas`, before λ masks multiplied it;
    None for a run without any.
    """

    sigma: float
    sigma_next: float
    lambdas: list[Tensor]
    kl_reference: Tensor | None
    kl_anchors: list[Tensor | None]
    model_calls: float
    calls_saved: float = 0
    correction: float | None = None
    before_mask: list[Tensor] | None = None

    def to_dict(self) -> dict[str, Any]:
        told = {
            "sigma": self.sigma,
            "sigma_next": self.sigma_next,
            "lambdas": [_numbers(values) for values in self.lambdas],
            "kl_reference": _numbers(self.kl_reference),
            "kl_anchors": [_numbers(values) for values in self.kl_anchors],
            "model_calls": self.model_calls,
            "correction": self.correction,
        }
        if self.before_mask is not None:
            told["lambdas_before_mask"] = [_numbers(values) for values in self.before_mask]
        return told


def _numbers(values: Tensor | None) -> list[float | None] | None:
    if values is None:
        return None
    return [v if math.isfinite(v) else None for v in values.tolist()]  # JSON has no NaN


def _joined(steps: Sequence[tuple[int, TraceStep | None]], order: Tensor) -> TraceStep:
    """One step of the whole batch, on the CPU. steps: the number of elements of each run, and its step."""
    there = [(size, step) for size, step in steps if step is not None]
    first, total = there[0][1], sum(size for size, _ in there)
    anchors = range(len(first.lambdas))

    def column(get: Callable[[TraceStep], Tensor | None]) -> Tensor:
        found = [(size, None if step is None else get(step)) for size, step in steps]
        parts = [torch.full((size,), math.nan) if v is None else v.float().cpu() for size, v in found]
        return torch.cat(parts)[order]

    return TraceStep(
        sigma=first.sigma,
        sigma_next=first.sigma_next,
        lambdas=[column(lambda step, k=k: step.lambdas[k]) for k in anchors],  # type: ignore[misc]
        kl_reference=column(lambda step: step.kl_reference),
        kl_anchors=[column(lambda step, k=k: step.kl_anchors[k]) for k in anchors],  # type: ignore[misc]
        model_calls=sum(size * step.model_calls for size, step in there) / total,
        calls_saved=sum(size * step.calls_saved for size, step in there) / total,
        correction=max((step.correction for _, step in there if step.correction is not None), default=None),
        before_mask=None
        if first.before_mask is None
        else [column(lambda step, k=k: (step.before_mask or step.lambdas)[k]) for k in anchors],  # type: ignore[misc]
    )


@dataclass
class Trace:
    """The steps of a run and what was known about it (`info`: anchors, β, η, sampler …)."""

    steps: list[TraceStep] = field(default_factory=list)
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def batch_size(self) -> int:
        return len(self.steps[0].lambdas[0]) if self.steps and self.steps[0].lambdas else 0

    @property
    def model_calls(self) -> float:
        return sum(step.model_calls for step in self.steps)

    def kl_reference(self) -> list[float | None]:
        """KL(realigned ‖ reference) of the whole run, nats, per batch element.

        None for an element where it cannot be known: in some step the reference was not called.
        """
        return self._total([step.kl_reference for step in self.steps])

    def kl_anchors(self) -> list[list[float | None]]:
        """As `kl_reference`, to each anchor."""
        anchors = len(self.steps[0].kl_anchors) if self.steps else 0
        return [self._total([step.kl_anchors[k] for step in self.steps]) for k in range(anchors)]

    def _total(self, parts: list[Tensor | None]) -> list[float | None]:
        known = [part.double().cpu() for part in parts if part is not None]
        if len(known) < len(parts) or not known:
            return [None] * self.batch_size
        return _numbers(sum(known[1:], known[0])) or []

    @classmethod
    def join(cls, parts: Sequence[tuple[Sequence[int], Trace]]) -> Trace:
        """One trace of runs over the same levels, each with some elements of a whole batch: (which, its trace).

        A step that a run did not record is NaN for its elements. model_calls and calls_saved are those per element, on
        average over the runs that recorded the step.
        """
        order = torch.tensor([place for which, _ in parts for place in which]).argsort()
        joined = cls(info=dict(parts[0][1].info))
        for i in range(max(len(trace.steps) for _, trace in parts)):
            steps = [(len(which), trace.steps[i] if i < len(trace.steps) else None) for which, trace in parts]
            joined.steps.append(_joined(steps, order))
        return joined

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.info,
            "model_calls": self.model_calls,
            "model_calls_saved": sum(step.calls_saved for step in self.steps),
            "kl_reference": self.kl_reference(),
            "kl_anchors": self.kl_anchors(),
            "steps": [step.to_dict() for step in self.steps],
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)
