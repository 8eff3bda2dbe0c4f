"""Evaluators that spend fewer model calls than one per model and step.

`DifferenceReuse` calls the reference at every step and extrapolates each anchor's difference from it. `ControlVariate`
calls one model with mixed weights at every step and corrects it by a residual. Both keep what they reuse in velocity
scaling and in fp32, on the device. An evaluator holds the state of one run: make a new one for each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

from .gaussian import at_least_float32
from .posterior import NoiseLevel
from .prediction import MERGED, Ask, Prediction, combine, in_order

Points = Sequence[tuple[float, Tensor]]  # (log σ, value), oldest first

TINY = 1e-12  # keeps a quotient of norms, and log σ, finite


def velocity_scale(level: NoiseLevel, sigma_data: float = 1.0) -> float:
    """How much a difference of D is for a difference of 1 in the network's own output: σ/√(α² + σ²/σ_data²).

    VE: Karras et al. 2022 (arXiv 2206.00364), table 1, c_out. Flow matching: D = x - σv, near σ at low noise, and
    σ_data for pure noise (α = 0), as for every α. > 0.
    """
    alpha, sigma = float(level.alpha), max(float(level.sigma), TINY)
    return sigma / math.sqrt(alpha**2 + (sigma / sigma_data) ** 2)


def extrapolate(points: Points, at: float, reach: float) -> Tensor:
    """The line through the last two points, at `at`, or at most `reach` times their distance beyond the last.

    Never further from the last value than `reach` times the change between the two. One point, or two at the same
    place: the last value is held, as it is where reach = 0.
    """
    here, last = points[-1]
    if len(points) < 2 or reach == 0:
        return last
    there, before = points[-2]
    gap = here - there
    if abs(gap) < 1e-6:
        return last
    return last + max(-reach, min(reach, (at - here) / gap)) * (last - before)


def even_span(levels: Sequence[NoiseLevel], every: float) -> float:
    """The fall of log σ between refreshes that spends as many of them on this schedule as one per `every` calls.

    Refreshes that follow the noise and not only the steps are where the difference changes fast: flow matching takes
    few steps through a large fall of log σ, at the end.
    """
    sigmas = [float(level.sigma) for level in levels if float(level.sigma) > 0]
    return max(math.log(sigmas[0] / sigmas[-1]) / max(1, round(len(sigmas) / every)), TINY)


class DifferenceReuse:
    """Calls the reference at every step, and the anchors only at refreshes; D̂_k = D_ref + c·Δ̂_k between them.

    Δ_k = (D_k - D_ref)/c, c = `velocity_scale`, is extrapolated linearly in log σ from an anchor's last two refreshes.
    An anchor is refreshed at the first two calls at which its λ is not 0, then every `every` (≥ 1) calls. With a `span`
    (> 0) only half of the way to the next refresh is counted in calls, the other in the fall of log σ, 1 for each
    span; see `even_span`.

    tolerance: let the error found at a refresh shorten that. The error is ‖Δ - Δ̂‖/‖Δ‖ times σ/√(σ² + α²σ_data²),
    which fades with the noise as the anchor's say in x_t does. Above `tolerance` the distance to the next refresh is
    halved, below half of it the distance grows by a quarter, but not above where it started. Norms are the whole
    batch's: with a tolerance an image depends a little on those it is sampled with.
    reach: see `extrapolate`. sigma_data: the data's standard deviation in the latent space.
    Costs 1 call, at a refresh 1 + the anchors refreshed. Where one model has weight 1 and the others 0 for the whole
    batch, it alone is called.
    """

    def __init__(
        self,
        every: float = 5,
        tolerance: float | None = None,
        *,
        span: float | None = None,
        reach: float = 1.0,
        sigma_data: float = 1.0,
    ) -> None:
        self.tolerance, self.reach, self.sigma_data = tolerance, reach, sigma_data
        self._clock = _Clock(every, span)
        self._anchors: list[_Difference] = []

    def __call__(self, ask: Ask, x: Tensor, level: NoiseLevel, weights: Tensor) -> Prediction:
        used, alone = _roles(weights)
        at = _log_sigma(level)
        now = self._clock.tick(at)
        if any(alone):
            called = _whole(alone, x)
            denoised = in_order(ask(x, level, called, None), len(weights))
            return Prediction(denoised, called, combine(denoised, weights), 1)

        while len(self._anchors) < len(weights) - 1:
            self._anchors.append(_Difference())
        due = [u and a.due(now) for u, a in zip(used[1:], self._anchors)]
        predicted = in_order(ask(x, level, _whole([True, *due], x), None), len(weights))
        reference = at_least_float32(_known(predicted[0]))
        scale = velocity_scale(level, self.sigma_data)

        errors: list[Tensor] = []
        sizes: list[Tensor] = []
        for k, anchor in enumerate(self._anchors, start=1):
            if due[k - 1]:
                difference = (at_least_float32(_known(predicted[k])) - reference) / scale
                if anchor.points:
                    errors.append((difference - extrapolate(anchor.points, at, self.reach)).norm())
                    sizes.append(difference.norm())
                    if self.tolerance is not None and len(anchor.points) == 2:
                        share = _ratio(errors[-1:], sizes[-1:]) * scale / self.sigma_data
                        anchor.adapt(share, self.tolerance)
                anchor.refresh(now, at, difference.detach())
            elif used[k]:
                predicted[k] = reference + scale * extrapolate(anchor.points, at, self.reach)
        correction = _ratio(errors, sizes) if errors else None
        known = _whole([d is not None for d in predicted], x)
        calls = 1 + sum(due)
        return Prediction(predicted, known, combine(predicted, weights), calls, correction, sum(used) - calls)

    def take(self, index: Tensor) -> None:
        """See `Evaluator`."""
        for anchor in self._anchors:
            anchor.points = [(at, difference[index]) for at, difference in anchor.points]


class _Difference:
    """One anchor's scaled difference from the reference at its last two refreshes, and how far it is to the next."""

    def __init__(self) -> None:
        self.longest = self.period = 1.0  # of the clock
        self.refreshed = 0.0
        self.points: list[tuple[float, Tensor]] = []

    def due(self, now: float) -> bool:
        return len(self.points) < 2 or _passed(self.refreshed, now, self.period)

    def refresh(self, now: float, at: float, difference: Tensor) -> None:
        self.points = [*self.points, (at, difference)][-2:]
        self.refreshed = now

    def adapt(self, error: float, tolerance: float) -> None:
        if error > tolerance:
            self.period = max(self.longest / 8, self.period / 2)
        elif error < tolerance / 2:
            self.period = min(self.longest, self.period * 1.25)


