"""What the stock host does with one model, RealignSampler does at λ = 0 and λ = 1: same seed, same latent."""

from __future__ import annotations

import pytest
import tiny_models
import torch
from comfy.samplers import KSampler
from host_runs import assert_parity, conds_of, distance, realign, stock
from rounding import assert_agree

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
@pytest.mark.parametrize("scheduler", KSampler.SCHEDULERS)
def test_every_scheduler(models, sampler, scheduler):
    assert_parity(models("toy"), conds_of("toy"), tiny_models.latent("toy"), sampler=sampler, scheduler=scheduler)


@pytest.mark.parametrize("cfg", [1.0, 7.0])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_cfg_and_batch(models, cfg, batch, sampler):
    latent = tiny_models.latent("toy", batch)
    assert_parity(models("toy"), conds_of("toy"), latent, sampler=sampler, cfg=cfg, steps=7)


@pytest.mark.parametrize(
    ("cfg", "batch", "sampler"), [(1.0, 1, "ddpm"), (1.0, 3, "ddim"), (7.0, 1, "ddim"), (7.0, 3, "ddpm")]
)
def test_sd15(models, cfg, batch, sampler):
    """Every pair of them."""
    latent = tiny_models.latent("sd15", batch, size=8)
    assert_parity(models("sd15"), conds_of("sd15"), latent, sampler=sampler, cfg=cfg)


@pytest.mark.parametrize(("cfg", "batch", "sampler"), [(1.0, 3, "ddpm"), (7.0, 1, "ddim")])
def test_sdxl(models, cfg, batch, sampler):
    latent = tiny_models.latent("sdxl", batch)
    assert_parity(models("sdxl"), conds_of("sdxl"), latent, sampler=sampler, cfg=cfg, scheduler="karras", steps=3)


@pytest.mark.parametrize("cfg", [1.0, 7.0])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("scheduler", ["simple", "sgm_uniform", "beta"])
def test_flow_without_noise_is_euler(models, cfg, batch, scheduler):
    latent = tiny_models.latent("sd3", batch)
    assert_parity(
        models("sd3"), conds_of("sd3"), latent, "euler", sampler="ddim", cfg=cfg, scheduler=scheduler, steps=9
    )


def test_eta_overrides_the_sampler(models):
    pair, conds, latent = models("toy"), conds_of("toy"), tiny_models.latent("toy")
    for lam, model in zip((0.0, 1.0), pair):
        ours = realign(pair, *conds, latent, lam, sampler="ddpm", eta=0.0)[0]
        assert_agree(ours, stock(model, *conds, latent, sampler="euler"), pair, conds)


@pytest.mark.parametrize("kind", ["sd15", "sd3"])
def test_partial_denoise_of_a_picture(models, kind):
    latent = tiny_models.latent(kind, 2, seed=9)
    sampler = "ddpm" if kind == "sd15" else "ddim"
    assert_parity(models(kind), conds_of(kind), latent, sampler=sampler, denoise=0.6, steps=6)


@pytest.mark.parametrize(("kind", "sampler"), [("toy", "ddpm"), ("toy", "ddim"), ("sd15", "ddpm"), ("sd3", "ddim")])
def test_inpainting_mask(models, kind, sampler):
    latent = tiny_models.latent(kind, 2, size=8, seed=9)
    latent["noise_mask"] = torch.zeros(1, 1, 64, 64)
    latent["noise_mask"][..., :40] = 1.0
    assert_parity(models(kind), conds_of(kind), latent, sampler=sampler, denoise=0.8, steps=6)


def test_masked_pixels_stay(models):
    latent = tiny_models.latent("toy", 1, seed=9)
    latent["noise_mask"] = torch.zeros(1, 1, 64, 64)
    latent["noise_mask"][..., :32] = 1.0
    out = realign(models("toy"), *conds_of("toy"), latent, 0.5, steps=6)[0]["samples"]
    assert torch.allclose(out[..., 4:], latent["samples"][..., 4:], atol=1e-5)
    assert not torch.allclose(out[..., :4], latent["samples"][..., :4], atol=1e-2)


