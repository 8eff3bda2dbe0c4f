"""Small random files of real architectures that the host's stock loaders accept.

The host reads levels, blocks and depths from a file's tensors, so a one-level UNet is still “SD 1.5” to it.
Weights are drawn so that outputs stay of order one; an anchor is its reference plus a perturbation.
"""

from __future__ import annotations

from pathlib import Path

import comfy.ops
import comfy.sd
import torch
from comfy.cldm.cldm import ControlNet
from comfy.ldm.flux.model import Flux
from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from safetensors.torch import save_file

UNET = {
    "sd15": dict(
        model_channels=320,
        num_res_blocks=[1],
        channel_mult=[1],
        transformer_depth=[1],
        transformer_depth_output=[1, 1],
        transformer_depth_middle=1,
        context_dim=768,
        num_heads=8,
        use_linear_in_transformer=False,
    ),
    "sdxl": dict(  # Segmind Vega's depths on one width
        model_channels=320,
        num_res_blocks=[2, 2, 2],
        channel_mult=[1, 1, 1],
        transformer_depth=[0, 0, 1, 1, 2, 2],
        transformer_depth_output=[0, 0, 0, 1, 1, 1, 2, 2, 2],
        transformer_depth_middle=-1,
        context_dim=2048,
        num_heads=-1,
        num_head_channels=64,
        adm_in_channels=2816,
        num_classes="sequential",
        use_linear_in_transformer=True,
    ),
}
FLUX = dict(  # one head, one block of each kind
    in_channels=16,
    out_channels=16,
    vec_in_dim=32,
    context_in_dim=64,
    hidden_size=128,
    mlp_ratio=4.0,
    num_heads=1,
    depth=1,
    depth_single_blocks=1,
    axes_dim=[16, 56, 56],
    theta=10000,
    patch_size=2,
    qkv_bias=True,
    guidance_embed=True,
    txt_ids_dims=[],
)
CONTEXT = {"sd15": 768, "sdxl": 2048, "sd3": 4096, "flux": 64, "toy": 1}
POOLED = {"sdxl": 1280, "sd3": 2048, "flux": 32}


def fill(module: torch.nn.Module, generator: torch.Generator, scale: float = 1.0) -> dict[str, torch.Tensor]:
    """Random weights in the module's shapes: 1/√fan_in for matrices, 1 for norms, small biases."""
    out = {}
    for name, value in module.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if value.ndim > 1:
            out[name] = noise * scale / value[0].numel() ** 0.5
        elif name.endswith("weight"):
            out[name] = 1 + 0.1 * noise
        else:
            out[name] = 0.1 * noise
    return out


def perturbed(weights: dict[str, torch.Tensor], seed: int, amount: float = 0.3) -> dict[str, torch.Tensor]:
    """Every weight moved by `amount` of its own spread: an anchor that differs from its reference everywhere."""
    generator = torch.Generator().manual_seed(seed)
    return {
        k: v + amount * v.std().nan_to_num(0.1) * torch.randn(v.shape, generator=generator) for k, v in weights.items()
    }


