"""What the sampling loop promises beside the distribution: identities, broadcasting, who is called, and with what."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from ground_truth import SPACES, run_levels
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import Model, constant, equal, no_noise, noise_levels, pixel_model
from torch import Tensor

from realign_core import (
    Exact,
    NoiseLevel,
    Sample,
    gaussian_noise,
    geometric_mixture,
    per_element,
    realigned_sample,
    realignment_weights,
    reverse_posterior,
    separate,
)

STEPS = 5
SHAPE = (2, 3, 4, 6)
etas = st.sampled_from([0.0, 0.3, 1.0])
spaces = st.sampled_from(SPACES)
some_lambda = st.integers(-10, 40).map(lambda n: n / 20)
few = settings(max_examples=12)  # a run each


def reference() -> Model:
    return pixel_model(0.3, 1.0)


def anchor() -> Model:
    return pixel_model(-0.8, 0.4)


def other() -> Model:
    return pixel_model(1.5, 0.7)


def run(models: list[Model], lambdas: list, eta: float | list[float] = 1.0, space: str = "ve", **options) -> Sample:
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)) * run_levels(space, STEPS)[0][1]
    x = options.pop("x", x)
    levels = noise_levels(run_levels(space, STEPS))
    return realigned_sample(separate(models), x, levels, lambdas, noise=gaussian_noise(x, seed=2), eta=eta, **options)


@few
@given(etas, spaces)
def test_lambda_0_is_the_reference_alone_to_the_last_bit(eta, space):
    models = [reference(), anchor()]
    assert equal(run(models, constant(STEPS, 0.0), eta, space), run([reference()], constant(STEPS), eta, space))
    assert [m.calls for m in models] == [STEPS, 0]


@few
@given(etas, spaces)
def test_lambda_1_is_the_anchor_alone_to_the_last_bit(eta, space):
    models = [reference(), anchor()]
    assert equal(run(models, constant(STEPS, 1.0), eta, space), run([anchor()], constant(STEPS), eta, space))
    assert [m.calls for m in models] == [0, STEPS]


@few
@given(etas, etas)
def test_lambda_0_and_1_keep_each_models_own_eta(eta, anchor_eta):
    both = [eta, anchor_eta]
    models = [reference(), anchor()]
    assert equal(run(models, constant(STEPS, 0.0), both), run([reference()], constant(STEPS), eta))
    assert equal(run(models, constant(STEPS, 1.0), both), run([anchor()], constant(STEPS), anchor_eta))


def test_eta_0_is_where_ever_smaller_etas_lead():
    models, lambdas = [reference(), anchor()], constant(STEPS, 0.3)
    limit = run(models, lambdas, 0.0)
    for eta in (1e-3, 1e-6, 1e-20):  # η² is 0 in fp32 for the last
        assert torch.allclose(run(models, lambdas, eta).x, limit.x, atol=5 * eta + 1e-6)


@pytest.mark.parametrize(
    ("lambdas", "calls", "spent"),
    [
        ([0.0, 0.5, 1.0, 1.5, 0.0], [4, 3], 7),
        ([torch.tensor([0.0, 0.0])] * STEPS, [5, 0], 5),
        ([torch.tensor([1.0, 1.0])] * STEPS, [0, 5], 5),
        ([torch.tensor([0.0, 1.0])] * STEPS, [5, 5], 5),  # each for its half of the batch
        ([torch.zeros(1, 1, 4, 6)] * STEPS, [5, 0], 5),
        ([torch.ones(4, 6)] * STEPS, [0, 5], 5),
    ],
    ids=["numbers", "batch of 0", "batch of 1", "batch of 0 and 1", "map of 0", "map of 1"],
)
def test_only_models_that_count_are_called(lambdas, calls, spent):
    models = [reference(), anchor()]
    trace = run(models, [[lam] for lam in lambdas]).trace
    assert [m.calls for m in models] == calls
    assert trace.model_calls == spent


def test_with_two_anchors_the_reference_is_not_called_where_they_take_everything():
    models = [reference(), anchor(), other()]
    run(models, [[0.25, 0.75], [0.0, 1.0], [0.5, 0.0], [0.0, 0.0], [1.0, 0.0]])
    assert [m.calls for m in models] == [2, 3, 2]


@few
@given(st.permutations([0, 1, 2]), st.tuples(some_lambda, some_lambda, some_lambda), etas, spaces)
def test_the_order_of_the_anchors_does_not_matter(order, lambdas, eta, space):
    anchors = [anchor(), other(), pixel_model(0.0, 2.0)]
    plain = run([reference(), *anchors], constant(STEPS, *lambdas), eta, space)
    shuffled = run(
        [reference(), *(anchors[i] for i in order)], constant(STEPS, *(lambdas[i] for i in order)), eta, space
    )
    assert torch.allclose(plain.x, shuffled.x, atol=1e-4)
    for k, i in enumerate(order):
        if lambdas[i] != 0:
            assert shuffled.trace.kl_anchors()[k] == pytest.approx(plain.trace.kl_anchors()[i], rel=1e-3, abs=1e-4)


@few
@given(st.tuples(some_lambda, some_lambda), etas, spaces)
def test_a_lambda_per_batch_element_is_the_runs_of_each_lambda(lambdas, eta, space):
    together = run([reference(), anchor()], constant(STEPS, torch.tensor(lambdas)), eta, space)
    for i, lam in enumerate(lambdas):
        alone = run([reference(), anchor()], constant(STEPS, lam), eta, space)
        assert torch.allclose(together.x[i], alone.x[i], atol=1e-5)
        assert torch.allclose(together.denoised[i], alone.denoised[i], atol=1e-5)
        if lam != 1:
            kl = together.trace.kl_reference()[i]
            assert kl == pytest.approx(alone.trace.kl_reference()[i], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    "shape", [(), (1,), (2,), (4, 6), (1, 4, 6), (3, 1, 1), (2, 1, 1, 1), (1, 1, 4, 6), (2, 3, 4, 6)], ids=str
)
def test_lambda_broadcasts_as_numbers_batch_elements_and_maps(shape):
    values = torch.rand(shape) * 1.5
    full = (values.reshape(-1, 1, 1, 1) if values.ndim == 1 else values).expand(SHAPE)
    sample = run([reference(), anchor()], constant(STEPS, values))
    assert torch.allclose(sample.x, run([reference(), anchor()], constant(STEPS, full)).x, atol=1e-5)
    assert sample.trace.lambdas[0, 0].tolist() == pytest.approx(full.flatten(1).mean(1).tolist(), rel=1e-5)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize(("left", "right"), [(0.0, 1.0), (0.25, 1.5)])
def test_a_mask_gives_each_half_its_own_lambda_at_every_step(left, right, eta):
    mask = torch.zeros(1, 1, 4, 6)
    mask[..., 3:] = 1

    def states(lam: float | Tensor) -> list[Tensor]:
        seen: list[Tensor] = []
        callback = lambda i, x, denoised: seen.extend([x, denoised])  # noqa: E731
        return [*seen, run([reference(), anchor()], constant(STEPS, lam), eta, callback=callback).x, *seen]

    halves, on_the_left, on_the_right = states(left + (right - left) * mask), states(left), states(right)
    assert len(halves) == 2 * STEPS + 1
    for both, a, b in zip(halves, on_the_left, on_the_right):
        assert torch.equal(both[..., :3], a[..., :3])
        assert torch.equal(both[..., 3:], b[..., 3:])
    assert not torch.allclose(on_the_left[0], on_the_right[0], atol=0.1)


def test_a_map_for_one_anchor_and_batch_values_for_the_other_mix():
    a_map, per_element = torch.rand(1, 1, 4, 6), torch.tensor([0.2, 0.5])
    sample = run([reference(), anchor(), other()], constant(STEPS, a_map, per_element), eta=[1.0, 0.9, 1.0])
    alone = run([reference(), anchor(), other()], constant(STEPS, a_map, 0.5), eta=[1.0, 0.9, 1.0])
    assert torch.allclose(sample.x[1], alone.x[1], atol=1e-5)
    assert not torch.allclose(sample.x[0], alone.x[0], atol=1e-2)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf")])
def test_what_a_model_says_about_pixels_it_does_not_count_for_is_ignored(garbage):
    """The picture needs both models, but its left half only the reference: the anchor's NaN there must not leak."""
    broken, left = anchor().predict, SHAPE[-1] // 2

    def predict(x: Tensor, level: NoiseLevel) -> Tensor:
        denoised = broken(x, level).clone()
        denoised[..., :left] = garbage
        return denoised

    mask = torch.full(SHAPE[-2:], 0.5)
    mask[:, :left] = 0
    sample = run([reference(), Model(predict)], constant(STEPS, mask))
    assert torch.equal(sample.x[..., :left], run([reference()], constant(STEPS)).x[..., :left])
    assert torch.isfinite(sample.x).all()


