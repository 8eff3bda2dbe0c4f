"""`DifferenceReuse` and `ControlVariate`: exact where they claim to be, bounded where they guess, and counted calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from ground_truth import SPACES, level, run_levels
from runs import constant, noise_levels
from torch import Tensor

from realign_core import (
    MERGED,
    Ask,
    ControlVariate,
    DifferenceReuse,
    Evaluator,
    Exact,
    NoiseLevel,
    Prediction,
    even_span,
    gaussian_noise,
    realigned_sample,
    realignment_weights,
    separate,
    velocity_scale,
)
from realign_core.fewer_calls import extrapolate

GRID = torch.cartesian_prod(torch.tensor([-1.2, 0.0, 1.2]), torch.tensor([-1.2, 0.0, 1.2]))
SPREAD = 0.14  # of each Gaussian
TILTS = (torch.tensor([0.0, 0.0]), torch.tensor([1.5, 1.0]), torch.tensor([-1.0, 1.2]))


def tilted(x: Tensor, now: NoiseLevel, tilt: Tensor) -> Tensor:
    """The best denoiser of nine Gaussians on a grid times exp(tilt · x_0), by Bayes' rule. tilt: (2,) or (B, 2)."""
    tilt = tilt.to(x).expand(len(x), 2)[:, None]  # (B, 1, 2)
    means, variance = GRID.to(x) + SPREAD**2 * tilt, SPREAD**2
    total = now.alpha**2 * variance + now.sigma**2
    gap = x[:, None] - now.alpha * means
    logits = (GRID.to(x) * tilt).sum(-1) - gap.square().sum(-1) / (2 * total)
    each = means + now.alpha * variance / total * gap
    return (torch.softmax(logits, 1)[..., None] * each).sum(1)


class Toy:
    """A reference and anchors with the tilt as their weights, and the calls that they were asked for."""

    def __init__(self, anchors: int = 1, predict: Callable[[Tensor, NoiseLevel, Tensor], Tensor] = tilted) -> None:
        self.tilts, self.predict, self.calls = TILTS[: anchors + 1], predict, 0

    def ask(self, x: Tensor, now: NoiseLevel, called: Tensor, merged: Sequence[Tensor] | None) -> dict[int, Tensor]:
        asked = called.any(1).tolist()
        self.calls += sum(asked) + (merged is not None)
        out = {k: self.predict(x, now, t) for k, (t, call) in enumerate(zip(self.tilts, asked, strict=True)) if call}
        if merged is not None:
            weights = self.tilts[0].to(x)
            for lam, tilt in zip(merged, self.tilts[1:]):
                weights = weights + lam.to(x) * (tilt - self.tilts[0]).to(x)
            out[MERGED] = self.predict(x, now, weights)
        return out


def linear(x: Tensor, now: NoiseLevel, weights: Tensor) -> Tensor:
    """A model that is linear in its weights, though not in x."""
    return torch.tanh(x) + weights.to(x) * torch.sin(3 * x) / (1 + now.sigma)


class Bound:
    """An evaluator that asks these models, by λ."""

    def __init__(self, asked: Toy | Ask, evaluator: Evaluator) -> None:
        self.ask, self.evaluator = asked.ask if isinstance(asked, Toy) else asked, evaluator

    def __call__(self, x: Tensor, now: NoiseLevel, lambdas: Sequence[Tensor]) -> Prediction:
        return self.evaluator(self.ask, x, now, realignment_weights(lambdas))


def exact_of(asked: Toy | Ask) -> Bound:
    return Bound(asked, Exact())


def reuse_of(asked: Toy | Ask, *args, **options) -> Bound:
    return Bound(asked, DifferenceReuse(*args, **options))


def control_of(asked: Toy | Ask, *args, **options) -> Bound:
    return Bound(asked, ControlVariate(*args, **options))


def both(toy: Toy, every: int) -> list[Bound]:
    return [reuse_of(toy, every), control_of(toy, every)]


