"""Resampling: who goes on, against the `particles` package and against what each scheme promises.

That package needs numpy below 2, so it is not installed here: WANTED holds what its version 0.4 gave, for weights and
random numbers that numpy's RandomState makes anew.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from realign_core import SCHEMES, effective_sample_size, log_mean_weight, normalised, pool, resample

WANTED = {  # scheme -> [(seed, particles, n, index)]
    "systematic": [
        (23, 7, 8, [0, 1, 1, 1, 1, 2, 2, 5]),
        (24, 8, 4, [0, 1, 2, 6]),
        (25, 9, 11, [0, 0, 0, 0, 0, 0, 1, 4, 6, 6, 8]),
        (26, 10, 7, [1, 2, 3, 3, 4, 4, 8]),
    ],
    "stratified": [
        (23, 7, 8, [0, 1, 1, 1, 2, 2, 2, 5]),
        (24, 8, 4, [0, 2, 2, 6]),
        (25, 9, 11, [0, 0, 0, 0, 0, 0, 1, 4, 6, 6, 8]),
        (26, 10, 7, [1, 2, 3, 4, 4, 4, 8]),
    ],
    "ssp": [
        (23, 7, 8, [1, 1, 1, 1, 1, 2, 4, 5]),
        (24, 8, 4, [0, 1, 2, 6]),
        (25, 9, 11, [0, 0, 0, 0, 0, 0, 1, 6, 6, 6, 8]),
        (26, 10, 7, [2, 3, 3, 4, 4, 4, 8]),
    ],
    "residual": [
        (23, 7, 8, [1, 1, 1, 1, 1, 2, 2, 5]),
        (24, 8, 4, [0, 2, 2, 6]),
        (25, 9, 11, [0, 0, 0, 0, 0, 0, 1, 4, 6, 6, 8]),
        (26, 10, 7, [2, 3, 3, 4, 4, 4, 8]),
    ],
    "multinomial": [
        (23, 7, 8, [1, 1, 1, 2, 2, 2, 5, 5]),
        (25, 9, 11, [0, 0, 0, 0, 0, 2, 6, 6, 6, 8, 8]),
        (26, 10, 7, [3, 3, 4, 4, 6, 8, 8]),
        (31, 6, 9, [1, 1, 1, 1, 2, 3, 3, 3, 3]),
    ],
}
CASES = [(scheme, *case) for scheme, cases in WANTED.items() for case in cases]
some_weights = st.lists(st.floats(-30, 5), min_size=1, max_size=9)
schemes = st.sampled_from(sorted(SCHEMES))


def weights_of(state: np.random.RandomState, particles: int) -> np.ndarray:
    weights = state.random_sample(particles) ** 4
    return weights / weights.sum()


def spacings(state: np.random.RandomState, n: int) -> np.ndarray:
    """n sorted uniform numbers, as that package draws them."""
    upto = np.cumsum(-np.log(state.random_sample(n + 1)))
    return upto[:-1] / upto[-1]


@pytest.mark.parametrize(("scheme", "seed", "particles", "n", "index"), CASES)
def test_who_goes_on_is_what_the_particles_package_says(scheme, seed, particles, n, index):
    state = np.random.RandomState(seed)
    weights = weights_of(state, particles)
    if scheme == "residual":
        drawn = spacings(state, n - int(np.floor(n * weights).sum()))
    elif scheme == "multinomial":
        drawn = spacings(state, n)
    else:
        drawn = state.random_sample({"systematic": 1, "stratified": n, "ssp": particles - 1}[scheme])
    uniforms = torch.zeros(1, max(n, particles), dtype=torch.float64)
    uniforms[0, : len(drawn)] = torch.from_numpy(drawn)
    assert SCHEMES[scheme](torch.from_numpy(weights)[None], n, uniforms)[0].tolist() == index


def log_weights(rows: int, particles: int) -> torch.Tensor:
    return 1.5 * torch.randn(rows, particles, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("particles", "n"), [(4, 4), (16, 16), (5, 8), (6, 1)])
def test_every_particle_is_expected_in_proportion_to_its_weight(scheme, particles, n):
    trials = 20_000
    logs = log_weights(1, particles)
    index = resample(logs.expand(trials, -1), n, scheme, torch.Generator().manual_seed(0))
    counts = torch.nn.functional.one_hot(index, particles).sum(1).double()
    expected = n * logs[0].softmax(0)
    error = counts.std(0) / trials**0.5
    assert bool(((counts.mean(0) - expected).abs() <= 4.5 * error + 1e-9).all())


@pytest.mark.parametrize("scheme", ["systematic", "ssp"])
def test_a_count_is_the_expected_one_rounded_up_or_down(scheme):
    logs = log_weights(3000, 7)
    counts = torch.nn.functional.one_hot(resample(logs, 7, scheme), 7).sum(1)
    expected = 7 * logs.softmax(-1)
    assert bool(((counts - expected).abs() < 1).all())


@pytest.mark.parametrize("scheme", ["residual", "stratified"])
def test_no_count_is_far_below_the_expected_one(scheme):
    logs = log_weights(3000, 7)
    counts = torch.nn.functional.one_hot(resample(logs, 7, scheme), 7).sum(1)
    expected = 7 * logs.softmax(-1)
    assert bool((counts >= (expected.floor() if scheme == "residual" else expected - 2)).all())


@given(some_weights, schemes, st.integers(1, 9))
def test_an_index_is_one_of_a_particle_that_has_weight_and_rises(logs, scheme, n):
    weights = torch.tensor([*logs, -torch.inf, -800.0], dtype=torch.float64)
    index = resample(weights, n, scheme)
    assert index.shape == (n,)
    assert bool((index < len(logs)).all())
    assert bool((index.diff() >= 0).all())


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("drawn", [0.0, 1 - 2.0**-53])
def test_the_ends_of_the_unit_interval_meet_no_particle_without_weight(scheme, drawn):
    weights = torch.tensor([[0.0, 0.7, 0.3, 0.0]], dtype=torch.float64)
    index = SCHEMES[scheme](weights, 3, torch.full((1, 4), drawn, dtype=torch.float64))[0].tolist()
    assert set(index) <= {1, 2}
    assert len(index) == 3


@given(schemes, st.integers(1, 9))
def test_equal_weights_keep_every_particle(scheme, particles):
    if scheme in ("multinomial", "stratified"):
        return  # the one may lose any; the other's only promise is one of each n-th part, ends included
    index = resample(torch.full((particles,), -3.7), particles, scheme)
    assert index.tolist() == list(range(particles))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_rows_are_resampled_by_themselves_and_the_seed_decides(scheme):
    logs = log_weights(6, 5).reshape(2, 3, 5)
    one = resample(logs, 5, scheme, torch.Generator().manual_seed(1))
    assert one.shape == (2, 3, 5)
    assert torch.equal(one, resample(logs + 40.0, 5, scheme, torch.Generator().manual_seed(1)))
    logs[1, 2] = torch.tensor([-torch.inf] * 4 + [0.0])
    assert resample(logs, 5, scheme)[1, 2].tolist() == [4] * 5


def test_the_effective_sample_size_is_1_for_one_and_n_for_equal_weights():
    logs = torch.tensor([[0.0, -torch.inf, -torch.inf], [2.0, 2.0, 2.0], [0.0, 0.0, -torch.inf]])
    assert effective_sample_size(logs).tolist() == pytest.approx([1, 3, 2])
    assert effective_sample_size(torch.tensor([1e4, 1e4 + np.log(3)])).item() == pytest.approx(1.6, rel=1e-3)


def test_weights_are_kept_in_double_precision_however_small():
    logs = torch.tensor([-1e5, -1e5 - 1.0], dtype=torch.float64)
    assert log_mean_weight(logs).item() == pytest.approx(-1e5 + np.log((1 + np.exp(-1)) / 2), abs=1e-9)
    assert normalised(logs).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_groups_are_pooled_by_z_and_then_by_weight():
    log_z = torch.tensor([0.3, -0.9, 1.1]).log_softmax(0)
    logs = log_weights(3, 4)
    exact = (log_z[:, None].double() + logs.log_softmax(-1)).exp().flatten()
    trials = 20_000
    drawn = pool(log_z.expand(trials, -1), logs.expand(trials, -1, -1), 3, "systematic")
    counts = torch.nn.functional.one_hot(drawn, 12).sum(1).double()
    assert bool(((counts.mean(0) - 3 * exact).abs() <= 4.5 * counts.std(0) / trials**0.5 + 1e-9).all())


@pytest.mark.parametrize(
    ("logs", "n", "scheme", "told"),
    [
        ([0.0, 1.0], 2, "best", "there is no resampling scheme 'best'"),
        ([0.0, 1.0], 0, "ssp", "at least one"),
        ([-np.inf, -np.inf], 2, "ssp", "weight 0"),
        ([np.nan, 0.0], 2, "ssp", "log weights"),
        ([np.inf, 0.0], 2, "ssp", "log weights"),
        ([], 2, "ssp", "log weights"),
    ],
)
def test_what_cannot_be_resampled_is_refused(logs, n, scheme, told):
    with pytest.raises(ValueError, match=told):
        resample(torch.tensor(logs), n, scheme)
