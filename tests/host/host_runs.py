"""Running the stock KSampler and RealignSampler alike, for the host tests."""

from __future__ import annotations

import tiny_models
from realign.nodes.anchor import Anchor
from realign.nodes.sampler import RealignSampler

import nodes as host

TOLERANCE = 1e-4  # of the latent's standard deviation


def stock(model, positive, negative, latent, sampler="ddpm", scheduler="normal", cfg=7.0, steps=4, **options):
    """LATENT of the stock KSampler, seed 42."""
    return host.common_ksampler(model, 42, steps, cfg, sampler, scheduler, positive, negative, latent, **options)[0]


def realign(
    pair, positive, negative, latent, lam, sampler="ddpm", scheduler="normal", cfg=7.0, steps=4, denoise=1.0, **options
):
    """(LATENT, denoised LATENT, trace) of RealignSampler, seed 42. pair: the reference, and a MODEL or an Anchor."""
    reference, anchor = pair
    return RealignSampler.execute(
        model=reference,
        anchor=anchor if isinstance(anchor, Anchor) else Anchor(anchor, "anchor"),
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


def distance(a, b):
    """The largest difference in the latent's standard deviations."""
    return ((a["samples"] - b["samples"]).abs().max() / b["samples"].std()).item()


def assert_parity(pair, conds, latent, stock_sampler=None, **options):
    """λ = 0 is the stock run on the reference, λ = 1 on the anchor, and λ = 0.5 neither."""
    theirs = {**options, "sampler": stock_sampler} if stock_sampler else options
    want = [stock(model, *conds, latent, **theirs) for model in pair]
    for lam, expected in zip((0.0, 1.0), want):
        assert distance(realign(pair, *conds, latent, lam, **options)[0], expected) <= TOLERANCE
    between = realign(pair, *conds, latent, 0.5, **options)[0]
    assert all(distance(between, expected) > 0.05 for expected in want)


def conds_of(kind):
    """Positive and negative."""
    return tiny_models.conditioning(kind, 1), tiny_models.conditioning(kind, 2)
