"""The trace: what it counts, and its KL (Girsanov) against noise predictions and closed forms worked out here."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from ground_truth import GaussianData, run_levels
from runs import Model, constant, noise_levels

from realign_core import Trace, gaussian_noise, realigned_sample, separate

STEPS = 6
MEAN = np.array([0.4, -1.0])
COV = np.array([[1.0, 0.5], [0.5, 0.7]])
DATA = [
    GaussianData(MEAN, COV),
    GaussianData(MEAN + np.array([1.0, 0.5]), 0.5 * COV),
    GaussianData(MEAN - np.array([0.0, 0.8]), COV + 0.4 * np.eye(2)),
]


def run(lambdas, space="ve", eta=1.0, data=DATA, steps=STEPS, batch=3, callback=None, **options):
    levels = run_levels(space, steps, **options)
    x = torch.randn(batch, 2, dtype=torch.float64) * levels[0][1]
    models = [Model.of(d) for d in data[: 1 + len(lambdas[0])]]
    noise = gaussian_noise(x, 0)
    return realigned_sample(
        separate(models), x, noise_levels(levels), lambdas, noise=noise, eta=eta, callback=callback
    ).trace


@pytest.mark.parametrize("space", ["ve", "vp", "flow"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_kl_per_step_is_that_of_the_models_own_noise_predictions(space, eta):
    visited: list[np.ndarray] = []
    rows = [[0.2 + 0.1 * i, torch.tensor([0.13, 0.33, 0.57])] for i in range(STEPS)]
    trace = run(rows, space, eta, callback=lambda i, x, denoised: visited.append(x.numpy().copy()))
    levels = run_levels(space, STEPS)
    for i, (step, x, (a, s), (a_next, s_next)) in enumerate(zip(trace.kl, visited, levels, levels[1:])):
        noises = []
        for data in DATA:
            gain, shift = data.denoiser(a, s)
            noises.append((x - a * (x @ gain.T + shift)) / s)
        second = np.array([[0.13], [0.33], [0.57]])
        first = 0.2 + 0.1 * i
        mixed = (1 - first - second) * noises[0] + first * noises[1] + second * noises[2]
        last, pure = s_next == 0, a == 0
        rise = 0.0 if last or pure else 2 * math.log(a_next / s_next) - 2 * math.log(a / s)
        expected = [0.5 * rise * ((mixed - n) ** 2).sum(1) for n in noises]
        assert step[0].tolist() == pytest.approx(expected[0].tolist(), rel=1e-4, abs=1e-9)
        for k in (0, 1):
            assert step[k + 1].tolist() == pytest.approx(expected[k + 1].tolist(), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("space", ["ve", "vp", "flow"])
@pytest.mark.parametrize("lam", [0.25, 0.5, 1.5])
def test_the_run_s_kl_is_that_between_the_two_distributions_for_a_linear_reward(lam, space):
    """Shifted Gaussians N(m, Σ), N(m + λδ, Σ): at noise σ/α = s the KL is ½ λ² δᵀ(Σ + s²)⁻¹δ, and the run tells them
    apart between its first level and its last that has noise."""
    delta = np.array([0.8, -0.5])
    data = [GaussianData(MEAN, COV), GaussianData(MEAN + delta, COV)]
    trace = run(constant(25, lam), space, data=data, steps=25)

    def kl(s: float) -> float:
        return 0.5 * float(delta @ np.linalg.solve(COV + s * s * np.eye(2), delta))

    known = kl(0.02) - kl(60.0)
    assert trace.kl_reference() == pytest.approx([lam**2 * known] * 3, rel=0.003)
    assert trace.kl_anchors()[0] == pytest.approx([(1 - lam) ** 2 * known] * 3, rel=0.003)


def test_the_last_step_adds_nothing_but_leftover_noise_does_not_make_it_the_last():
    finished, stopped = run(constant(STEPS, 0.5)), run(constant(STEPS, 0.5), last=0.01)
    assert finished.kl[-1, 0].tolist() == [0, 0, 0]
    assert (stopped.kl[-1, 0] > 0).all()


def test_each_step_records_its_levels_lambdas_and_calls():
    rows = [[0.5, 0.0], [0.0, 1.0], [torch.tensor([0.1, 0.2, 0.3]), 0.5], *constant(3, 0.0, 0.0)]
    trace = run(rows)
    sigmas = [s for _, s in run_levels("ve", STEPS)]
    told = trace.to_dict()["steps"]
    assert [(s["sigma"], s["sigma_next"]) for s in told] == list(pairwise(sigmas))
    assert [s["model_calls"] for s in told] == trace.calls == [2, 1, 3, 1, 1, 1]
    assert trace.model_calls == 9
    assert trace.batch_size == 3
    assert trace.lambdas[2].tolist() == [pytest.approx([0.1, 0.2, 0.3]), [0.5] * 3]
    assert trace.lambdas[0, 0].tolist() == [0.5] * 3


def test_kl_to_a_model_that_was_not_called_is_none_and_so_is_the_runs():
    trace = run([[1.0], *constant(STEPS - 1, 0.5)])
    first = trace.to_dict()["steps"][0]
    assert first["kl_reference"] is None
    assert first["kl_anchors"] == [[0, 0, 0]]
    assert trace.kl_reference() == [None] * 3
    assert all(v > 0 for v in trace.kl_anchors()[0])
    off = run(constant(STEPS, 0.0))
    assert off.kl_reference() == [0, 0, 0]
    assert off.kl_anchors() == [[None] * 3]


def test_a_batch_element_at_lambda_0_spends_nothing_while_the_others_do():
    first, second, third = run(constant(STEPS, torch.tensor([0.0, 0.5, 1.2]))).kl_reference()
    assert first == 0
    assert 0 < second < third
    *_, at_the_anchor = run(constant(STEPS, torch.tensor([0.0, 0.5, 1.0]))).kl_reference()
    assert at_the_anchor is None  # the reference was not asked


def test_json_is_strict_and_holds_all_of_it():
    def no_constants(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    trace = run([[1.0], *constant(STEPS - 1, 0.5)])
    trace.info = {"anchors": ["DPO «β»"], "eta": 1.0}
    text = trace.to_json()
    assert "«β»" in text
    data = json.loads(text, parse_constant=no_constants)
    assert data == trace.to_dict()
    assert data["anchors"] == ["DPO «β»"]
    assert data["model_calls"] == 2 * STEPS - 1
    assert data["kl_reference"] == [None] * 3
    assert [s["kl_reference"] is None for s in data["steps"]] == [True] + [False] * (STEPS - 1)
    assert data["steps"][2]["lambdas"] == [[0.5, 0.5, 0.5]]
    assert sum(s["kl_anchors"][0][1] for s in data["steps"]) == pytest.approx(data["kl_anchors"][0][1])


def test_json_writes_what_is_no_number_as_null():
    trace = Trace.of([2.0, 1.0], torch.zeros(1, 1, 3))
    trace.record(0, torch.tensor([[1.0, math.nan, math.inf], [math.nan] * 3]), 1)
    data = json.loads(trace.to_json())
    assert data["steps"][0]["kl_reference"] == [1.0, None, None]
    assert data["kl_reference"] == [1.0, None, None]
    assert data["steps"][0]["kl_anchors"] == [None]
    assert data["kl_anchors"] == [[None] * 3]


def test_a_trace_without_steps_is_still_json():
    empty = {"model_calls": 0, "model_calls_saved": 0, "kl_reference": [], "kl_anchors": [], "steps": []}
    assert json.loads(Trace.of([], torch.zeros(0, 0, 0)).to_json()) == empty
