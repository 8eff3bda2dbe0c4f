"""Realigned sampling: at each step, draw from the geometric mixture of the models' reverse posteriors.

DeRaDiff (arXiv 2601.20198), algorithm 1, for any number of anchors, any η and any (α, σ) schedule. Nothing here knows
a host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .evaluation import Called, Evaluator, Prediction
from .gaussian import (
    Gaussian,
    ImproperMixtureError,
    Scalar,
    effective_weights,
    max_lambda,
    realignment_weights,
    weighted_sum,
)
from .posterior import NoiseLevel, kl_increment, posterior_variance, reverse_posterior
from .trace import Trace, TraceStep

NoiseSource = Callable[[float, float], Tensor]  # (sigma, sigma_next) -> standard normal, shaped like x
StepCallback = Callable[[int, Tensor, Tensor, TraceStep], None]  # (step, x_t, denoised, record)


class Sample(NamedTuple):
    """x: the sample at the last level, (B, C, ...). denoised: the last step's prediction of x_0. trace: the record."""

    x: Tensor
    denoised: Tensor
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
    tensor = tensor if tensor.ndim == 1 else tensor.to(x.device)
    sizes = tensor.shape + (1,) * (x.ndim - 1) if tensor.ndim == 1 else (1,) * (x.ndim - tensor.ndim) + tensor.shape
    if len(sizes) != x.ndim or any(n not in (1, m) for n, m in zip(sizes, x.shape)):
        raise ValueError(f"a λ of shape {tuple(tensor.shape)} does not fit a sample of shape {tuple(x.shape)}")
    return tensor.reshape(sizes)


def check_run(
    levels: Sequence[NoiseLevel],
    lambdas: Sequence[Sequence[Scalar]],
    etas: Sequence[float],
    x: Tensor | None = None,
) -> None:
    """Refuse, before any model is called, a run that could not be finished. Arguments as `realigned_sample`'s; without
    x the shapes of λ are not checked.

    Raises ValueError (empty schedule, lengths that differ, a λ or level that is not finite, a λ that does not fit x, an
    η out of range, noise that does not fall) or ImproperMixtureError, naming the step, the λ and the λ allowed there.
    """
    steps = len(levels) - 1
    if steps < 1:
        raise ValueError("the schedule is empty: sampling needs at least one step, so at least two noise levels")
    if len(lambdas) != steps:
        raise ValueError(f"{steps} steps need as many λ, but there are {len(lambdas)}")
    for i, (now, then, lam) in enumerate(zip(levels, levels[1:], lambdas)):
        where = f"step {i + 1} of {steps} (σ {float(now.sigma):.4g} → {float(then.sigma):.4g})"
        if len(lam) != len(etas) - 1:
            raise ValueError(f"{where}: {len(etas) - 1} anchors need as many λ, but there are {len(lam)}")
        if not all(bool(torch.isfinite(torch.as_tensor(v)).all()) for v in (*now, *then, *lam)):
            raise ValueError(f"{where}: a λ or noise level is not a finite number.")
        try:
            variances = [posterior_variance(now, then, eta) for eta in etas]
            shaped = lam if x is None else [per_element(v, x) for v in lam]
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        # In the run's own precision: a λ so near the bound that only fp64 sees P > 0 must not fail halfway.
        weights = realignment_weights([torch.as_tensor(v).detach().cpu().float() for v in shaped])
        try:
            effective_weights(variances, weights)
        except ImproperMixtureError as error:
            raise ImproperMixtureError(_improper_message(where, lam, variances)) from error


def _improper_message(where: str, lambdas: Sequence[Scalar], variances: Sequence[Tensor]) -> str:
    flat = [torch.as_tensor(v).double().flatten() for v in lambdas]
    values = ", ".join(f"{v[v.abs().argmax()].item():g}" for v in flat)
    text = f"{where}: λ = {values} has no valid Gaussian, because the models' step variances differ"
    bound = max_lambda(*variances) if len(variances) == 2 else math.inf
    if math.isfinite(bound):
        text += f". The largest λ allowed there is below {bound:.4g}"
    return text + ". Bring λ closer to [0, 1], or set the anchor's eta to the reference's."


