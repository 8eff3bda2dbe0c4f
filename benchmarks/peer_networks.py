"""Pairs of models that the pack, in the host, and diffusers' steps are both given: the same weights on both sides."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

EPS, V, FLOW = "epsilon", "v_prediction", "flow"
SIZE, BATCH, TOKENS, WIDTH = 8, 2, 3, 16
BETAS = (0.00085, 0.012)  # of SD 1.5 and SDXL, “scaled_linear”
SHIFT = 3.0  # of SD 3.5
SHARE = 0.5  # of the network in its answer; the rest is the answer for data that are a unit Gaussian
APART = 0.3  # how far an anchor's weights lie from its reference's, in their own spread

Network = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x_in, timesteps (B,), context) -> ε, v or velocity


class Denoiser(torch.nn.Module):
    """A small random UNet of diffusers beside the best answer for data N(0, 1), so that a run ends in a sample.

    kind: what it predicts. A network of random weights alone does not denoise, and multiplies each rounding.
    """

    dtype = torch.float32

    def __init__(self, kind: str, unet: torch.nn.Module, cumulative: Tensor):
        super().__init__()
        self.kind, self.unet, self.cumulative = kind, unet, cumulative  # ᾱ of the training's timesteps

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, **_: Any) -> Tensor:
        """x: (B, 4, H, W), timesteps: (B,), which may lie between two, context: (B, tokens, WIDTH)."""
        timesteps = timesteps.to(x).expand(len(x))
        slope = self.of_unit_gaussian(timesteps)[:, None, None, None]
        return slope * x + SHARE * self.unet(x, timesteps, context).sample

    def of_unit_gaussian(self, timesteps: Tensor) -> Tensor:
        """What x is multiplied by: E[ε | x], E[v | x] or E[ε - x_0 | x] of data N(0, 1), each linear in x."""
        if self.kind == FLOW:
            sigma = timesteps / 1000
            return (2 * sigma - 1) / ((1 - sigma) ** 2 + sigma**2)
        if self.kind == V:
            return torch.zeros_like(timesteps)
        below = timesteps.floor().long().clamp(max=len(self.cumulative) - 2)
        return (1 - torch.lerp(self.cumulative[below], self.cumulative[below + 1], timesteps - below)).sqrt()


class Pair(NamedTuple):
    """Reference and anchor, on both sides. prompts: contexts (1, tokens, width), positive and negative."""

    name: str
    kind: str
    networks: tuple[Network, Network]
    models: tuple[Any, Any]  # the host's MODELs
    prompts: tuple[Tensor, Tensor]
    shape: tuple[int, int, int, int]  # of the latents
    betas: tuple[float, float]

    @property
    def conditioning(self) -> list[Any]:
        return [[[context, {}]] for context in self.prompts]


def random_pair(kind: str) -> Pair:
    from diffusers import DDPMScheduler, UNet2DConditionModel

    torch.manual_seed(5)
    unet = UNet2DConditionModel(
        sample_size=SIZE,
        block_out_channels=(32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()
    other = copy.deepcopy(unet)
    for weight in other.parameters():
        weight.data += APART * weight.data.std().nan_to_num(0.1) * torch.randn_like(weight)
    ends = dict(beta_start=BETAS[0], beta_end=BETAS[1], beta_schedule="scaled_linear")
    cumulative = DDPMScheduler(**ends).alphas_cumprod
    reference, anchor = (Denoiser(kind, one.requires_grad_(False), cumulative) for one in (unet, other))
    prompts = torch.randn(1, TOKENS, WIDTH), torch.randn(1, TOKENS, WIDTH)
    models = in_host(reference, kind), in_host(anchor, kind)
    return Pair("random UNets", kind, (reference, anchor), models, prompts, (BATCH, 4, SIZE, SIZE), BETAS)


def in_host(network: torch.nn.Module, kind: str) -> Any:
    """The host's MODEL of a network, on the CPU."""
    import comfy.latent_formats
    import comfy.model_base
    import comfy.supported_models_base
    from comfy.model_base import ModelType
    from comfy.model_patcher import ModelPatcher

    types = {EPS: ModelType.EPS, V: ModelType.V_PREDICTION, FLOW: ModelType.FLOW}
    config = comfy.supported_models_base.BASE({"disable_unet_model_creation": True, "in_channels": 4})
    config.latent_format = comfy.latent_formats.LatentFormat()
    config.sampling_settings = {"shift": SHIFT} if kind == FLOW else {}
    model = comfy.model_base.BaseModel(config, types[kind])
    model.diffusion_model = network
    return ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def demo_pair(batch: int = 1) -> Pair:
    """The demo models that ship with the pack: trained networks of the host's, for diffusers as they are."""
    from realign.nodes.demo import RealignDemoModels
    from realign.nodes.models.demo_network import RealignDemo

    reference, anchors, positive, negative, _, anchor = RealignDemoModels.execute("heart", "any", "any").args
    networks = tuple(model.model.diffusion_model for model in (reference, anchor))
    betas = RealignDemo.sampling_settings
    return Pair(
        "demo models",
        V,
        networks,
        (reference, anchor),
        (positive[0][0], negative[0][0]),
        (batch, 3, 64, 64),
        (betas["linear_start"], betas["linear_end"]),
    )


def guided(network: Network, x: Tensor, timestep: Tensor, prompts: Sequence[Tensor], cfg: float) -> Tensor:
    """One model's answer with classifier-free guidance, as diffusers' pipelines have it."""
    times = timestep.to(x).expand(len(x))
    positive, negative = (network(x, times, context=one.expand(len(x), -1, -1)) for one in prompts)
    return negative + cfg * (positive - negative)
