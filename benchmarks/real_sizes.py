"""The host's models in their real sizes without a file: with random weights, or with none on torch's “meta” device.

Small ones of the same kinds (tests/host/tiny_models.py) stand in where no GPU is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

KINDS = ("sd15", "sdxl", "sd35", "flux")
NAMES = {"sd15": "SD 1.5", "sdxl": "SDXL", "sd35": "SD3.5 medium", "flux": "Flux"}
FP8 = torch.float8_e4m3fn
UNET: dict[str, Any] = dict(image_size=32, in_channels=4, out_channels=4, use_spatial_transformer=True, legacy=False)
CONFIGS: dict[str, dict[str, Any]] = {
    "sd15": UNET
    | dict(
        model_channels=320,
        num_res_blocks=[2, 2, 2, 2],
        channel_mult=[1, 2, 4, 4],
        transformer_depth=[1, 1, 1, 1, 1, 1, 0, 0],
        transformer_depth_output=[1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        transformer_depth_middle=1,
        context_dim=768,
        use_linear_in_transformer=False,
        adm_in_channels=None,
    ),
    "sdxl": UNET
    | dict(
        model_channels=320,
        num_res_blocks=[2, 2, 2],
        channel_mult=[1, 2, 4],
        transformer_depth=[0, 0, 2, 2, 10, 10],
        transformer_depth_output=[0, 0, 0, 2, 2, 2, 10, 10, 10],
        transformer_depth_middle=10,
        context_dim=2048,
        use_linear_in_transformer=True,
        adm_in_channels=2816,
        num_classes="sequential",
    ),
    "sd35": dict(
        in_channels=16,
        out_channels=16,
        patch_size=2,
        depth=24,
        input_size=None,
        adm_in_channels=2048,
        num_patches=384**2,
        pos_embed_max_size=384,
        pos_embed_scaling_factor=None,
        qk_norm="rms",
        x_block_self_attn_layers=list(range(13)),
        context_embedder_config={"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 1536}},
    ),
    "flux": dict(
        image_model="flux",
        in_channels=16,
        out_channels=16,
        patch_size=2,
        hidden_size=3072,
        num_heads=24,
        depth=19,
        depth_single_blocks=38,
        mlp_ratio=4.0,
        context_in_dim=4096,
        vec_in_dim=768,
        axes_dim=[16, 56, 56],
        theta=10000,
        qkv_bias=True,
        guidance_embed=True,
        txt_ids_dims=[],
    ),
}
# Of the latents per side, for pictures of 1024² (SD 1.5: 512²), and of the prompts' tokens.
SIDES = {"sd15": 64, "sdxl": 128, "sd35": 128, "flux": 128}
TOKENS = {"sd15": 77, "sdxl": 77, "sd35": 154, "flux": 256}


@dataclass(frozen=True)
class Shapes:
    """A kind of models, in its real size or in a small one."""

    kind: str
    is_small: bool = False

    @property
    def config(self) -> dict[str, Any]:
        config = dict(CONFIGS[self.kind])
        if not self.is_small:
            return config
        import tiny_models

        if self.kind == "sd35":
            embedder = {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 64}}
            small: dict[str, Any] = {"depth": 1, "num_patches": 32**2, "pos_embed_max_size": 32}
            return config | small | {"x_block_self_attn_layers": [0], "context_embedder_config": embedder}
        small = tiny_models.FLUX if self.kind == "flux" else tiny_models.UNET[self.kind]
        return config | small

    def latent(self, batch: int = 1) -> dict[str, torch.Tensor]:
        side = 8 if self.is_small else SIDES[self.kind]
        return {"samples": torch.zeros(batch, 16 if self.kind in ("sd35", "flux") else 4, side, side)}

    def conditioning(self, seed: int) -> list[Any]:
        """[[context (1, tokens, dim), {...}]] as the host's text encoders give it."""
        generator, config = torch.Generator().manual_seed(seed), self.config
        dim = 4096 if self.kind == "sd35" else config["context_in_dim" if self.kind == "flux" else "context_dim"]
        pooled = {"sdxl": 1280, "sd35": 2048, "flux": config.get("vec_in_dim")}.get(self.kind)
        options = {"pooled_output": torch.randn(1, pooled, generator=generator)} if pooled else {}
        return [[torch.randn(1, 12 if self.is_small else TOKENS[self.kind], dim, generator=generator), options]]

    def model(self, dtype: torch.dtype, device: torch.device | str, compute: torch.dtype | None = None) -> Any:
        """MODEL without values in its weights. dtype: of the weights; compute: where that is another one."""
        import comfy.model_management as management
        import comfy.model_patcher
        import comfy.supported_models as supported

        kinds = {"sd15": supported.SD15, "sdxl": supported.SDXL, "sd35": supported.SD3, "flux": supported.Flux}
        config = kinds[self.kind](self.config)
        config.set_inference_dtype(dtype, compute)
        model = config.get_model({}, "", device=device)
        devices = management.get_torch_device(), management.unet_offload_device()
        return comfy.model_patcher.CoreModelPatcher(model, *devices)


