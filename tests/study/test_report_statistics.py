"""What a report computes, beside the same by hand and by scipy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal

from realign_study.report.statistics import (
    Best,
    Curve,
    base_of,
    best,
    best_within,
    budgets,
    curve,
    drawn_means,
    gains,
    interval,
    means,
    resamples,
)

NAN = np.nan
EXACT = {"rtol": 1e-12, "atol": 1e-12}
LAMBDAS = [0.0, 0.5, 1.0]


def curve_of(values, prompts=None, seeds=1, lambdas=LAMBDAS, base=0):
    values = np.asarray(values, np.float64)
    prompts = prompts or len(values)
    drawn = [drawn_means(one, prompts, seeds, False) for one in (values, gains(values, base))]
    return curve(lambdas, values, base, *drawn)


def test_means_are_numpys_of_what_each_draw_holds():
    """All 27 ways to draw three prompts; one value is missing."""
    values = np.array([[1.0, 4.0], [2.0, NAN], [7.0, 5.0]])
    ways = list(itertools.product(range(3), repeat=3))
    counts = np.array([np.bincount(way, minlength=3) for way in ways], np.float64)
    found = means(values, counts)
    for way, one in zip(ways, found):
        drawn = values[list(way)]
        assert_allclose(one[0], drawn[:, 0].mean(), **EXACT)
        assert_allclose(one[1], NAN if way == (1, 1, 1) else np.nanmean(drawn[:, 1]), **EXACT)


def test_intervals_are_scipys_of_the_same_draws():
    values = np.random.default_rng(3).normal(size=(20, 1))
    draws = drawn_means(values, 20, 1, True)
    result = scipy.stats.bootstrap((values[:, 0],), np.mean, n_resamples=9, method="percentile")
    result.bootstrap_distribution = draws[:, 0]
    right = scipy.stats.bootstrap(
        (values[:, 0],), np.mean, n_resamples=0, bootstrap_result=result, method="percentile", confidence_level=0.95
    ).confidence_interval
    assert_allclose([end[0] for end in interval(draws)], [right.low, right.high], **EXACT)


def test_draws_take_prompts_and_of_each_as_many_seeds():
    counts = np.concatenate(list(resamples(5, 3, False, 400)))
    of_prompt = counts.reshape(400, 5, 3).sum(axis=2)
    assert (counts.sum(axis=1) == 15).all()
    assert (of_prompt % 3 == 0).all()
    assert (counts.reshape(-1, 3).max(axis=1) > 3).any()  # a prompt twice, and a seed in both
    assert set(of_prompt.ravel()) >= {0, 3, 6}
    assert_array_equal(counts, np.concatenate(list(resamples(5, 3, False, 400))))


def test_draws_spread_as_prompts_and_seeds_do():
    """The variance of a mean over drawn prompts and seeds: between prompts / P + within / (P × S)."""
    random = np.random.default_rng(1)
    table = random.normal(size=(8, 1)) * 3 + random.normal(size=(8, 4))
    right = table.mean(axis=1).var() / 8 + table.var(axis=1).mean() / 32
    draws = drawn_means(table.reshape(32, 1), 8, 4, False, 8000)
    assert draws.var() == pytest.approx(right, rel=5 * np.sqrt(2 / 8000))  # five standard errors of a variance
    assert table.var() / 32 < right / 2  # of pictures drawn as if each had a prompt of its own


def test_seeds_that_all_prompts_have_are_drawn_for_all_at_once():
    counts = np.concatenate(list(resamples(5, 3, True, 400))).reshape(400, 5, 3)
    of_prompt, of_seed = counts.sum(axis=2), counts.sum(axis=1)
    assert_array_equal(counts * 15, of_prompt[:, :, None] * of_seed[:, None, :])
    assert (of_prompt.sum(axis=1) == 15).all()
    assert set(of_seed.ravel()) == {0, 5, 10, 15}


def test_draws_spread_as_seeds_do_that_all_prompts_have():
    """What a seed brings to all prompts does not become less by more prompts."""
    random = np.random.default_rng(2)
    seeds = random.normal(size=(1, 16))
    table = seeds + 0.1 * random.normal(size=(64, 16))
    right = table.mean(axis=0).var() / 16
    draws = drawn_means(table.reshape(-1, 1), 64, 16, True, 8000)
    assert draws.var() == pytest.approx(right, rel=0.1)
    apart = drawn_means(table.reshape(-1, 1), 64, 16, False, 8000)
    assert apart.var() < right / 10


def test_pieces_of_draws_are_the_whole(monkeypatch):
    whole = drawn_means(np.arange(6.0)[:, None], 3, 2, False, 50)
    monkeypatch.setattr("realign_study.report.statistics.AT_ONCE", 20)
    assert len(list(resamples(3, 2, False, 50))) == 17
    assert_allclose(drawn_means(np.arange(6.0)[:, None], 3, 2, False, 50), whole, **EXACT)


def test_gains_are_of_pairs_so_what_prompts_differ_in_is_not_in_their_intervals():
    prompts = np.random.default_rng(0).normal(size=(30, 1)) * 100
    found = curve_of(prompts + np.array([0.0, 1.0, 3.0]))
    assert_allclose(found.gain, [0, 1, 3], atol=1e-11)
    assert_allclose(found.gain_high - found.gain_low, 0, atol=1e-11)
    assert (found.high - found.low > 20).all()


def test_what_is_missing_is_left_out_by_pairs():
    """The prompt that failed at λ 1 scores highest: means fall, and every pair gains 1."""
    found = curve_of([[1, 1.5, 2], [2, 2.5, 3], [90, 90.5, NAN]])
    assert found.count.tolist() == found.pairs.tolist() == [3, 3, 2]
    assert_allclose(found.mean, [31, 31.5, 2.5], **EXACT)
    assert_allclose(found.gain, [0, 0.5, 1], **EXACT)
    assert best(found).place == 2
    assert best(found).share > 0.9  # all but the draws of the third alone


@pytest.mark.parametrize(
    ("values", "base"),
    [
        ([[1, 2, 3]], 0),
        ([[NAN, 2, 3]], 1),
        ([[1, 1, 1], [NAN, 1, 1]], 0),
        ([[1, 1, 1], [NAN, 1, 1], [NAN, NAN, 1]], 1),
        ([[NAN, NAN, NAN]], 0),
    ],
)
def test_gains_are_counted_from_the_lambda_nearest_0_that_has_half_of_the_values(values, base):
    assert base_of(LAMBDAS, np.array(values, np.float64)) == base
    assert base_of([-1.0, 0.0, 1.0], np.ones((2, 3))) == 1
    assert base_of([-0.5, 0.25, 1.0], np.ones((2, 3))) == 1


def test_one_value_has_no_interval_and_none_has_nothing():
    found = curve_of([[1, 2, NAN]])
    assert np.isnan([found.low, found.high, found.gain_low, found.gain_high]).all()
    assert_allclose(found.gain, [0, 1, NAN], **EXACT)
    nothing = curve_of(np.full((2, 3), NAN))
    assert not nothing.known
    assert best(nothing) is None


def drawn_curve(gain, draws, mean=None, mean_draws=None):
    """A curve with these gains and draws; what best does not look at is empty."""
    gain, draws = np.array(gain, np.float64), np.array(draws, np.float64)
    none, counts = np.zeros(len(gain)), np.ones(len(gain), np.int64)
    mean = none if mean is None else np.array(mean)
    mean_draws = draws if mean_draws is None else np.array(mean_draws)
    return Curve(LAMBDAS, counts, mean, none, none, 0, counts, gain, none, none, mean_draws, draws)


def test_the_best_lambda_and_in_how_many_draws_it_is_the_best():
    draws = [[0, 1, 2]] * 3 + [[0, 2, 1]] * 6 + [[0, -1, -1]]
    assert best(drawn_curve([0, 1.5, 1.4], draws)) == Best(1, 0.6, 0.0, 1.0, False)
    assert best(drawn_curve([0, 1.5, 1.4], [[0, 2, 1]] * 40 + [[0, -1, -1]])) == Best(1, 40 / 41, 0.5, 0.5, False)


def test_of_equal_ones_the_smallest_and_it_is_said():
    assert best(drawn_curve([0, 0, 0], [[0, 0, 0]])) == Best(0, 1.0, 0.0, 0.0, True)
    assert best(drawn_curve([0, 2, 2], [[0, 2, 2]])) == Best(1, 1.0, 0.5, 0.5, False)


def test_a_budget_is_kept_in_each_draw_too():
    """The mean KL of λ 1 is over 10 nats, and in one of four draws it is not."""
    scores = drawn_curve([0, 1, 2], [[0, 1, 2]] * 4)
    kl = drawn_curve([0, 0, 0], [], [0, 5, 11], [[0, 5, 12], [0, 5, 12], [0, 11, 12], [0, 4, 9]])
    assert best_within(scores, kl, 10) == Best(1, 0.5, 0.0, 1.0, False)
    assert best_within(scores, kl, 11).place == 2
    assert best_within(scores, kl, -1) is None


def test_a_lambda_of_unknown_kl_is_within_no_budget():
    scores = drawn_curve([0, 1, 2], [[0, 1, 2]])
    kl = drawn_curve([0, 0, 0], [], [0, 5, NAN], [[0, 5, NAN]])
    assert best_within(scores, kl, 1e9) == Best(1, 1.0, 0.5, 0.5, False)


def test_budgets_are_round_and_among_the_kls():
    assert budgets([np.array([0, 144, NAN, 3069])]) == [200, 500, 1000, 2000]
    assert budgets([np.array([0.07, 1.1]), np.array([0.3])]) == [0.1, 0.2, 0.5, 1]
    assert budgets([np.array([1e-9, 1e9])]) == [5e7, 1e8, 2e8, 5e8, 1e9]
    assert budgets([np.array([0, NAN])]) == []
    assert budgets([np.array([0, 3.0])]) == [3.0]