def along(evaluate: Bound, levels: Sequence[NoiseLevel], lambdas: Sequence[float], x: Tensor) -> list[Prediction]:
    """Its answers at one x for falling levels, λ being the same at all or one per level."""
    per_level = lambdas if len(lambdas) == len(levels) else list(lambdas) * len(levels)
    return [evaluate(x, now, [torch.as_tensor(lam)]) for now, lam in zip(levels, per_level)]


def ve(*sigmas: float) -> list[NoiseLevel]:
    return [NoiseLevel(1.0, sigma) for sigma in sigmas]


def falling(count: int) -> list[NoiseLevel]:
    return ve(*torch.logspace(1, -1.5, count).tolist())


def sample(evaluate: Bound, space: str, lam: float, eta: float, steps: int = 40) -> tuple[Tensor, float]:
    levels = noise_levels(run_levels(space, steps, most=15.0, least=0.03))
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(3)) * levels[0].sigma
    options = {"noise": gaussian_noise(x, 4), "eta": eta, "evaluator": evaluate.evaluator}
    done = realigned_sample(evaluate.ask, x, levels, constant(steps, lam), **options)
    return done.x, done.trace.model_calls / steps


def away(a: Tensor, b: Tensor) -> float:
    return (a - b).norm(dim=1).mean().item()