class Windows:
    """Random weights for models that are made on “meta”: each is a window into one tensor, so that main memory holds
    little of them. Spread as 1/√fan-in, which keeps outputs of order one."""

    def __init__(self, seed: int):
        self._generator = torch.Generator().manual_seed(seed)
        self._values: dict[tuple[float, float, torch.dtype], torch.Tensor] = {}

    def fill(self, patcher: Any) -> Any:
        for module in patcher.model.modules():
            for name, value in module._parameters.items():
                if value is not None and value.is_meta:
                    new = self._window(value, is_norm=name == "weight" and value.ndim == 1)
                    module._parameters[name] = torch.nn.Parameter(new, requires_grad=False)
            for name, value in module._buffers.items():
                if value is not None and value.is_meta:
                    module._buffers[name] = self._window(value, is_norm=False)
        return patcher

    def _window(self, like: torch.Tensor, is_norm: bool) -> torch.Tensor:
        scale = like[0].numel() ** -0.5 if like.ndim > 1 else 0.1
        key = (scale, float(is_norm), like.dtype)
        values = self._values.get(key)
        if values is None or len(values) < like.numel():
            drawn = scale * torch.randn(like.numel(), generator=self._generator) + float(is_norm)
            values = self._values[key] = drawn.to(like.dtype)
        return values[: like.numel()].view(like.shape)


def lora(patcher: Any, rank: int, seed: int, everywhere: bool = False) -> dict[str, torch.Tensor]:
    """A LoRA on every attention and feed-forward matrix, as a file of it holds.

    everywhere: as `low_rank` has it, on convolutions too, with norms and biases whole.
    """
    from realign.nodes.models.low_rank import is_factored

    out = {}
    generator = torch.Generator().manual_seed(seed)
    parts = ("attn", ".ff.", "mlp", "linear1", "linear2", "qkv")
    for name, weight in patcher.model.diffusion_model.named_parameters():
        layer = name.removesuffix(".weight")
        dtype = weight.dtype if weight.dtype.itemsize > 1 else torch.bfloat16
        factored = is_factored(name, weight.shape, rank)
        if layer != name and (factored if everywhere else weight.ndim == 2 and any(part in name for part in parts)):
            inputs = weight[0].numel()
            up = 0.3 * torch.randn(weight.shape[0], rank, *[1] * (weight.ndim - 2), generator=generator)
            down = torch.randn(rank, *weight.shape[1:], generator=generator) / (inputs * rank) ** 0.5
            out[f"diffusion_model.{layer}.lora_up.weight"] = up.to(dtype)
            out[f"diffusion_model.{layer}.lora_down.weight"] = down.to(dtype)
        elif everywhere:
            ending = "diff_b" if name.endswith(".bias") else "diff"
            whole = 0.01 * torch.randn(weight.shape, generator=generator)
            out[f"diffusion_model.{layer.removesuffix('.bias')}.{ending}"] = whole.to(dtype)
    return out