def test_one_step_is_a_draw_from_the_geometric_mixture_of_the_posteriors():
    now, then, models, both = NoiseLevel(1.0, 2.0), NoiseLevel(1.0, 0.7), [reference(), anchor()], [0.6, 1.0]
    x, z = torch.randn(SHAPE), torch.randn(SHAPE)
    posteriors = [reverse_posterior(x, m(x, now), now, then, eta) for m, eta in zip(models, both)]
    mixed = geometric_mixture(posteriors, [0.7, 0.3])
    sample = realigned_sample(separate(models), x, [now, then], [[0.3]], noise=lambda *_: z, eta=both)
    assert torch.allclose(sample.x, mixed.mean + mixed.variance.sqrt() * z, atol=1e-5)


def test_noise_is_drawn_once_per_step_for_the_levels_it_leads_between_and_never_for_the_last():
    asked = []
    x, levels = torch.randn(SHAPE), run_levels("flow", 4)

    def noise(sigma: float, sigma_next: float) -> Tensor:
        asked.append((sigma, sigma_next))
        return torch.zeros(SHAPE)

    realigned_sample(separate([reference(), anchor()]), x, noise_levels(levels), constant(4, 0.5), noise=noise)
    sigmas = [sigma for _, sigma in levels]
    assert asked == list(pairwise(sigmas[:-1]))
    realigned_sample(
        separate([reference(), anchor()]), x, noise_levels(levels), constant(4, 0.5), noise=no_noise, eta=0.0
    )


