"""Realigned sampling: at each step, draw from the geometric mixture of the models' reverse posteriors.

DeRaDiff (arXiv 2601.20198), algorithm 1, for any number of anchors, any η and any (α, σ) schedule. Nothing here knows
a host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from einops import reduce
from torch import Tensor

from .devices import kept_on
from .gaussian import Scalar
from .posterior import MixedStep, MixedSteps, NoiseLevel, kl_increment
from .prediction import Ask, Evaluator, Exact, Prediction
from .trace import Trace

NoiseSource = Callable[[float, float], Tensor]  # (sigma, sigma_next) -> standard normal, shaped like x
StepCallback = Callable[[int, Tensor, Tensor], None]  # (step, x_t, denoised)


class Sample(NamedTuple):
    """What a run gives."""

    x: Tensor  # (B, C, ...) at the last level
    denoised: Tensor  # like x: the last step's prediction of x_0
    trace: Trace


def gaussian_noise(x: Tensor, seed: int) -> NoiseSource:
    """A seeded source of step noise shaped like x, drawn on the CPU so that every device gets the same numbers."""
    generator = torch.Generator().manual_seed(seed)

    def draw(sigma: float, sigma_next: float) -> Tensor:
        return torch.randn(x.shape, generator=generator).to(x)

    return draw


def per_element(value: Scalar, x: Tensor) -> Tensor:
    """λ as it broadcasts against x (B, C, ...): a number as (), one per batch element (B,) as (B, 1, ...), a map with
    as many dimensions as x. A number given as one stays on the CPU, so that asking whether it is 0 waits for no GPU.
    Raises ValueError for a λ that does not fit x."""
    tensor = torch.as_tensor(value, dtype=torch.float32)
    if tensor.ndim == 0:
        return tensor
    sizes = tensor.shape + (1,) * (x.ndim - 1) if tensor.ndim == 1 else (1,) * (x.ndim - tensor.ndim) + tensor.shape
    if len(sizes) != x.ndim or any(n not in (1, m) for n, m in zip(sizes, x.shape)):
        raise ValueError(f"a λ of shape {tuple(tensor.shape)} does not fit a sample of shape {tuple(x.shape)}")
    is_map = any(n != 1 for n in sizes[1:])
    return (tensor.to(x.device) if is_map else tensor).reshape(sizes)


def sample_steps(
    denoise: Callable[[Tensor, int], Tensor],
    x: Tensor,
    steps: Sequence[MixedStep],
    *,
    noise: Callable[[int], Tensor],
    callback: StepCallback | None = None,
    order: Iterable[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """(x at the last level, the last D). denoise: (x_t, step) -> D_λ, at the step's weights. noise: of a step, drawn
    once for all models, as their mixture is one Gaussian. order: yields 0 … T-1; give it a progress bar."""
    denoised = x
    for i in range(len(steps)) if order is None else order:
        denoised = denoise(x, i)
        if callback is not None:
            callback(i, x, denoised)
        x = steps[i].draw(x, denoised, partial(noise, i))
    return x, denoised


def realigned_sample(
    ask: Ask,
    x: Tensor,
    levels: Sequence[NoiseLevel],
    lambdas: Sequence[Sequence[Scalar]],
    *,
    noise: NoiseSource,
    eta: float | Sequence[float] = 1.0,
    evaluator: Evaluator | None = None,
    callback: StepCallback | None = None,
    steps: Iterable[int] | None = None,
) -> Sample:
    """Sample the model that the anchors, weighted by λ, make of the reference.

    ask: the models, see prediction.py. x: (B, C, ...) at levels[0]. levels: T + 1 noise levels, falling. lambdas: T
    rows of K λ, each a number, one per batch element (B,), or a map that broadcasts against x. noise: not called where
    σ_s = 0. eta: 0 (DDIM) to 1 (DDPM), for all models or one each: the reference, then K anchors. evaluator: `Exact`
    unless given. callback: after the models, before x moves on. steps: yields 0 … T-1.

    Raises before the first call what `MixedSteps.check` raises, and ValueError for lengths that differ, a λ that does
    not fit x, or an x that is not finite.
    """
    mixed, trace = prepared(x, levels, lambdas, eta)
    predict = predictor(ask, evaluator or Exact(), mixed, trace)

    draw = of_step(noise, levels)
    out, denoised = sample_steps(
        lambda x, i: predict(x, i).combined, x, mixed, noise=draw, callback=callback, order=steps
    )
    return Sample(out, denoised.to(out.dtype), trace)


def of_step(noise: NoiseSource, levels: Sequence[NoiseLevel]) -> Callable[[int], Tensor]:
    """step -> the noise of a source for the levels that it leads between."""
    return lambda i: noise(float(levels[i].sigma), float(levels[i + 1].sigma))


def prepared(
    x: Tensor, levels: Sequence[NoiseLevel], lambdas: Sequence[Sequence[Scalar]], eta: float | Sequence[float]
) -> tuple[MixedSteps, Trace]:
    """The steps of a run, checked, and its empty trace. Raises what `realigned_sample` does."""
    anchors = len(lambdas[0]) if lambdas else 0
    etas = list(eta) if isinstance(eta, Sequence) else [eta] * (anchors + 1)
    if len(etas) != anchors + 1:
        raise ValueError(f"{anchors + 1} models need one eta or one each, but there are {len(etas)}")
    if len(levels) > 1 and len(lambdas) != len(levels) - 1:
        raise ValueError(f"{len(levels) - 1} steps need as many λ, but there are {len(lambdas)}")
    mixed = MixedSteps(levels, lambda i: [per_element(value, x) for value in lambdas[i]], etas)
    mixed.check()
    if not bool(torch.isfinite(x).all()):
        raise ValueError("the starting latent holds values that are not finite numbers (NaN or infinity).")
    return mixed, Trace.of([float(level.sigma) for level in levels], _means(mixed, x))


def predictor(ask: Ask, evaluate: Evaluator, steps: MixedSteps, trace: Trace) -> Callable[[Tensor, int], Prediction]:
    """(x_t, step) -> what the evaluator predicts at the step's weights; the trace is told."""

    def predict(x: Tensor, i: int) -> Prediction:
        now, then = steps.levels[i], steps.levels[i + 1]
        predicted = evaluate(ask, x, now, steps[i].weights)
        trace.record(i, kl_increments(predicted, now, then), predicted.calls, predicted.saved, predicted.correction)
        return predicted

    return predict