class _Clock:
    """How far a run has come, in refreshes: by its calls, or half by them and half by log σ where there is a span."""

    def __init__(self, every: float, span: float | None) -> None:
        if not every >= 1:
            raise ValueError(f"a refresh every {every} calls is not possible: 1 is every call")
        if span is not None and not span > 0:
            raise ValueError(f"a refresh each time that log σ has fallen by {span} is not possible: give more than 0")
        self.every, self.span, self.calls = every, span, 0

    def tick(self, log_sigma: float) -> float:
        """Where this call is."""
        self.calls += 1
        by_calls = self.calls / self.every
        return by_calls if self.span is None else (by_calls - log_sigma / self.span) / 2


def _passed(before: float, now: float, period: float) -> bool:
    return abs(now - before) >= period * (1 - 1e-6)


class ControlVariate:
    """Calls one model with the weights θ_ref + Σ λ_k Δθ_k at every step and adds the residual R that it leaves.

    R = (D_λ - D(θ_λ))/`velocity_scale`, D_λ the exact mixture: measured every `every` (≥ 1) calls, with a `span` as
    `DifferenceReuse` does; in between extrapolated linearly in log σ, but no further than `reach` of the last interval
    (0 holds it). R is of second order in the anchors' Δθ: for one anchor
    ½λ(1-λ) times a second derivative, so it is rescaled by Σ λ_k(1-λ_k) where λ changes between the calls, and measured
    anew before that becomes a guess.

    λ: a number or one per batch element. Weights have no pixels, so a map is refused with ValueError.
    Costs 1 call, at a refresh 1 + the models whose weight is not 0; between refreshes no model's own D is known. Where
    one model has weight 1 and the others 0 for the whole batch, D(θ_λ) is that model's D and nothing is added.
    """

    def __init__(
        self, every: float = 10, *, span: float | None = None, reach: float = 0.5, sigma_data: float = 1.0
    ) -> None:
        self.reach, self.sigma_data = reach, sigma_data
        self._clock = _Clock(every, span)
        self._refreshed = 0.0
        self._lambdas: Tensor | None = None  # (K, ...), on the CPU: those of the last refresh
        self._residuals: list[tuple[float, Tensor, Tensor]] = []  # (log σ, R, its order Σ λ(1-λ)), the last two

    def __call__(self, ask: Ask, x: Tensor, level: NoiseLevel, weights: Tensor) -> Prediction:
        if any(size != 1 for size in weights.shape[2:]):
            raise ValueError(
                "λ is a map over pixels, but mixed weights have no pixels: use one λ per image, or an evaluator that "
                "calls each model"
            )
        weights = weights.cpu()
        used, alone = _roles(weights)
        lambdas, nobody = weights[1:], _whole([False] * len(weights), x)
        at = _log_sigma(level)
        now = self._clock.tick(at)
        if any(alone):
            mixed = ask(x, level, nobody, list(lambdas))[MERGED]
            return Prediction([mixed if own else None for own in alone], _whole(alone, x), mixed, 1)

        order = (lambdas * (1 - lambdas)).sum(0)
        scale = velocity_scale(level, self.sigma_data)
        if not self._moved(lambdas, order) and not _passed(self._refreshed, now, 1.0):
            mixed = ask(x, level, nobody, list(lambdas))[MERGED]
            combined = at_least_float32(mixed) + scale * self._residual(at, order)
            return Prediction([None] * len(weights), nobody, combined, 1, saved=sum(used) - 1)

        called = _whole(used, x)
        answers = ask(x, level, called, list(lambdas))
        mixed, denoised = answers[MERGED], in_order(answers, len(weights))
        combined = combine(denoised, weights)
        residual = (at_least_float32(combined) - at_least_float32(mixed)) / scale
        correction = None
        if self._residuals:
            missed = scale * (residual - self._residual(at, order)).norm()
            correction = _ratio([missed], _distances(denoised))
        self._residuals = [*self._residuals, (at, residual.detach(), order)][-2:]
        self._lambdas, self._refreshed = lambdas, now
        return Prediction(denoised, called, combined, 1 + sum(used), correction, saved=-1)

    def take(self, index: Tensor) -> None:
        """See `Evaluator`."""
        self._residuals = [(at, residual[index], _taken(order, index)) for at, residual, order in self._residuals]
        if self._lambdas is not None:
            self._lambdas = torch.stack([_taken(value, index) for value in self._lambdas])

    def _moved(self, lambdas: Tensor, order: Tensor) -> bool:
        """Whether λ is now so far from the last refresh that its residual says too little."""
        if self._lambdas is None:
            return True
        last = self._residuals[-1][2]
        far = (lambdas - self._lambdas).abs() > 0.25
        return bool(far.any()) or bool((order.abs() > 2 * last.abs() + 0.05).any())

    def _residual(self, at: float, order: Tensor) -> Tensor:
        return extrapolate([(u, _rescaled(r, q, order)) for u, r, q in self._residuals], at, self.reach)


