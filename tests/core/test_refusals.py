"""What cannot be finished is refused before the first model call, in words that name the step, the λ and the bound."""

from __future__ import annotations

import math
import re

import pytest
import torch
from ground_truth import run_levels
from runs import Model, constant, no_noise, noise_levels

from realign_core import ImproperMixtureError, MixedSteps, NoiseLevel, realigned_sample, separate

VE = noise_levels(run_levels("ve", 4))
# η = 0.5 against 1: variances stand 1 to 4 at every step but the last, so that λ < 4/3.
UNEQUAL = [0.5, 1.0]


def refuse(message: str, error: type[Exception] = ValueError, *, levels=VE, lambdas=None, eta=1.0, x=None) -> str:
    """The message of the refusal, which must match, and must come before any call of a model or of the noise."""
    models = [Model(lambda x, level: x) for _ in range(1 + len(lambdas[0]) if lambdas else 2)]
    x = torch.zeros(2, 1, 2, 2) if x is None else x
    lambdas = constant(len(levels) - 1, 0.5) if lambdas is None else lambdas
    with pytest.raises(error, match=message) as caught:
        realigned_sample(separate(models), x, levels, lambdas, noise=no_noise, eta=eta)
    assert [m.calls for m in models] == [0] * len(models)
    return str(caught.value)


def test_a_lambda_beyond_the_bound_names_its_step_itself_and_the_largest_lambda_allowed():
    message = refuse(
        r"step 3 of 4 \(σ .* → .*\): λ = 2 has no valid Gaussian.* largest λ allowed there is below 1\.333\.",
        ImproperMixtureError,
        lambdas=[[0.5], [1.3], [2.0], [0.5]],
        eta=UNEQUAL,
    )
    assert f"(σ {VE[2].sigma:.4g} → {VE[3].sigma:.4g})" in message


@pytest.mark.parametrize(
    "lam", [torch.tensor([0.5, 1.5]), torch.full((1, 1, 2, 2), 0.5).index_fill(3, torch.tensor(1), 1.5)]
)
def test_one_batch_element_or_pixel_beyond_the_bound_is_enough(lam):
    refuse(r"step 2 of 4.*λ = 1\.5 .*below 1\.333", ImproperMixtureError, lambdas=[[0.0], [lam], [0], [0]], eta=UNEQUAL)


def test_a_negative_lambda_is_shown_with_its_sign_and_without_a_bound_that_is_none():
    message = refuse("λ = -3 has no valid Gaussian", ImproperMixtureError, lambdas=constant(4, -3.0), eta=[1.0, 0.5])
    assert "inf" not in message
    assert "largest" not in message


def test_two_anchors_that_leave_no_gaussian_are_both_named():
    lambdas = [[0.5, 0.4], [0.9, 0.8], [0.5, 0.5], [0.5, 0.5]]
    refuse(r"step 2 of 4.*λ = 0\.9, 0\.8 has no", ImproperMixtureError, lambdas=lambdas, eta=[0.5, 1.0, 1.0])


def test_what_the_bound_allows_runs_and_equal_variances_have_none():
    x, model = torch.ones(1, 1, 2, 2), Model(lambda x, level: x)
    noise = lambda *_: torch.zeros(1, 1, 2, 2)  # noqa: E731
    realigned_sample(separate([model, model]), x, VE, constant(4, 1.33), noise=noise, eta=UNEQUAL)
    realigned_sample(separate([model, model]), x, VE, constant(4, 50.0), noise=noise, eta=0.5)
    realigned_sample(separate([model, model]), x, VE, [[0.5], [0.5], [0.5], [9.0]], noise=noise, eta=UNEQUAL)  # σ_s = 0


def test_a_lambda_that_only_fp64_could_tell_from_the_bound_is_refused_before_and_not_in_the_run():
    model, zeros = Model(lambda x, level: x), torch.zeros(1, 1)
    for below in (1e-16, 1e-9, 1e-8, 3e-8, 1e-7, 1e-6, 1e-5):
        lam = 4 / 3 * (1 - below)
        try:
            MixedSteps(VE, lambda i, lam=lam: [lam], UNEQUAL).check()
        except ImproperMixtureError:
            continue
        realigned_sample(separate([model, model]), zeros, VE, constant(4, lam), noise=lambda *_: zeros, eta=UNEQUAL)


def test_an_empty_schedule_is_refused():
    refuse("schedule is empty", levels=[], lambdas=[])
    refuse("schedule is empty", levels=VE[:1], lambdas=[])


def test_counts_that_do_not_match_are_refused():
    refuse("4 steps need as many λ, but there are 3", lambdas=constant(3, 0.5))
    refuse("2 models need one eta or one each, but there are 3", eta=[1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match=r"step 2 of 4 .*: 1 anchors need as many λ, but there are 2"):
        MixedSteps(VE, lambda i: [0.5, 0.5] if i == 1 else [0.5], [1.0, 1.0]).check()


def test_noise_that_rises_is_refused():
    rising = [NoiseLevel(1.0, s) for s in (3.0, 1.0, 2.0, 0.0)]
    refuse(r"step 2 of 3 \(σ 1 → 2\): a reverse step must lower the noise", levels=rising)
    refuse(r"step 2 of 2 \(σ 0 → 0\): .*sigma > 0 now", levels=[NoiseLevel(1.0, s) for s in (3.0, 0.0, 0.0)])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, torch.tensor([0.5, math.nan])])
def test_a_lambda_that_is_no_number_is_refused(bad):
    refuse("step 4 of 4 .*not a finite number", lambdas=[[0.5], [0.5], [0.5], [bad]])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_level_that_is_no_number_is_refused(bad):
    refuse("step 1 of 4 .*not a finite number", levels=[NoiseLevel(1.0, bad), *VE[1:]])
    refuse("step 3 of 4 .*not a finite number", levels=[*VE[:3], NoiseLevel(bad, 0.1), VE[4]])


@pytest.mark.parametrize("eta", [1.1, -0.5, math.nan, [1.0, 2.0]])
def test_an_eta_out_of_range_is_refused(eta):
    refuse("step 1 of 4 .*eta must be between 0", eta=eta)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_starting_latent_that_is_not_finite_is_refused(bad):
    refuse("starting latent .*not finite", x=torch.tensor([[0.0, bad]]))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 3, 2), (1, 2, 1, 2, 2)])
def test_a_lambda_that_does_not_fit_the_sample_is_refused(shape):
    message = rf"step 2 of 4 .*λ of shape {re.escape(str(shape))} does not fit a sample of shape \(2, 1, 2, 2\)"
    refuse(message, lambdas=[[0.5], [torch.full(shape, 0.5)], [0.5], [0.5]])
