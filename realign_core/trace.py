"""What a realigned run did, step by step: λ, σ, the KL it spent, the model calls it made."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class TraceStep:
    """One step σ → sigma_next. Tensors are per batch element, (B,); they stay on the device until read.

    lambdas: one (B,) per anchor (a map's mean over the pixels). kl_reference: KL(realigned ‖ reference) that this step
    adds, in nats. kl_anchors: the same to each anchor. None: that model was not called in this step.
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
