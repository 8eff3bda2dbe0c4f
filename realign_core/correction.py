"""What step-wise mixing leaves over, as a weight of each particle.

A run of mixed steps does not sample Π p_k^{w_k}: it drops a factor that depends on x_t. Skreta et al. 2025 (Feynman-Kac
correctors, arXiv 2503.02819), in log-SNR: over a step from t to s, for VE, VP and flow matching and for every η,

    Δlog w = -½ (Σ_k w_k |ε̂_k|² - |Σ_k w_k ε̂_k|²) (ℓ_s - ℓ_t)

It costs no model call. docs/mathematics.md (15) and (26).
"""

from __future__ import annotations

import math

import torch
from einops import reduce
from torch import Tensor

from .gaussian import at_least_float32, weighted_sum
from .posterior import NoiseLevel
from .prediction import Prediction
from .resampling import effective_sample_size

Memory = dict[str, Tensor]  # what belongs to a particle, by name, each (B, ...): all of it is re-indexed together
DISAGREEMENT = "disagreement"


def disagreement(predicted: Prediction, weights: Tensor, where: Tensor | None = None) -> Tensor:
    """Σ_k w_k |D_k - D_λ|², (B,), fp32 or better: all pixels summed. Times (α_t/σ_t)² it is that of the ε̂.

    weights: (K + 1, ...) as the evaluator had them; one per element, or a map. Of a map each pixel has its own mixture,
    which is exact where pixels of different weights are independent. where: as `kl_increments` takes it.
    Raises ValueError where a model counts whose own D is not known: with mixed weights none is.
    """
    combined = at_least_float32(predicted.combined)
    if any(denoised is None and bool((weight != 0).any()) for denoised, weight in zip(predicted.denoised, weights)):
        raise ValueError(
            "the correction needs what each model predicts by itself at every step: use an evaluator that calls each "
            "model, not mixed weights"
        )
    gaps = [None if d is None else (at_least_float32(d) - combined).square() for d in predicted.denoised]
    total = weighted_sum(gaps, weights)
    return reduce(total if where is None else total * where.to(total).square(), "b ... -> b", "sum")


def snr(level: NoiseLevel) -> float:
    """α²/σ²; infinite for a clean sample."""
    return math.inf if float(level.sigma) == 0 else (float(level.alpha) / float(level.sigma)) ** 2


def correction_weight(before: Tensor, now: Tensor, earlier: NoiseLevel, level: NoiseLevel) -> Tensor:
    """Δlog w from one level to the next, (B,): the trapezoid of `disagreement` at its two ends, in log-SNR.

    A left sum is far off at few steps. From pure noise (α = 0), where ℓ is -∞, the integral of a constant `before` over
    the SNR itself.
    """
    snr_before, snr_now = snr(earlier), snr(level)
    if snr_before == 0:
        return -0.5 * snr_now * before
    return -0.25 * (snr_before * before + snr_now * now) * math.log(snr_now / snr_before)


def guarded(increments: Tensor, least: float = 0.5, halvings: int = 30) -> Tensor:
    """κ·increments, (M, N), with each group's largest κ ≤ 1 at which they alone leave an ESS of least·N."""
    needed = least * increments.shape[-1]
    bad = effective_sample_size(increments) < needed
    if not bool(bad.any()):
        return increments
    low, high = torch.zeros(int(bad.sum()), 1, dtype=increments.dtype), torch.ones(1, 1, dtype=increments.dtype)
    for _ in range(halvings):
        middle = (low + high) / 2
        fine = (effective_sample_size(middle * increments[bad]) >= needed)[:, None]
        low, high = torch.where(fine, middle, low), torch.where(fine, high, middle)
    out = increments.clone()
    out[bad] = low * increments[bad]
    return out


class Correction:
    """The correction of one run. What it remembers of each particle lies in `memory`."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._earlier: NoiseLevel | None = None

    def weigh(self, level: NoiseLevel, found: Tensor) -> Tensor:
        """Δlog w of the step that led to this level, (B,), fp64, on the CPU. found: `disagreement` here."""
        now = found.detach().cpu().double()
        earlier, before = self._earlier, self.memory.get(DISAGREEMENT)
        self._earlier, self.memory[DISAGREEMENT] = level, now
        if earlier is None or before is None:
            return torch.zeros_like(now)
        return correction_weight(before, now, earlier, level)