class TinyModels:
    """Writes files on first use and keeps them: `reference(kind)` and `anchor(kind)` are paths of checkpoints."""

    def __init__(self, models_dir: Path):
        self.dir = models_dir
        self._weights: dict[str, dict[str, torch.Tensor]] = {}

    def weights(self, kind: str) -> dict[str, torch.Tensor]:
        """The reference's diffusion weights, in the host's own names without prefix."""
        if kind not in self._weights:
            generator = torch.Generator().manual_seed(sum(map(ord, kind)))
            self._weights[kind] = fill(self._module(kind), generator)
        return self._weights[kind]

    def _module(self, kind: str) -> torch.nn.Module:
        common = dict(dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init)
        if kind == "flux":
            return Flux(**FLUX, **common)
        if kind == "sd3":
            return MMDiT(
                input_size=None,
                pos_embed_scaling_factor=None,
                pos_embed_max_size=32,
                in_channels=16,
                depth=1,
                patch_size=2,
                adm_in_channels=2048,
                context_embedder_config={
                    "target": "torch.nn.Linear",
                    "params": {"in_features": 4096, "out_features": 64},
                },
                num_patches=1024,
                **common,
            )
        return UNetModel(
            image_size=32,
            in_channels=4,
            out_channels=4,
            use_spatial_transformer=True,
            legacy=False,
            **UNET[kind],
            **common,
        )

    def checkpoint(self, name: str, weights: dict[str, torch.Tensor]) -> Path:
        path = self.dir / "checkpoints" / f"{name}.safetensors"
        if not path.exists():
            save_file({f"model.diffusion_model.{k}": v.contiguous() for k, v in weights.items()}, path)
        return path

    def reference(self, kind: str) -> Path:
        return self.checkpoint(f"{kind}_reference", self.weights(kind))

    def anchor(self, kind: str) -> Path:
        return self.checkpoint(f"{kind}_anchor", perturbed(self.weights(kind), 7))

    def load(self, path: Path):
        """MODEL by the host's stock checkpoint loader."""
        return comfy.sd.load_checkpoint_guess_config(str(path), output_vae=False, output_clip=False)[0]

    def controlnet(self) -> Path:
        path = self.dir / "controlnet" / "sd15_control.safetensors"
        if not path.exists():
            config = {k: v for k, v in UNET["sd15"].items() if k != "transformer_depth_output"}
            module = ControlNet(
                image_size=32,
                in_channels=4,
                hint_channels=3,
                use_spatial_transformer=True,
                legacy=False,
                dtype=torch.float32,
                device="cpu",
                operations=comfy.ops.disable_weight_init,
                **config,
            )
            weights = fill(module, torch.Generator().manual_seed(3))
            save_file({f"control_model.{k}": v.contiguous() for k, v in weights.items()}, path)
        return path

    def lora_weights(self, kind: str, seed: int = 5, rank: int = 4, strength: float = 1.0) -> dict[str, torch.Tensor]:
        """A LoRA on every attention and feed-forward matrix: {layer: (up, down)}, in the host's layer names."""
        generator = torch.Generator().manual_seed(seed)
        out = {}
        for name, value in self.weights(kind).items():
            if value.ndim == 2 and ("attn" in name or ".ff." in name or "mlp" in name) and name.endswith(".weight"):
                up = torch.randn(value.shape[0], rank, generator=generator) * strength
                down = torch.randn(rank, value.shape[1], generator=generator) / value.shape[1] ** 0.5 / rank**0.5
                out[name.removesuffix(".weight")] = (up, down)
        return out


def full_sd15() -> torch.nn.Module:
    """SD 1.5's UNet at its real size, without memory for its weights."""
    return UNetModel(
        image_size=32,
        in_channels=4,
        out_channels=4,
        use_spatial_transformer=True,
        legacy=False,
        model_channels=320,
        num_res_blocks=[2, 2, 2, 2],
        channel_mult=[1, 2, 4, 4],
        transformer_depth=[1, 1, 1, 1, 1, 1, 0, 0],
        transformer_depth_output=[1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        transformer_depth_middle=1,
        context_dim=768,
        num_heads=8,
        use_linear_in_transformer=False,
        dtype=torch.float32,
        device="meta",
        operations=comfy.ops.disable_weight_init,
    )


def conditioning(kind: str, seed: int, batch: int = 1) -> list:
    """[[context (B, 77, dim), {...}]] as the host's text encoders give it."""
    generator = torch.Generator().manual_seed(seed)
    options = {}
    if kind in POOLED:
        options["pooled_output"] = torch.randn(batch, POOLED[kind], generator=generator)
    return [[torch.randn(batch, 12, CONTEXT[kind], generator=generator), options]]


def latent(kind: str, batch: int = 1, size: int | None = None, seed: int | None = None) -> dict:
    """LATENT: empty, or seeded noise to stand for a picture. By default as small as convolutions and patches allow."""
    size = size or (4 if kind in UNET else 8)
    channels = 16 if kind in ("sd3", "flux") else 4
    samples = torch.zeros(batch, channels, size, size)
    if seed is not None:
        samples = torch.randn(samples.shape, generator=torch.Generator().manual_seed(seed))
    return {"samples": samples}
