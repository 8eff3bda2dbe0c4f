"""What hosts after the newest of `make matrix` change, done here by hand: up to 0.38."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from itertools import pairwise

import comfy.sample
import comfy.samplers
import pytest
import tiny_models
import torch
from comfy.model_patcher import set_model_options_post_cfg_function
from comfy.nested_tensor import NestedTensor
from comfy.samplers import KSAMPLER, CFGGuider
from test_nested_and_control_lora import two_stream_model
from truth import SEED, mixture, near, realign_guider, realign_model, sampled, sigmas_of, stock_guider

KIND, STEPS, LAMBDA = "sd15", 5, 0.6


def conds():
    return tiny_models.conditioning(KIND, 51), tiny_models.conditioning(KIND, 52)


def sample_with_history(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """As a CFG++ sampler of 0.35 does: looks for each of the guidance's values, and remembers the last direction."""
    seen, before = {}, None

    def remember(args):
        seen["uncond"] = args["uncond_denoised"] if args["uncond"] is not None else args["cond_denoised"]
        assert args["cond"] is not None
        assert args["cond_scale"] > 0
        return args["denoised"]

    options = set_model_options_post_cfg_function(extra_args["model_options"].copy(), remember, True)
    extra_args = {**extra_args, "model_options": options}
    for i, (sigma, following) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma * x.new_ones(len(x)), **extra_args)
        callback({"x": x, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})
        direction = (x - seen["uncond"]) / sigma
        mean = direction if before is None else 0.75 * direction + 0.25 * before
        x, before = denoised + following * mean, direction
    return x


sample_with_history.__module__ = "comfy.k_diffusion.sampling"  # it is rehearsed as the host's own


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_a_sampler_that_looks_at_all_of_the_guidance(tiny, cfg, caplog):
    """Anchor and reference are the same model on two weight copies, so that any mixture is the stock run."""
    reference, twin = (tiny.load(tiny.reference(KIND)) for _ in range(2))
    latent, sigmas = tiny_models.latent(KIND), sigmas_of(reference, STEPS)
    want = sampled(stock_guider(reference, conds(), cfg), latent, KSAMPLER(sample_with_history), sigmas)
    with caplog.at_level(logging.INFO):
        guider = realign_guider(reference, twin, conds(), LAMBDA, cfg)
        got = sampled(guider, latent, KSAMPLER(sample_with_history), sigmas)
    near(f"a sampler with a history, cfg {cfg:g}", got, want)
    assert "rehearsed" not in caplog.text


class InContext(CFGGuider):
    """0.38 opens a cache for the guider's own model around inner_sample. open: those of this moment, in their order."""

    open: list = []
    most: list = []

    def inner_sample(self, *args, **kwargs):
        with self.cache(self.model_patcher):
            return super().inner_sample(*args, **kwargs)

    @classmethod
    @contextmanager
    def cache(cls, patcher):
        cls.open.append(patcher)
        cls.most = max(cls.most, list(cls.open), key=len)
        try:
            yield
        finally:
            assert cls.open.pop() is patcher


@pytest.mark.parametrize("lam", [0.0, LAMBDA, 1.0])
def test_a_context_around_each_models_sampling(tiny, lam):
    reference, anchor = tiny.load(tiny.reference(KIND)), tiny.load(tiny.anchor(KIND))
    true = tiny.load(tiny.reference(KIND)), tiny.load(tiny.anchor(KIND))
    latent, sigmas = tiny_models.latent(KIND), sigmas_of(reference, STEPS)
    guider = InContext(realign_model(reference, anchor, lam))
    guider.set_conds(*conds())
    guider.set_cfg(4.0)
    InContext.most = []
    got = sampled(guider, latent, "euler", sigmas)
    near(f"in a context, λ {lam:g}", got, mixture(true, lam, conds(), latent, "euler", sigmas))
    assert InContext.open == []
    used = {0.0: [reference], 1.0: [anchor]}.get(lam, [reference, anchor])
    assert [patcher.model for patcher in InContext.most] == [patcher.model for patcher in used]


@pytest.mark.parametrize("lam", [0.0, LAMBDA, 1.0])
def test_a_callback_sees_what_that_of_a_stock_run_sees(lam):
    """Of a nested latent, newer hosts hand callbacks the streams, unpacked by the shapes that they packed."""
    pair = [two_stream_model(seed) for seed in (1, 2)]
    prompts = [[[torch.zeros(1, 1, 1), {}]]] * 2
    latent = NestedTensor([torch.zeros(2, 4, 3, 8, 8), torch.zeros(2, 2, 16)])
    noise, sigmas = comfy.sample.prepare_noise(latent, SEED), sigmas_of(pair[0], STEPS)

    def seen(guider):
        out = []

        def callback(step, x0, x, total):
            parts = [part for one in (x0, x) for part in (one.unbind() if one.is_nested else [one])]
            out.append((step, total, [tuple(part.shape) for part in parts]))

        guider.sample(noise, latent, comfy.samplers.sampler_object("euler"), sigmas, callback=callback, seed=SEED)
        return out

    assert seen(realign_guider(*pair, prompts, lam)) == seen(stock_guider(pair[0], prompts, 4.0))