# Exact where nothing is saved, and where the guess is right


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_refresh_at_every_call_is_the_exact_run(space: str, eta: float):
    levels = noise_levels(run_levels(space, 12))  # flow starts at pure noise
    x = torch.randn(5, 2, dtype=torch.float64) * levels[0].sigma
    runs = [
        realigned_sample(
            e.ask, x, levels, constant(12, 0.6, 0.7), noise=gaussian_noise(x, 1), eta=eta, evaluator=e.evaluator
        ).x
        for e in [exact_of(Toy(2)), *both(Toy(2), every=1)]
    ]
    assert torch.allclose(runs[1], runs[0], atol=1e-6, rtol=0)
    assert torch.allclose(runs[2], runs[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("space", SPACES)
def test_a_difference_linear_in_log_sigma_is_exact_between_refreshes(space: str):
    levels = noise_levels([level(space, s) for s in torch.logspace(1.5, -1.5, 21).tolist()])
    slope, start = torch.randn(2, 3, dtype=torch.float64)

    def anchor(x: Tensor, now: NoiseLevel) -> Tensor:
        return x / 3 + velocity_scale(now) * (start + slope * math.log(now.sigma))

    models = separate([lambda x, now: x / 3, anchor])
    x = torch.randn(4, 3, dtype=torch.float64)
    answers = along(reuse_of(models, every=4, reach=math.inf), levels, [0.7], x)
    assert [a.calls for a in answers] == [2, 2, 1, 1, 1] + [2, 1, 1, 1] * 4
    for answer, exact in zip(answers, along(exact_of(models), levels, [0.7], x)):
        assert torch.allclose(answer.combined, exact.combined, atol=1e-9)
        assert torch.allclose(answer.denoised[1], exact.denoised[1], atol=1e-9)
    assert all(a.correction < 1e-9 for a in answers[5:] if a.correction is not None)


@pytest.mark.parametrize("every", [1, 3, 50])
@pytest.mark.parametrize("anchors", [1, 2])
def test_a_model_linear_in_its_weights_needs_no_refresh(every: int, anchors: int):
    lambdas = [torch.tensor(lam) for lam in (0.3, 1.1)[:anchors]]
    x = torch.randn(4, 2, dtype=torch.float64)
    cheap, exact = control_of(Toy(anchors, linear), every), exact_of(Toy(anchors, linear))
    for now in falling(9):
        assert torch.allclose(cheap(x, now, lambdas).combined, exact(x, now, lambdas).combined, atol=1e-6)


# Calls


def test_calls_are_counted_as_they_are_made():
    toy = Toy(2)
    reuse, control = both(toy, every=3)
    lambdas = [torch.tensor(0.3), torch.tensor(0.4)]
    x = torch.randn(4, 2)
    for evaluate, expected in ((reuse, [3, 3, 1, 1, 3, 1, 1, 3]), (control, [4, 1, 1, 4, 1, 1, 4, 1])):
        for now, calls in zip(falling(8), expected):
            before = toy.calls
            assert evaluate(x, now, lambdas).calls == toy.calls - before == calls


@pytest.mark.parametrize(("lambdas", "which"), [((0.0, 0.0), 0), ((1.0, 0.0), 1), ((0.0, 1.0), 2)])
def test_one_model_with_all_the_weight_is_called_alone(lambdas: tuple[float, float], which: int):
    toy = Toy(2)
    x = torch.randn(4, 2)
    lam = [torch.tensor(v) for v in lambdas]
    for evaluate in both(toy, every=2):
        for now in falling(5):
            before = toy.calls
            answer = evaluate(x, now, lam)
            assert answer.calls == toy.calls - before == 1
            assert [d is None for d in answer.denoised] == [k != which for k in range(3)]
            own = toy.predict(x, now, toy.tilts[which])
            assert torch.allclose(answer.combined, own, atol=1e-6)
            assert torch.allclose(answer.denoised[which], own, atol=1e-6)


def test_a_call_at_lambda_zero_changes_no_state():
    x, on, off = torch.randn(4, 2), [torch.tensor(0.5)], [torch.tensor(0.0)]
    first, second, now = falling(3)
    for plain, interrupted in zip(both(Toy(), 4), both(Toy(), 4)):
        for evaluate in (plain, interrupted):
            evaluate(x, first, on)
            evaluate(x, second, on)
        interrupted(x + 9, second, off)
        expected, answer = plain(x, now, on), interrupted(x, now, on)
        assert expected.calls == answer.calls == 1
        assert torch.equal(expected.combined, answer.combined)


# λ that changes: over the run, over the batch, over pixels


def test_an_anchor_that_switches_on_midway_is_asked_at_once():
    levels, x = falling(10), torch.randn(4, 2)
    schedule = [0.0] * 5 + [0.5] * 5
    exact = along(exact_of(Toy()), levels, schedule, x)
    reuse, control = (along(e, levels, schedule, x) for e in both(Toy(), every=4))
    assert [a.calls for a in reuse] == [1] * 5 + [2, 2, 1, 1, 1]
    assert [a.calls for a in control] == [1] * 5 + [3, 1, 1, 1, 3]
    for i in (5, 6):
        assert torch.allclose(reuse[i].combined, exact[i].combined, atol=1e-6)
    assert torch.allclose(control[5].combined, exact[5].combined, atol=1e-6)


def test_an_anchor_that_was_off_for_long_is_refreshed_when_it_returns():
    answers = along(reuse_of(Toy(), 3), falling(12), [0.5] * 3 + [0.0] * 6 + [0.5] * 3, torch.randn(4, 2))
    assert [a.calls for a in answers] == [2, 2, 1] + [1] * 6 + [2, 1, 1]


def test_two_anchors_keep_their_own_time():
    reuse, x = reuse_of(Toy(2), 3), torch.randn(4, 2)
    late = [0, 0, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3]
    calls = [reuse(x, now, [torch.tensor(0.4), torch.tensor(lam)]).calls for now, lam in zip(falling(8), late)]
    assert calls == [2, 2, 2, 2, 2, 1, 2, 2]


def test_control_variate_rescales_its_residual_with_lambda():
    """Quadratic in its weights: R is λ(1-λ) times the same at every λ, so no λ needs a new one."""

    def quadratic(x: Tensor, now: NoiseLevel, weights: Tensor) -> Tensor:
        return linear(x, now, weights) + velocity_scale(now) * weights.to(x).square() * torch.cos(x)

    x, toy = torch.randn(4, 2, dtype=torch.float64), Toy(1, quadratic)
    schedule = [0.5, 0.4, 0.3, 0.6, 0.7, 0.5]
    answers = along(control_of(toy, 50), falling(6), schedule, x)
    assert [a.calls for a in answers] == [3, 1, 1, 1, 1, 1]
    for answer, exact in zip(answers, along(exact_of(toy), falling(6), schedule, x)):
        assert torch.allclose(answer.combined, exact.combined, atol=1e-6)


@pytest.mark.parametrize("schedule", [[0.5, 0.9, 0.9], [0.999, 0.9, 0.9], [0.01, 0.2, 0.2], [1.0001, 1.3, 1.3]])
def test_control_variate_measures_anew_when_lambda_has_moved_far(schedule: list[float]):
    x = torch.randn(4, 2)
    answers = along(control_of(Toy(), 50), falling(3), schedule, x)
    assert [a.calls for a in answers] == [3, 3, 1]
    exact = along(exact_of(Toy()), falling(3), schedule, x)
    assert torch.allclose(answers[1].combined, exact[1].combined, atol=1e-6)


def test_each_batch_element_has_its_own_lambda():
    x, lam = torch.randn(3, 2), torch.tensor([[0.0], [0.5], [1.5]])
    for every in (1, 4):
        for together, *alone in zip(both(Toy(), every), both(Toy(), every), both(Toy(), every)):
            for now in falling(7):
                answer = together(x, now, [lam]).combined
                for row, one in zip((0, 2), alone):  # λ = 0 is called alone there, and measured here
                    own = one(x[row : row + 1], now, [lam[row, 0]]).combined
                    assert torch.allclose(answer[row : row + 1], own, atol=1e-5)


def test_a_map_is_one_lambda_per_pixel_for_reuse_and_refused_by_the_control_variate():
    x, lam = torch.randn(2, 2), torch.tensor([[0.0, 0.8]])
    exact, reuse = exact_of(Toy()), reuse_of(Toy(), every=3)
    for now in falling(6):
        answer = reuse(x, now, [lam])
        assert torch.equal(answer.combined[:, 0], exact(x, now, [lam]).combined[:, 0])
        assert torch.allclose(answer.combined[:, 1], torch.lerp(*answer.denoised, 0.8)[:, 1], atol=1e-6)
    toy = Toy()
    with pytest.raises(ValueError, match="no pixels"):
        control_of(toy)(x, falling(1)[0], [lam])
    assert toy.calls == 0


# Guesses stay bounded


def test_an_extrapolation_never_goes_further_than_it_was_told():
    before, last = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 0.0])
    points = [(1.0, before), (0.9, last)]
    assert torch.allclose(extrapolate(points, 0.85, 1.0), last + 0.5 * (last - before))
    assert torch.allclose(extrapolate(points, -50.0, 1.0), last + (last - before))
    assert torch.equal(extrapolate(points, -50.0, 0.0), last)
    assert torch.equal(extrapolate(points[:1], 0.3, 1.0), before)
    assert torch.equal(extrapolate([(1.0, before), (1.0, last)], 0.3, 1.0), last)


