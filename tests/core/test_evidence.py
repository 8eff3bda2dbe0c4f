"""What benchmarks/evidence computes: tilts in closed form, distances and intervals with known answers, resume."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

PACK = Path(__file__).resolve().parents[2]
sys.path.append(str(PACK / "benchmarks"))

from evidence import exact_bench, exact_networks, exact_worlds, kept  # noqa: E402
from evidence.distances import even_cells, shares, sliced_wasserstein, total_variation  # noqa: E402
from evidence.exact_cases import AGAIN, CORRECTED, EXACT, LEARNED, METHODS, RETRAINED, STEPWISE, all_cases  # noqa: E402
from evidence.exact_results import BANDS, Found, of_band  # noqa: E402
from evidence.exact_runs import SAMPLERS, Case, dpmpp_2m, sampled  # noqa: E402
from evidence.exact_worlds import BETAS, KL_MOST, worlds  # noqa: E402
from evidence.paired import Scored, estimate, mean_error, signed_share  # noqa: E402
from evidence.plots import bland_altman, curve, ecdf, scatter, sheet  # noqa: E402
from particles_toys import Mixture, levels_of  # noqa: E402
from PIL import Image  # noqa: E402

WORLDS = worlds()
GAUSSIAN = next(iter(WORLDS.values()))


@pytest.fixture(autouse=True)
def fewer_exact_draws(monkeypatch):
    monkeypatch.setattr(exact_worlds, "EXACT_DRAWS", 10_000)


def log_density(model: Mixture, x: torch.Tensor) -> torch.Tensor:
    away = (x[:, None] - model.means).square() / model.variance + (2 * math.pi * model.variance).log()
    return (model.log_weights - away.sum(-1) / 2).logsumexp(-1)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("beta", [0.5, 5.0])
def test_the_tilt_is_the_density_times_the_exponential_of_the_reward(name, beta):
    """log p_β = log p_ref + r/β - log Z at any point."""
    world = WORLDS[name]
    reward, x = world.reward.times(1 / beta), world.reference.draw(50, 3)
    log_z, tilted = world.reference.tilted(reward)
    want = log_density(world.reference, x) + reward(x) - log_z
    torch.testing.assert_close(log_density(tilted, x), want, atol=1e-9, rtol=1e-9)
    assert float(tilted.log_weights.exp().sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", WORLDS)
def test_worlds_are_scaled_to_the_kl_that_is_told(name):
    world = WORLDS[name]
    assert world.kl(BETAS[0]) == pytest.approx(KL_MOST, rel=1e-6)
    draws = world.aligned(2.0).draw(20_000, 1)
    told = log_density(world.aligned(2.0), draws) - log_density(world.reference, draws)
    assert float(told.mean()) == pytest.approx(world.kl(2.0), abs=5 * float(told.std()) / len(draws) ** 0.5)
    values = world.reward(draws)
    standard_error = float(values.std()) / len(draws) ** 0.5
    assert float(values.mean()) == pytest.approx(world.aligned(2.0).mean_reward(world.reward), abs=5 * standard_error)


def test_the_anchors_tilted_back_is_the_reference():
    """A linear and a quadratic part at once, there and back."""
    world = WORLDS["ring of 8, 2-D, quadratic"]
    reward = world.reward.times(1.0)
    reward.slope = torch.tensor([0.3, -0.7]).double()
    log_z, there = world.reference.tilted(reward)
    log_back, back = there.tilted(reward.times(-1.0))
    assert log_back == pytest.approx(-log_z, abs=1e-9)
    torch.testing.assert_close(back.means, world.reference.means)
    torch.testing.assert_close(back.log_weights, world.reference.log_weights)


@pytest.mark.parametrize("d", [1, 2, 16])
def test_the_sliced_distance_of_a_shift_is_its_mean_length_along_a_direction(d):
    """E|u·s| for a unit vector u of d dimensions: |s| Γ(d/2) / (√π Γ((d+1)/2)). Of 64 directions, hence the bound."""
    x, shift = torch.randn(2000, d, generator=torch.Generator().manual_seed(0)), torch.full((d,), 3 / d**0.5)
    mean = 3 * math.gamma(d / 2) / (math.pi**0.5 * math.gamma((d + 1) / 2))
    assert sliced_wasserstein(x, x) == 0
    assert sliced_wasserstein(x, x + shift) == pytest.approx(mean, rel=1e-6 if d == 1 else 0.2)
    assert sliced_wasserstein(x, x + 2 * shift) == pytest.approx(2 * sliced_wasserstein(x, x + shift), rel=1e-6)


def test_total_variation_of_cells():
    edges = even_cells(torch.arange(1000).double(), 10)
    even = shares(torch.arange(1000), edges)
    torch.testing.assert_close(even, torch.full((10,), 0.1))
    assert total_variation(even, even) == 0
    assert total_variation(even, shares(torch.full((50,), 5000.0), edges)) == pytest.approx(0.9, abs=1e-6)
    assert total_variation(torch.tensor([0.5, 0.5, 0]), torch.tensor([0.0, 0, 1])) == 1


@pytest.mark.parametrize("name", WORLDS)
def test_a_judge_finds_exact_draws_near_and_a_shift_far(name):
    judge = WORLDS[name].judge(1.0)
    x, shift = judge.exact.draw(4000, 5), 3 * torch.ones(len(judge.exact.means[0]))
    shift[len(shift) // 2 :] *= -1  # along which the linear rewards rise
    near, far = judge.measured(x), judge.measured(x + shift)
    assert near["tv"] < 0.1
    assert far["tv"] > 0.5
    assert near["sw"] < 0.1 < far["sw"]


@pytest.mark.parametrize("lambda_", [0.1, 0.5, 4.0])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_between_gaussians_of_one_covariance_lambda_is_retraining(sampler, lambda_):
    """Nothing is left over there: the same samples, but for the rounding that λ multiplies."""
    case = Case(GAUSSIAN.name, STEPWISE, 2.0 * lambda_, 2.0, sampler, 10, draws=64)
    mixed = sampled(case, [GAUSSIAN.reference, GAUSSIAN.aligned(2.0 * lambda_)], 2)
    torch.testing.assert_close(mixed, sampled(case, [GAUSSIAN.aligned(2.0)], 2), atol=2e-4, rtol=1e-4)


def test_dpmpp_2m_is_of_the_second_order():
    """On one Gaussian of which the flow is known: x - m scales with the marginal's deviation."""
    model, x = (
        Mixture(torch.zeros(1).double(), torch.ones(1, 2).double(), torch.full((2,), 0.5).double()),
        torch.ones(1, 2),
    )
    errors = []
    for steps in (40, 80):
        levels = levels_of("ve", steps)[:-1]  # to σ 0.03: the last step is of the first order
        start = levels[0].sigma * x.double()
        want = 1 + (start - 1) * ((0.5 + levels[-1].sigma ** 2) / (0.5 + levels[0].sigma ** 2)) ** 0.5
        errors.append(float((dpmpp_2m([model], start, levels, ()) - want).abs().max()))
    assert 2.8 < errors[0] / errors[1] < 6  # 4 but for the first, first-order step