def _rescaled(residual: Tensor, was: Tensor, now: Tensor) -> Tensor:
    """R of order `was` (λ(1-λ), broadcastable) as one of order `now`, at most doubled; as it is where `was` is near 0,
    where R is near 0 too."""
    factor = torch.where((was == now) | (was.abs() < 1e-3), 1.0, (now / was).clamp(-2, 2))
    return residual * factor.to(residual)


def _whole(called: Sequence[bool], x: Tensor) -> Tensor:
    """(K + 1, B): each model for all elements of the batch or for none."""
    return rearrange(torch.tensor(called, dtype=torch.bool), "model -> model 1").expand(-1, x.shape[0])


def _taken(value: Tensor, index: Tensor) -> Tensor:
    """What is one per batch element, re-indexed; a number stays as it is."""
    return value[index.to(value.device)] if value.ndim and value.shape[0] > 1 else value


def _roles(weights: Tensor) -> tuple[list[bool], list[bool]]:
    """Per model: whether its weight is not 0 somewhere, and whether it is 1 everywhere and all others 0. One sync."""
    flat = rearrange(weights, "model ... -> model (...)")
    answers = torch.stack([(flat != 0).any(1), (flat == 1).all(1)]).tolist()
    used: list[bool] = answers[0]
    return used, [one and sum(used) == 1 for one in answers[1]]


def _distances(denoised: Sequence[Tensor | None]) -> list[Tensor]:
    """‖D_k - D_0‖ of every other known model from the first known one: the reference, unless its weight is 0."""
    first, *others = [at_least_float32(d) for d in denoised if d is not None]
    return [(d - first).norm() for d in others]


def _ratio(errors: Sequence[Tensor], sizes: Sequence[Tensor]) -> float:
    """Norms of parts as those of the whole, one over the other."""
    missed, whole = (torch.stack(list(norms)).detach().norm() for norms in (errors, sizes))
    return float(missed / whole.clamp(min=TINY))


def _log_sigma(level: NoiseLevel) -> float:
    return math.log(max(float(level.sigma), TINY))


def _known(denoised: Tensor | None) -> Tensor:
    if denoised is None:
        raise ValueError("a model that was to be called gave no prediction")
    return denoised
