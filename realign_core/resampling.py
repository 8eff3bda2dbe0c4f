"""Weights of particles, who of them goes on, and which of them are shown.

Weights are kept as logarithms, in fp64 on the CPU, the last axis being the particles of a group. Schemes as in Chopin
and Papaspiliopoulos 2020 (An Introduction to Sequential Monte Carlo), chapter 9; ssp: Gerber, Chopin and Whiteley 2019
(arXiv 1708.04220), algorithm 1. For each of them the expected number of copies of particle i is n·W_i.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from einops import rearrange, repeat
from torch import Tensor

# (weights (R, N), sum 1; n; uniforms in [0, 1), (R, max(n, N)), of which each takes what it needs) -> index (R, n)
Scheme = Callable[[Tensor, int, Tensor], Tensor]
BELOW_1 = 1 - 2.0**-53
ROUNDING = 1e-9  # a count that is a whole number but for rounding


def normalised(log_weights: Tensor) -> Tensor:
    """log W, of weights that sum to 1 over the last axis; fp64, on the CPU.

    Raises ValueError for a weight that is NaN or infinite, and where all of a group are 0 (-inf).
    """
    logs = log_weights.detach().cpu().double()
    if not logs.shape[-1:].numel() or bool(logs.isnan().any()) or bool((logs == math.inf).any()):
        raise ValueError("the particles' log weights must be numbers below infinity, at least one a group")
    if bool((logs == -math.inf).all(-1).any()):
        raise ValueError("all particles of a group have weight 0, so none of them can go on")
    return logs.log_softmax(-1)


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """ESS = 1/Σ W², 1 to N: (...), of log weights (..., N). Kong, Liu and Wong 1994."""
    return (-(2 * normalised(log_weights)).logsumexp(-1)).exp()


def log_mean_weight(log_weights: Tensor) -> Tensor:
    """log of the mean weight, (...), of log weights (..., N); fp64, on the CPU."""
    logs = log_weights.detach().cpu().double()
    return logs.logsumexp(-1) - math.log(logs.shape[-1])


def _inverse(weights: Tensor, at: Tensor) -> Tensor:
    """The inverse of the distribution function: a particle of weight 0 is never met."""
    upto = weights.cumsum(-1)
    return torch.searchsorted(upto / upto[:, -1:], at.clamp(max=BELOW_1), right=True)


def multinomial(weights: Tensor, n: int, uniforms: Tensor) -> Tensor:
    """n draws that know nothing of each other."""
    return _inverse(weights, uniforms[:, :n].sort(-1).values)


def stratified(weights: Tensor, n: int, uniforms: Tensor) -> Tensor:
    """One draw from each n-th part of the distribution."""
    return _inverse(weights, (uniforms[:, :n] + torch.arange(n)) / n)


def systematic(weights: Tensor, n: int, uniforms: Tensor) -> Tensor:
    """Every n-th part of the distribution, at the same place of each: one random number for all."""
    return _inverse(weights, (uniforms[:, :1] + torch.arange(n)) / n)


def residual(weights: Tensor, n: int, uniforms: Tensor) -> Tensor:
    """⌊n·W_i⌋ copies of each; what is left is drawn from the fractions, multinomially."""
    counts, fractions = _whole_copies(weights, n)
    left = n - counts.sum(-1, keepdim=True)
    drawn = _inverse(torch.where(left > 0, fractions, 1.0), uniforms[:, :n])
    return _copies(counts.scatter_add(-1, drawn, (torch.arange(n) < left).long()))


def ssp(weights: Tensor, n: int, uniforms: Tensor) -> Tensor:
    """⌊n·W_i⌋ copies of each or one more. Two fractions meet: one is raised and the other lowered until either is
    whole, at random and without bias; the one that is not meets the next."""
    rows, particles = torch.arange(len(weights)), weights.shape[-1]
    counts, fractions = _whole_copies(weights, n)
    up = last = torch.zeros_like(rows)
    down = torch.ones_like(rows)
    for k in range(particles - 1):
        one, two = fractions[rows, up], fractions[rows, down]
        rise, fall = torch.minimum(two, 1 - one), torch.minimum(one, 1 - two)  # how far either way can go
        swapped = uniforms[:, k] * (rise + fall) < rise
        up, down = torch.where(swapped, down, up), torch.where(swapped, up, down)
        rise = torch.where(swapped, fall, rise)
        one, two = fractions[rows, up], fractions[rows, down]
        emptied = two < 1 - one  # the lowered one is 0 before the raised one is 1
        fractions[rows, up] = torch.where(emptied, one + rise, 0.0)
        fractions[rows, down] = torch.where(emptied, 0.0, two - rise)
        counts[rows, up] += (~emptied).long()
        last = torch.where(emptied, up, down)
        up, down = torch.where(emptied, up, k + 2), torch.where(emptied, k + 2, down)
    counts[rows, last] += n - counts.sum(-1)  # by rounding its fraction is just below 1 and was not counted
    return _copies(counts)


def _whole_copies(weights: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """⌊n·W⌋ and the fractions, (R, N) each."""
    expected = weights * n
    counts = (expected + ROUNDING).floor()
    return counts.long(), (expected - counts).clamp(min=0)


def _copies(counts: Tensor) -> Tensor:
    """(R, n): each particle's index as often as its count says."""
    each = repeat(torch.arange(counts.shape[-1]), "particle -> (row particle)", row=len(counts))
    return each.repeat_interleave(counts.flatten()).reshape(len(counts), -1)


SCHEMES: dict[str, Scheme] = {
    scheme.__name__: scheme for scheme in (systematic, stratified, ssp, residual, multinomial)
}


def check_scheme(scheme: str) -> None:
    if scheme not in SCHEMES:
        raise ValueError(f"there is no resampling scheme {scheme!r}: take one of {', '.join(SCHEMES)}")


def resample(
    log_weights: Tensor, n: int, scheme: str = "systematic", generator: torch.Generator | None = None
) -> Tensor:
    """Who goes on: n indices of particles, rising, so that particle i is expected n·W_i times.

    log_weights: (N,) or (..., N), each row by itself; they need not be normalised. scheme: one of `SCHEMES`. generator:
    on the CPU. Returns (n,) or (..., n), int64, on the CPU.
    Raises ValueError for an unknown scheme, n < 1, and as `normalised` does.
    """
    check_scheme(scheme)
    if n < 1:
        raise ValueError(f"at least one particle has to go on, not {n}")
    weights = normalised(log_weights).exp()
    rows = weights.reshape(-1, weights.shape[-1])
    uniforms = torch.rand(len(rows), max(n, rows.shape[-1]), dtype=torch.float64, generator=generator)
    index = SCHEMES[scheme](rows, n, uniforms)
    return index.reshape(*weights.shape[:-1], n)


def pool(
    log_z: Tensor,
    log_weights: Tensor,
    n: int,
    scheme: str = "systematic",
    generator: torch.Generator | None = None,
) -> Tensor:
    """n pictures from all groups together: a group in proportion to its Ẑ, then a particle of it by its weight.

    log_z: (..., M), each group's log Ẑ. log_weights: (..., M, N), normalised in each group here. Returns (..., n):
    indices of the M·N particles, those of the first group first.
    """
    together = log_z.detach().cpu().double()[..., None] + normalised(log_weights)
    return resample(rearrange(together, "... group particle -> ... (group particle)"), n, scheme, generator)