def test_the_seeded_noise_is_the_same_again_and_standard_normal():
    x = torch.zeros(64, 64, dtype=torch.float16)
    first, again, second = gaussian_noise(x, 7), gaussian_noise(x, 7), gaussian_noise(x, 8)
    a, b = first(2.0, 1.0), first(1.0, 0.5)
    assert a.dtype == x.dtype
    assert torch.equal(a, again(2.0, 1.0))
    assert not torch.equal(a, b)
    assert not torch.equal(a, second(2.0, 1.0))
    assert abs(a.float().mean()) < 4.5 / 64
    assert abs(a.float().var() - 1) < 4.5 * 2**0.5 / 64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_run_in_half_precision_stays_finite_and_near_the_fp32_run(dtype):
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)) * 60
    half = run([reference(), anchor()], constant(STEPS, 1.5), x=x.to(dtype))
    full = run([reference(), anchor()], constant(STEPS, 1.5), x=x)
    assert half.x.dtype == half.denoised.dtype == dtype
    assert torch.isfinite(half.x).all()
    assert torch.allclose(half.x.float(), full.x, atol=0.02 if dtype == torch.float16 else 0.15)


def test_the_callback_sees_each_step_before_x_moves_on():
    seen = []
    models = [reference(), anchor()]
    x = torch.randn(SHAPE)
    levels = noise_levels(run_levels("ve", STEPS))
    sample = realigned_sample(
        separate(models),
        x,
        levels,
        constant(STEPS, 0.4),
        noise=gaussian_noise(x, 0),
        callback=lambda i, x, denoised: seen.append((i, x, denoised, models[0].calls)),
    )
    assert [i for i, *_ in seen] == list(range(STEPS))
    assert [calls for *_, calls in seen] == [1, 2, 3, 4, 5]
    assert torch.equal(seen[0][1], x)
    assert sample.trace.steps == list(range(STEPS))
    for i, x_t, denoised, _ in seen:
        expected = 0.6 * models[0](x_t, levels[i]) + 0.4 * models[1](x_t, levels[i])
        assert torch.allclose(denoised, expected, atol=1e-5)
    assert torch.equal(sample.denoised, seen[-1][2])
    assert torch.allclose(sample.x, sample.denoised)  # the last level is clean


def test_the_callers_step_iterator_drives_the_run_and_can_end_it():
    ticks = []

    def progress(count: int):
        for i in range(count):
            ticks.append(i)
            yield i

    full = run([reference(), anchor()], constant(STEPS, 0.5), steps=progress(STEPS))
    assert ticks == list(range(STEPS))
    assert equal(full, run([reference(), anchor()], constant(STEPS, 0.5)))
    models = [reference(), anchor()]
    run(models, constant(STEPS, 0.5), steps=progress(2))
    assert models[0].calls == 2


def test_the_starting_latent_is_left_as_it_was():
    x = torch.randn(SHAPE)
    before = x.clone()
    run([reference(), anchor()], constant(STEPS, 0.5), x=x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("lam", [0.0, 0.4, 1.0])
def test_a_number_is_mixed_without_waiting_for_the_device(lam):
    """A tensor on "meta" has no values: whoever asks for one fails, as it would make a GPU's queue run dry."""
    x = torch.empty(2, 3, device="meta")
    calls = []

    def ask(x, level, called, merged):
        calls.append(called.tolist())
        return {model: x for model, elements in enumerate(called) if elements.any()}

    weights = realignment_weights([per_element(lam, x)])
    predicted = Exact()(ask, x, NoiseLevel(1.0, 2.0), weights)
    assert predicted.combined.device.type == "meta"
    assert calls == [[[lam != 1] * 2, [lam != 0] * 2]]
