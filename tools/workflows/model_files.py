"""The public model files that the shared workflows load: where they are hosted, and which folder they go into.

The page lists the files that a workflow needs and the host lacks. It takes folder and address from the properties of
the nodes, by what their widgets say: that is the file's name, and for LoadAnchorModel and RealignRewardModel the folder
before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

CLIPS = "comfyanonymous/flux_text_encoders"
UNET = "unet/diffusion_pytorch_model.safetensors"

# By the widget's value: the folder, the repository, and the path there.
HOSTED = {
    "sd_xl_base_1.0.safetensors": (
        "checkpoints",
        "stabilityai/stable-diffusion-xl-base-1.0",
        "sd_xl_base_1.0.safetensors",
    ),
    "v1-5-pruned-emaonly-fp16.safetensors": (
        "checkpoints",
        "Comfy-Org/stable-diffusion-v1-5-archive",
        "v1-5-pruned-emaonly-fp16.safetensors",
    ),
    "sd3.5_medium.safetensors": (
        "checkpoints",
        "stabilityai/stable-diffusion-3.5-medium",
        "sd3.5_medium.safetensors",
    ),
    "clip_l.safetensors": ("text_encoders", CLIPS, "clip_l.safetensors"),
    "clip_g.safetensors": (
        "text_encoders",
        "Comfy-Org/stable-diffusion-3.5-fp8",
        "text_encoders/clip_g.safetensors",
    ),
    "t5xxl_fp8_e4m3fn_scaled.safetensors": ("text_encoders", CLIPS, "t5xxl_fp8_e4m3fn_scaled.safetensors"),
    "diffusion_models/dpo-sdxl-text2image-v1.safetensors": (
        "diffusion_models",
        "mhdang/dpo-sdxl-text2image-v1",
        UNET,
    ),
    "diffusion_models/dpo-sd1.5-text2image-v1.safetensors": (
        "diffusion_models",
        "mhdang/dpo-sd1.5-text2image-v1",
        UNET,
    ),
    "clip-vit-large-patch14.safetensors": ("clip_vision", "openai/clip-vit-large-patch14", "model.safetensors"),
    "reward_models/PickScore_v1.safetensors": ("reward_models", "yuvalkirstain/PickScore_v1", "model.safetensors"),
    "reward_models/aesthetic-model.pth": ("reward_models", "trl-lib/ddpo-aesthetic-predictor", "aesthetic-model.pth"),
    "reward_models/HPS_v2.1_compressed.pt": ("reward_models", "xswu/HPSv2", "HPS_v2.1_compressed.pt"),
    "loras/spo_sdxl_10ep_4k-data_lora_diffusers.safetensors": (
        "loras",
        "SPO-Diffusion-Models/SPO-SDXL_4k-p_10ep_LoRA",
        "spo_sdxl_10ep_4k-data_lora_diffusers.safetensors",
    ),
    "loras/sd3.5m-flowgrpo-pickscore.safetensors": (
        "loras",
        "jieliu/SD3.5M-FlowGRPO-PickScore",
        "adapter_model.safetensors",
    ),
}


def downloads(values: Iterable[Any]) -> list[dict[str, str]]:
    """For the `models` of a node's properties: the hosted files among its widgets' values."""
    found = [(value, *HOSTED[value]) for value in values if isinstance(value, str) and value in HOSTED]
    return [
        {"name": name, "url": f"https://huggingface.co/{repository}/resolve/main/{path}", "directory": folder}
        for name, folder, repository, path in found
    ]
