"""Spending fewer model calls than two per step: the evaluator that the input asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...realign_core import ControlVariate, DifferenceReuse, Evaluator, Exact, NoiseLevel, even_span

OFF, REUSE, CONTROL = "off", "difference reuse", "control variate"
DRAFT, DRAFT_CALLS = "draft", 1.2  # of a sweep: one of the two, as the run turns out; calls per step


@dataclass(frozen=True)
class FewerCalls:
    """How many model calls a run may spend. Raises ValueError for a method that there is not."""

    method: str = OFF
    calls_per_step: float = 2.0  # wanted, on average; the exact run has one per model

    def __post_init__(self) -> None:
        if self.method not in (OFF, REUSE, CONTROL, DRAFT):
            raise ValueError(f"unknown fewer_calls {self.method!r}; it can be {OFF}, {REUSE} or {CONTROL}")

    @property
    def merges(self) -> bool:
        """Whether a model of mixed weights may be asked."""
        return self.method in (CONTROL, DRAFT)

    @property
    def reuses(self) -> bool:
        """Whether differences of earlier steps may be reused."""
        return self.method in (REUSE, DRAFT)

    @property
    def saves(self) -> bool:
        return self.method != OFF

    def settled(self, can_merge: bool, constant: bool, every_answer: bool) -> FewerCalls:
        """What a draft turns out to be. can_merge: the one weight copy of a run answers for mixed weights, too.
        constant: λ is one number per picture for the whole run; where it changes, what mixed weights leave out is
        measured anew for the whole batch, so that a picture would depend on those beside it. every_answer: each model's
        own answer is needed at every step.
        """
        if self.method != DRAFT:
            return self
        if every_answer:
            return FewerCalls()
        return replace(self, method=CONTROL if can_merge and constant else REUSE)

    def check_masked(self) -> None:
        """Raise ValueError for a method that cannot have a λ per pixel."""
        if self.method == CONTROL:
            raise ValueError(
                "The control variate mixes weights, which have no pixels, so that λ cannot have a mask: choose "
                "“difference reuse”, or take the mask away."
            )

    def evaluator(
        self, levels: Sequence[NoiseLevel], anchors: int, can_merge: bool, measure_ends: bool = False
    ) -> Evaluator:
        """Of one run. levels: T + 1. anchors: how many take part. can_merge: there is a model of mixed weights.
        measure_ends: see `Exact`. Raises ValueError, before any model is called, where the run cannot have it.
        """
        if self.method == OFF or not any(float(level.sigma) > 0 for level in levels):
            return Exact(measure_ends)
        extra = self.calls_per_step - 1
        if self.method == REUSE:
            period = anchors / extra  # a refresh asks every anchor
            return DifferenceReuse(period, span=_span(levels, period))
        if not can_merge:
            raise ValueError(
                "The control variate asks a model of mixed weights, which has the reference's cfg and conditioning and "
                "no bypass LoRA: take the anchors' own away, or choose “difference reuse”."
            )
        period = (anchors + 1) / extra  # and the reference
        return ControlVariate(period, span=_span(levels, period))


def _span(levels: Sequence[NoiseLevel], period: float) -> float | None:
    """Flow matching takes few steps through much of its noise, at the end: there refreshes follow the noise as well.

    For the schedules of VE models calls alone do better (benchmarks/results/fewer_calls.md).
    """
    flow = any(float(level.alpha) != 1 for level in levels)
    return even_span(levels, period) if flow else None
