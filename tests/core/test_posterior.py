"""Design 3 against Bayes' rule by sampling: a forward process is simulated and conditioned on what it led to."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ground_truth import SPACES, bayes_step, level
from hypothesis import example, given
from hypothesis import strategies as st

from realign_core import (
    NoiseLevel,
    kl_increment,
    noise_prediction,
    posterior_variance,
    reverse_posterior,
)

ratios = st.floats(1e-3, 1e3)  # σ/α


def coefficients(now: NoiseLevel, then: NoiseLevel, eta: float) -> tuple[float, float, float]:
    """(c_D, c_x, v): the posterior's mean is c_D D + c_x x."""
    x, denoised = torch.tensor([0.0, 1.0]).double(), torch.tensor([1.0, 0.0]).double()
    mean, variance = reverse_posterior(x, denoised, now, then, eta)
    return mean[0].item(), mean[1].item(), variance.item()


def forward_chain(space: str, x0: np.ndarray, rng: np.random.Generator) -> tuple[NoiseLevel, np.ndarray, ...]:
    """(level s, x_s, level t, x_t): small forward steps x → retain · x + sqrt(added) · z, as each process defines them.

    The levels are what the steps amount to, not what any formula of a posterior says.
    """
    alpha, variance, x = 1.0, 0.0, x0.copy()
    seen = []
    for i in range(8):
        if space == "ve":
            retain, added = 1.0, 0.02 * (i + 1)
        elif space == "vp":
            retain, added = math.sqrt(1 - 0.04 * (i + 1)), 0.04 * (i + 1)
        else:  # flow: α = 1 - t in steps of 0.1; what the step adds is what takes σ² = t² to the next t²
            t, t_next = 0.1 * i, 0.1 * (i + 1)
            retain = (1 - t_next) / (1 - t)
            added = t_next**2 - (retain * t) ** 2
        x = retain * x + math.sqrt(added) * rng.standard_normal(x.shape)
        alpha, variance = retain * alpha, retain**2 * variance + added
        if i in (3, 7):
            seen += [NoiseLevel(alpha, math.sqrt(variance)), x.copy()]
    return tuple(seen)


@pytest.mark.parametrize("space", SPACES)
def test_ddpm_is_bayes_rule_by_regression_on_a_simulated_forward_process(space):
    rng = np.random.default_rng(1)
    x0 = 0.7 + 1.3 * rng.standard_normal(200_000)
    then, x_s, now, x_t = forward_chain(space, x0, rng)
    assert then.sigma < now.sigma

    # All three are jointly Gaussian, so E[x_s | x_0, x_t] is the linear regression, its residual the variance.
    regressors = np.stack([x0, x_t], 1)
    solution, *_ = np.linalg.lstsq(regressors, x_s, rcond=None)
    residual = (x_s - regressors @ solution).var()
    errors = np.sqrt(residual * np.diag(np.linalg.inv(regressors.T @ regressors)))

    c_d, c_x, variance = coefficients(now, then, 1.0)
    assert abs(c_d - solution[0]) < 4.5 * errors[0]
    assert abs(c_x - solution[1]) < 4.5 * errors[1]
    assert abs(variance - residual) < 4.5 * residual * math.sqrt(2 / len(x0))


@pytest.mark.parametrize("space", SPACES)
def test_ddpm_is_bayes_rule_by_keeping_the_draws_that_hit_x_t(space):
    rng = np.random.default_rng(2)
    x0 = np.full(400_000, -0.8)
    then, x_s, now, x_t = forward_chain(space, x0, rng)
    target = now.alpha * -0.8 + 0.5 * now.sigma
    kept = x_s[np.abs(x_t - target) < 0.03 * now.sigma]
    assert len(kept) > 5_000

    mean, variance = reverse_posterior(torch.tensor([target]), torch.tensor([-0.8]), now, then, 1.0)
    assert abs(mean.item() - kept.mean()) < 4.5 * kept.std() / math.sqrt(len(kept))
    assert abs(variance.item() - kept.var()) < 4.5 * kept.var() * math.sqrt(2 / len(kept))


@given(st.sampled_from(SPACES), ratios, st.floats(0.05, 0.999))
def test_ddpm_is_the_product_of_prior_and_likelihood(space, ratio, fall):
    now, then = (NoiseLevel(*level(space, r)) for r in (ratio, fall * ratio))
    expected = bayes_step(tuple(now), tuple(then))
    assert coefficients(now, then, 1.0) == pytest.approx(expected, rel=1e-5, abs=1e-9)


