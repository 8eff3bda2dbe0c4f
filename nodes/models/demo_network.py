"""The demo diffusion model: the host's own UNet on 64×64 pixels, small enough to train and sample on a CPU.

`tools/train/train_demo.py` trains it, `demo.py` loads it. Being the host's `UNetModel`, it takes what any other model
takes: LoRAs, hooks, attention patches, samplers.
"""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.ops
import comfy.supported_models_base
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from einops import rearrange, reduce
from torch.nn import functional

SIZE = 64  # pixels; the pictures the model was trained on
TOKEN_DIM = 64
PATCH = 2  # pixels per side that become channels: the UNet's widest level is then 32×32

# A caption is one word of each kind, in this order; "any" leaves it open.
ANY = "any"
CAPTION: dict[str, tuple[str, ...]] = {
    "shape": (ANY, "ball", "square", "triangle", "star", "heart", "ring", "moon", "flower"),
    "colour": (ANY, "red", "orange", "yellow", "green", "teal", "blue", "purple", "pink"),
    "background": (ANY, "plain", "hills", "stripes", "dots", "rays"),
}
VOCABULARY = sum(len(words) for words in CAPTION.values())

REFERENCE_TOKENS = "caption_tokens"  # key of the embedding table in the reference's file

UNET_CONFIG: dict[str, Any] = {
    "image_size": SIZE // PATCH,
    "in_channels": 3 * PATCH**2,
    "out_channels": 3 * PATCH**2,
    "model_channels": 48,
    "channel_mult": [1, 1, 2],
    "num_res_blocks": [1, 1, 1],
    "transformer_depth": [0, 0, 0],  # per input block, finest level first
    "transformer_depth_middle": 1,
    "transformer_depth_output": [0, 0, 0, 0, 1, 0],  # taken from the end, coarsest level first: attention at 8×8 only
    "use_spatial_transformer": True,
    "context_dim": TOKEN_DIM,
    "num_heads": 3,
    "num_head_channels": -1,
    "legacy": False,
    "use_scale_shift_norm": True,
    "num_classes": "sequential",
    "adm_in_channels": TOKEN_DIM,
}


class Operations(comfy.ops.disable_weight_init):
    """The host's layers, with groups wide enough that normalising them does not erase a picture's colour."""

    class GroupNorm(comfy.ops.disable_weight_init.GroupNorm):
        def __init__(self, num_groups: int, num_channels: int, **options: Any):
            super().__init__(min(num_groups, 8), num_channels, **options)


class DemoUNet(UNetModel):
    """The host's UNet on `PATCH`×`PATCH` patches of pixels folded into channels.

    The caption reaches the coarse levels by cross-attention, and every block as the mean of its tokens, which the
    host's UNet adds to the timestep's embedding (its `y`, SDXL's pooled text).
    """

    def forward(
        self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor, y: Any = None, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """x: (B, 3, H, W), timesteps: (B,), context: (B, tokens, TOKEN_DIM) -> (B, 3, H, W)."""
        height, width = x.shape[-2:]
        padding = (0, -width % PATCH, 0, -height % PATCH)
        x = functional.pad(x, padding, mode="replicate")
        x = rearrange(x, "b c (h down) (w right) -> b (c down right) h w", down=PATCH, right=PATCH)
        pooled = reduce(context, "b token channel -> b channel", "mean")
        out = super().forward(x, timesteps, context, pooled, *args, **kwargs)
        out = rearrange(out, "b (c down right) h w -> b c (h down) (w right)", down=PATCH, right=PATCH)
        return out[..., :height, :width]


class DemoPixels(comfy.latent_formats.LatentFormat):
    """RGB in [-1, 1], so that the stock `pixel_space` VAE decodes it and previews show it as it is."""

    latent_channels = 3
    spacial_downscale_ratio = 1
    latent_rgb_factors = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


class RealignDemo(comfy.supported_models_base.BASE):
    """The host's description of the model. The noise reaches σ = 64 instead of the default 14.6: pixels of one
    colour keep their mean through 14.6, and samples would all drift to the same brightness.

    A picture of 64×64 takes 2.5 MB (measured on a CPU); the host's formula makes 3 to 12 MB of the factor below.
    """

    unet_config: dict[str, Any] = {}
    unet_extra_config: dict[str, Any] = {}
    latent_format = DemoPixels
    sampling_settings = {"linear_start": 0.00085, "linear_end": 0.02}
    memory_usage_factor = 0.02

    def inpaint_model(self) -> bool:
        return False


def build_model(
    device: torch.device | None = None, dtype: torch.dtype = torch.float32, **unet_config: Any
) -> comfy.model_base.BaseModel:
    """The model with uninitialised weights (the host's layers leave that to the loader).

    unet_config: what differs from UNET_CONFIG, for a network of the same kind and another size.
    """
    config = RealignDemo({**UNET_CONFIG, **unet_config, "dtype": dtype})
    config.set_inference_dtype(dtype, None)
    config.custom_operations = Operations
    return comfy.model_base.BaseModel(
        config, model_type=comfy.model_base.ModelType.V_PREDICTION, device=device, unet_model=DemoUNet
    )


def caption_ids(**words: str) -> list[int]:
    """Rows of the token table for shape=…, colour=…, background=… (what is left out is "any"): one id per kind.

    Raises ValueError for a word the model never saw.
    """
    ids, first = [], 0
    for kind, known in CAPTION.items():
        word = words.get(kind, ANY)
        if word not in known:
            raise ValueError(f"The demo model knows no {kind} “{word}”. Choose one of: {', '.join(known)}.")
        ids.append(first + known.index(word))
        first += len(known)
    return ids
