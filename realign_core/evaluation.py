"""What the reference and its anchors predict at x_t, and their mixture: the one question that every sampler asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .gaussian import realignment_weights, weighted_sum
from .posterior import NoiseLevel

Denoiser = Callable[[Tensor, NoiseLevel], Tensor]  # (x_t, level) -> D, the predicted x_0, both (B, C, ...)
# Whether a model is to be called: for the whole batch, or for the elements (B,) of it that need it.
Called = bool | Tensor
# (x_t, level, called) -> D of the reference and of each anchor, None where it was not to be called, and anything finite
# for the elements it was not to be called for.
Models = Callable[[Tensor, NoiseLevel, Sequence[Called]], Sequence[Tensor | None]]


@dataclass
class Prediction:
    """The models' answers at one x_t.

    denoised: D of the reference, then of K anchors; None where a model was not called and its D is not known.
    called: for which elements of the batch each D is known; None where each is known for all or none.
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
    called: Sequence[Called] | None = None


class Evaluator(Protocol):
    """λ: one tensor per anchor that broadcasts against x (see `per_element`).

    knows_each: whether `Prediction.denoised` holds every model that counts, and not only their mixture.
    """

    knows_each: bool

    def __call__(self, x: Tensor, level: NoiseLevel, lambdas: Sequence[Tensor]) -> Prediction: ...


class Exact:
    """Calls every model whose weight is not 0, and each only for the batch elements that need it.

    every: call all models for all elements, whatever their weights, so that every D and every KL is known.
    """

    knows_each = True

    def __init__(self, models: Models, every: bool = False) -> None:
        self.models, self.every = models, every

    def __call__(self, x: Tensor, level: NoiseLevel, lambdas: Sequence[Tensor]) -> Prediction:
        weights = realignment_weights(lambdas)
        called = [True if self.every else _needed(weight) for weight in weights]
        denoised = self.models(x, level, called)
        calls = sum(float(torch.as_tensor(call).float().mean()) for call in called)
        return Prediction(denoised, combine(denoised, weights), calls, called=called)


def _needed(weight: Tensor) -> Called:
    """For which elements of the batch a model of this weight counts. One sync at most."""
    nonzero = weight != 0
    if weight.ndim == 0 or weight.shape[0] == 1 or weight.device.type != "cpu":
        return bool(nonzero.any())
    needed = nonzero.flatten(1).any(1)
    return needed if bool(needed.any() & ~needed.all()) else bool(needed.any())


def on_elements(called: Called, x: Tensor, predict: Callable[[Tensor | slice], Tensor]) -> Tensor | None:
    """A model's answer, shaped like x, from `predict`, which gets an index of the batch elements to compute.

    The other elements are 0. None where the model is not called at all.
    """
    if not isinstance(called, Tensor):
        return predict(slice(None)) if called else None
    index = called.nonzero().flatten().to(x.device)
    answer = predict(index)
    return answer.new_zeros((x.shape[0], *answer.shape[1:])).index_copy_(0, index, answer)


def combine(denoised: Sequence[Tensor | None], weights: Tensor) -> Tensor:
    """Σ w_k D_k. A single model with weight 1 is returned as it is, to the last bit."""
    known = [(d, w) for d, w in zip(denoised, weights) if d is not None]
    if len(known) == 1 and bool((known[0][1] == 1).all()):
        return known[0][0]
    return weighted_sum(denoised, weights)


def separate(denoisers: Sequence[Denoiser]) -> Models:
    """Models that are called one after the other."""

    def models(x: Tensor, level: NoiseLevel, called: Sequence[Called]) -> list[Tensor | None]:
        return [
            on_elements(call, x, lambda index, denoise=denoise: denoise(x[index], level))  # type: ignore[misc]
            for denoise, call in zip(denoisers, called, strict=True)
        ]

    return models