def test_the_interval_of_a_mean_is_the_bootstraps():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    found = estimate(values)
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 400**0.5
    assert found.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_errors_are_given_of_the_mean_and_of_the_way():
    """Retrained at 10, λ at 10.5, the way from 9 to 11: 5 % of the mean, 25 % of the way. A second case is off by 0."""
    ones = np.ones(20)
    off = Scored(10 * ones, 10.5 * ones, 9 * ones, 11 * ones)
    exact = Scored(10 * ones, 10 * ones, 9 * ones, 11 * ones)
    of_mean, of_way = mean_error([off, exact])
    assert (of_mean.value, of_way.value) == pytest.approx((0.025, 0.125))
    assert (of_mean.low, of_mean.high) == pytest.approx((0.025, 0.025))
    below = Scored(10 * ones, 9.5 * ones, 9 * ones, 11 * ones)
    assert signed_share(below).value == pytest.approx(-0.25)


def test_pairs_make_the_interval_narrow():
    """What λ and retraining share, prompt by prompt, is no uncertainty of their difference."""
    shared = np.random.default_rng(2).normal(size=60)
    case = Scored(10 + shared, 10.5 + shared, 9 + shared, 11 + shared)
    found = signed_share(case, seeds=3)
    assert found.high - found.low < 1e-9
    apart = Scored(10 + shared, 10.5 + shared[::-1], 9 + shared, 11 + shared)
    assert signed_share(apart, seeds=3).high - signed_share(apart, seeds=3).low > 0.05


def test_what_is_kept_is_not_made_again(tmp_path):
    code = tmp_path / "code.py"
    code.write_text("x = 1\n")
    first = kept.Kept("results", [code], tmp_path)
    assert first.json("a", lambda: {"tv": [0.25, math.nan]})["tv"][0] == 0.25
    with pytest.raises(KeyboardInterrupt):
        first.json("b", interrupted)
    code.write_text("x = 1  # said otherwise\n")
    again = kept.Kept("results", [code], tmp_path)
    assert again.json("a", interrupted)["tv"][0] == 0.25
    assert again.json("b", lambda: 2) == 2
    assert (first.made, again.made) == (1, 1)
    code.write_text("x = 2\n")
    assert kept.Kept("results", [code], tmp_path).json("a", lambda: 3) == 3
    weights = again.tensors("w", lambda: {"w": torch.arange(3.0)})
    torch.testing.assert_close(again.tensors("w", interrupted), weights)


def interrupted():
    raise KeyboardInterrupt


