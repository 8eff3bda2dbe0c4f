"""What RealignSampler refuses before any model is loaded or called, each in one sentence."""

from __future__ import annotations

import comfy.model_management
import pytest
import tiny_models
from host_runs import conds_of, realign
from realign.realign_core import ImproperMixtureError, LambdaSchedule


@pytest.fixture(autouse=True)
def no_load(monkeypatch):
    def load(*_, **__):
        raise AssertionError("a model was loaded before the refusal")

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", load)


def refused(models, message, **options):
    lam = options.pop("lam", 0.5)
    latent = options.pop("latent", tiny_models.latent("sd15"))
    with pytest.raises(ValueError, match=message) as error:
        realign(models("sd15"), *conds_of("sd15"), latent, lam, **options)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")
    return error


def test_lambda_beyond_the_bound(models):
    """η differs: v_anchor > v_reference, so λ < v_a / (v_a - v_r) = 1 / (1 - 0.5²) = 1.333."""
    error = refused(
        models, r"step 1 of 4 .* λ = 1.5 .* largest λ allowed there is below 1.333", lam=1.5, eta=0.5, anchor_eta=1.0
    )
    assert error.type is ImproperMixtureError


def test_lambda_beyond_the_bound_late_in_a_schedule(models):
    rising = LambdaSchedule("linear", start=0.0, end=2.0)
    refused(models, r"step 3 of 4", eta=0.5, anchor_eta=1.0, lambda_schedule=rising)


@pytest.mark.parametrize(
    "options",
    [{"denoise": 0.0}, {"start_at_step": 4}, {"start_at_step": 3, "end_at_step": 2}, {"end_at_step": 0}],
)
def test_empty_schedule(models, options):
    refused(models, "no step to sample", **options)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_lambda_that_is_no_number(models, value):
    refused(models, "not a finite number", lam=value)


def test_latent_that_holds_nan(models):
    latent = tiny_models.latent("sd15", seed=3)
    latent["samples"][0, 0, 0, 0] = float("nan")
    refused(models, "latent image holds values that are not finite", latent=latent)


def test_the_same_lambda_is_fine_with_equal_eta(models):
    with pytest.raises(AssertionError, match="a model was loaded"):
        realign(models("sd15"), *conds_of("sd15"), tiny_models.latent("sd15"), 1.5, eta=0.5)