def _means(steps: MixedSteps, x: Tensor) -> Tensor:
    """(T, K, B), on the CPU: λ of each step, a map's mean over the pixels."""
    table = torch.zeros(len(steps), len(steps.etas) - 1, len(x))
    for i in range(len(steps)):
        for k, value in enumerate(steps.lambdas(i)):
            table[i, k] = element_mean(torch.as_tensor(value), len(x))
    return table


def element_mean(value: Tensor, size: int) -> Tensor:
    """(size,), on the CPU: the mean over the pixels, per batch element, of what broadcasts against a batch of them."""
    if value.ndim == 0:
        return value.cpu().expand(size)
    return reduce(value, "b ... -> b", "mean").cpu().expand(size)


def kl_increments(predicted: Prediction, now: NoiseLevel, then: NoiseLevel, where: Tensor | None = None) -> Tensor:
    """(K + 1, B): what the step adds to the KL from the realigned run to each model, nats; NaN for an element that the
    model was not called for. where: what of the prediction the sampler takes, 0 to 1, broadcasts against x."""
    combined = predicted.combined
    rows = []
    for denoised, known in zip(predicted.denoised, predicted.called):
        if denoised is None:
            rows.append(torch.full((len(combined),), math.nan, device=combined.device))
            continue
        ours, theirs = (d if where is None else d * where.to(d) for d in (combined, denoised))
        kl = kl_increment(ours, theirs, now, then).float()
        rows.append(kl if bool(known.all()) else torch.where(kept_on(kl.device, known), kl, math.nan))
    return torch.stack(rows)