def test_batch_index_gives_equal_starting_noise(models):
    latent = tiny_models.latent("sd15", 2)
    latent["batch_index"] = [5, 5]
    out = realign(models("sd15"), *conds_of("sd15"), latent, 0.5, sampler="ddim")[0]["samples"]
    assert torch.equal(out[0], out[1])
    assert_parity(models("toy"), conds_of("toy"), latent, sampler="ddim")


def test_split_run_with_leftover_noise(models):
    """Start and end steps as KSamplerAdvanced: each half at λ = 0 and 1 is the stock half."""
    pair, conds = models("toy"), conds_of("toy")
    for lam, model in zip((0.0, 1.0), pair):
        latent = tiny_models.latent("toy")
        first = realign(pair, *conds, latent, lam, steps=8, end_at_step=5, return_with_leftover_noise=True)[0]
        want = stock(model, *conds, latent, steps=8, last_step=5)
        assert_agree(first, want, pair, conds)
        second = realign(pair, *conds, want, lam, steps=8, add_noise=False, start_at_step=5)[0]
        wanted = stock(model, *conds, want, steps=8, start_step=5, disable_noise=True, force_full_denoise=True)
        assert_agree(second, wanted, pair, conds)
    stopped = realign(pair, *conds, latent, 1.0, steps=8, end_at_step=5)[0]
    wanted = stock(model, *conds, latent, steps=8, last_step=5, force_full_denoise=True)
    assert_agree(stopped, wanted, pair, conds)


def test_another_conditioning_and_cfg_for_the_anchor(models):
    pair, conds, latent = models("sd15"), conds_of("sd15"), tiny_models.latent("sd15")
    other = tiny_models.conditioning("sd15", 11), tiny_models.conditioning("sd15", 12)
    ours = realign(pair, *conds, latent, 1.0, anchor_positive=other[0], anchor_negative=other[1], anchor_cfg=3.0)[0]
    assert_agree(ours, stock(pair[1], *other, latent, cfg=3.0), pair, conds, 3.0)
    reference = realign(pair, *conds, latent, 0.0, anchor_positive=other[0], anchor_negative=other[1], anchor_cfg=3.0)
    assert_agree(reference[0], stock(pair[0], *conds, latent), pair, conds)


def test_denoised_output_of_a_finished_run_is_the_latent(models):
    pair, conds, latent = models("toy"), conds_of("toy"), tiny_models.latent("toy")
    whole, denoised, _ = realign(pair, *conds, latent, 0.5)
    assert_agree(whole, denoised, pair, conds)
    half, denoised, _ = realign(pair, *conds, latent, 0.5, end_at_step=2, return_with_leftover_noise=True)
    assert distance(half, denoised) > 0.01


def test_flow_step_with_noise_follows_bayes(models):
    """The host has no twin for η = 1 on flow models: one step against the posterior that Bayes' rule gives."""
    reference, anchor = models("sd3")
    conds, latent = conds_of("sd3"), tiny_models.latent("sd3", 2, seed=4)
    steps, at = 6, 2
    sigmas = KSampler(reference, steps, "cpu", "euler", "simple", 1.0, reference.model_options).sigmas.double()
    now, then = sigmas[at], sigmas[at + 1]
    args = dict(steps=steps, scheduler="simple", start_at_step=at, end_at_step=at + 1, return_with_leftover_noise=True)
    for lam in (0.0, 1.0):
        out, denoised, _ = realign((reference, anchor), *conds, latent, lam, **args)
        scale = reference.model.process_latent_in
        # The host divides what it returns by 1 - σ; x_t is its blend of the picture and the seed's noise.
        x_s = scale(out["samples"]).double() * (1 - then)
        x_0 = scale(denoised["samples"]).double()
        noise = torch.randn(x_0.shape, generator=torch.manual_seed(42)).double()
        x_t = now * noise + (1 - now) * scale(latent["samples"]).double()
        # Prior x_s ~ N((1-σ_s) x_0, σ_s²) and x_t | x_s ~ N(a x_s, σ_t² - a² σ_s²): multiply and complete the square.
        a = (1 - now) / (1 - then)
        likelihood = now**2 - a**2 * then**2
        precision = 1 / then**2 + a**2 / likelihood
        mean = ((1 - then) * x_0 / then**2 + a * x_t / likelihood) / precision
        step_noise = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(43)).double()
        want = mean + step_noise / precision.sqrt()
        assert_agree({"samples": x_s}, {"samples": want}, (reference, anchor), conds)
