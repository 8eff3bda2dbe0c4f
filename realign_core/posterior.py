"""The reverse step of a Gaussian diffusion, for any α and σ: VE, VP and flow matching alike.

x_t = α_t x_0 + σ_t ε. DDPM is η = 1 (Ho et al. 2020, eq. 7), DDIM η = 0 (Song et al. 2021, eq. 12).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .gaussian import Gaussian, Scalar, at_least_float32


class NoiseLevel(NamedTuple):
    """How much signal and noise x_t holds: x_t = alpha · x_0 + sigma · ε. VE: alpha 1; flow matching: 1 - sigma."""

    alpha: Scalar
    sigma: Scalar

    @property
    def log_snr(self) -> float:
        """ℓ = log(α²/σ²): -inf for pure noise, inf for a clean sample. For scalar levels."""
        alpha, sigma = float(self.alpha), float(self.sigma)
        if sigma == 0:
            return math.inf
        return 2 * (math.log(alpha) - math.log(sigma)) if alpha > 0 else -math.inf


def _double(value: Scalar) -> Tensor:
    # On the CPU first: some accelerators have no fp64, and σ_t² - a²σ_s² cancels too much in fp32.
    return value.detach().cpu().double() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)


def posterior_variance(now: NoiseLevel, then: NoiseLevel, eta: Scalar = 1.0) -> Tensor:
    """v = η² σ_s² (σ_t² - a²σ_s²) / σ_t², a = α_t/α_s: the variance per element of the step t → s (fp64, CPU).

    Raises ValueError where σ_t ≤ 0, where the step does not lower the noise, or where η leaves v > σ_s².
    """
    alpha_t, sigma_t, alpha_s, sigma_s, eta_ = map(_double, (*now, *then, eta))
    if not bool((sigma_t > 0).all()) or not bool((sigma_s >= 0).all()):
        raise ValueError(f"a reverse step needs sigma > 0 now and sigma ≥ 0 then, but has {now.sigma} and {then.sigma}")
    if not bool((alpha_s > 0).all()):
        raise ValueError(f"a reverse step needs alpha > 0 then, but has {then.alpha}")
    added = sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2  # variance that the forward step s → t adds
    if not bool((added >= -1e-9 * sigma_t**2).all()):
        raise ValueError(f"a reverse step must lower the noise, but goes from sigma {now.sigma} to {then.sigma}")
    variance = eta_**2 * sigma_s**2 * added.clamp(min=0) / sigma_t**2
    if not bool((eta_ >= 0).all()) or not bool((variance <= sigma_s**2 * (1 + 1e-9)).all()):
        raise ValueError(f"eta must be between 0 (DDIM) and 1 (DDPM), but is {eta}")
    return variance


def reverse_posterior(x: Tensor, denoised: Tensor, now: NoiseLevel, then: NoiseLevel, eta: Scalar = 1.0) -> Gaussian:
    """q(x_s | x_t, x_0 = denoised): the Gaussian that one reverse step draws from (design 3).

        v = η² σ_s² (σ_t² - a²σ_s²)/σ_t²      μ = α_s D + sqrt(σ_s² - v) ε̂      ε̂ = (x - α_t D)/σ_t

    x, denoised: (B, C, ...), any float dtype, computed in fp32 or better. now, then, eta: numbers, or tensors that
    broadcast against x. At σ_s = 0 the mean is `denoised` and the variance 0.
    Raises ValueError as `posterior_variance` does.
    """
    x, denoised = at_least_float32(x), at_least_float32(denoised)
    variance = posterior_variance(now, then, eta)
    sigma_s = _double(then.sigma)
    to_noise = (sigma_s**2 - variance).clamp(min=0).sqrt() / _double(now.sigma)
    to_denoised = _double(then.alpha) - to_noise * _double(now.alpha)
    return Gaussian(to_denoised.to(x) * denoised + to_noise.to(x) * x, variance.to(x))


def noise_prediction(x: Tensor, denoised: Tensor, level: NoiseLevel) -> Tensor:
    """ε̂ = (x_t - α_t D)/σ_t, shaped like x, fp32 or better."""
    x, denoised = at_least_float32(x), at_least_float32(denoised)
    return (x - _double(level.alpha).to(x) * denoised) / _double(level.sigma).to(x)


def kl_increment(denoised: Tensor, other: Tensor, now: NoiseLevel, then: NoiseLevel) -> Tensor:
    """What one step adds to the KL between two runs: ½ ‖ε̂ - ε̂'‖² (ℓ_s - ℓ_t) nats (design 7, Girsanov).

    denoised, other: (B, C, ...) predictions at the same x. Returns (B,), fp32 or better; all pixels are summed.
    The last step (σ_s = 0), where ℓ is infinite, counts 0; so does pure noise (α_t = 0), where both ε̂ are x itself.
    """
    gap = at_least_float32(denoised) - at_least_float32(other)
    rise = then.log_snr - now.log_snr
    if not math.isfinite(rise):
        return gap.new_zeros(gap.shape[0])
    snr = (float(now.alpha) / float(now.sigma)) ** 2  # ε̂ - ε̂' = -(α/σ)(D - D')
    return 0.5 * snr * rise * gap.square().flatten(1).sum(1)
