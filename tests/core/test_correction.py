"""The weight that step-wise mixing leaves over: its formula, and that it leads to the product of the models."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ground_truth import SPACES, GaussianData, run_levels
from particle_runs import ANCHOR, DATA, chain, particles_of, standard_normal
from runs import Model, constant, noise_levels

from realign_core import (
    ControlVariate,
    Exact,
    NoiseLevel,
    correction_weight,
    disagreement,
    effective_sample_size,
    guarded,
    noise_prediction,
    particle_sample,
    realignment_weights,
    separate,
)

WIDE = GaussianData(np.array([0.4, -0.3]), np.array([[1.2, 0.3], [0.3, 0.8]]))
NARROW = GaussianData(np.array([0.1, 0.2]), np.array([[0.15, 0.03], [0.03, 0.2]]))
BETWEEN = GaussianData(np.array([-0.1, 0.2]), np.array([[0.4, -0.1], [-0.1, 0.3]]))
OTHER = GaussianData(np.array([-0.5, 0.2]), np.array([[0.9, -0.2], [-0.2, 1.3]]))


def asked(lambdas, x: torch.Tensor, level: NoiseLevel):
    weights = realignment_weights(lambdas)
    models = [Model.of(data) for data in (DATA, ANCHOR, OTHER)[: len(lambdas) + 1]]
    return Exact()(separate(models), x, level, weights), weights


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("lambdas", [(0.3,), (1.4,), (0.3, 0.5), (-0.2, 0.9)])
def test_the_disagreement_is_that_of_the_predicted_noise(lambdas, space):
    level = noise_levels(run_levels(space, 4, most=3))[1]
    x = standard_normal(0, 5, 2)
    predicted, weights = asked(lambdas, x, level)
    noises = [noise_prediction(x, denoised, level) for denoised in predicted.denoised]
    mean = sum(w * noise for w, noise in zip(weights, noises))
    bracket = sum(w * noise.square().sum(-1) for w, noise in zip(weights, noises)) - mean.square().sum(-1)
    found = disagreement(predicted, weights) * (level.alpha / level.sigma) ** 2
    np.testing.assert_allclose(found, bracket, rtol=1e-5)


def test_two_models_disagree_by_lambda_times_one_less():
    level, x = NoiseLevel(1.0, 0.7), standard_normal(1, 5, 2)
    predicted, weights = asked((0.3,), x, level)
    reference, anchor = predicted.denoised
    np.testing.assert_allclose(
        disagreement(predicted, weights), 0.3 * 0.7 * (reference - anchor).square().sum(-1), rtol=1e-5
    )


def test_masks_and_elements_have_their_own_weights_pixel_by_pixel():
    level, x = NoiseLevel(1.0, 0.7), standard_normal(1, 2, 2)
    mask = torch.tensor([[0.3, 0.0], [1.0, 0.6]])
    predicted, weights = asked((mask,), x, level)
    reference, anchor = predicted.denoised
    wanted = (mask * (1 - mask) * (reference - anchor).square()).sum(-1)
    np.testing.assert_allclose(disagreement(predicted, weights), wanted, rtol=1e-5)
    shown = torch.tensor([[1.0, 0.0]])
    wanted = (shown * mask * (1 - mask) * (reference - anchor).square()).sum(-1)
    np.testing.assert_allclose(disagreement(predicted, weights, shown), wanted, rtol=1e-5)


def test_a_model_that_does_not_count_is_not_missed_and_one_that_does_is():
    level, x = NoiseLevel(1.0, 0.7), standard_normal(1, 2, 2)
    predicted, weights = asked((1.0,), x, level)
    assert predicted.denoised[0] is None
    assert disagreement(predicted, weights).tolist() == [0, 0]
    with pytest.raises(ValueError, match="calls each model"):
        disagreement(predicted, realignment_weights([0.5]))


def test_the_weight_is_the_trapezoid_in_log_snr():
    before, now = torch.tensor([2.0, 0.0]), torch.tensor([3.0, 1.0])
    a, b = NoiseLevel(0.6, 0.8), NoiseLevel(0.8, 0.6)
    rise = b.log_snr - a.log_snr
    wanted = -0.5 * rise * ((0.6 / 0.8) ** 2 * before + (0.8 / 0.6) ** 2 * now) / 2
    np.testing.assert_allclose(correction_weight(before, now, a, b), wanted, rtol=1e-6)


def test_from_pure_noise_it_is_finite():
    before, now = torch.tensor([2.0]), torch.tensor([3.0])
    b = NoiseLevel(0.2, 0.8)
    assert correction_weight(before, now, NoiseLevel(0.0, 1.0), b).item() == pytest.approx(-0.5 * 2 / 16)


def test_the_guard_leaves_weights_that_are_fine_and_weakens_others_to_half_the_particles():
    logs = torch.tensor([[0.0, 0.1, 0.2, 0.3], [0.0, -5.0, -30.0, -40.0]], dtype=torch.float64)
    out = guarded(logs)
    assert torch.equal(out[0], logs[0])
    assert effective_sample_size(out)[1].item() == pytest.approx(2, abs=1e-4)
    share = out[1, 1:] / logs[1, 1:]
    assert share.tolist() == pytest.approx([share[0].item()] * 3)


def product_of(models, weights) -> GaussianData:
    precisions = [np.linalg.inv(model.cov) for model in models]
    cov = np.linalg.inv(sum(w * p for w, p in zip(weights, precisions)))
    return GaussianData(cov @ sum(w * p @ model.mean for w, p, model in zip(weights, precisions, models)), cov)


@pytest.mark.parametrize("lambdas", [(0.25,), (0.5,), (1.4,), (0.3, 0.3)])
@pytest.mark.parametrize("eta", [1.0, 0.5])
def test_corrected_particles_are_those_of_the_product_and_stepwise_ones_are_not(lambdas, eta):
    """What is left is that 80 steps are not infinitely many: one model's own chain is as far off."""
    models = (WIDE, NARROW, BETWEEN)[: len(lambdas) + 1]
    target = product_of(models, [1 - sum(lambdas), *lambdas])
    out = particles_of(1000, 16, correct=True, models=models, lambdas=lambdas, eta=eta, steps=80)
    drawn = out.x[out.draw(16_000, "multinomial", torch.Generator().manual_seed(1))].numpy()
    stepwise = chain(models, lambdas, eta, steps=80)

    def off(cov: np.ndarray) -> float:
        return float(np.abs(np.linalg.solve(target.cov, cov) - np.eye(2)).max())

    assert off(np.cov(drawn.T)) < 0.6 * off(stepwise.cov)
    np.testing.assert_allclose(drawn.mean(0), target.mean, atol=0.02)
    assert np.abs(stepwise.mean - target.mean).max() > 0.03


