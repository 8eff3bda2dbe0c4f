"""fewer_calls: a picture near the exact one for little more than one model's calls."""

from __future__ import annotations

import json

import pytest
import tiny_models
import torch
from adapter_files import ADAPTERS, Calls, patched
from host_runs import conds_of, everywhere, realign, realign_guider, sampled
from realign.nodes.demo import RealignDemoModels
from realign.nodes.models.formats import adapter_clone
from realign.nodes.models.low_rank import factorise
from realign.nodes.run.fewer_calls import CONTROL, OFF, REUSE
from realign.realign_core import LambdaSchedule

STEPS = 20
NEAR = {REUSE: 0.25, CONTROL: 0.1}  # of what λ moves the picture by; keeping the raw difference moves it by about 0.7


@pytest.fixture
def lora_pair(tiny, models):
    """Random weights: how often they are called can be tested on them, how near the pictures are cannot."""
    reference = models("sd15")[0]
    return reference, patched(reference, ADAPTERS["lora"](tiny, "sd15"))


@pytest.fixture(scope="module")
def demo():
    """The trained pair, the anchor as a difference on the reference: (pair, conds, latent)."""
    with torch.inference_mode():
        reference, anchor, *conds = RealignDemoModels.execute("heart", "any", "any").args[:4]
        difference, _ = factorise(reference, anchor[0].patcher, 4096)  # kept whole
        pair = reference, adapter_clone(reference, difference, 1.0, "demo")[0]
    return pair, conds, {"samples": torch.zeros(1, 3, 64, 64)}


@pytest.fixture(scope="module")
def in_full(demo):
    """(run, sampler) -> what run gives for λ 0.5 and 0 with every call made; once for both methods."""
    pair, conds, latent = demo
    known = {}

    def runs(run, sampler):
        if (run, sampler) not in known:
            known[run, sampler] = [run(pair, conds, latent, sampler, lam) for lam in (0.5, 0.0)]
        return known[run, sampler]

    return runs


def with_the_sampler(pair, conds, latent, sampler, lam, fewer_calls=OFF):
    """(LATENT, trace)."""
    run = dict(sampler=sampler, steps=STEPS, cfg=1.5, fewer_calls=fewer_calls)
    latent, _, text = realign(pair, *conds, latent, lam, **run)
    return latent, json.loads(text)


def with_the_guider(pair, conds, latent, sampler, lam, fewer_calls=OFF, **options):
    guider = realign_guider(pair, *conds, lam, cfg=1.5, fewer_calls=fewer_calls, **options)
    return sampled(guider, latent, sampler=sampler, steps=STEPS)


@pytest.mark.parametrize("method", [REUSE, CONTROL])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_the_sampler_spends_less_and_says_so(demo, in_full, method, sampler):
    (exact, _), (reference, _) = in_full(with_the_sampler, sampler)
    with Calls(demo[0][0]) as rows:
        got, trace = with_the_sampler(*demo, sampler, 0.5, method)
    assert 1.1 * STEPS <= trace["model_calls"] <= 1.35 * STEPS
    assert trace["model_calls_saved"] == 2 * STEPS - trace["model_calls"]
    assert sum(rows) == 2 * trace["model_calls"]  # cfg: two rows for each model asked, and none but those
    assert len(rows) == trace["model_calls"]  # each in a forward pass of its own
    corrections = [step["correction"] for step in trace["steps"] if step["correction"] is not None]
    assert corrections
    assert max(corrections) < 1
    assert 0 < spread(got, exact) < NEAR[method] * spread(reference, exact)


@pytest.mark.parametrize("method", [REUSE, CONTROL])
def test_with_an_eta_per_model(demo, method):
    """The step's weights are then not λ, but the mixture is still one of predictions, which is all that it needs."""
    pair, conds, latent = demo
    run = dict(sampler="ddpm", steps=STEPS, cfg=1.5, anchor_eta=0.6)
    exact, got = (realign(pair, *conds, latent, 0.5, fewer_calls=f, **run) for f in (OFF, method))
    reference = realign(pair, *conds, latent, 0.0, **run)
    assert json.loads(got[2])["model_calls"] <= 1.35 * STEPS
    assert 0 < spread(got[0], exact[0]) < NEAR[method] * spread(reference[0], exact[0])


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m"])
@pytest.mark.parametrize("method", [REUSE, CONTROL])
def test_the_guider_with_samplers_that_ask_between_the_steps(demo, in_full, method, sampler):
    exact, reference = in_full(with_the_guider, sampler)
    got = with_the_guider(*demo, sampler, 0.5, method)
    assert 0 < spread(got, exact) < NEAR[method] * spread(reference, exact)


def spread(a, b):
    return (a["samples"] - b["samples"]).square().mean().sqrt().item()


@pytest.mark.parametrize("method", [REUSE, CONTROL])
def test_outside_an_interval_nothing_is_spent(lora_pair, method):
    schedule = LambdaSchedule("interval", 0.5, begin=0.5)
    text = realign(
        lora_pair, *conds_of("sd15"), tiny_models.latent("sd15"), 9.0, steps=10, lambda_schedule=schedule,
        fewer_calls=method,
    )[2]  # fmt: skip
    assert [step["model_calls"] for step in json.loads(text)["steps"][:5]] == [1] * 5


def test_with_an_inpainting_mask(lora_pair):
    latent = {**tiny_models.latent("sd15", size=8, seed=3), "noise_mask": torch.zeros(1, 64, 64)}
    latent["noise_mask"][:, 20:, :] = 1
    for method in (REUSE, CONTROL):
        got = realign(lora_pair, *conds_of("sd15"), latent, 0.5, fewer_calls=method, steps=8)[0]["samples"]
        assert torch.allclose(got[..., :2, :], latent["samples"][..., :2, :], atol=1e-5)


def test_what_the_control_variate_cannot_have_is_refused(models, lora_pair):
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    options = dict(fewer_calls=CONTROL)
    with Calls(lora_pair[0]) as rows, Calls(models("sd15")[0]) as more:
        for pair in (models("sd15"), lora_pair):
            with pytest.raises(ValueError, match=r"has the reference's cfg and conditioning.*difference reuse"):
                realign(pair, *conds, latent, 0.5, anchor_cfg=2.0, **options)
        with pytest.raises(ValueError, match=r"no pixels.*difference reuse"):
            realign(lora_pair, *conds, latent, 0.5, lambda_mask=everywhere(1), **options)
        with pytest.raises(ValueError, match=r"no pixels"):
            realign_guider(lora_pair, *conds, 0.5, lambda_mask=everywhere(1), **options)
    assert rows == more == []


def test_a_map_over_pixels_with_difference_reuse(demo, in_full):
    left = torch.zeros(1, 64, 64)
    left[..., :32] = 1
    exact, got = (with_the_guider(*demo, "euler", 0.8, f, lambda_mask=left) for f in (OFF, REUSE))
    reference = in_full(with_the_guider, "euler")[1]
    assert 0 < spread(got, exact) < NEAR[REUSE] * spread(reference, exact)
