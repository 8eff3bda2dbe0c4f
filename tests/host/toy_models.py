"""Networks of a few weights inside the host's own BaseModel and ModelPatcher, for what real architectures hide."""

from __future__ import annotations

import comfy.latent_formats
import comfy.model_base
import comfy.supported_models_base
import torch
from comfy.model_base import ModelType
from comfy.model_patcher import ModelPatcher
from comfy.weight_adapter.lora import LoRAAdapter


class PerPixel(torch.nn.Module):
    """A network without spatial mixing: each pixel is computed from itself and the prompt alone."""

    dtype = torch.float32

    def __init__(self, seed: int):
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 2

    def forward(self, x, t, context=None, **_):
        return self.mix(x.movedim(1, -1)).movedim(-1, 1) + context.mean((1, 2))[:, None, None, None]

    def mix(self, x):
        """x: (B, H, W, 4)."""
        return self.layer(x).tanh()


class Folded(PerPixel):
    """Folds rows of pixels into the batch, as video models fold frames: (b h) w c."""

    def mix(self, x):
        return self.layer(x.flatten(0, 1)).tanh().reshape(x.shape)


class PixelsFirst(PerPixel):
    """Folds the batch into the pixels, the wrong way round: h (b w) c. Its rows are no conditioning's."""

    def mix(self, x):
        y = self.layer(x.movedim(1, 0).flatten(1, 2)[:7]).tanh()
        return y.reshape(7, *x.shape[:1], *x.shape[2:]).movedim(0, 1)[:, [*range(7), 0]]


class WeightAlone(PerPixel):
    """Uses the layer's weight without calling the layer."""

    def mix(self, x):
        return torch.nn.functional.linear(x, self.layer.weight, self.layer.bias).tanh()


def toy_model(network: type[PerPixel] = PerPixel, seed: int = 1, kind: ModelType = ModelType.EPS) -> ModelPatcher:
    """MODEL on the CPU."""
    config = comfy.supported_models_base.BASE({"disable_unet_model_creation": True, "in_channels": 4})
    config.latent_format = comfy.latent_formats.LatentFormat()
    model = comfy.model_base.BaseModel(config, kind)
    model.diffusion_model = network(seed)
    return ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def with_lora(model: ModelPatcher, seed: int = 5) -> ModelPatcher:
    """A clone with a LoRA on the layer; it shares the model's weights."""
    generator = torch.Generator().manual_seed(seed)
    up, down = (torch.randn(shape, generator=generator) for shape in ((4, 2), (2, 4)))
    clone = model.clone()
    clone.add_patches({"diffusion_model.layer.weight": LoRAAdapter(set(), (up, down, 2.0, None, None, None))})
    return clone


CONDS = [[[torch.full((1, 1, 1), prompt), {}]] for prompt in (0.3, -0.1)]


def latent(batch: int = 1) -> dict:
    return {"samples": torch.zeros(batch, 4, 8, 8)}
