"""Design 4 against quadrature: Π N(μ_k, v_k)^{w_k} is integrated numerically, never by the formula under test."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from realign_core import Gaussian, ImproperMixtureError, geometric_mixture, max_lambda, realignment_weights

means = st.floats(-3, 3)
variances = st.floats(0.05, 5)
components = st.lists(st.tuples(means, variances), min_size=2, max_size=4)


def log_density(x: np.ndarray, parts: list[tuple[float, float]], weights: list[float]) -> np.ndarray:
    return sum(w * (-((x - m) ** 2) / (2 * v) - 0.5 * np.log(v)) for (m, v), w in zip(parts, weights))


def moments_by_quadrature(parts: list[tuple[float, float]], weights: list[float]) -> tuple[float, float]:
    centre, width = 0.0, 200.0
    for _ in range(12):  # zoom in until the grid is centred on the density and 16 standard deviations wide
        x = np.linspace(centre - width / 2, centre + width / 2, 2001)
        log_p = log_density(x, parts, weights)
        p = np.exp(log_p - log_p.max())
        centre = float((p * x).sum() / p.sum())
        variance = float((p * (x - centre) ** 2).sum() / p.sum())
        width = 16 * math.sqrt(max(variance, (x[1] - x[0]) ** 2))
    return centre, variance


def mix(parts: list[tuple[float, float]], weights: list[float]) -> tuple[float, float]:
    gaussians = [Gaussian(torch.tensor([m]).double(), torch.tensor([v]).double()) for m, v in parts]
    mixed = geometric_mixture(gaussians, torch.tensor(weights).double())
    return mixed.mean.item(), mixed.variance.item()


THREE = [(-1.0, 0.3), (0.5, 1.0), (2.0, 2.5)]


@pytest.mark.parametrize(
    "weights",
    [[0.2, 0.5, 0.3], [0.0, 0.4, 0.6], [1.6, -0.4, -0.2], [-0.1, 0.6, 0.5], [0.7, 1.3, -1.0]],
    ids=str,
)
def test_three_components_of_unequal_variance_match_quadrature(weights):
    assert mix(THREE, weights) == pytest.approx(moments_by_quadrature(THREE, weights), rel=1e-6, abs=1e-6)


@given(components, st.data())
def test_any_proper_mixture_matches_quadrature(parts, data):
    weights = data.draw(st.lists(st.floats(-1, 2), min_size=len(parts) - 1, max_size=len(parts) - 1))
    weights = [1 - sum(weights), *weights]
    assume(sum(w / v for w, (_, v) in zip(weights, parts)) > 0.05)  # a width that the grid can hold
    assume(abs(mix(parts, weights)[0]) < 50)
    assert mix(parts, weights) == pytest.approx(moments_by_quadrature(parts, weights), rel=1e-5, abs=1e-5)


def test_two_equal_variances_mix_means_linearly_and_keep_the_variance():
    assert mix([(1.0, 0.5), (3.0, 0.5)], [0.75, 0.25]) == pytest.approx((1.5, 0.5))
    assert mix([(1.0, 0.5), (3.0, 0.5)], [-0.5, 1.5]) == pytest.approx((4.0, 0.5))


@given(components, st.data())
def test_the_order_of_the_components_does_not_matter(parts, data):
    weights = data.draw(st.lists(st.floats(0, 1), min_size=len(parts) - 1, max_size=len(parts) - 1))
    weights = [1.5 - sum(weights), *weights]
    weights = [w / sum(weights) for w in weights]
    assume(sum(w / v for w, (_, v) in zip(weights, parts)) > 0.01)
    mixed = mix(parts, weights)
    for order in permutations(range(len(parts))):
        assert mix([parts[i] for i in order], [weights[i] for i in order]) == pytest.approx(mixed, rel=1e-6, abs=1e-6)


@given(components, st.floats(0.01, 0.99))
def test_mixing_a_mixture_is_mixing_its_parts(parts, share):
    a, b = parts[:2]
    nested = mix([mix([a, b], [1 - share, share]), (0.7, 0.4)], [0.4, 0.6])
    assert nested == pytest.approx(mix([a, b, (0.7, 0.4)], [0.4 * (1 - share), 0.4 * share, 0.6]), rel=1e-6, abs=1e-6)


@given(components, st.data())
def test_a_weight_of_one_gives_that_component_to_the_last_bit(parts, data):
    chosen = data.draw(st.integers(0, len(parts) - 1))
    gaussians = [Gaussian(torch.full((2, 3), m), torch.tensor(v)) for m, v in parts]
    mixed = geometric_mixture(gaussians, [float(k == chosen) for k in range(len(parts))])
    assert torch.equal(mixed.mean, gaussians[chosen].mean)
    assert torch.equal(mixed.variance, gaussians[chosen].variance)


@pytest.mark.parametrize("garbage", [math.nan, math.inf])
def test_a_component_of_weight_zero_takes_no_part_whatever_it_holds(garbage):
    good = Gaussian(torch.ones(2, 3), torch.tensor(0.5))
    bad = Gaussian(torch.full((2, 3), garbage), torch.tensor(0.0))
    mixed = geometric_mixture([bad, good, bad], [0.0, 1.0, 0.0])
    assert torch.equal(mixed.mean, good.mean)
    assert mixed.variance.item() == 0.5


def test_weights_broadcast_as_numbers_batch_elements_and_pixels():
    shape = (2, 3, 4, 5)
    a, b, c = (Gaussian(torch.randn(shape), torch.rand(4, 1) + 0.1) for _ in range(3))
    first, second = torch.rand(2, 1, 1, 1) / 2, torch.rand(1, 1, 4, 5) / 2
    mixed = geometric_mixture([a, b, c], realignment_weights([first, second]))
    assert mixed.mean.shape == shape
    for n, ch, h, w in [(0, 0, 0, 0), (1, 2, 3, 4), (1, 0, 2, 1), (0, 2, 1, 3)]:
        parts = [(g.mean[n, ch, h, w].item(), g.variance[h, 0].item()) for g in (a, b, c)]
        l1, l2 = first[n, 0, 0, 0].item(), second[0, 0, h, w].item()
        mean, variance = moments_by_quadrature(parts, [1 - l1 - l2, l1, l2])
        assert mixed.mean[n, ch, h, w].item() == pytest.approx(mean, rel=1e-4, abs=1e-5)
        assert mixed.variance.expand(2, 1, 4, 5)[n, 0, h, w].item() == pytest.approx(variance, rel=1e-4)


def test_variances_that_vanish_together_mix_means_by_the_weights_alone():
    parts = [(-1.0, 0.0), (0.5, 0.0), (2.0, 0.0)]
    assert mix(parts, [0.2, 0.5, 0.3]) == pytest.approx((0.65, 0.0))
    # ... and that is where ever smaller equal variances lead, without a jump and without overflow
    for tiny in (1e-3, 1e-30, 1e-300):
        assert mix([(m, tiny) for m, _ in parts], [0.2, 0.5, 0.3]) == pytest.approx((0.65, tiny))


def test_a_point_mass_beside_a_wide_component_is_the_mixture():
    assert mix([(1.0, 0.0), (3.0, 0.5)], [0.9, 0.1]) == (1.0, 0.0)
    assert mix([(1.0, 1e-12), (3.0, 0.5)], [0.9, 0.1]) == pytest.approx((1.0, 1e-12 / 0.9))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_fp32(dtype):
    a, b = (torch.full((1, 4), value).to(dtype) for value in (60000.0, 59000.0))  # 1.5 · 60000 overflows fp16
    v = torch.tensor(1e-3).to(dtype)
    mixed = geometric_mixture([Gaussian(a, v), Gaussian(b, v)], torch.tensor([1.5, -0.5]).to(dtype))
    exact = geometric_mixture([Gaussian(a.float(), v.float()), Gaussian(b.float(), v.float())], [1.5, -0.5])
    assert mixed.mean.dtype == mixed.variance.dtype == torch.float32
    assert torch.equal(mixed.mean, exact.mean)
    assert torch.isfinite(mixed.mean).all()


def test_fp64_stays_fp64():
    assert mix([(0.0, 1.0), (1.0, 1.0)], [0.5, 0.5]) == (0.5, 1.0)
    a, b = (Gaussian(torch.tensor([m], dtype=torch.float64), torch.tensor(1.0)) for m in (0.0, 1.0))
    assert geometric_mixture([a, b], [1 - 1e-12, 1e-12]).mean.dtype == torch.float64


@given(variances, variances)
def test_max_lambda_is_where_the_mixture_stops_being_a_density(v_ref, v_anchor):
    assume(abs(v_ref - v_anchor) > 1e-3)
    bound, parts = max_lambda(v_ref, v_anchor), [(0.0, v_ref), (1.0, v_anchor)]
    far = np.array([0.0, 1e6])

    def decays(lam: float) -> bool:
        at_0, far_away = log_density(far, parts, [1 - lam, lam])
        return bool(far_away < at_0)

    if math.isinf(bound):
        assert v_anchor < v_ref
        assert all(decays(lam) for lam in (0.0, 1.0, 10.0, 1000.0))
        mix(parts, [-9.0, 10.0])
        return
    assert decays(bound * (1 - 1e-4))
    assert not decays(bound * (1 + 1e-4))
    mix(parts, [1 - bound * (1 - 1e-4), bound * (1 - 1e-4)])
    with pytest.raises(ImproperMixtureError):
        mix(parts, [1 - bound * (1 + 1e-4), bound * (1 + 1e-4)])


def test_max_lambda_of_maps_is_that_of_the_worst_pixel():
    assert max_lambda(torch.tensor([1.0, 0.25, 2.0]), torch.tensor([1.0, 1.0, 1.0])) == pytest.approx(4 / 3)
    assert max_lambda(1.0, 1.0) == math.inf
    assert max_lambda(0.0, 0.0) == math.inf
    assert max_lambda(0.0, 1.0) == 1.0


def test_one_improper_pixel_is_enough_to_refuse():
    reference = Gaussian(torch.zeros(1, 1, 2, 2), torch.tensor([[0.25, 1.0], [1.0, 1.0]]))
    anchor = Gaussian(torch.ones(1, 1, 2, 2), torch.tensor(1.0))
    with pytest.raises(ImproperMixtureError, match=r"weights -0\.4, 1\.4; variances 0\.25, 1\)"):
        geometric_mixture([reference, anchor], [-0.4, 1.4])
    assert issubclass(ImproperMixtureError, ValueError)


def test_weights_that_do_not_fit_are_refused():
    one = Gaussian(torch.zeros(1), torch.tensor(1.0))
    with pytest.raises(ValueError, match="2 components need as many weights, but there are 3"):
        geometric_mixture([one, one], [0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match=r"sum to 1, but sum to 1\.1"):
        geometric_mixture([one, one], [0.6, 0.5])
    with pytest.raises(ValueError, match="sum to 1"):
        geometric_mixture([one, one], [math.nan, 0.5])
    with pytest.raises(ValueError, match="as many weights"):
        geometric_mixture([], [])
    with pytest.raises(ValueError, match="negative"):
        geometric_mixture([one, Gaussian(torch.zeros(1), torch.tensor(-1.0))], [0.5, 0.5])


@given(st.lists(st.floats(-2, 3), max_size=5))
def test_realignment_weights_are_what_is_left_over_and_then_the_lambdas(lambdas):
    weights = realignment_weights(lambdas)
    assert weights.shape == (len(lambdas) + 1,)
    assert weights[1:].tolist() == pytest.approx(lambdas)
    assert weights.sum().item() == pytest.approx(1, abs=1e-5)


def test_realignment_weights_take_numbers_tensors_and_maps():
    assert realignment_weights(0.25).tolist() == [0.75, 0.25]
    assert realignment_weights(torch.tensor(0.25)).tolist() == [0.75, 0.25]
    assert realignment_weights(torch.tensor([0.25, 0.5])).tolist() == [0.25, 0.25, 0.5]
    weights = realignment_weights([torch.rand(2, 1, 1, 1), 0.5, torch.rand(1, 1, 4, 5).half()])
    assert weights.shape == (4, 2, 1, 4, 5)
    assert weights.dtype == torch.float32
    assert torch.allclose(weights.sum(0), torch.ones(2, 1, 4, 5))
