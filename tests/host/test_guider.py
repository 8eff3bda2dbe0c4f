"""RLG with every sampler: at λ = 0 and λ = 1 the run is the stock CFGGuider's on that model, to the last bit."""

from __future__ import annotations

import comfy.model_management
import comfy.samplers
import pytest
import tiny_models
import torch
import toy_models
from comfy.model_base import ModelType
from comfy_extras.nodes_custom_sampler import Guider_DualCFG
from host_runs import assert_ends_are_stock, conds_of, distance, realign_guider, same, sampled, stock_guider
from realign.nodes.guider import RealignModel
from realign.nodes.models.anchor import Anchor
from rounding import assert_agree
from test_adapters import ADAPTERS, Calls, patched

import nodes as host

SAMPLERS = [name for name in comfy.samplers.KSampler.SAMPLERS if name != "ar_video"]  # that one needs a causal model


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler(sampler):
    pair, conds, latent = [toy_models.toy_model(seed=seed) for seed in (1, 2)], toy_models.CONDS, toy_models.latent()
    sigmas = [0.6, 0.4, 0.0] if sampler == "dpm_adaptive" else [2.0, 0.9, 0.4, 0.0]  # that one takes steps of its own
    run = dict(sampler=sampler, sigmas=torch.tensor(sigmas))
    ends = assert_ends_are_stock(pair, conds, latent, plain=False, **run)
    between = sampled(realign_guider(pair, *conds, 0.5), latent, **run)
    assert all(distance(between, end) > 0.02 for end in ends)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_with_a_flow_model(sampler):
    pair = [toy_models.toy_model(seed=seed, kind=ModelType.FLOW) for seed in (1, 2)]
    run = dict(sampler=sampler, sigmas=torch.tensor([1.0, 0.7, 0.4, 0.0]), plain=False)
    ends = assert_ends_are_stock(pair, toy_models.CONDS, toy_models.latent(), **run)
    assert distance(*ends) > 0.02


@pytest.mark.numeric
@pytest.mark.parametrize("kind", ["sd15", "sdxl", "sd3", "flux"])
@pytest.mark.parametrize("cfg", [1.0, 7.0])
def test_ends_with_every_architecture(models, kind, cfg):
    latent = tiny_models.latent(kind, 2, size=8)
    assert_ends_are_stock(models(kind), conds_of(kind), latent, cfg, sampler="dpmpp_2m")


def test_inpainting_mask(models):
    latent = {**tiny_models.latent("sd15", 2, size=8, seed=3), "noise_mask": torch.zeros(2, 64, 64)}
    latent["noise_mask"][0, 20:, :] = 1
    latent["noise_mask"][1, :, 20:] = 1
    assert_ends_are_stock(models("sd15"), conds_of("sd15"), latent)
    kept = sampled(realign_guider(models("sd15"), *conds_of("sd15"), 1.5), latent)["samples"]
    assert torch.allclose(kept[..., :2, :2], latent["samples"][..., :2, :2], atol=1e-5)


def test_the_mixture_is_rlgs_formula(models):
    """One euler step from σ to 0 ends at the prediction itself: D_ref + λ (D_anchor - D_ref), each with its cfg."""
    pair, conds, latent = models("sd15"), conds_of("sd15"), tiny_models.latent("sd15")
    run = dict(sampler="euler", sigmas=torch.tensor([3.0, 0.0]))
    for cfg, anchor_cfg in ((7.0, -1.0), (7.0, 2.0), (1.0, 4.0), (4.0, 1.0)):
        own = cfg if anchor_cfg < 0 else anchor_cfg
        ref, anchor = (
            sampled(stock_guider(m, *conds, c), latent, **run)["samples"] for m, c in zip(pair, (cfg, own), strict=True)
        )
        for lam in (-0.5, 0.3, 2.5):
            got = sampled(realign_guider(pair, *conds, lam, cfg, anchor_cfg=anchor_cfg), latent, **run)
            assert_agree(got, {"samples": ref + lam * (anchor - ref)}, pair, conds, max(cfg, own))


def test_cfgpp_samplers_see_the_mixture_of_what_each_model_sees(models):
    """CFG++ steps with the unguided prediction, which it takes from behind the guidance."""
    pair, conds, latent = models("sd15"), conds_of("sd15"), tiny_models.latent("sd15")
    sigmas = torch.tensor([3.0, 1.0])
    lam, cfg = 0.4, 3.0
    noise = sampled(stock_guider(pair[0], *conds), latent, sigmas=torch.tensor([3.0, 3.0]))["samples"]
    at = torch.tensor([3.0, 0.0])
    d, u = [], []
    for model in pair:
        d.append(sampled(stock_guider(model, *conds, cfg), latent, sigmas=at)["samples"])
        u.append(sampled(stock_guider(model, *reversed(conds), 1.0), latent, sigmas=at)["samples"])
    scale = pair[0].model.latent_format.scale_factor
    denoised, uncond, x = ((a + lam * (b - a)) * scale for a, b in (d, u, (noise, noise)))
    want = denoised + (x - uncond) / 3.0 * 1.0
    got = sampled(realign_guider(pair, *conds, lam, cfg), latent, sampler="euler_cfg_pp", sigmas=sigmas)["samples"]
    assert_agree({"samples": got * scale}, {"samples": want}, pair, conds, cfg)


