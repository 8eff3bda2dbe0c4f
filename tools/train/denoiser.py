"""What is trained: the demo network, or a smaller one of its kind, with its captions and noise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .demo_data import BACKGROUNDS, HUES, SHAPES
from .demo_host import demo_model
from .muon import has_bfloat16


class Denoiser(nn.Module):
    """The UNet, its token table and the host's noise schedule.

    size: of the pictures, px; None: the demo model's. unet_config: what differs from the demo model's UNet.
    """

    def __init__(self, device: torch.device, size: int | None = None, **unet_config: Any):
        super().__init__()
        demo = demo_model()
        if (tuple(SHAPES), tuple(HUES), BACKGROUNDS) != tuple(words[1:] for words in demo.CAPTION.values()):
            raise SystemExit("The words in demo_network.py are not those that tools/train/demo_data.py draws.")
        self.size, self.tokens_key = size or demo.SIZE, demo.REFERENCE_TOKENS
        model = demo.build_model(device, **unet_config)
        self.unet = model.diffusion_model.requires_grad_(True).train()
        self.tokens = nn.Embedding(demo.VOCABULARY, demo.TOKEN_DIM, device=device)
        self.has_bfloat16 = has_bfloat16(device)
        self.register_buffer("sigmas", model.model_sampling.sigmas.to(device), persistent=False)
        sizes = [len(words) for words in demo.CAPTION.values()]
        first = torch.tensor([sum(sizes[:kind]) for kind in range(len(sizes))], device=device)
        self.register_buffer("first", first, persistent=False)
        self.initialise()

    def initialise(self) -> None:
        """The host's layers come uninitialised. Blocks that add to the stream start at zero."""
        for module in self.unet.modules():
            for kind in (nn.Conv2d, nn.Linear, nn.GroupNorm, nn.LayerNorm):
                if isinstance(module, kind):
                    kind.reset_parameters(module)
        for name, parameter in self.unet.named_parameters():
            if any(end in name for end in ("out_layers.3.", "proj_out.", "out.2.")):
                nn.init.zeros_(parameter)

    def noise_levels(self, count: int, random: torch.Generator) -> Tensor:
        """(count,) timesteps with ln σ ~ N(0, 1.7²): most where the picture takes shape, some at either end."""
        log_sigma = 1.7 * torch.randn(count, generator=random, device=self.sigmas.device)
        return torch.searchsorted(self.sigmas, log_sigma.exp()).clamp(max=len(self.sigmas) - 1)

    def context(self, captions: Tensor, random: torch.Generator) -> Tensor:
        """(B, 3) captions -> (B, 3, TOKEN_DIM); words and whole captions are sometimes left open, for CFG."""
        chance = torch.rand(captions.shape[0], captions.shape[1] + 1, generator=random, device=captions.device)
        keep = (chance[:, :-1] > 0.10) & (chance[:, -1:] > 0.10)
        return self.tokens(self.first + (captions + 1) * keep)

    def errors(self, pictures: Tensor, noise: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        """(B,): each picture's mean squared error of the predicted velocity α ε − σ x_0 (α² + σ² = 1)."""
        sigma = self.sigmas[timestep][:, None, None, None]
        alpha = (1 + sigma**2).rsqrt()
        sigma = sigma * alpha
        noisy = alpha * pictures + sigma * noise
        with torch.autocast(pictures.device.type, dtype=torch.bfloat16, enabled=self.has_bfloat16):
            velocity = self.unet(noisy, timestep, context=context)
        return (velocity.float() - (alpha * noise - sigma * pictures)).square().mean((1, 2, 3))