@given(st.sampled_from(SPACES), ratios, st.floats(0, 1), st.floats(0, 1))
def test_at_any_eta_the_true_x_0_leads_to_the_marginal_of_the_next_level(space, ratio, fall, eta):
    """What DDIM's family is defined by: x_t ~ N(α_t x_0, σ_t²) goes to x_s ~ N(α_s x_0, σ_s²)."""
    now, then = (NoiseLevel(*level(space, r)) for r in (ratio, fall * ratio))
    c_d, c_x, variance = coefficients(now, then, eta)
    assert c_d + c_x * now.alpha == pytest.approx(then.alpha, rel=1e-9)
    assert (c_x * now.sigma) ** 2 + variance == pytest.approx(then.sigma**2, rel=1e-6, abs=1e-15)


def test_the_worked_example_of_the_design():
    c_d, c_x, variance = coefficients(NoiseLevel(1.0, 2.0), NoiseLevel(1.0, 1.0), 1.0)
    assert (c_d, c_x, variance) == pytest.approx((0.75, 0.25, 0.75))


def test_ddim_in_ve_is_one_euler_step_and_in_flow_the_straight_line():
    x, denoised = torch.tensor([3.0]), torch.tensor([1.0])
    ve = reverse_posterior(x, denoised, NoiseLevel(1.0, 2.0), NoiseLevel(1.0, 0.5), 0.0)
    assert ve.mean.item() == pytest.approx(3.0 + (3.0 - 1.0) / 2.0 * (0.5 - 2.0))
    # flow: velocity = ε - x_0 with x_t = (1 - t) x_0 + t ε
    velocity = (3.0 - (1 - 0.8) * 1.0) / 0.8 - 1.0
    flow = reverse_posterior(x, denoised, NoiseLevel(0.2, 0.8), NoiseLevel(0.7, 0.3), 0.0)
    assert flow.mean.item() == pytest.approx(3.0 + velocity * (0.3 - 0.8))
    assert ve.variance.item() == flow.variance.item() == 0.0


@given(st.sampled_from(SPACES), st.floats(1e-6, 1e6), st.floats(0, 1), st.floats(0, 1))
@example("flow", math.inf, 0.5, 1.0)
@example("ve", 1e-6, 1.0, 1.0)
@example("ve", 1e6, 0.0, 1.0)
def test_nothing_is_nan_at_any_noise_level(space, ratio, fall, eta):
    now = NoiseLevel(*level(space, ratio))
    then = NoiseLevel(*level(space, 7.0 if math.isinf(ratio) else fall * ratio))
    mean, variance = reverse_posterior(torch.randn(2, 3) * 1e3, torch.randn(2, 3), now, then, eta)
    assert torch.isfinite(mean).all()
    assert torch.isfinite(variance).all()
    assert (variance >= 0).all()


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_last_step_is_the_prediction_itself(space, eta):
    denoised = torch.randn(2, 3)
    now, clean = NoiseLevel(*level(space, 0.03)), NoiseLevel(1.0, 0.0)
    mean, variance = reverse_posterior(torch.randn(2, 3), denoised, now, clean, eta)
    assert torch.equal(mean, denoised)
    assert variance.item() == 0


