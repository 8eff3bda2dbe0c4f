"""A realigned run beside its models, question by question; all distances in standard deviations of what is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .replay import Asked, Tape
from .rounding import FP32, TIMES


@dataclass(eq=False)
class Mixed:
    """A realigned run and its models' own answers to the same questions. weights: sum 1."""

    ours: Tape
    models: list[Tape]  # the reference, then the anchors
    weights: list[float]
    calls: float  # of models, in a step

    def wanted(self, i: int) -> Tensor:
        """The answer to question i, in fp64."""
        parts = zip(self.weights, self.models, strict=True)
        return torch.stack([weight * tape.asked[i].denoised.double() for weight, tape in parts]).sum(0)

    def error(self) -> float:
        """The largest difference, in standard deviations of the answer; infinite where one is no number."""
        return max(apart(one.denoised, self.wanted(i)) for i, one in enumerate(self.ours.asked))

    def last_bits(self) -> float:
        """How far the sums of the mixture itself may round, in the same unit: one unit for each product and sum."""
        count = 2 * len(self.weights)
        largest = [
            max(float(t.asked[i].denoised.abs().max()) for t in self.models) for i in range(len(self.ours.asked))
        ]
        return max(count * FP32 * most / spread(self.wanted(i)) for i, most in enumerate(largest))

    def effect(self, k: int) -> float:
        """How far anchor k's answers are from the reference's, at most, in the same unit."""
        pairs = zip(self.models[k + 1].asked, self.models[0].asked, strict=True)
        return max(apart(anchor.denoised, reference.denoised) for anchor, reference in pairs)

    def rounding(self, again: Sequence[Tape]) -> float:
        """The bound that rounding sets, in the same unit. again: the models' answers with theirs made visible."""
        out = 0.0
        for i in range(len(self.ours.asked)):
            unit = spread(self.wanted(i))
            moved = [_largest(one.asked[i], tape.asked[i]) for one, tape in zip(again, self.models, strict=True)]
            out = max(out, sum(abs(w) * m for w, m in zip(self.weights, moved, strict=True)) / unit)
        return max(TIMES * out, self.last_bits())

    def as_if(self) -> float:
        """The λ of the first anchor that the answers would be right for."""
        over = under = 0.0
        for i, one in enumerate(self.ours.asked):
            difference = self.models[1].asked[i].denoised.double() - self.models[0].asked[i].denoised.double()
            rest = one.denoised.double() - self.wanted(i)
            over, under = over + float((rest * difference).sum()), under + float(difference.square().sum())
        return self.weights[1] + over / under if under else self.weights[1]


def _largest(one: Asked, other: Asked) -> float:
    return float((one.denoised.double() - other.denoised.double()).abs().max())


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference, in standard deviations of the other; infinite where one is no number."""
    value = float((one.double() - other.double()).abs().max()) / spread(other)
    return value if value == value else float("inf")


def spread(x: Tensor) -> float:
    return float(x.double().std()) or 1.0
