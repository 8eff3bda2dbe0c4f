"""A run of Realign Sampler's sampler, as the nodes that have it call it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, Noise_RandomNoise, SamplerCustomAdvanced

from ..realign_core import Trace
from .live import Progress
from .run.attach import Attached, attach
from .run.posterior import posterior_sampler
from .run.realignment import Realignment
from .types import Conditioning


@dataclass(frozen=True, eq=False)
class Sampled:
    """What came of a run."""

    latent: dict[str, Any]
    denoised: dict[str, Any]  # the last step's
    trace: Trace
    told: Progress  # what the page was told of it


def sampled(
    model: ModelPatcher,
    realignment: Realignment,
    prompts: tuple[Conditioning, Conditioning],
    latent_image: dict[str, Any],
    sigmas: torch.Tensor,
    etas: Sequence[float],
    settings: Mapping[str, Any],
    add_noise: bool,
    note: str = "",
) -> Sampled:
    """prompts: positive, negative. etas: of the reference, then of the anchors. settings: seed, cfg, sampler_name and
    what else the trace is to tell. note: stands on the node meanwhile."""
    runs: list[Progress] = []

    def listener(*told: Any) -> Progress:
        runs.append(Progress.of(*told))
        if note:
            runs[-1].say(note)
        return runs[-1]

    realigned = attach(model, realignment, listener)
    guider = comfy.samplers.CFGGuider(realigned)
    guider.set_conds(*prompts)
    guider.set_cfg(settings["cfg"])
    sampler = posterior_sampler(etas, comfy.samplers.sampler_object(settings["sampler_name"]).inpaint_options)
    noise = Noise_RandomNoise(settings["seed"]) if add_noise else Noise_EmptyNoise()
    noise.seed = settings["seed"]  # also seeds the noise of the steps
    latent, denoised = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent_image).args
    trace = Attached.behind(realigned).trace()
    trace.info |= {"etas": list(etas), "settings": dict(settings)}
    return Sampled(latent, denoised, trace, runs[-1])


def etas_of(of_sampler: float, eta: float, anchor_eta: float, anchors: int) -> list[float]:
    """η of the reference, then of each anchor. eta, anchor_eta: below 0 for the sampler's own, and the reference's."""
    own = of_sampler if eta < 0 else eta
    return [own] + [own if anchor_eta < 0 else anchor_eta] * anchors


def run_sigmas(
    model: ModelPatcher,
    steps: int,
    sampler_name: str,
    scheduler: str,
    denoise: float,
    start_at_step: int = 0,
    end_at_step: int = 10000,
    return_with_leftover_noise: bool = False,
) -> tuple[torch.Tensor, list[float]]:
    """σ of the run, and of the whole schedule: a run split in two over start and end steps has the λ of the undivided
    one. Some schedulers give more steps than asked for (ddim_uniform), all of which a whole run has. The slicing is
    KSampler.sample's (comfy/samplers.py). Raises ValueError where there is no step to sample."""
    sampler = comfy.samplers.KSampler(
        model, steps, model.load_device, sampler_name, scheduler, denoise, model.model_options
    )
    sigmas = sampler.sigmas.cpu()
    last = min(end_at_step, len(sigmas) - 1)
    if len(sigmas) < 2:
        raise ValueError(f"There is no step to sample: denoise is {denoise:g}. Raise it above 0.")
    if start_at_step >= last:
        raise ValueError(
            f"There is no step to sample: the steps run from 0 to {len(sigmas) - 1}, but start_at_step is "
            f"{start_at_step} and end_at_step {end_at_step}. Lower start_at_step, raise end_at_step, or add steps."
        )
    whole, sigmas = [float(sigma) for sigma in sigmas], sigmas[start_at_step : last + 1].clone()
    if not return_with_leftover_noise:
        sigmas[-1] = 0
    return sigmas, whole
