"""Running the stock KSampler and RealignSampler alike, for the host tests."""

from __future__ import annotations

import comfy.samplers
import tiny_models
import torch
from comfy.nested_tensor import NestedTensor
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced
from realign.nodes.guider import RealignGuider
from realign.nodes.models.anchor import Anchor
from realign.nodes.sampler import RealignSampler
from rounding import assert_agree, distance

import nodes as host


def anchors_of(anchor):
    """What a node gets: of a MODEL, or of a value of REALIGN_ANCHOR."""
    return anchor if isinstance(anchor, tuple) else (Anchor(anchor, "anchor"),)


def stock(model, positive, negative, latent, sampler="ddpm", scheduler="normal", cfg=7.0, steps=4, **options):
    """LATENT of the stock KSampler, seed 42."""
    return host.common_ksampler(model, 42, steps, cfg, sampler, scheduler, positive, negative, latent, **options)[0]


def realign(
    pair, positive, negative, latent, lam, sampler="ddpm", scheduler="normal", cfg=7.0, steps=4, denoise=1.0, **options
):
    """(LATENT, denoised LATENT, trace) of RealignSampler, seed 42. pair: the reference, and a MODEL or anchors."""
    reference, anchor = pair
    return RealignSampler.execute(
        model=reference,
        anchor=anchors_of(anchor),
        positive=positive,
        negative=negative,
        latent_image=latent,
        seed=42,
        steps=steps,
        cfg=cfg,
        sampler_name=sampler,
        scheduler=scheduler,
        denoise=denoise,
        lambda_=lam,
        **options,
    ).args


def assert_parity(pair, conds, latent, stock_sampler=None, **options):
    """λ = 0 is the stock run on the reference, λ = 1 on the anchor, and λ = 0.5 neither."""
    theirs = {**options, "sampler": stock_sampler} if stock_sampler else options
    want = [stock(model, *conds, latent, **theirs) for model in pair]
    for lam, expected in zip((0.0, 1.0), want):
        assert_agree(realign(pair, *conds, latent, lam, **options)[0], expected, pair, conds, options.get("cfg", 7.0))
    between = realign(pair, *conds, latent, 0.5, **options)[0]
    assert all(distance(between, expected) > 0.05 for expected in want)


def conds_of(kind):
    """Positive and negative."""
    return tiny_models.conditioning(kind, 1), tiny_models.conditioning(kind, 2)


def sampled(guider, latent, sampler="euler", scheduler="normal", steps=4, seed=42, sigmas=None):
    """LATENT of SamplerCustomAdvanced with a GUIDER."""
    if sigmas is None:
        sampling = guider.model_patcher.get_model_object("model_sampling")
        sigmas = comfy.samplers.calculate_sigmas(sampling, scheduler, steps)
    noise, sampler = Noise_RandomNoise(seed), comfy.samplers.sampler_object(sampler)
    return SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).args[0]


def stock_guider(model, positive, negative, cfg=7.0):
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    return guider


def realign_guider(pair, positive, negative, lam, cfg=7.0, **options):
    reference, anchor = pair
    anchor = anchors_of(anchor)
    return RealignGuider.execute(reference, anchor, positive, negative, cfg, lam, **options).args[0]


def everywhere(value):
    """A λ mask of one value; Realign cannot know it is: λ = 1 is then not the anchor's own run, but a mixture."""
    return torch.full((1, 8, 8), float(value))


def some(latent, rows):
    """A slice of a batch, of a latent of several streams too."""
    samples = latent["samples"]
    parts = [part[rows] for part in (samples.unbind() if samples.is_nested else [samples])]
    return {"samples": NestedTensor(parts) if samples.is_nested else parts[0]}


def same(a, b):
    return torch.equal(a["samples"], b["samples"])


def assert_ends_are_stock(pair, conds, latent, cfg=7.0, plain=True, **run):
    """λ 0 and 1 as a map, which is mixed as any λ is, and as a plain number, where the other model takes no part.

    Returns the stock runs.
    """
    ends = []
    for end, model in enumerate(pair):
        want = sampled(stock_guider(model, *conds, cfg), latent, **run)
        ends.append(want)
        as_map = realign_guider(pair, *conds, 1.0, cfg, lambda_mask=everywhere(end))
        assert same(sampled(as_map, latent, **run), want)
        if plain:
            assert same(sampled(realign_guider(pair, *conds, end, cfg), latent, **run), want)
    return ends