@pytest.mark.parametrize("space", SPACES)
def test_uneven_and_repeated_levels_stay_finite_and_bounded(space: str):
    noises = [math.inf if space == "flow" else 80.0, 79.99, 79.99, 1.0, 1.0, 0.5, 1e-4, 1e-9]
    levels = noise_levels([level(space, s) for s in noises])
    x = torch.randn(4, 2)
    for evaluate in both(Toy(), every=2):
        for answer in along(evaluate, levels, [0.8], x):
            assert answer.combined.abs().max() < 20
    for evaluate in both(Toy(), every=20):
        for answer in along(evaluate, levels, [0.8], x):
            assert answer.combined.abs().max() < 20


@pytest.mark.parametrize("space", SPACES)
def test_the_scale_is_the_network_outputs(space: str):
    assert all(velocity_scale(NoiseLevel(*level(space, s))) > 0 for s in (0.0, 1e-3, 1.0, 1e3))
    assert velocity_scale(NoiseLevel(0.0, 1.0), 0.5) == 0.5
    assert velocity_scale(NoiseLevel(1.0, 2.0), 2.0) == pytest.approx(math.sqrt(2))
    assert velocity_scale(NoiseLevel(*level(space, 1e-3))) == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_fp32_state(dtype: torch.dtype):
    x = torch.randn(4, 2).to(dtype)
    toy = Toy(1, lambda x, now, weights: tilted(x.float(), now, weights).to(x.dtype))
    for half, full in zip(both(toy, every=3), both(Toy(), every=3)):
        answers = along(half, falling(12), [0.7], x), along(full, falling(12), [0.7], x.float())
        for answer, truth in zip(*answers):
            assert away(answer.combined.float(), truth.combined) < 4 * torch.finfo(dtype).eps
    reuse = reuse_of(toy)
    reuse(x, falling(1)[0], [torch.tensor(0.7)])
    assert reuse.evaluator._anchors[0].points[-1][1].dtype == torch.float32
    control = control_of(toy)
    control(x, falling(1)[0], [torch.tensor(0.7)])
    assert control.evaluator._residuals[-1][1].dtype == torch.float32


