"""Spending fewer model calls than two per step: the evaluator that the input asks for."""

from __future__ import annotations

from collections.abc import Sequence

from ...realign_core import (
    ControlVariate,
    DifferenceReuse,
    Evaluator,
    Exact,
    Merged,
    Models,
    NoiseLevel,
    even_span,
)

OFF, REUSE, CONTROL = "off", "difference reuse", "control variate"


class FewerCalls:
    """Makes a run's evaluator. Raises ValueError where the run cannot have it, before any model is called."""

    def __init__(self, method: str, calls_per_step: float):
        if method not in (OFF, REUSE, CONTROL):
            raise ValueError(f"unknown fewer_calls {method!r}; it can be {OFF}, {REUSE} or {CONTROL}")
        self.method, self._extra = method, calls_per_step - 1

    def check_masked(self) -> None:
        """Raise ValueError for a method that cannot have a λ per pixel."""
        if self.method == CONTROL:
            raise ValueError(
                "The control variate mixes weights, which have no pixels, so that λ cannot have a mask: choose "
                "“difference reuse”, or take the mask away."
            )

    def check_etas(self, etas: Sequence[float]) -> None:
        """Raise ValueError for a method that cannot have one η per model."""
        if self.method == CONTROL and len(set(etas)) > 1:
            raise ValueError(
                "The control variate knows only the mixture of the models, so that they cannot have different etas: "
                "set anchor_eta to -1, or choose “difference reuse”."
            )

    def __call__(
        self,
        models: Models,
        merged: Merged | None,
        levels: Sequence[NoiseLevel],
        anchors: int,
        every: bool = False,
    ) -> Evaluator:
        """merged: None where an anchor is not an adapter on the reference's weights. levels: T + 1 of the run.

        every: see `Exact`.
        """
        if self.method == OFF or not any(float(level.sigma) > 0 for level in levels):
            return Exact(models, every)
        if self.method == REUSE:
            every = anchors / self._extra  # a refresh asks every anchor
            return DifferenceReuse(models, every, span=_span(levels, every))
        if merged is None:
            raise ValueError(
                "The control variate needs anchors that are LoRAs on the reference, with its cfg and conditioning: "
                "load a full anchor with low_rank, or choose “difference reuse”. The log says why an anchor is none."
            )
        every = (anchors + 1) / self._extra  # and the reference
        return ControlVariate(merged, every, span=_span(levels, every))


def _span(levels: Sequence[NoiseLevel], every: float) -> float | None:
    """Flow matching takes few steps through much of its noise, at the end: there refreshes follow the noise as well.

    For the schedules of VE models calls alone do better (benchmarks/results/fewer_calls.md).
    """
    flow = any(float(level.alpha) != 1 for level in levels)
    return even_span(levels, every) if flow else None
