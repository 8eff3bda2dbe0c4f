"""Realign Sampler's sampler: DDPM, DDIM and all between, for one model or the mixture of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.samplers
import torch
from comfy.k_diffusion.sampling import default_noise_sampler, trange
from torch import Tensor

from ...realign_core import MixedSteps, sample_steps
from ..models.latents import streams
from ..models.pair import noise_levels
from .realignment import Lambdas


def posterior_sampler(etas: Sequence[float], inpaint_options: dict[str, Any]) -> comfy.samplers.KSAMPLER:
    """The host's sampler object. etas: of the reference, then of the anchors, 0 (DDIM) to 1 (DDPM)."""
    return comfy.samplers.KSAMPLER(sample_posterior, {"etas": list(etas)}, inpaint_options)


def is_posterior(sampler: Any) -> bool:
    return getattr(sampler, "sampler_function", None) is sample_posterior


def sample_posterior(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
    noise_sampler: Any = None,
    etas: Sequence[float] = (),
    steps: MixedSteps | None = None,
) -> Tensor:
    """DeRaDiff (arXiv 2601.20198), algorithm 1. steps: of the run, which the realignment makes of etas and λ."""
    if steps is None:
        raise ValueError("This sampler draws from mixed posteriors: it runs on a realigned MODEL only.")
    extra_args = extra_args or {}
    noise_sampler = noise_sampler or default_noise_sampler(x, seed=extra_args.get("seed"))
    ones = x.new_ones([x.shape[0]])

    def denoise(x: Tensor, i: int) -> Tensor:
        denoised: Tensor = model(x, sigmas[i] * ones, **extra_args)
        return denoised

    def told(i: int, x: Tensor, denoised: Tensor) -> None:
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})

    out, _ = sample_steps(
        denoise,
        x,
        steps,
        noise=lambda i: noise_sampler(sigmas[i], sigmas[i + 1]),
        callback=told,
        order=trange(len(steps), disable=disable),
    )
    return out


def steps_of(patcher: Any, sampler: Any, sigmas: Tensor, lambdas: Lambdas, dims: int, eta: float | None) -> MixedSteps:
    """The steps of a run of `posterior_sampler`, checked.

    dims: of its latents. eta: the sweep's, in the place of the reference's and of those that are equal to it. Raises
    ValueError or ImproperMixtureError for a run that could not be finished.
    """
    etas = sampler.extra_options["etas"]
    if eta is not None:
        etas = [eta if own == etas[0] else own for own in etas]
    steps = MixedSteps(noise_levels(patcher, sigmas), lambda i: lambdas.at(i, dims), etas)
    steps.check()
    return steps


def with_options(sampler: comfy.samplers.KSAMPLER, **options: Any) -> comfy.samplers.KSAMPLER:
    """The same sampler, with further options of its function."""
    merged = {**sampler.extra_options, **options}
    return comfy.samplers.KSAMPLER(sampler.sampler_function, merged, sampler.inpaint_options)


def check_latent(latent: dict[str, Any]) -> None:
    """Raise ValueError for a latent with NaN or infinity: the run would end in a black picture."""
    samples = latent["samples"]
    if not all(bool(torch.isfinite(part).all()) for part in streams(samples)):
        raise ValueError(
            "The latent image holds values that are not finite numbers (NaN or infinity), so the node that made it "
            "failed: look at its picture, and if it is black, use a VAE or model that does not overflow in fp16."
        )
