"""Nodes of other packs that need more than their defaults to do something: another architecture, inputs, other nodes;
and why some differ.

All others are found by their sockets (`packs_graphs.places`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from packs_graphs import BEFORE, BEHIND, PROMPT, SIZE, STEPS, Case
from safetensors.torch import save_file
from torch import Tensor

MASK = ("SolidMask", {"value": 0.4, "width": SIZE, "height": SIZE})
TILES = {"tile_width": 64, "tile_height": 64, "tile_overlap": 32}
VAE = ("VAELoader", {"vae_name": "small.safetensors"})
REDRAW = {"tile_width": 64, "tile_height": 64, "denoise": 0.8, "mask_blur": 0}
RES4LYF = (("Flux", "flux"), ("SD35", "sd3"))

CASES = (
    # ComfyUI-TeaCache, Comfy-WaveSpeed
    Case("TeaCache", kind="flux", inputs={"rel_l1_thresh": 2.0}),
    Case("CompileModel", inputs={"backend": "eager"}),
    *(Case("ApplyFBCacheOnModel", kind=kind, inputs={"residual_diff_threshold": 0.9}) for kind in ("flux", "sd15")),
    # ComfyUI-TiledDiffusion
    Case("TiledDiffusion", inputs={**TILES, "method": "MultiDiffusion"}),
    # ComfyUI-Advanced-ControlNet
    Case(
        "ACN_AdvancedControlNetApply_v2",
        PROMPT,
        inputs={"control_net": "@net"},
        also={"net": ("ControlNetLoaderAdvanced", {"control_net_name": "sd15_control.safetensors"})},
    ),
    # ComfyUI-AnimateDiff-Evolved: FreeInit samples more than once
    *(
        Case(
            "ADE_UseEvolvedSampling",
            place,
            inputs={"sample_settings": "@settings"},
            also={
                "settings": ("ADE_AnimateDiffSamplingSettings", {"iteration_opts": "@free"}),
                "free": ("ADE_IterationOptsFreeInit", {}),
            },
        )
        for place in (BEFORE, BEHIND)
    ),
    # cgem156-ComfyUI, attention-couple-ComfyUI
    Case(
        "AttentionCouple|cgem156",
        inputs={"cond_1": "@prompt", "mask_1": "@mask"},
        also={"prompt": ("ProbePrompt", {"kind": "sd15", "seed": 61}), "mask": MASK},
    ),
    Case(
        "Attention couple",
        inputs={"positive": "@masked"},
        also={
            "masked": ("ConditioningSetMask", {"conditioning": "@prompt", "mask": "@mask"}),
            "prompt": ("ProbePrompt", {"kind": "sd15", "seed": 61}),
            "mask": MASK,
        },
    ),
    # ControlNet-LLLite-ComfyUI: counts its steps
    Case("LLLiteLoader", inputs={"model_name": "small.safetensors", "steps": STEPS, "end_percent": 60.0}),
    # ComfyUI_IPAdapter_plus
    *(
        Case(
            node,
            inputs={"ipadapter": "@adapter", "pos_embed": "@picture", "neg_embed": "@none"},
            also={
                "adapter": ("IPAdapterModelLoader", {"ipadapter_file": "small.safetensors"}),
                "picture": ("IPAdapterLoadEmbeds", {"embeds": "small.ipadpt"}),
                "none": ("IPAdapterLoadEmbeds", {"embeds": "zero.ipadpt"}),
            },
        )
        for node in ("IPAdapterEmbeds", "IPAdapterEmbedsBatch")
    ),
    # efficiency-nodes-comfyui, ComfyUI_UltimateSDUpscale
    Case("KSampler (Efficient)", inputs={"vae_decode": "false", "preview_method": "none"}),
    Case("UltimateSDUpscaleNoUpscale", inputs=REDRAW),
    Case("UltimateSDUpscaleCustomSample", inputs={**REDRAW, "upscale_by": 1.0}),
    # ComfyUI-Easy-Use, comfyui_jankdiffusehigh
    Case(
        "easy fullkSampler",
        inputs={"pipe": "@pipe", "image_output": "None"},
        also={"pipe": ("easy pipeIn", {"vae": "@vae"}), "vae": VAE},
    ),
    Case("DiffuseHighSampler", inputs={"vae_opt": "@vae"}, also={"vae": VAE}),
    # RES4LYF
    *(Case(f"Re{name}Patcher{more}", kind=kind) for name, kind in RES4LYF for more in ("", "Advanced")),
    *(Case(name, kind="flux") for name in ("FluxGuidanceDisable", "FluxOrthoCFGPatcher")),
)


# Models that packs want


def lllite(width: int = 320, rank: int = 8) -> dict[str, Tensor]:
    """A ControlNet-LLLite for the small sd15: random weights for one query and one key."""
    shapes = {
        "conditioning1.0": (rank, 3, 4, 4),
        "conditioning1.2": (2 * rank, rank, 2, 2),
        "down.0": (rank, width),
        "mid.0": (rank, 3 * rank),
        "up.0": (width, rank),
    }
    block = "lllite_unet_input_blocks_1_1_transformer_blocks_0"
    layers = {f"{block}_{layer}.{name}": shapes[name] for layer in ("attn1_to_q", "attn1_to_k") for name in shapes}
    return _random({f"{layer}.weight": shape for layer, shape in layers.items()}) | {
        f"{layer}.bias": torch.zeros(shape[0]) for layer, shape in layers.items()
    }


def ip_adapter(width: int = 320, prompt: int = 768, picture: int = 64) -> dict[str, Tensor]:
    """An IP adapter for the small sd15. picture: of the embedding."""
    layers = {f"ip_adapter.{2 * i + 1}.to_{kind}_ip.weight": (width, prompt) for i in range(16) for kind in "kv"}
    norm = {"image_proj.norm.weight": torch.ones(prompt), "image_proj.norm.bias": torch.zeros(prompt)}
    proj = {"image_proj.proj.weight": (4 * prompt, picture)}
    return _random(layers | proj) | norm | {"image_proj.proj.bias": torch.zeros(4 * prompt)}


def _random(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(71)
    return {name: torch.randn(shape, generator=generator) / 4 for name, shape in shapes.items()}


FILES: dict[str, dict[str, Callable[[], Any]]] = {  # pack → path in ComfyUI's folder → what is in it
    "ControlNet-LLLite-ComfyUI": {"custom_nodes/ControlNet-LLLite-ComfyUI/models/small.safetensors": lllite},
    "ComfyUI_IPAdapter_plus": {
        "models/ipadapter/small.safetensors": ip_adapter,
        "input/small.ipadpt": lambda: torch.randn(1, 64, generator=torch.Generator().manual_seed(72)),
        "input/zero.ipadpt": lambda: torch.zeros(1, 64),
    },
}


def add_files(pack: str, base: Path) -> None:
    """What a pack wants to find. base: ComfyUI's folder."""
    for name, make in FILES.get(pack, {}).items():
        file = base / name
        file.parent.mkdir(parents=True, exist_ok=True)
        (save_file if file.suffix == ".safetensors" else torch.save)(make(), file)
