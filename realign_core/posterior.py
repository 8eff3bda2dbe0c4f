"""The reverse step of a Gaussian diffusion, for any α and σ: VE, VP and flow matching alike.

x_t = α_t x_0 + σ_t ε. DDPM is η = 1 (Ho et al. 2020, eq. 7), DDIM η = 0 (Song et al. 2021, eq. 12).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from einops import reduce
from torch import Tensor

from .gaussian import (
    Gaussian,
    ImproperMixtureError,
    Scalar,
    at_least_float32,
    geometric_mixture,
    max_lambda,
    realignment_weights,
)


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
    """q(x_s | x_t, x_0 = denoised): the Gaussian that one reverse step draws from (Song et al. 2021, eq. 12).

        v = η² σ_s² (σ_t² - a²σ_s²)/σ_t²      μ = α_s D + sqrt(σ_s² - v) ε̂      ε̂ = (x - α_t D)/σ_t

    x, denoised: (B, C, ...), any float dtype, computed in fp32 or better. now, then, eta: numbers, or tensors that
    broadcast against x. At σ_s = 0 the mean is `denoised` and the variance 0.
    Raises ValueError as `posterior_variance` does.
    """
    x, denoised = at_least_float32(x), at_least_float32(denoised)
    to_denoised, to_x, variance = _coefficients(now, then, eta)
    mean = _for(to_denoised, x) * denoised + _for(to_x, x) * x
    return Gaussian(mean, variance.to(x) if variance.ndim else variance.to(x.dtype))


def _coefficients(now: NoiseLevel, then: NoiseLevel, eta: Scalar) -> tuple[Tensor, Tensor, Tensor]:
    """The reverse posterior in the basis (D, x_t): how much of each its mean holds, and its variance (fp64, CPU)."""
    variance = posterior_variance(now, then, eta)
    to_x = (_double(then.sigma) ** 2 - variance).clamp(min=0).sqrt() / _double(now.sigma)
    return _double(then.alpha) - to_x * _double(now.alpha), to_x, variance


class MixedStep(NamedTuple):
    """One step of the mixture: x_s = to_denoised · D + to_x · x_t + std · ε with D = Σ weights_k D_k.

    DeRaDiff (arXiv 2601.20198), theorem 1, on the coefficients: the means of the posteriors are linear in
    (D_0 … D_K, x_t), and so is that of their mixture. All but the weights are numbers where η is one for all models.
    """

    weights: Tensor  # (K + 1, ...), sum 1: of the reference, then of K anchors
    to_denoised: Tensor  # > 0, broadcasts against x
    to_x: Tensor  # ≥ 0, broadcasts against x
    std: Tensor  # ≥ 0, broadcasts against x

    def mean(self, x: Tensor, denoised: Tensor) -> Tensor:
        """(B, C, ...), fp32 or better."""
        x, denoised = at_least_float32(x), at_least_float32(denoised)
        return _for(self.to_denoised, x) * denoised + _for(self.to_x, x) * x

    def draw(self, x: Tensor, denoised: Tensor, noise: Callable[[], Tensor]) -> Tensor:
        """x_s, shaped like x and of its dtype. noise: standard normal, like x; not called where the step has none."""
        mean = self.mean(x, denoised)
        if bool((self.std > 0).any()):
            mean = mean + self.scaled(noise().to(mean))
        return mean.to(x.dtype)

    def scaled(self, noise: Tensor) -> Tensor:
        """std · noise, of the noise's dtype."""
        return _for(self.std, noise) * noise


def _for(coefficient: Tensor, x: Tensor) -> Scalar:
    """As a number where it is one, which no device has to wait for."""
    return coefficient.item() if coefficient.ndim == 0 else coefficient.to(x)


def mixed_step(now: NoiseLevel, then: NoiseLevel, lambdas: Sequence[Scalar], etas: Sequence[float]) -> MixedStep:
    """lambdas: one per anchor, each a number or what broadcasts against x. etas: of the reference, then of the anchors.

    For one η the weights are those of `realignment_weights`, to the last bit; for several they are others.
    Raises ValueError as `posterior_variance` does, and ImproperMixtureError where no mixture exists.
    """
    weights = realignment_weights(lambdas)
    models = [_coefficients(now, then, eta) for eta in etas]
    if len(set(etas)) == 1:  # equal variances: the mixture's mean is the weighted mean, and its variance theirs
        to_denoised, to_x, variance = models[0]
        return MixedStep(weights, to_denoised, to_x, variance.sqrt())
    posteriors = []
    for k, (to_denoised, to_x, variance) in enumerate(models):
        mean = torch.zeros(len(models) + 1, dtype=torch.float64)  # in the basis (D_0 … D_K, x_t)
        mean[k], mean[-1] = to_denoised, to_x
        posteriors.append(Gaussian(mean.reshape(-1, *[1] * (weights.ndim - 1)), variance))
    mixture = geometric_mixture(posteriors, weights.cpu().double())
    of_denoised, to_x = mixture.mean[:-1], mixture.mean[-1]
    to_denoised = reduce(of_denoised, "model ... -> ...", "sum")
    return MixedStep((of_denoised / to_denoised).to(weights), to_denoised, to_x, mixture.variance.sqrt())


