"""What a realigned run did, step by step: λ, σ, the KL it spent, the model calls it made."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
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
    model_calls, calls_saved, correction: see `Prediction`.
    """

    sigma: float
    sigma_next: float
    lambdas: list[Tensor]
    kl_reference: Tensor | None
    kl_anchors: list[Tensor | None]
    model_calls: float
    calls_saved: float = 0
    correction: float | None = None


def _numbers(values: Tensor | None) -> list[float | None] | None:
    if values is None:
        return None
    return [v if math.isfinite(v) else None for v in values.tolist()]  # JSON has no NaN


def _joined(values: Sequence[Tensor | None], steps: Sequence[TraceStep], order: Tensor) -> Tensor:
    """Each run's values, on the CPU, in the whole batch's order; NaN for a run that has none."""
    sizes = [step.lambdas[0].shape[0] for step in steps]
    parts = [torch.full((n,), math.nan) if v is None else v.float().cpu() for v, n in zip(values, sizes)]
    return torch.cat(parts)[order]


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
        """One trace of runs that took the same steps, each with some elements of a whole batch: (which, its trace).

        model_calls and calls_saved are those per element, on average. Raises ValueError where the steps differ.
        """
        if len({len(trace.steps) for _, trace in parts}) > 1:
            raise ValueError("runs of different length cannot be joined into one trace")
        places = [place for which, _ in parts for place in which]
        order = torch.tensor(places).argsort()
        sizes = [len(which) / len(places) for which, _ in parts]
        joined = cls(info=dict(parts[0][1].info))
        for steps in zip(*(trace.steps for _, trace in parts)):
            corrections = [step.correction for step in steps if step.correction is not None]
            joined.steps.append(
                TraceStep(
                    sigma=steps[0].sigma,
                    sigma_next=steps[0].sigma_next,
                    lambdas=[_joined(values, steps, order) for values in zip(*(step.lambdas for step in steps))],
                    kl_reference=_joined([step.kl_reference for step in steps], steps, order),
                    kl_anchors=[_joined(values, steps, order) for values in zip(*(step.kl_anchors for step in steps))],
                    model_calls=sum(size * step.model_calls for size, step in zip(sizes, steps)),
                    calls_saved=sum(size * step.calls_saved for size, step in zip(sizes, steps)),
                    correction=max(corrections, default=None),
                )
            )
        return joined

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.info,
            "model_calls": self.model_calls,
            "model_calls_saved": sum(step.calls_saved for step in self.steps),
            "kl_reference": self.kl_reference(),
            "kl_anchors": self.kl_anchors(),
            "steps": [
                {
                    "sigma": step.sigma,
                    "sigma_next": step.sigma_next,
                    "lambdas": [_numbers(values) for values in step.lambdas],
                    "kl_reference": _numbers(step.kl_reference),
                    "kl_anchors": [_numbers(values) for values in step.kl_anchors],
                    "model_calls": step.model_calls,
                    "correction": step.correction,
                }
                for step in self.steps
            ],
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)
