"""A reward's twist, its gradient and its temper, by hand; and which rewards are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ground_truth import SPACES, GaussianData
from particle_runs import DATA, STEPS, linear, particles_of, quadratic
from torch import Tensor

from realign_core import NoiseLevel, Tilt, Twist

LEVELS = [NoiseLevel(1.0, s) for s in (4.0, 2.0, 1.0, 0.3, 0.0)]


def twist(tilt: Tilt, levels=LEVELS, groups: int = 1, particles: int = 4) -> Twist:
    return Twist(tilt, levels, groups, particles, {})


def points(seed: int = 0, size: int = 4) -> Tensor:
    return torch.randn(size, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_rewards_weights_add_up_to_the_tilt_of_the_clean_sample():
    """Whatever the potential, and however seldom the reward is asked."""
    for potential in ("difference", "max", "sum"):
        for every in (1, 2, 3):
            one = twist(Tilt(quadratic(), 0.5, potential=potential, every=every))
            total = sum(one.weigh(i, points(i), points(i + 10)) for i in range(4))
            np.testing.assert_allclose(total, quadratic()(points(13)) / 0.5, rtol=1e-6)


def test_max_and_sum_are_of_the_rewards_so_far():
    r = [quadratic()(points(i)) for i in range(4)]
    best = twist(Tilt(quadratic(), 1.0, potential="max"))
    added = twist(Tilt(quadratic(), 1.0, potential="sum"))
    for i in range(3):
        np.testing.assert_allclose(best.weigh(i, points(), points(i)), torch.stack(r[: i + 1]).amax(0), rtol=1e-6)
        np.testing.assert_allclose(added.weigh(i, points(), points(i)), torch.stack(r[: i + 1]).sum(0), rtol=1e-6)


def test_the_reward_is_asked_within_its_interval_and_at_the_end():
    one = Twist(
        Tilt(linear(), 1.0, every=2, interval=(0.2, 0.6)), [NoiseLevel(1.0, 10.0 - i) for i in range(11)], 1, 4, {}
    )
    assert [i for i in range(10) if one.asks(i)] == [2, 4, 6, 9]


def test_the_shift_is_the_gradient_with_respect_to_x_t_and_never_more_for_being_rare():
    """v·shift is what the proposal moves; α_t/α_s makes it the same in every scaling."""
    levels = [NoiseLevel(0.6, 0.8), NoiseLevel(0.8, 0.6), NoiseLevel(1.0, 0.0)]
    reward, denoised = quadratic(), points()
    slope = reward.linear - denoised @ reward.quadratic.double()
    for every in (1, 2):
        one = twist(Tilt(reward, 0.5, gradient="reward", tempering="one", variance=3.0, every=every), levels)
        one.weigh(0, points(1), denoised)
        gain = 0.6 * 3 / (0.6**2 * 3 + 0.8**2)
        np.testing.assert_allclose(one.memory["shift"], 0.6 / 0.8 * gain * slope / 0.5, rtol=1e-6)


def test_the_full_gradient_goes_through_the_model():
    levels = [NoiseLevel(0.6, 0.8), NoiseLevel(0.8, 0.6), NoiseLevel(1.0, 0.0)]
    gain, shift = (torch.from_numpy(value) for value in DATA.denoiser(0.6, 0.8))
    x, reward = points(1).requires_grad_(), quadratic()
    denoised = x @ gain.T + shift
    one = twist(Tilt(reward, 0.5, gradient="full", tempering="one"), levels)
    one.weigh(0, x, denoised)
    slope = (reward.linear - denoised.detach() @ reward.quadratic.double()) @ gain
    np.testing.assert_allclose(one.memory["shift"], 0.6 / 0.8 * slope / 0.5, rtol=1e-6)
    with pytest.raises(ValueError, match="with gradients on"):
        one.weigh(0, points(1), denoised.detach())


def test_there_is_no_shift_at_a_step_without_a_gradient():
    one = twist(Tilt(quadratic(), 0.5, every=2))
    one.weigh(0, points(), points())
    assert "shift" in one.memory
    one.weigh(1, points(), points())
    assert "shift" not in one.memory
    one.weigh(3, points(), points())  # the last: there is no proposal
    assert "shift" not in one.memory


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("variance", [None, 2.5], ids=["measured", "given"])
def test_for_data_of_one_variance_the_reward_only_gradient_is_the_full_one(variance, space):
    """dD/dx_t is αV/(α²V + σ²) then, in every direction, so that the particles tell V to rounding."""
    data = GaussianData(np.array([0.4, -1.0]), 2.5 * np.eye(2))
    one, other = (
        particles_of(2, 4, models=(data,), space=space, tilt=Tilt(quadratic(), 0.5, gradient=kind, variance=told))
        for kind, told in (("reward", variance), ("full", 2.5))
    )
    np.testing.assert_allclose(one.x, other.x, atol=1e-9)


def test_each_group_measures_the_variance_for_itself_and_one_particle_takes_that_of_latents():
    level = NoiseLevel(1.0, 2.0)
    factors = torch.tensor([0.3, 0.8]).double().repeat_interleave(2)[:, None]  # V/(V + 4)
    x = points()
    two = Twist(Tilt(quadratic(), 1.0), [level, NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.0)], 2, 2, {})
    two.weigh(0, x, factors * x)
    assert two.variance.tolist() == pytest.approx([0.3 * 4 / 0.7, 0.8 * 4 / 0.2])
    alone = Twist(Tilt(quadratic(), 1.0), [level, NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.0)], 4, 1, {})
    alone.weigh(0, x, factors * x)
    assert alone.variance.tolist() == [1.0] * 4


# Tempering.


def test_the_curvature_of_a_quadratic_reward_is_found_and_makes_the_temper_exact():
    """For Gaussian data of variance V and r = -c x²/2, E[exp(r(x_0)/α) | x_t] is a Gaussian bump of τ·c/α."""
    c, strength, variance = 1.7, 0.4, 2.0
    one = twist(Tilt(lambda x: -c / 2 * x.square().sum(-1), strength, variance=variance))
    one.weigh(0, points(), points())
    assert one.curvature.item() == pytest.approx(c / strength)
    sigma = LEVELS[1].sigma
    unknown = variance * sigma**2 / (variance + sigma**2)
    # E exp(-c/(2α) x²) over N(m, unknown) falls with m² as -(c/α)/(1 + unknown·c/α)/2
    assert one.temper(1).item() == pytest.approx(1 / (1 + unknown * c / strength))
    assert one.temper(4).item() == 1
    assert 0 < one.temper(0).item() < one.temper(1).item() < one.temper(3).item() < 1


def test_each_group_has_its_own_curvature_and_a_convex_reward_is_not_tempered():
    one = twist(Tilt(lambda x: x.square().sum(-1) / 2, 1.0))
    one.weigh(0, points(), points())
    assert one.temper(1).item() == 1
    two = Twist(Tilt(quadratic(), 1.0), LEVELS, 2, 2, {})
    two.weigh(0, points(), points())
    for group in range(2):
        alone = Twist(Tilt(quadratic(), 1.0), LEVELS, 1, 2, {})
        rows = points()[2 * group : 2 * group + 2]
        alone.weigh(0, rows, rows)
        assert two.curvature[group].item() == pytest.approx(alone.curvature.item())


def test_one_particle_has_no_neighbours_to_measure_by():
    one = Twist(Tilt(quadratic(), 1.0), LEVELS, 3, 1, {})
    one.weigh(0, points(0, 3), points(0, 3))
    assert one.temper(1).tolist() == [1, 1, 1]


def test_the_papers_schedule_is_that_of_a_hundred_steps():
    levels = [NoiseLevel(1.0, 101.0 - i) for i in range(101)]
    paper = twist(Tilt(linear(), 1.0, tempering="steps", gamma=0.008), levels)
    ours = twist(Tilt(linear(), 1.0, tempering="steps"), levels)
    for i in (0, 20, 50, 80, 95):
        assert paper.temper(i).item() == pytest.approx(min(1.008**i - 1, 1))
        assert ours.temper(i).item() == pytest.approx(paper.temper(i).item(), abs=0.005)
    short = twist(Tilt(linear(), 1.0, tempering="steps"), levels[::10])
    assert short.temper(8).item() < 1 == short.temper(9).item()


def test_the_defaults_follow_from_whether_there_is_a_gradient():
    def rounded(x: Tensor) -> Tensor:
        return x.detach().round().sum(-1)

    smooth, stepped = twist(Tilt(quadratic(), 1.0)), twist(Tilt(rounded, 1.0))
    for one in (smooth, stepped):
        one.weigh(0, points(), points())
    assert (smooth.gradient, stepped.gradient) == ("reward", "none")
    assert smooth.temper(1).item() < 1 == stepped.temper(1).item()


# What is refused.


def named(name: str, judge) -> object:
    judge.name = name
    return judge


@pytest.mark.parametrize(
    ("judge", "told"),
    [
        (lambda x: x, r"shape \(8,\)"),
        (lambda x: x.sum(), r"shape \(8,\)"),
        (lambda x: 0.5, "gave float"),
        (lambda x: x.sum(-1) * math.nan, "no finite number"),
        (lambda x: x.sum(-1) + math.inf, "no finite number"),
        (lambda x: x.abs().sqrt().sum(-1) + (x * 0).abs().sqrt().sum(-1), "gradient that is not finite"),
    ],
)
def test_a_reward_that_fails_is_named_with_its_step(judge, told):
    with pytest.raises(ValueError, match=rf"step 1 of {STEPS}: the reward sharpness: .*{told}"):
        particles_of(2, 4, tilt=Tilt(named("sharpness", judge), 1.0))


def test_a_model_that_fails_is_not_laid_at_the_rewards_door():
    one = twist(Tilt(quadratic(), 1.0))
    with pytest.raises(ValueError, match="step 3 of 4: the models predict values"):
        one.weigh(2, points(), points() * math.nan)


def test_a_gradient_that_is_not_there_is_not_done_without_in_silence():
    with pytest.raises(ValueError, match="gradient='none'"):
        particles_of(2, 4, tilt=Tilt(lambda x: x.detach().sum(-1), 1.0, gradient="reward"))


def test_what_is_no_fault_of_the_reward_passes_as_it_is():
    class Cancelled(Exception):
        pass

    def judge(x):
        raise Cancelled

    with pytest.raises(Cancelled):
        particles_of(2, 4, tilt=Tilt(judge, 1.0))


@pytest.mark.parametrize(
    "options",
    [
        {"strength": 0.0},
        {"strength": math.nan},
        {"variance": -1.0},
        {"gamma": 0.0},
        {"every": 0},
        {"at_once": 0},
        {"interval": (0.5, 0.2)},
        {"interval": (0.0, 1.5)},
        {"gradient": "half"},
        {"tempering": "slow"},
        {"potential": "min"},
        {"tempering": "curvature", "gradient": "none"},
    ],
    ids=str,
)
def test_a_tilt_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match=r"not|without|there is no"):
        Tilt(**{"reward": linear(), "strength": 1.0, **options})