class MixedSteps(Sequence[MixedStep]):
    """The steps of a run, each made when it is asked for: with a λ per pixel all of them would fill the memory.

    levels: T + 1, falling. lambdas: step -> λ per anchor, as `mixed_step` takes them. etas: see there.
    `check` refuses, before any model is called, a run that could not be finished.
    """

    def __init__(
        self, levels: Sequence[NoiseLevel], lambdas: Callable[[int], Sequence[Scalar]], etas: Sequence[float]
    ) -> None:
        self.levels, self.etas = levels, etas
        self.use(lambdas)

    def use(self, lambdas: Callable[[int], Sequence[Scalar]]) -> None:
        """From now on λ is that: on another device, or of a batch whose elements have changed places."""
        self.lambdas = lambdas
        self._last: tuple[int, MixedStep] | None = None

    def __len__(self) -> int:
        return max(len(self.levels) - 1, 0)

    def __getitem__(self, step: int) -> MixedStep:  # type: ignore[override]
        if not 0 <= step < len(self):
            raise IndexError(step)
        if self._last is None or self._last[0] != step:
            self._last = step, mixed_step(self.levels[step], self.levels[step + 1], self.lambdas(step), self.etas)
        return self._last[1]

    def check(self) -> None:
        """Raises ValueError (no step, a λ or level that is not finite, an η out of range, noise that does not fall) or
        ImproperMixtureError, naming the step, the λ and the λ allowed there."""
        if not len(self):
            raise ValueError("the schedule is empty: sampling needs at least one step, so at least two noise levels")
        for i in range(len(self)):
            now, then = self.levels[i], self.levels[i + 1]
            where = f"step {i + 1} of {len(self)} (σ {float(now.sigma):.4g} → {float(then.sigma):.4g})"
            try:
                lambdas = self.lambdas(i)
                if len(lambdas) != len(self.etas) - 1:
                    raise ValueError(f"{len(self.etas) - 1} anchors need as many λ, but there are {len(lambdas)}")
                if not all(bool(torch.isfinite(torch.as_tensor(v)).all()) for v in (*now, *then, *lambdas)):
                    raise ValueError("a λ or noise level is not a finite number.")
                _ = self[i]
            except ImproperMixtureError as error:
                variances = [posterior_variance(now, then, eta) for eta in self.etas]
                raise ImproperMixtureError(f"{where}: {_no_gaussian(lambdas, variances)}") from error
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error


def _no_gaussian(lambdas: Sequence[Scalar], variances: Sequence[Tensor]) -> str:
    flat = [torch.as_tensor(v).double().flatten() for v in lambdas]
    values = ", ".join(f"{v[v.abs().argmax()].item():g}" for v in flat)
    text = f"λ = {values} has no valid Gaussian, because the models' step variances differ"
    bound = max_lambda(*variances) if len(variances) == 2 else math.inf
    if math.isfinite(bound):
        text += f". The largest λ allowed there is below {bound:.4g}"
    return text + ". Bring λ closer to [0, 1], or set the anchor's eta to the reference's."


def noise_prediction(x: Tensor, denoised: Tensor, level: NoiseLevel) -> Tensor:
    """ε̂ = (x_t - α_t D)/σ_t, shaped like x, fp32 or better."""
    x, denoised = at_least_float32(x), at_least_float32(denoised)
    return (x - _double(level.alpha).to(x) * denoised) / _double(level.sigma).to(x)


def kl_increment(denoised: Tensor, other: Tensor, now: NoiseLevel, then: NoiseLevel) -> Tensor:
    """What one step adds to the KL between two runs: ½ ‖ε̂ - ε̂'‖² |ℓ_s - ℓ_t| nats (Girsanov, a left sum in log-SNR).

    denoised, other: (B, C, ...) predictions at the same x. Returns (B,), fp32 or better; all pixels are summed.
    The last step (σ_s = 0), where ℓ is infinite, counts 0; so does pure noise (α_t = 0), where both ε̂ are x itself.
    """
    gap = at_least_float32(denoised) - at_least_float32(other)
    rise = abs(then.log_snr - now.log_snr)  # a run against time adds noise: it has the same distance to go
    if not math.isfinite(rise):
        return gap.new_zeros(gap.shape[0])
    snr = (float(now.alpha) / float(now.sigma)) ** 2  # ε̂ - ε̂' = -(α/σ)(D - D')
    return 0.5 * snr * rise * reduce(gap.square(), "b ... -> b", "sum")
