"""Particles: the estimate of the chain's own constant is unbiased, and the three scalings are one sampler."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from ground_truth import SPACES
from particle_runs import (
    ANCHOR,
    DATA,
    chain,
    is_unbiased,
    leave_out,
    linear,
    particles_of,
    quadratic,
    ratios,
)

from realign_core import (
    SCHEMES,
    Tilt,
)

STRENGTH = 1.0
TOTAL = 32_000  # particles of a run that estimates Z
REWARDS = {"linear": linear, "quadratic": quadratic}


def estimated(size: int, reward: str = "quadratic", scheme: str = "systematic", **options) -> np.ndarray:
    """Ẑ/Z of each group, re-drawn after every step."""
    made = REWARDS[reward]()
    total = options.pop("total", TOTAL)
    models, lambdas = options.pop("models", (DATA,)), options.pop("lambdas", ())
    truth = made.log_z(chain(models, lambdas, options.get("eta", 1.0)), STRENGTH)
    space, seed = options.pop("space", "ve"), options.pop("seed", 0)
    run = {key: options.pop(key) for key in ("eta", "threshold") if key in options}
    out = particles_of(
        total // size,
        size,
        models=models,
        lambdas=lambdas,
        space=space,
        seed=seed,
        tilt=Tilt(made, STRENGTH, **options),
        scheme=scheme,
        **{"threshold": 1.0, **run},
    )
    return ratios(out, truth)


@pytest.mark.parametrize(
    ("gradient", "potential", "size", "reward"),
    product(["reward", "full", "none"], ["difference", "max"], [4, 16], REWARDS),
)
def test_z_is_unbiased_for_every_proposal_and_potential(gradient, potential, size, reward):
    found = estimated(size, reward, gradient=gradient, potential=potential)
    assert is_unbiased(found), found.mean()


@pytest.mark.parametrize(("scheme", "size", "threshold"), product(SCHEMES, [4, 16], [0.5, 1.0]))
def test_z_is_unbiased_for_every_scheme(scheme, size, threshold):
    assert is_unbiased(estimated(size, scheme=scheme, threshold=threshold, gradient="none"))


@pytest.mark.parametrize("tempering", ["curvature", "one", "steps"])
@pytest.mark.parametrize("size", [4, 16])
def test_z_is_unbiased_for_every_tempering(tempering, size):
    assert is_unbiased(estimated(size, tempering=tempering))


@pytest.mark.parametrize(
    "options",
    [
        {"eta": 0.5},
        {"every": 3},
        {"every": 2, "interval": (0.2, 0.7), "potential": "max"},
        {"variance": 0.05},
        {"models": (DATA, ANCHOR), "lambdas": (0.5,)},
        {"models": (DATA, ANCHOR), "lambdas": (1.4,), "gradient": "full", "eta": 0.7},
        {"space": "flow", "gradient": "full"},
        {"space": "vp"},
    ],
    ids=str,
)
def test_z_is_unbiased_for_every_other_option(options):
    assert is_unbiased(estimated(4, **options))


@pytest.mark.parametrize("lost", ["twist", "denoised"])
@pytest.mark.parametrize("size", [4, 16])
def test_z_is_not_that_of_the_chain_where_the_twist_or_the_prediction_is_lost(lost, size, monkeypatch):
    assert is_unbiased(estimated(size, gradient="none", total=100_000))
    leave_out(monkeypatch, lost)
    assert not is_unbiased(estimated(size, gradient="none", total=100_000))


@pytest.mark.parametrize("gradient", ["reward", "full"])
def test_the_weighted_particles_are_those_of_the_tilted_chain(gradient):
    """For N = 16: SMC's own bias of a mean is of the order of 1/N and small beside the tilt."""
    reward = quadratic()
    out = particles_of(4000, 16, tilt=Tilt(reward, 1.0, gradient=gradient))
    plain = chain()
    cov = np.linalg.inv(np.linalg.inv(plain.cov) + reward.quadratic.numpy())
    mean = cov @ (np.linalg.solve(plain.cov, plain.mean) + reward.linear.numpy())
    drawn = out.x[out.draw_each(torch.Generator().manual_seed(3))].numpy()
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), cov, atol=0.05)
    assert np.abs(plain.mean - mean).max() > 0.2


def test_pooled_groups_give_the_target_where_each_alone_does_not():
    """Few particles without a gradient: the draw of one group is biased towards the models, that of many is not."""
    reward = linear()
    out = particles_of(6400, 2, tilt=Tilt(reward, 0.5, gradient="none"))
    plain = chain()
    target = float(reward(torch.from_numpy(plain.mean + plain.cov @ reward.linear.numpy() / 0.5)[None]))
    alone = float(reward(out.x[out.draw_each()]).mean())
    together = float(reward(out.x[out.draw(6400)]).mean())
    assert abs(together - target) < 0.1 < target - alone - 0.2


# One log-SNR grid and one noise: the three scalings are one sampler.


@pytest.mark.parametrize("gradient", ["reward", "full", "none"])
@pytest.mark.parametrize("eta", [1.0, 0.4])
@pytest.mark.parametrize("correct", [False, True])
def test_ve_vp_and_flow_are_the_same_to_rounding(gradient, eta, correct):
    def run(space):
        return particles_of(
            30,
            8,
            models=(DATA, ANCHOR),
            lambdas=(0.5,),
            space=space,
            tilt=Tilt(quadratic(), 0.3, gradient=gradient),
            correct=correct,
            eta=eta,
            threshold=0.9,
        )

    first, *others = [run(space) for space in SPACES]
    assert bool((first.ancestors != torch.arange(8)).any())
    for other in others:
        assert torch.equal(first.ancestors, other.ancestors)
        for name in ("x", "log_weights", "log_z", "ess", "tau", "rewards"):
            assert (getattr(first, name) - getattr(other, name)).abs().max() < 1e-10, name