def test_the_estimate_of_z_nears_that_of_the_product_as_steps_become_many():
    """∫ p^{1/2} q^{1/2} of two Gaussians."""
    between, gap = (DATA.cov + ANCHOR.cov) / 2, DATA.mean - ANCHOR.mean
    dets = [np.linalg.slogdet(cov)[1] for cov in (DATA.cov, ANCHOR.cov, between)]
    exact = (dets[0] + dets[1]) / 4 - dets[2] / 2 - gap @ np.linalg.solve(between, gap) / 8

    def found(steps):
        out = particles_of(1000, 8, correct=True, models=(DATA, ANCHOR), lambdas=(0.5,), steps=steps)
        return math.log(out.log_z.exp().mean())

    few, many = found(15), found(120)
    assert abs(many - exact) < 0.05 * abs(exact)
    assert abs(many - exact) < abs(few - exact)


def test_equal_covariances_lose_nothing():
    """Between Gaussians of one covariance the weight is the same for all x: no particle is worth more than another."""
    other = GaussianData(DATA.mean + 1, DATA.cov)
    out = particles_of(5, 4, correct=True, models=(DATA, other), lambdas=(0.5,))
    assert out.ess.min().item() == pytest.approx(4, abs=1e-6)


def test_mixed_weights_are_refused_by_a_correction():
    levels = noise_levels(run_levels("ve", 4))
    models = [Model.of(DATA), Model.of(ANCHOR)]

    def ask(x, level, called, merged):
        answers = separate(models)(x, level, called, None)
        return answers if merged is None else {**answers, -1: models[0](x, level)}

    with pytest.raises(ValueError, match="not mixed weights"):
        particle_sample(
            ask,
            60 * standard_normal(0, 4, 2),
            levels,
            constant(4, 0.5),
            groups=1,
            particles=4,
            correct=True,
            evaluator=ControlVariate(every=4),
            noise=lambda *sigmas: standard_normal(1, 4, 2),
        )