def test_a_killed_bench_goes_on_with_networks_and_results(tmp_path, monkeypatch):
    monkeypatch.setattr(exact_bench.trained, "__defaults__", (3,))
    bench = exact_bench.Bench(tmp_path)
    case = Case(LEARNED, STEPWISE, 0.5, 1.0, steps=3, draws=64)
    found = bench.measured(case)
    assert (bench.networks.made, bench.results.made) == (2, 1)
    assert len(found) == 8
    later = exact_bench.Bench(tmp_path)
    monkeypatch.setattr(exact_bench, "sampled", interrupted)
    assert later.measured(case) == found
    assert (later.networks.made, later.results.made) == (0, 0)
    monkeypatch.undo()
    monkeypatch.setattr(exact_bench.trained, "__defaults__", (3,))
    later.measured(Case(LEARNED, AGAIN, 0.0, 1.0, steps=3, draws=64))
    assert later.networks.made == 1  # the second training, from the same reference


def test_a_network_learns_its_density():
    """Some hundred steps: much nearer to E[x_0 | x_t] than the best linear denoiser, where that bends."""
    model = WORLDS["ring of 8, 2-D, quadratic"].aligned(2.0)
    network = exact_networks.loaded(exact_networks.trained(model, model.spread, 0, None, 400), model.spread)
    level = levels_of("ve", 20)[10]
    clean, noise = model.draw(2000, 9).float(), torch.randn(2000, 2, generator=torch.Generator().manual_seed(4))
    x, mean = clean + level.sigma * noise, model.log_weights.exp().float() @ model.means.float()
    linear = mean + model.spread / (model.spread + level.sigma**2) * (x - mean)
    exact = model.denoise(x, level)
    missed, bent = (float((one - exact).square().mean()) for one in (network.denoise(x, level), linear))
    assert missed < 0.3 * bent, (missed, bent)


def test_merged_weights_at_the_ends_are_the_networks():
    reference, anchor = ({"w": torch.randn(4)} for _ in range(2))
    torch.testing.assert_close(exact_networks.merged(reference, anchor, 0.0), reference)
    torch.testing.assert_close(exact_networks.merged(reference, anchor, 1.0), anchor)


def test_all_that_the_report_asks_for_is_sampled(tmp_path):
    """The report and the plot of made-up numbers; every case that they name is one of the bench's."""
    from evidence.exact_plot import draw
    from evidence.exact_report import text

    random = np.random.default_rng(0)
    results = {
        case: [{"tv": random.uniform(), "sw": random.uniform(), "reward": random.normal()} for _ in range(8)]
        for case in all_cases()
    }
    assert {case.method for case in results} == set(METHODS)
    asked = Recording(results)
    written = text(WORLDS, asked)
    assert "nan" not in written
    assert written.count("\n| ") > 100
    draw(asked, tmp_path / "evidence.png")
    assert asked.seen == set(results)  # nothing is sampled for nothing
    assert Image.open(tmp_path / "evidence.png").height > 500


class Recording(dict):
    """Which cases were asked for."""

    def __init__(self, results):
        super().__init__(results)
        self.seen = set()

    def __getitem__(self, case):
        self.seen.add(case)
        return super().__getitem__(case)


def test_excess_is_of_pairs_and_bands_hold_each_once():
    chosen = [pair for band in BANDS for pair in of_band(band)]
    assert len(chosen) == len(set(chosen)) == len(BETAS) * (len(BETAS) - 1)
    noise = np.random.default_rng(3).uniform(0, 0.3, 8)
    results = {
        Case("a", RETRAINED, 0.0, 1.0): [{"tv": v} for v in noise],
        Case("a", STEPWISE, 0.5, 1.0): [{"tv": v + 0.1} for v in noise],
        Case("a", CORRECTED, 0.5, 1.0, particles=4): [{"tv": v + 0.01} for v in noise],
        Case("a", EXACT, 0.0, 1.0): [{"tv": v} for v in noise],
    }
    found, pair = Found(results, "a"), (0.5, 1.0)
    excess = found.excess(STEPWISE, [pair])
    assert (excess.value, excess.low, excess.high) == pytest.approx((0.1, 0.1, 0.1))
    assert (found.near(STEPWISE, [pair]), found.near(CORRECTED, [pair])) == (0, 1)
    assert found.mean(EXACT, [pair]) == pytest.approx(noise.mean())


def test_the_papers_plots(tmp_path):
    retrained = np.linspace(0, 1, 50)
    mixed = retrained + np.tile([0.1, 0.3], 25)
    with sheet(tmp_path / "plots.png", 1, 4) as axes:
        scatter(axes[0], retrained, mixed)
        ecdf(axes[1], {"retrained": retrained, "by λ": mixed})
        low, middle, high = bland_altman(axes[2], retrained, mixed)
        curve(axes[3], [1, 2], [estimate(retrained), estimate(mixed)], "a curve", 0)
    half = 1.96 * float(np.std(mixed - retrained, ddof=1))
    assert (low, middle, high) == pytest.approx((0.2 - half, 0.2, 0.2 + half))
    assert Image.open(tmp_path / "plots.png").width > 1000