# What a refresh reports and decides


def test_a_refresh_reports_what_the_calls_since_the_last_one_had_missed():
    scaled = iter([1.0, 1.0, 2.0])  # the anchor's difference, as each call of it finds it
    models = separate([lambda x, now: 0 * x, lambda x, now: next(scaled) * velocity_scale(now) + 0 * x])
    found = [a.correction for a in along(reuse_of(models, every=2), falling(4), [0.5], torch.ones(1, 2))]
    assert found[0] is None
    assert found[2] is None
    assert found[1] == pytest.approx(0)
    assert found[3] == pytest.approx(0.5)  # ‖2 - 1‖ / ‖2‖


def test_the_control_variate_reports_its_miss_as_a_share_of_the_difference():
    x, toy, levels = torch.randn(4, 2), Toy(), falling(2)
    control = control_of(toy, every=1, reach=0)
    lam = torch.tensor(0.5)
    assert control(x, levels[0], [lam]).correction is None
    residuals = []
    for now in levels:
        answers = toy.ask(x, now, torch.ones(2, len(x), dtype=torch.bool), [lam])
        reference, anchor, mixed = answers[0], answers[1], answers[MERGED]
        residuals.append((torch.lerp(reference, anchor, 0.5) - mixed) / velocity_scale(now))
    missed = velocity_scale(levels[1]) * (residuals[1] - residuals[0]).norm() / (anchor - reference).norm()
    assert control(x, levels[1], [lam]).correction == pytest.approx(missed.item(), rel=1e-3)


def bending(where: float) -> Ask:
    """The scaled difference is straight in log σ but for a quick turn around σ = where."""

    def anchor(x: Tensor, now: NoiseLevel) -> Tensor:
        return x + velocity_scale(now) * (2 + 3 * torch.tanh(torch.tensor(4 * math.log(now.sigma / where))) + 0 * x)

    return separate([lambda x, now: x, anchor])


def test_a_tolerance_spends_the_calls_where_the_difference_bends():
    levels = ve(*torch.logspace(2, -1, 61).tolist())
    answers = along(reuse_of(bending(3.0), 6, tolerance=0.05), levels, [0.5], torch.ones(1, 2))
    refreshed = [now.sigma for now, a in zip(levels, answers) if a.calls == 2][2:]
    near = sum(0.6 < sigma < 6 for sigma in refreshed)  # one of three decades
    assert near > 0.5 * len(refreshed)
    straight = along(reuse_of(bending(1e9), 6, tolerance=0.05), levels, [0.5], torch.ones(1, 2))
    assert sum(a.calls for a in straight) < sum(a.calls for a in answers)
    assert [a.calls for a in straight] == [
        a.calls for a in along(reuse_of(bending(1e9), 6), levels, [0.5], torch.ones(1, 2))
    ]


def test_with_a_span_refreshes_follow_the_noise_as_well_as_the_calls():
    levels = [NoiseLevel(1 - s, s) for s in torch.linspace(1, 0.01, 30).tolist()]
    span = even_span([*levels, NoiseLevel(1.0, 0.0)], every=3)
    assert span == pytest.approx(math.log(100) / 10)
    for evaluate, first in (
        (reuse_of(Toy(), 3, span=span), 2),
        (control_of(Toy(), 3, span=span), 1),
    ):
        answers = along(evaluate, levels, [0.5], torch.randn(4, 2))
        refreshed = [(i, math.log(levels[i].sigma)) for i, a in enumerate(answers) if a.calls > 1][first - 1 :]
        way = [((j - i) / 3 + (u - v) / span) / 2 for (i, u), (j, v) in pairwise(refreshed)]
        assert all(w >= 1 - 1e-6 for w in way)
        waits = [j - i for (i, _), (j, _) in pairwise(refreshed)]
        assert waits[0] > 3 > waits[-1]  # most of the noise falls in the last steps


