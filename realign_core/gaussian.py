"""Geometric mixtures of Gaussians: the one formula DeRaDiff rests on.

DeRaDiff (arXiv 2601.20198), theorem 1: the realigned reverse step is p_ref^{1-λ} · p_anchor^λ, normalised. For
Gaussians that is again a Gaussian, and for any number of anchors its precision is the weighted sum of the components'
precisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .devices import kept_on

Scalar = float | Tensor


class ImproperMixtureError(ValueError):
    """The weights give a mixture of precision ≤ 0: no Gaussian, and so no distribution to sample, exists."""


class Gaussian(NamedTuple):
    """A diagonal Gaussian N(mean, variance).

    mean: (B, C, ...) any shape. variance: broadcastable to mean, ≥ 0; zero is a point mass (DDIM, the last step).
    """

    mean: Tensor
    variance: Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """fp16 and bf16 become fp32; fp32 and fp64 stay what they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def realignment_weights(lambdas: Scalar | Sequence[Scalar]) -> Tensor:
    """Weights of (reference, anchor 1, ..., anchor K): (1 - Σλ, λ_1, ..., λ_K).

    lambdas: one λ, or one per anchor; each a number or a tensor that broadcasts against the sample (a number per
    batch element as (B, 1, 1, 1), a map as (B, 1, H, W)). A tensor of one or more dimensions has the anchors first.
    Returns (K + 1, ...), fp32 or fp64.
    """
    if isinstance(lambdas, Tensor):
        values: Sequence[Scalar] = list(lambdas) if lambdas.ndim else [lambdas]
    elif isinstance(lambdas, Sequence):
        values = lambdas
    else:
        values = [lambdas]
    if not len(values):
        return torch.ones(1)
    on_devices = [v for v in values if isinstance(v, Tensor)]
    device = max(on_devices, key=lambda v: v.ndim).device if on_devices else None  # numbers go to where a map is
    tensors = [at_least_float32(torch.as_tensor(v, device=device)) for v in values]
    anchors = torch.stack(torch.broadcast_tensors(*tensors))
    return torch.cat([1 - anchors.sum(0, keepdim=True), anchors])


def effective_weights(variances: Sequence[Tensor], weights: Tensor) -> tuple[Tensor, Tensor]:
    """Each component's share of the mixture's mean, and the mixture's variance.

    share_k = (w_k / v_k) / P with P = Σ w_k / v_k, computed relative to the smallest variance in play, so that
    v → 0 is a limit that is reached (all v_k → 0 together: share_k = w_k) and nothing overflows.

    variances: K tensors ≥ 0. weights: (K, ...), sum 1. Both broadcast against each other.
    Returns shares (K, ...) that sum to 1, and variance (...).
    Raises ImproperMixtureError where P ≤ 0 anywhere.
    """
    dims = max([weights.ndim - 1, *(v.ndim for v in variances)])
    # Leading axis: component. The rest is padded on the left, as broadcasting pads the components' own shapes.
    w = weights.reshape(weights.shape[:1] + (1,) * (dims - weights.ndim + 1) + weights.shape[1:])
    v = torch.stack(torch.broadcast_tensors(*variances)).to(w)
    v = v.reshape(v.shape[:1] + (1,) * (dims - v.ndim + 1) + v.shape[1:])
    w, v = torch.broadcast_tensors(w, v)

    smallest = v.masked_fill(w == 0, torch.inf).amin(0)
    relative_precision = torch.where(v > smallest, smallest / v, 1.0)  # 0 / v = 0 beside a point mass
    shares = w * relative_precision
    precision = shares.sum(0)
    if not bool((precision > 0).all()):
        worst = precision.argmin()
        w_worst, v_worst = (", ".join(f"{n:.6g}" for n in t.reshape(len(t), -1)[:, worst].tolist()) for t in (w, v))
        raise ImproperMixtureError(
            "these weights and variances have no Gaussian: the mixture's precision Σ w_k / v_k is not positive "
            f"(weights {w_worst}; variances {v_worst}). "
            "Bring λ closer to [0, 1], or use the same η for every model."
        )
    return shares / precision, smallest / precision


def geometric_mixture(components: Sequence[Gaussian], weights: Tensor | Sequence[Scalar]) -> Gaussian:
    """Π_k N(μ_k, v_k)^{w_k}, normalised: DeRaDiff theorem 1, for any number of components.

        P = Σ w_k / v_k        v_new = 1 / P        μ_new = v_new Σ (w_k / v_k) μ_k

    components: K Gaussians over one sample space. weights: in the components' order, sum 1, each a number or a
    tensor that broadcasts against the means; see `realignment_weights`. fp16 and bf16 are computed in fp32.
    A component of weight 0 takes no part, whatever its mean. Variances of 0 are reached as the common limit v → 0.

    Raises ValueError for weights that do not fit or do not sum to 1, ImproperMixtureError where P ≤ 0 anywhere.
    """
    if isinstance(weights, Tensor):
        w = at_least_float32(weights)
    else:
        device = components[0].mean.device if components else None
        tensors = [at_least_float32(torch.as_tensor(value, device=device)) for value in weights]
        w = torch.stack(torch.broadcast_tensors(*tensors)) if tensors else torch.ones(0)
    if len(components) != w.shape[0] or not components:
        raise ValueError(f"{len(components)} components need as many weights, but there are {w.shape[0]}")
    if not bool(((w.sum(0) - 1).abs() <= 1e-3).all()):
        raise ValueError(f"weights must sum to 1, but sum to {w.sum(0).flatten()[0].item():.6g}")

    means = [at_least_float32(c.mean) for c in components]
    variances = [at_least_float32(torch.as_tensor(c.variance, device=m.device)) for c, m in zip(components, means)]
    if any(bool((v < 0).any()) for v in variances):
        raise ValueError("a variance is negative")
    shares, variance = effective_weights(variances, w.to(means[0]))
    return Gaussian(weighted_sum(means, shares), variance)


def weighted_sum(values: Sequence[Tensor | None], weights: Tensor) -> Tensor:
    """Σ w_k x_k over those x_k whose weight is not 0, so that a model that was not called (None) takes no part."""
    total: Tensor | None = None
    known = next((value for value in values if value is not None), None)
    if known is not None and weights.ndim > 1:
        weights = kept_on(known.device, weights)
    for value, weight in zip(values, weights):
        if value is None:
            continue
        if weight.ndim == 0 and weight.device.type == "cpu":  # a number: no need to wait for a GPU
            term = weight * value if weight != 0 else torch.zeros_like(value)
        else:
            term = torch.where(weight == 0, 0.0, weight * value)
        total = term if total is None else total + term
    if total is None:
        raise ValueError("nothing to sum: no value was given")
    return total


def max_lambda(reference_variance: Scalar, anchor_variance: Scalar) -> float:
    """The λ below which p_ref^{1-λ} p_anchor^λ is a Gaussian everywhere; inf where any λ ≥ 0 is allowed.

    (1-λ)/v_ref + λ/v_anchor > 0 holds for every λ ≥ 0 unless v_anchor > v_ref; then λ < v_anchor/(v_anchor - v_ref).
    """
    v_ref, v_anchor = torch.broadcast_tensors(*(torch.as_tensor(v) for v in (reference_variance, anchor_variance)))
    v_ref, v_anchor = v_ref.double(), v_anchor.double()
    gap = v_anchor - v_ref
    return torch.where(gap > 0, v_anchor / gap, torch.inf).min().item()
