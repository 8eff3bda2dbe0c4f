"""`MixedStep`: theorem 1 on the coefficients is the mixture of the posteriors themselves, and what a step draws."""

from __future__ import annotations

import pytest
import torch
from ground_truth import level
from hypothesis import given, settings
from hypothesis import strategies as st

from realign_core import (
    ImproperMixtureError,
    MixedSteps,
    NoiseLevel,
    geometric_mixture,
    mixed_step,
    per_element,
    realignment_weights,
    reverse_posterior,
)

SHAPE = (3, 2, 4, 4)
spaces = st.sampled_from(["ve", "vp", "flow"])
etas = st.lists(st.sampled_from([0.0, 0.25, 0.6, 1.0]), min_size=3, max_size=3)
lambdas = st.lists(st.integers(-20, 60).map(lambda n: n / 20), min_size=2, max_size=2)
kinds = st.sampled_from(["number", "element", "map"])


def shaped(value: float, kind: str) -> torch.Tensor:
    if kind == "number":
        return torch.tensor(value)
    size = (3, 1, 1, 1) if kind == "element" else (1, 1, 4, 4)
    return value * torch.linspace(0.5, 1, int(torch.tensor(size).prod())).reshape(size)


@settings(max_examples=150)
@given(spaces, etas, lambdas, kinds, st.floats(0.02, 0.98), st.floats(-3, 3))
def test_it_is_the_mixture_of_the_posteriors(space, etas, lambdas, kind, ratio, log_sigma):
    s = 2.718281828**log_sigma
    now, then = (NoiseLevel(*level(space, n)) for n in (s, s * ratio))
    lam = [shaped(value, kind).double() for value in lambdas]
    x, *predicted = torch.randn(4, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    posteriors = [reverse_posterior(x, d, now, then, eta) for d, eta in zip(predicted, etas)]
    try:
        want = geometric_mixture(posteriors, realignment_weights(lam))
    except ImproperMixtureError:
        with pytest.raises(ImproperMixtureError):
            mixed_step(now, then, lam, etas)
        return
    step = mixed_step(now, then, lam, etas)
    denoised = sum(w * d for w, d in zip(step.weights, predicted))
    assert torch.allclose(step.weights.sum(0), torch.ones(()).double(), atol=1e-12)
    assert bool((step.to_denoised > 0).all())
    scale = want.mean.abs().max() + 1
    assert (step.mean(x, denoised) - want.mean).abs().max() <= 1e-9 * scale * step.weights.abs().max()
    assert torch.allclose(step.std**2, want.variance, atol=1e-12 * float(want.variance.max() + 1e-300), rtol=1e-6)


@settings(max_examples=30)
@given(etas, lambdas)
def test_an_inpainting_blend_commutes_with_it(etas, lambdas):
    """The weights sum to 1, so that mixing what is blended is blending what is mixed."""
    now, then = NoiseLevel(1.0, 2.0), NoiseLevel(1.0, 0.7)
    x, original, *predicted = torch.randn(5, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mask = (torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(3)) > 0.5).double()
    try:
        step = mixed_step(now, then, lambdas, etas)
    except ImproperMixtureError:
        return
    mixed = sum(w * d for w, d in zip(step.weights, predicted))
    blended = sum(w * (mask * d + (1 - mask) * original) for w, d in zip(step.weights, predicted))
    assert torch.allclose(blended, mask * mixed + (1 - mask) * original, atol=1e-9)


def test_one_eta_keeps_the_bits_of_lambda():
    now, then = NoiseLevel(1.0, 2.0), NoiseLevel(1.0, 0.7)
    for lam in (0.0, 0.3, 1.0, 1.5):
        step = mixed_step(now, then, [torch.tensor(lam)], [0.4, 0.4])
        assert torch.equal(step.weights, realignment_weights([torch.tensor(lam)]))
        assert step.to_denoised.ndim == step.to_x.ndim == step.std.ndim == 0


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_an_end_is_that_model_with_its_own_eta(lam):
    now, then = NoiseLevel(1.0, 2.0), NoiseLevel(1.0, 0.7)
    step, own = mixed_step(now, then, [lam], [0.2, 0.9]), mixed_step(now, then, [], [0.9 if lam else 0.2])
    assert step.weights.tolist() == [1 - lam, lam]
    assert [float(v) for v in step[1:]] == pytest.approx([float(v) for v in own[1:]], rel=1e-12)


@pytest.mark.parametrize("space", ["ve", "vp", "flow"])
def test_the_last_step_is_the_prediction_without_noise(space):
    now, then = NoiseLevel(*level(space, 0.4)), NoiseLevel(*level(space, 0.0))
    step = mixed_step(now, then, [torch.tensor([0.2, 0.9, 3.0]).reshape(3, 1, 1, 1)], [0.3, 1.0])
    x, denoised = torch.randn(2, *SHAPE)

    def noise():
        raise AssertionError("a step without noise asked for it")

    assert torch.allclose(step.draw(x, denoised, noise), denoised)


def test_steps_are_made_when_they_are_asked_for():
    """With a λ per pixel all of them at once would fill the memory."""
    made = []

    def lambdas(i):
        made.append(i)
        return [per_element(0.5, torch.zeros(SHAPE))]

    steps = MixedSteps([NoiseLevel(1.0, s) for s in (3.0, 2.0, 1.0, 0.0)], lambdas, [1.0, 0.5])
    assert len(steps) == 3
    assert made == []
    assert steps[1] is steps[1]
    assert made == [1]
    assert len(list(steps)) == 3
