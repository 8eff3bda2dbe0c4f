"""What the reference and its anchors predict at x_t, and their mixture: the one question that every sampler asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor

from .devices import kept_on
from .gaussian import weighted_sum
from .posterior import NoiseLevel

MERGED = -1  # the index of the model with mixed weights, beside the reference (0) and the anchors (1 … K)

Denoiser = Callable[[Tensor, NoiseLevel], Tensor]  # (x_t, level) -> D, the predicted x_0, both (B, C, ...)
# D of each model that was asked, by its index, shaped like x; anything finite for elements it was not asked for.
Answers = Mapping[int, Tensor]
# (x_t, level, called, merged) -> Answers. called: (K + 1, B) bool, on the CPU: which model for which element of the
# batch. merged: λ per anchor of the weights θ_ref + Σ λ_k Δθ_k, if they are asked too, for the whole batch; else None.
Ask = Callable[[Tensor, NoiseLevel, Tensor, Sequence[Tensor] | None], Answers]


@dataclass
class Prediction:
    """The models' answers at one x_t."""

    denoised: Sequence[Tensor | None]  # D of the reference, then of K anchors; None: not known for any element
    called: Tensor  # (K + 1, B) bool, on the CPU: for which elements of the batch each D is known
    combined: Tensor  # D_λ = Σ w_k D_k, shaped like x
    calls: float  # model evaluations spent, in those of one model (with its cfg) for the whole batch
    correction: float | None = None  # at a refresh: what the calls saved before had missed, as a share of ‖D_k - D_0‖
    saved: float = 0.0  # how many fewer calls than `Exact` would spend; a refresh may spend more


class Evaluator(Protocol):
    """Decides which models a step calls. It remembers what it has found for each batch element of one run.

    weights: (K + 1, ...), sum 1: of the reference, then of K anchors; what follows broadcasts against x.
    """

    def __call__(self, ask: Ask, x: Tensor, level: NoiseLevel, weights: Tensor) -> Prediction: ...

    def take(self, index: Tensor) -> None:
        """From now on the batch's element i is what element index[i] was. index: (B,)."""


class Exact:
    """Calls every model whose weight is not 0, and each only for the batch elements that need it.

    every: call all models for all elements, whatever their weights, so that every D and every KL is known.
    """

    def __init__(self, every: bool = False) -> None:
        self.every = every

    def __call__(self, ask: Ask, x: Tensor, level: NoiseLevel, weights: Tensor) -> Prediction:
        size = x.shape[0]
        called = torch.ones(len(weights), size, dtype=torch.bool) if self.every else needed(weights, size)
        denoised = in_order(ask(x, level, called, None), len(weights))
        return Prediction(denoised, called, combine(denoised, weights), calls_of(called))

    def take(self, index: Tensor) -> None:
        """It remembers nothing."""


def needed(weights: Tensor, size: int) -> Tensor:
    """(K + 1, size) bool, on the CPU: for which elements of the batch each model's weight is not 0. One sync at most.

    Where the weights are on another device than the CPU, a model counts for all elements or none.
    """
    nonzero = rearrange(weights != 0, "model ... -> model (...)") if weights.ndim == 1 else _by_element(weights != 0)
    if weights.device.type != "cpu":
        nonzero = nonzero.any(1, keepdim=True).cpu()
    return nonzero.expand(-1, size)


def _by_element(flags: Tensor) -> Tensor:
    """(models, 1 or B, ...) bool -> (models, 1 or B)."""
    return rearrange(flags, "model element ... -> model element (...)").any(-1)


def calls_of(called: Tensor) -> float:
    """Model evaluations, in those of one model for the whole batch."""
    return float(called.float().mean(1).sum())


def in_order(answers: Answers, models: int) -> list[Tensor | None]:
    """D of the reference, then of the anchors."""
    return [answers.get(model) for model in range(models)]


def combine(denoised: Sequence[Tensor | None], weights: Tensor) -> Tensor:
    """Σ w_k D_k. A single model with weight 1 is returned as it is, to the last bit."""
    known = [(d, w) for d, w in zip(denoised, weights) if d is not None]
    if len(known) == 1 and bool((known[0][1] == 1).all()):
        return known[0][0]
    return weighted_sum(denoised, weights)


def on_elements(called: Tensor, x: Tensor, predict: Callable[[Tensor | slice], Tensor]) -> Tensor:
    """A model's answer, shaped like x, from `predict`, which gets an index of the batch elements to compute.

    called: (B,) bool, on the CPU, not False throughout. The other elements are 0.
    """
    if bool(called.all()):
        return predict(slice(None))
    index = kept_on(x.device, called.nonzero().flatten())
    answer = predict(index)
    return answer.new_zeros((x.shape[0], *answer.shape[1:])).index_copy_(0, index, answer)


def separate(denoisers: Sequence[Denoiser]) -> Ask:
    """Models that are called one after the other, and have no weights that could be mixed."""

    def ask(x: Tensor, level: NoiseLevel, called: Tensor, merged: Sequence[Tensor] | None) -> dict[int, Tensor]:
        if merged is not None:
            raise ValueError("these models have no weights that could be mixed")
        return {
            model: on_elements(elements, x, lambda index, denoise=denoise: denoise(x[index], level))  # type: ignore[misc]
            for model, (denoise, elements) in enumerate(zip(denoisers, called, strict=True))
            if bool(elements.any())
        }

    return ask
