"""One run of two models at λ: by the pack's nodes in the host, and by diffusers' own schedulers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from peer_networks import FLOW, SHIFT, Pair, guided
from torch import Tensor

SEED = 42
SAMPLER, GUIDER = "Realign Sampler", "Realign Guider"


@dataclass(frozen=True)
class Ours:
    """A node's settings. scheduler: None for σ that are handed to it, which only Realign Guider can take."""

    node: str
    sampler: str
    scheduler: str | None
    eta: float = -1.0

    def __str__(self) -> str:
        scheduler = f" + `{self.scheduler}`" if self.scheduler else ""
        return f"{self.node}, `{self.sampler}`{scheduler}" + (f", eta {self.eta:g}" if self.eta >= 0 else "")


@dataclass(frozen=True)
class Theirs:
    """A scheduler of diffusers. config: beside that of the pair. step: options of its `step`."""

    scheduler: str
    config: Mapping[str, Any] = field(default_factory=dict)
    step: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        said = [f"{name} {value}" for name, value in {**self.config, **self.step}.items()]
        return ", ".join([self.scheduler.removesuffix("Scheduler"), *said]).replace("timestep_spacing ", "")

    def of(self, pair: Pair, steps: int) -> Any:
        """The scheduler, with its timesteps set."""
        import diffusers

        if pair.kind == FLOW:
            config: dict[str, Any] = {"shift": SHIFT}
        else:
            ends = dict(beta_start=pair.betas[0], beta_end=pair.betas[1], beta_schedule="scaled_linear")
            config = {**ends, "prediction_type": pair.kind}
            if self.scheduler in ("DDPMScheduler", "DDIMScheduler"):
                config["clip_sample"] = False  # as in the files of SD 1.5 and SDXL
        scheduler = getattr(diffusers, self.scheduler)(**config, **self.config)
        scheduler.set_timesteps(steps)
        return scheduler


def start_noise(pair: Pair, seed: int) -> Tensor:
    """Standard normal, as the host draws it."""
    import comfy.sample

    return comfy.sample.prepare_noise(torch.zeros(pair.shape), seed)


def by_diffusers(
    theirs: Theirs, pair: Pair, steps: int, lam: float, cfg: float, start: Tensor | None = None, seed: int = SEED
) -> Tensor:
    """Each model takes diffusers' step from the same x with the same noise, and λ mixes what the two steps give.

    So the theorem is tested too: of two Gaussians with one variance the mixture's mean is the mix of the means. start:
    x at the first step in the units x_0 + σ ε (flow: the host's own); without it diffusers' own, of the same noise.
    """
    schedulers = [theirs.of(pair, steps) for _ in pair.networks]
    generators = [torch.Generator().manual_seed(seed + 1) for _ in pair.networks]  # the host's, on a CPU
    first = schedulers[0]
    if start is None:
        x = start_noise(pair, seed) * (1.0 if pair.kind == FLOW else first.init_noise_sigma)
    else:  # DDPM and DDIM hold √ᾱ x, the Euler schedulers x
        variance_preserving = not hasattr(first, "sigmas")
        x = start * (first.alphas_cumprod[first.timesteps[0]].sqrt() if variance_preserving else 1.0)
    for timestep in first.timesteps:
        ends = []
        for network, scheduler, generator in zip(pair.networks, schedulers, generators):
            x_in = x if pair.kind == FLOW else scheduler.scale_model_input(x, timestep)
            answer = guided(network, x_in, timestep, pair.prompts, cfg)
            ends.append(scheduler.step(answer, timestep, x, generator=generator, **theirs.step).prev_sample)
        x = (1 - lam) * ends[0] + lam * ends[1]
    return x


def first_sigmas(theirs: Theirs, ours: Ours, pair: Pair, steps: int) -> Tensor:
    """(T + 1,): σ of diffusers' own scheduler where it has them, which a node can be handed; else the host's."""
    scheduler = theirs.of(pair, steps)
    return scheduler.sigmas if hasattr(scheduler, "sigmas") else pack_sigmas(ours, pair, steps)


def by_pack(
    ours: Ours, pair: Pair, steps: int, lam: float, cfg: float, sigmas: Tensor | None = None, seed: int = SEED
) -> Tensor:
    """The node's latent. sigmas: for Realign Guider, in the place of the scheduler's."""
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced
    from realign.nodes.guider import RealignGuider
    from realign.nodes.models.anchor import Anchor
    from realign.nodes.sampler import RealignSampler

    reference, anchor = pair.models
    positive, negative = pair.conditioning
    latent = {"samples": torch.zeros(pair.shape)}
    common = dict(model=reference, anchor=(Anchor(anchor, "anchor"),), positive=positive, negative=negative, cfg=cfg)
    if ours.node == SAMPLER:
        settings = dict(steps=steps, sampler_name=ours.sampler, scheduler=ours.scheduler, denoise=1.0, eta=ours.eta)
        out = RealignSampler.execute(**common, latent_image=latent, seed=seed, lambda_=lam, **settings)
        return out.args[0]["samples"]
    if sigmas is None:
        sigmas = pack_sigmas(ours, pair, steps)
    guider = RealignGuider.execute(**common, lambda_=lam).args[0]
    sampler = comfy.samplers.sampler_object(ours.sampler)
    return SamplerCustomAdvanced.execute(Noise_RandomNoise(seed), guider, sampler, sigmas, latent).args[0]["samples"]


def pack_sigmas(ours: Ours, pair: Pair, steps: int) -> Tensor:
    """(T + 1,): the host's, of its scheduler."""
    import comfy.samplers

    sampling = pair.models[0].get_model_object("model_sampling")
    return comfy.samplers.calculate_sigmas(sampling, ours.scheduler, steps)


def host_start(pair: Pair, sigma: Tensor, seed: int = SEED) -> Tensor:
    """x from which the host starts at σ: KSAMPLER's own scaling of the noise."""
    sampling = pair.models[0].get_model_object("model_sampling")
    largest = float(sampling.sigma_max)
    at_most = float(sigma) >= largest * (1 - 1e-5)
    return sampling.noise_scaling(sigma, start_noise(pair, seed), torch.zeros(pair.shape), at_most)