def test_a_span_of_a_log_spaced_schedule_is_a_number_of_calls():
    levels, x = falling(30), torch.randn(4, 2)
    for make in (lambda **k: reuse_of(Toy(), **k), lambda **k: control_of(Toy(), **k)):
        by_noise = along(make(every=5, span=even_span(levels, 5)), levels, [0.5], x)
        assert [a.calls for a in by_noise] == [a.calls for a in along(make(every=5), levels, [0.5], x)]


def test_refreshing_less_often_than_every_call_is_refused():
    for make in (DifferenceReuse, ControlVariate):
        with pytest.raises(ValueError, match="every 0 calls"):
            make(every=0)
        with pytest.raises(ValueError, match="fallen by 0"):
            make(span=0.0)


# Whole runs on nine Gaussians


class RawReuse:
    """The common way: keep D_anchor - D_ref as it is."""

    def __init__(self, every: int) -> None:
        self.every, self.calls = every, 0

    def __call__(self, ask: Ask, x: Tensor, now: NoiseLevel, weights: Tensor) -> Prediction:
        due = self.calls % self.every == 0
        self.calls += 1
        both = torch.ones(2, len(x), dtype=torch.bool)
        answers = ask(x, now, both & torch.tensor([[True], [due]]), None)
        if due:
            self.kept = answers[1] - answers[0]
        known = [answers[0], answers[0] + self.kept]
        return Prediction(known, both, answers[0] + weights[1] * self.kept, 1 + due)


@pytest.mark.parametrize("space", ["ve", "flow"])
@pytest.mark.parametrize(("eta", "share"), [(0.0, 0.2), (1.0, 0.6)])
def test_scaled_and_extrapolated_reuse_beats_raw_reuse_at_equal_calls(space: str, eta: float, share: float):
    exact, _ = sample(exact_of(Toy()), space, 0.5, eta)
    raw, raw_calls = sample(Bound(Toy(), RawReuse(4)), space, 0.5, eta)
    reuse, calls = sample(reuse_of(Toy(), 5), space, 0.5, eta)
    assert calls <= raw_calls
    assert away(reuse, exact) < share * away(raw, exact)


class WeightsAlone:
    """Weight interpolation θ_ref + λΔθ, never corrected."""

    def __call__(self, ask: Ask, x: Tensor, now: NoiseLevel, weights: Tensor) -> Prediction:
        nobody = torch.zeros(2, len(x), dtype=torch.bool)
        return Prediction([None, None], nobody, ask(x, now, nobody, list(weights[1:]))[MERGED], 1)


@pytest.mark.parametrize("space", ["ve", "flow"])
def test_the_control_variate_beats_plain_weight_interpolation(space: str):
    toy = Toy()
    exact, _ = sample(exact_of(toy), space, 0.5, 1.0)
    plain, _ = sample(Bound(toy, WeightsAlone()), space, 0.5, 1.0)
    control, calls = sample(control_of(toy, 10), space, 0.5, 1.0)
    assert calls <= 1.25
    assert away(control, exact) < 0.75 * away(plain, exact)


@pytest.mark.parametrize("make", [lambda t: reuse_of(t, 3), lambda t: control_of(t, 3)])
def test_calls_saved_are_those_the_exact_run_has_more(make):
    """λ 0 for some steps, then 0.5, then 1: the exact run has 1, 2 and 1 calls there."""
    levels, x = falling(12), torch.randn(4, 2)
    lambdas = [0.0] * 3 + [0.5] * 6 + [1.0] * 3
    for evaluate in (make(Toy()), exact_of(Toy())):
        answers = [evaluate(x, now, [torch.tensor(lam)]) for now, lam in zip(levels, lambdas)]
        assert sum(a.calls + a.saved for a in answers) == 3 + 2 * 6 + 3