def test_levels_and_eta_broadcast_per_batch_element():
    x, denoised = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    column = (2, 1, 1)
    now = NoiseLevel(torch.tensor([1.0, 0.6]).reshape(column), torch.tensor([2.0, 0.8]).reshape(column))
    then = NoiseLevel(torch.tensor([1.0, 0.8]).reshape(column), torch.tensor([1.0, 0.6]).reshape(column))
    both = reverse_posterior(x, denoised, now, then, torch.tensor([1.0, 0.5]).reshape(column))
    for i, (t, s, eta) in enumerate([((1.0, 2.0), (1.0, 1.0), 1.0), ((0.6, 0.8), (0.8, 0.6), 0.5)]):
        one = reverse_posterior(x[i], denoised[i], NoiseLevel(*t), NoiseLevel(*s), eta)
        assert torch.allclose(both.mean[i], one.mean, atol=1e-6)
        assert both.variance[i].item() == pytest.approx(one.variance.item(), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_fp32(dtype):
    x, denoised = (torch.randn(2, 300) * 5000).to(dtype), torch.randn(2, 300).to(dtype)
    now, then = NoiseLevel(1.0, 80.0), NoiseLevel(1.0, 79.0)
    half, full = (reverse_posterior(a, b, now, then) for a, b in ((x, denoised), (x.float(), denoised.float())))
    assert half.mean.dtype == half.variance.dtype == torch.float32
    assert torch.equal(half.mean, full.mean)
    assert torch.equal(half.variance, full.variance)


def test_the_variance_survives_steps_too_small_for_fp32():
    sigma_t, sigma_s = 14.6, 14.6 * (1 - 1e-9)  # σ_t² - σ_s² is exactly 0 in fp32
    variance = reverse_posterior(torch.zeros(1), torch.zeros(1), NoiseLevel(1.0, sigma_t), NoiseLevel(1.0, sigma_s))[1]
    assert variance.item() == pytest.approx(2e-9 * 14.6**2, rel=1e-5)


@pytest.mark.parametrize(
    ("now", "then", "eta", "message"),
    [
        ((1.0, 1.0), (1.0, 1.1), 1.0, "must lower the noise, but goes from sigma 1.0 to 1.1"),
        ((0.6, 0.4), (0.5, 0.5), 1.0, "must lower the noise"),
        ((1.0, 0.0), (1.0, 0.0), 1.0, "sigma > 0 now"),
        ((1.0, 1.0), (1.0, -0.5), 1.0, "sigma ≥ 0 then"),
        ((0.0, 1.0), (0.0, 0.9), 1.0, "alpha > 0 then"),
        ((1.0, 2.0), (1.0, 1.0), 1.5, "eta must be between 0 .* and 1 .*, but is 1.5"),
        ((1.0, 2.0), (1.0, 1.0), -0.1, "eta must be between"),
        ((1.0, 2.0), (1.0, 1.0), math.nan, "eta must be between"),
        ((1.0, math.nan), (1.0, 1.0), 1.0, "sigma > 0 now"),
    ],
)
def test_steps_that_are_none_are_refused(now, then, eta, message):
    with pytest.raises(ValueError, match=message):
        posterior_variance(NoiseLevel(*now), NoiseLevel(*then), eta)


@given(st.sampled_from(SPACES), ratios)
def test_log_snr_is_twice_the_log_of_signal_over_noise(space, ratio):
    assert NoiseLevel(*level(space, ratio)).log_snr == pytest.approx(-2 * math.log(ratio), abs=1e-9)
    assert NoiseLevel(0.0, 1.0).log_snr == -math.inf
    assert NoiseLevel(1.0, 0.0).log_snr == math.inf


@pytest.mark.parametrize("space", SPACES)
def test_noise_prediction_finds_the_noise_that_was_added(space):
    clean, noise = torch.randn(2, 3, 4).double(), torch.randn(2, 3, 4).double()
    now = NoiseLevel(*level(space, 1.7))
    assert torch.allclose(noise_prediction(now.alpha * clean + now.sigma * noise, clean, now), noise)


@pytest.mark.parametrize("space", SPACES)
def test_kl_increment_is_half_the_noise_gap_squared_per_log_snr(space):
    x, a, b = (torch.randn(2, 3, 4, 5).double() for _ in range(3))
    (alpha_t, sigma_t), (alpha_s, sigma_s) = level(space, 1.7), level(space, 1.2)
    gap = ((x - alpha_t * a) / sigma_t - (x - alpha_t * b) / sigma_t).numpy()
    rise = math.log(alpha_s**2 / sigma_s**2) - math.log(alpha_t**2 / sigma_t**2)
    expected = 0.5 * (gap**2).sum((1, 2, 3)) * rise
    increment = kl_increment(a, b, NoiseLevel(alpha_t, sigma_t), NoiseLevel(alpha_s, sigma_s))
    assert increment.tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    # The step's own KL between two Gaussians of Bayes' variance, which this is the limit of small steps of.
    (c_d, _, v), near = bayes_step((alpha_t, sigma_t), level(space, 1.7 * (1 - 1e-5))), level(space, 1.7 * (1 - 1e-5))
    small = kl_increment(a, b, NoiseLevel(alpha_t, sigma_t), NoiseLevel(*near))
    assert small.tolist() == pytest.approx((c_d**2 * (a - b).square().flatten(1).sum(1) / (2 * v)).tolist(), rel=1e-3)


def test_kl_increment_is_finite_where_log_snr_is_not():
    a, b = torch.zeros(2, 3), torch.ones(2, 3)
    assert kl_increment(a, b, NoiseLevel(1.0, 0.1), NoiseLevel(1.0, 0.0)).tolist() == [0, 0]
    assert kl_increment(a, b, NoiseLevel(0.0, 1.0), NoiseLevel(0.1, 0.9)).tolist() == [0, 0]
    half = kl_increment(a.half() * 0 + 300, b.half(), NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.5))  # 299² > fp16's max
    assert half.tolist() == pytest.approx([3 * 299**2 * math.log(2)] * 2)