def realigned_sample(
    evaluate: Evaluator,
    x: Tensor,
    levels: Sequence[NoiseLevel],
    lambdas: Sequence[Sequence[Scalar]],
    *,
    noise: NoiseSource,
    eta: float | Sequence[float] = 1.0,
    callback: StepCallback | None = None,
    steps: Iterable[int] | None = None,
) -> Sample:
    """Sample the model that the anchors, weighted by λ, make of the reference.

    evaluate: the models' predictions at x_t, see evaluation.py. x: (B, C, ...) at levels[0]. levels: T + 1 noise
    levels, falling. lambdas: T rows of K λ, each a number, one per batch element (B,), or a map that broadcasts against
    x. noise: drawn once per step and shared by all models, as the mixture is one Gaussian; not called where σ_s = 0.
    eta: 0 (DDIM) to 1 (DDPM), for all models or one each: the reference, then K anchors. callback: after the models,
    before x moves on. steps: yields 0 … T-1; give it a progress bar.

    Raises before the first call what `check_run` raises, and ValueError for an x that is not finite, or for an
    evaluator that knows only the mixture where the models' η differ.
    """
    anchors = len(lambdas[0]) if lambdas else 0
    etas = list(eta) if isinstance(eta, Sequence) else [eta] * (anchors + 1)
    if len(etas) != anchors + 1:
        raise ValueError(f"{anchors + 1} models need one eta or one each, but there are {len(etas)}")
    check_run(levels, lambdas, etas, x)
    if not bool(torch.isfinite(x).all()):
        raise ValueError("the starting latent holds values that are not finite numbers (NaN or infinity).")
    one_variance = len(set(etas)) == 1
    if not one_variance and not evaluate.knows_each:
        raise ValueError("models with different eta need every model's own prediction: save no model calls here")

    trace = Trace()
    combined = x
    for i in range(len(levels) - 1) if steps is None else steps:
        now, then = levels[i], levels[i + 1]
        lam = [per_element(value, x) for value in lambdas[i]]
        predicted = evaluate(x, now, lam)
        if one_variance:  # the mixture of the posteriors is the posterior of the mixture
            combined = predicted.combined
            posterior = reverse_posterior(x, combined, now, then, etas[0])
        else:
            weights = realignment_weights(lam).to(x.device)
            posterior, combined = mix_posteriors(x, predicted.denoised, weights, now, then, etas)
        kls = kl_increments(combined, predicted, now, then)
        record = TraceStep(
            sigma=float(now.sigma),
            sigma_next=float(then.sigma),
            lambdas=[batch_mean(value, x) for value in lam],
            kl_reference=kls[0],
            kl_anchors=kls[1:],
            model_calls=predicted.calls,
            calls_saved=predicted.saved,
            correction=predicted.correction,
        )
        trace.steps.append(record)
        if callback is not None:
            callback(i, x, combined, record)
        x = _draw(posterior, noise, now, then).to(x.dtype)
    return Sample(x, combined.to(x.dtype), trace)


def mix_posteriors(
    x: Tensor,
    denoised: Sequence[Tensor | None],
    weights: Tensor,
    now: NoiseLevel,
    then: NoiseLevel,
    etas: Sequence[float],
) -> tuple[Gaussian, Tensor]:
    """The geometric mixture of the models' reverse posteriors at x, and the prediction of x_0 it stands for.

    denoised: D of each model, None where it was not called (its weight is 0 everywhere). weights: (K + 1, ...).
    Same arithmetic as `geometric_mixture`, but a model without a prediction still has a known variance.
    """
    variances = [posterior_variance(now, then, eta).to(x.device, torch.float32) for eta in etas]
    shares, variance = effective_weights(variances, weights)
    means = [None if d is None else reverse_posterior(x, d, now, then, eta).mean for d, eta in zip(denoised, etas)]
    return Gaussian(weighted_sum(means, shares), variance), weighted_sum(denoised, shares)


def _draw(posterior: Gaussian, noise: NoiseSource, now: NoiseLevel, then: NoiseLevel) -> Tensor:
    if float(then.sigma) == 0 or not bool((posterior.variance > 0).any()):
        return posterior.mean
    return posterior.mean + posterior.variance.sqrt() * noise(float(now.sigma), float(then.sigma)).to(posterior.mean)


def kl_increments(combined: Tensor, predicted: Prediction, now: NoiseLevel, then: NoiseLevel) -> list[Tensor | None]:
    """What the step adds to the KL from the realigned run to each model's: (B,), NaN for an element that the model was
    not called for; None for a model that was not called."""
    called: Sequence[Called] = predicted.called or [True] * len(predicted.denoised)
    out: list[Tensor | None] = []
    for denoised, known in zip(predicted.denoised, called):
        kl = None if denoised is None else kl_increment(combined, denoised, now, then)
        if kl is not None and isinstance(known, Tensor):
            kl = torch.where(known.to(kl.device), kl, math.nan)
        out.append(kl)
    return out


def batch_mean(value: Tensor, x: Tensor) -> Tensor:
    """λ per batch element, (B,): the mean over a map's pixels."""
    return value.expand(x.shape[0], *value.shape[1:]).flatten(1).mean(1) if value.ndim else value.expand(x.shape[0])
