"""What the reference and its anchors predict at x_t, and their mixture: the one question that every sampler asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .gaussian import realignment_weights, weighted_sum
from .posterior import NoiseLevel

Denoiser = Callable[[Tensor, NoiseLevel], Tensor]  # (x_t, level) -> D, the predicted x_0, both (B, C, ...)
# (x_t, level, called) -> D of the reference and of each anchor, None where it was not to be called.
Models = Callable[[Tensor, NoiseLevel, Sequence[bool]], Sequence[Tensor | None]]


@dataclass
class Prediction:
    """The models' answers at one x_t.

    denoised: D of the reference, then of K anchors; None where a model was not called and its D is not known.
    combined: D_λ = Σ w_k D_k (RLG; design 5). calls: model evaluations spent, in those of one model (with its cfg).
    saved: how many fewer that is than `Exact` spends; a refresh may spend more.
    correction: what a refresh found that the calls saved since the last one had missed, as a share of ‖D_anchor -
    D_ref‖; None where nothing was refreshed.
    """

    denoised: Sequence[Tensor | None]
    combined: Tensor
    calls: float
    correction: float | None = None
    saved: float = 0


class Evaluator(Protocol):
    """λ: one tensor per anchor that broadcasts against x (see `per_element`).

    knows_each: whether `Prediction.denoised` holds every model that counts, and not only their mixture.
    """

    knows_each: bool

    def __call__(self, x: Tensor, level: NoiseLevel, lambdas: Sequence[Tensor]) -> Prediction: ...


class Exact:
    """Calls every model whose weight is not 0 for the whole batch."""

    knows_each = True

    def __init__(self, models: Models) -> None:
        self.models = models

    def __call__(self, x: Tensor, level: NoiseLevel, lambdas: Sequence[Tensor]) -> Prediction:
        weights = realignment_weights(lambdas)
        called = [bool((w != 0).any()) for w in weights]
        denoised = self.models(x, level, called)
        return Prediction(denoised, combine(denoised, weights), sum(called))


def combine(denoised: Sequence[Tensor | None], weights: Tensor) -> Tensor:
    """Σ w_k D_k. A single model with weight 1 is returned as it is, to the last bit."""
    known = [(d, w) for d, w in zip(denoised, weights) if d is not None]
    if len(known) == 1 and bool((known[0][1] == 1).all()):
        return known[0][0]
    return weighted_sum(denoised, weights)


def separate(denoisers: Sequence[Denoiser]) -> Models:
    """Models that are called one after the other."""

    def models(x: Tensor, level: NoiseLevel, called: Sequence[bool]) -> list[Tensor | None]:
        return [denoise(x, level) if call else None for denoise, call in zip(denoisers, called, strict=True)]

    return models
