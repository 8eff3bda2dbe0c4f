"""Particles: all that belongs to a particle follows it; the loop, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ground_truth import run_levels
from particle_runs import (
    ANCHOR,
    DATA,
    STEPS,
    Plain,
    chain,
    leave_out,
    linear,
    particles_of,
    quadratic,
    standard_normal,
)
from runs import Model, constant, noise_levels

from realign_core import (
    DifferenceReuse,
    ParticleRun,
    Particles,
    Tilt,
    particle_sample,
    particles,
    realigned_sample,
    separate,
)

# What belongs to a particle follows it. A run whose particles change places at every step is that in which they stay,
# its elements in another order: whatever did not follow makes them differ.

GROUPS, SIZE = 3, 5


def permuted(monkeypatch, stays: bool, evaluator=None, **tilt) -> tuple[Particles, torch.Tensor]:
    """The run, and where its elements have come to lie. stays: they do not move, and their noise does instead."""
    generator = torch.Generator().manual_seed(11)
    orders = [torch.stack([torch.randperm(SIZE, generator=generator) for _ in range(GROUPS)]) for _ in range(STEPS - 1)]
    own = torch.arange(SIZE).expand(GROUPS, SIZE)
    place, places = torch.arange(GROUPS * SIZE), []
    for order in orders:
        place = place[(order + torch.arange(GROUPS)[:, None] * SIZE).flatten()]
        places.append(place)
    coming = iter(orders)

    def resample(log_weights, n, scheme, generator):
        assert log_weights.shape == (GROUPS, SIZE)
        order = next(coming)
        return own if stays else order

    monkeypatch.setattr(particles, "resample", resample)
    draws = standard_normal(4, STEPS, GROUPS * SIZE, 2)
    step = iter(range(STEPS))

    def noise(sigma, sigma_next):
        i = next(step)
        return draws[i][places[i].argsort()] if stays else draws[i]

    levels = run_levels("flow", STEPS, most=20, least=0.05)
    out = particle_sample(
        separate([Model.of(DATA), Model.of(ANCHOR)]),
        standard_normal(3, GROUPS * SIZE, 2),
        noise_levels(levels),
        constant(STEPS, 0.4),
        groups=GROUPS,
        particles=SIZE,
        tilt=Tilt(quadratic(), 0.5, **tilt),
        correct=True,
        noise=noise,
        threshold=1.0,
        evaluator=evaluator or DifferenceReuse(every=3),
    )
    assert next(coming, None) is None  # every step but the last has moved them
    return out, place


def difference(monkeypatch, **options) -> dict[str, float]:
    """Of the two runs, by field."""
    with monkeypatch.context() as patch:
        stayed, _ = permuted(patch, True, **options)
        moved, place = permuted(patch, False, **options)
    assert moved.trace is not None
    assert stayed.trace is not None
    pairs = {
        "x": (moved.x, stayed.x[place]),
        "log_weights": (moved.log_weights.flatten(), stayed.log_weights.flatten()[place]),
        "log_z": (moved.log_z, stayed.log_z),
        "rewards": (moved.rewards.flatten(1), stayed.rewards.flatten(1)[:, place]),
        "kl": (moved.trace.kl.nan_to_num(), stayed.trace.kl[..., place].nan_to_num()),
    }
    return {name: float((a - b).abs().max()) for name, (a, b) in pairs.items()}


PERTILT = {"gradient": {"gradient": "reward"}, "full": {"gradient": "full"}, "max": {"potential": "max"}}


@pytest.mark.parametrize("tilt", PERTILT.values(), ids=PERTILT)
def test_particles_that_change_places_change_nothing_else(tilt, monkeypatch):
    assert max(difference(monkeypatch, **tilt).values()) < 1e-5  # the trace is fp32


@pytest.mark.parametrize(
    ("lost", "shows", "tilt"),
    [
        ("x", "x", {}),
        ("denoised", "x", {}),
        ("shift", "x", {}),
        ("twist", "log_weights", {}),
        ("potential", "log_weights", {"potential": "max"}),
        ("potential", "log_weights", {"potential": "sum"}),
        ("disagreement", "log_weights", {}),
    ],
)
def test_each_thing_left_out_is_found(lost, shows, tilt, monkeypatch):
    leave_out(monkeypatch, lost)
    assert difference(monkeypatch, **tilt)[shows] > 1e-3


def test_an_evaluator_or_a_trace_left_out_is_found(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(DifferenceReuse, "take", lambda self, index: None)
        assert difference(patch)["x"] > 1e-3
    monkeypatch.setattr("realign_core.trace.Trace.take", lambda self, index: None)
    found = difference(monkeypatch)
    assert found["kl"] > 1e-3
    assert found["x"] < 1e-10


def test_all_that_a_run_remembers_is_left_out_above(monkeypatch):
    """A new thing in the memory needs its own line in the table."""
    names, take = set(), ParticleRun.take

    def watch(self, index):
        names.update(self.memory)
        take(self, index)

    monkeypatch.setattr(ParticleRun, "take", watch)
    for potential in ("difference", "max"):
        tilt = Tilt(quadratic(), 1.0, potential=potential)
        particles_of(2, 3, models=(DATA, ANCHOR), lambdas=(0.5,), tilt=tilt, correct=True, threshold=1.0)
    assert names == {"x", "denoised", "shift", "twist", "potential", "disagreement"}


# The loop.


def sampled(model: list, lambdas: list, size: int, sample, **options):
    x = standard_normal(6, size, 2).float() * 20
    draws = iter(standard_normal(7, STEPS, size, 2).float())
    levels = noise_levels(run_levels("ve", STEPS, most=20, least=0.05))
    return sample(separate(model), x, levels, lambdas, noise=lambda *sigmas: next(draws), **options)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_one_particle_without_a_tilt_is_the_realigned_sample_to_the_last_bit(eta):
    models, lambdas = [Model.of(DATA), Model.of(ANCHOR)], constant(STEPS, 0.4)
    plain = sampled(models, lambdas, 6, realigned_sample, eta=eta)
    one = sampled(models, lambdas, 6, particle_sample, eta=eta, groups=6, particles=1)
    assert torch.equal(plain.x, one.x)
    assert torch.equal(plain.trace.kl, one.trace.kl)
    assert one.log_z.tolist() == [0.0] * 6


def test_what_the_result_says_of_ancestors_belongs_together():
    out = particles_of(50, 8, tilt=Tilt(quadratic(), 0.2, gradient="none"))
    assert out.ancestors.shape == (STEPS, 50, 8)
    assert out.ess.shape == (STEPS, 50)
    assert out.log_weights.exp().sum(-1).tolist() == pytest.approx([1] * 50)
    unique = out.unique()
    assert bool((unique.diff(dim=0) <= 0).all())
    assert bool((unique[-1] < 8).any())
    kept = (out.ancestors == torch.arange(8)).all(-1)
    assert bool((kept | (out.ess < 4)).all())  # re-drawn where the ESS was below a half, and nowhere else
    assert bool((kept[-1]).all())
    x0 = out.x.reshape(50, 8, 2)
    best = out.best(3)
    rewards = quadratic()(out.x)
    assert rewards[best].tolist() == sorted(rewards.tolist(), reverse=True)[:3]
    np.testing.assert_allclose(out.rewards[-1].flatten(), rewards, atol=1e-6)
    assert x0.shape == (50, 8, 2)


def test_the_kl_of_a_tilt_is_that_of_the_target():
    reward, plain = linear(), chain()
    out = particles_of(4000, 16, tilt=Tilt(reward, 1.0))
    slope = reward.linear.numpy()
    assert out.kl().mean().item() == pytest.approx(
        slope @ plain.cov @ slope / 2, abs=0.03
    )  # that of a shifted Gaussian
    with pytest.raises(ValueError, match="without a reward"):
        particles_of(2, 2).kl()


def test_groups_one_after_another_join_as_one_run():
    parts = [particles_of(2, 4, tilt=Tilt(quadratic(), 0.3), seed=seed) for seed in (0, 9)]
    whole = Particles.join(parts)
    assert whole.x.shape == (16, 2)
    assert torch.equal(whole.ancestors[:, 2:], parts[1].ancestors)
    assert torch.equal(whole.rewards[:, :2], parts[0].rewards)
    assert torch.equal(whole.trace.lambdas, torch.zeros(STEPS, 0, 16))
    assert whole.unique().shape == (STEPS, 4)


def test_a_reward_is_asked_once_a_step_and_a_model_too():
    reward, model = quadratic(), Model.of(DATA)
    levels = noise_levels(run_levels("ve", STEPS, most=20, least=0.05))
    particle_sample(
        separate([model]),
        standard_normal(0, 8, 2),
        levels,
        constant(STEPS),
        groups=2,
        particles=4,
        tilt=Tilt(reward, 1.0),
        noise=lambda *sigmas: torch.randn(8, 2),
    )
    assert (reward.asked, model.calls) == (STEPS, STEPS)


@pytest.mark.parametrize("gradient", ["reward", "full", "none"])
def test_a_reward_may_be_asked_in_pieces(gradient):
    counting = quadratic()
    whole = particles_of(2, 5, tilt=Tilt(quadratic(), 0.3, gradient=gradient))
    pieces = particles_of(2, 5, tilt=Tilt(counting, 0.3, gradient=gradient, at_once=4))
    np.testing.assert_allclose(whole.x, pieces.x, atol=1e-9)
    assert counting.asked == 3 * STEPS


@pytest.mark.parametrize("gradient", ["reward", "full"])
@pytest.mark.parametrize("lam", [0.5, torch.tensor([0.3] * 4 + [0.8] * 4)], ids=["number", "elements"])
def test_particles_run_in_inference_mode_and_leave_no_gradient_behind(gradient, lam):
    def run():
        tilt = Tilt(quadratic(), 0.3, gradient=gradient)
        return particles_of(
            2, 4, models=(DATA, ANCHOR), lambdas=(lam,), tilt=tilt, correct=True, evaluator=DifferenceReuse(every=3)
        )

    with torch.inference_mode():
        out = run()
    plain = run()
    assert torch.equal(out.x, plain.x)
    assert torch.equal(out.trace.kl, plain.trace.kl)
    assert not any(value.requires_grad for value in (out.x, out.trace.kl, out.log_weights, out.log_z))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tilt": Tilt(linear(), 1.0), "eta": 0.0}, "copies of a particle stay copies"),
        ({"eta": 0.0}, "copies of a particle stay copies"),
        ({"scheme": "best"}, "no resampling scheme"),
        ({"threshold": 1.5}, "threshold"),
        ({"correct": True}, "without an anchor"),
        ({"models": (DATA, ANCHOR), "lambdas": (0.5,), "correct": True, "eta": [1.0, 0.5]}, "one eta only"),
    ],
)
def test_what_cannot_be_sampled_is_refused_before_any_model_is_called(options, told, monkeypatch):
    monkeypatch.setattr(Model, "__call__", lambda self, x, level: pytest.fail("a model was called"))
    with pytest.raises(ValueError, match=told):
        particles_of(2, 4, **options)


def refused(told: str, lambdas=None, size: int = 8, levels=None, **options) -> None:
    levels = noise_levels(levels or run_levels("ve", STEPS, most=20, least=0.05))
    never = Model(lambda x, level: pytest.fail("a model was called"))
    models = [never] * (1 + len(lambdas[0]) if lambdas else 1)
    with pytest.raises(ValueError, match=told):
        particle_sample(
            separate(models),
            torch.zeros(size, 2),
            levels,
            lambdas or constant(STEPS),
            groups=2,
            particles=4,
            noise=lambda *sigmas: torch.zeros(size, 2),
            **options,
        )


def test_a_run_of_another_size_or_end_or_lambda_is_refused():
    refused("there are 7", size=7)
    refused("ends at σ = 0", levels=run_levels("ve", STEPS, last=0.01), tilt=Tilt(linear(), 1.0))
    refused("differs within one", lambdas=constant(STEPS, torch.arange(8) / 8))
    refused("same at all steps", lambdas=[[0.1 * i] for i in range(STEPS)], correct=True)


def test_the_lambda_of_each_group_is_its_own():
    """As two runs of one group each."""
    lambdas = (0.2, 1.3)
    together = particles_of(
        2,
        4,
        models=(DATA, ANCHOR),
        lambdas=(torch.tensor([0.2] * 4 + [1.3] * 4),),
        correct=True,
        threshold=0.0,
    )
    draws, start = standard_normal(1, STEPS, 8, 2), standard_normal(0, 8, 2)
    for group, lam in enumerate(lambdas):
        rows = slice(4 * group, 4 * group + 4)
        coming = iter(draws[:, rows])
        alone = particle_sample(
            separate([Model.of(DATA), Model.of(ANCHOR)]),
            20 * start[rows],
            noise_levels(run_levels("ve", STEPS, most=20, least=0.05)),
            constant(STEPS, lam),
            groups=1,
            particles=4,
            correct=True,
            threshold=0.0,
            noise=lambda *sigmas, coming=coming: next(coming),
        )
        np.testing.assert_allclose(together.x[rows], alone.x, rtol=1e-6)
        np.testing.assert_allclose(together.log_weights[group], alone.log_weights[0], rtol=1e-5, atol=1e-6)


def test_a_reward_without_gradient_needs_none():
    plain = Plain(quadratic())
    found = particles_of(4, 4, tilt=Tilt(plain, 0.5))
    asked = particles_of(4, 4, tilt=Tilt(quadratic(), 0.5, gradient="none"))
    assert torch.equal(found.x, asked.x)
    assert found.tau.tolist() == [[1.0] * 4] * STEPS