def test_patched_model_in_the_stock_ksampler(models):
    """RealignModel: KSampler, KSampler (Advanced) and any other sampler node get the same as with the guider."""
    pair, conds, latent = models("sd15"), conds_of("sd15"), tiny_models.latent("sd15")
    anchor = (Anchor(pair[1], "anchor"),)
    for lam in (0.0, 0.6, 1.0, 1.8):
        model = RealignModel.execute(pair[0], anchor, lam).args[0]
        got = host.common_ksampler(model, 42, 4, 7.0, "dpmpp_2m", "normal", *conds, latent)[0]
        assert same(got, sampled(realign_guider(pair, *conds, lam), latent, sampler="dpmpp_2m"))
    assert same(got, host.common_ksampler(model, 42, 4, 7.0, "dpmpp_2m", "normal", *conds, latent)[0])  # and again


def test_a_model_that_is_realigned_already_is_refused(models):
    pair = models("sd15")
    model = RealignModel.execute(pair[0], (Anchor(pair[1], "anchor"),), 0.5).args[0]
    for reference, anchor in ((model, pair[1]), (pair[0], model)):
        with pytest.raises(ValueError, match=r"realigned already.*Add Anchor"):
            RealignModel.execute(reference, (Anchor(anchor, "anchor"),), 0.5)


def test_what_is_loaded(models, monkeypatch):
    """Both models in one go and never again within the run; at the ends only the one that counts."""
    pair, conds, latent = models("sd15"), conds_of("sd15"), tiny_models.latent("sd15")
    loads, load = [], comfy.model_management.load_models_gpu

    def watched(patchers, *args, **kwargs):
        loads.append([next(i for i, model in enumerate(pair) if patcher.is_clone(model)) for patcher in patchers])
        return load(patchers, *args, **kwargs)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", watched)
    for lam, expected in ((0.0, [0]), (0.5, [0, 1]), (1.0, [1])):
        loads.clear()
        sampled(realign_guider(pair, *conds, lam), latent)
        assert loads == [expected]


def dual_cfg(model, conds, cfgs=(5.0, 2.0)):
    guider = Guider_DualCFG(model)
    guider.set_conds(conds[0], tiny_models.conditioning("sd15", 9), conds[1])
    guider.set_cfg(*cfgs)
    return guider


def test_a_guider_of_another_class(models):
    """DualCFGGuider on a realigned MODEL: the anchor gets a guider of the same class, with the same three prompts."""
    pair, conds, latent = models("sd15"), conds_of("sd15"), tiny_models.latent("sd15")
    run = dict(sampler="euler", sigmas=torch.tensor([3.0, 0.0]))
    ref, anchor = (sampled(dual_cfg(model, conds), latent, **run)["samples"] for model in pair)
    for lam in (0.0, 0.4, 1.0):
        model = RealignModel.execute(pair[0], (Anchor(pair[1], "anchor"),), lam).args[0]
        got = sampled(dual_cfg(model, conds), latent, **run)
        assert_agree(got, {"samples": ref + lam * (anchor - ref)}, pair, conds)
    model = RealignModel.execute(pair[0], (Anchor(pair[1], "anchor"),), 0.4, anchor_cfg=2.0).args[0]
    with pytest.raises(ValueError, match="more than one cfg"):
        sampled(dual_cfg(model, conds), latent, **run)


def test_a_guider_of_another_class_with_a_lora_anchor(tiny):
    """On one copy of the weights too, whatever prompts the guider asks for."""
    first, second = (tiny.load(tiny.reference("sd15")) for _ in range(2))
    conds, latent, weights = conds_of("sd15"), tiny_models.latent("sd15"), ADAPTERS["lora"](tiny, "sd15")
    runs, two = [], patched(second, weights)
    for anchor in (two, patched(first, weights)):
        model = RealignModel.execute(first, (Anchor(anchor, "anchor"),), 0.4).args[0]
        with Calls(first) as rows:
            runs.append(sampled(dual_cfg(model, conds), latent, sampler="euler", sigmas=torch.tensor([3.0, 0.0])))
    assert rows == [3, 3]
    assert_agree(runs[1], runs[0], (first, two), conds)
