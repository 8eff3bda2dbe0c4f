"""LoRA files: which of a model's weights a file's keys name, in every layout that trainers write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.lora
import comfy.lora_convert
import torch
from comfy.model_patcher import ModelPatcher

from .factors import BrokenLoraError, as_on_layer, check_pairs, check_whole, fits
from .layers import weight_shapes
from .peft import peft_config

StateDict = dict[str, torch.Tensor]

# What follows a layer's name in an adapter file: kohya, diffusers (old and new), PEFT, LyCORIS, full differences.
_ADAPTER_PART = re.compile(
    r"\.(lora_(up|down|mid|A|B)(\.default)?\.weight|lora[._](up|down)\.weight|lora_linear_layer\.(up|down)\.weight"
    r"|lora_(A|B)|hada_\w+|lokr_\w+|oft_\w+|[ab][12]\.weight|diff|diff_b|w_norm|b_norm|set_weight"
    r"|dora_scale|lora_magnitude_vector(\.\w+)?|alpha)$|_lora\.(up|down|mid)\.weight$"
)
_TEXT_ENCODER = re.compile(r"^(lora_te|lora_te1_|lora_te2_|text_encoder|text_encoders\.|clip_)")
# PEFT wraps the model once or twice, and pipelines put the module's name before or after.
_WRAPPERS = ("", "base_model.model.", "unet.", "transformer.", "base_model.model.unet.", "unet.base_model.model.")
_WRAPPERS += ("base_model.model.transformer.", "transformer.base_model.model.")


def is_lora(state_dict: Mapping[str, Any]) -> bool:
    """Whether most of the file's keys are parts of adapters: a stray look-alike in a full model does not count."""
    return 2 * sum(bool(_ADAPTER_PART.search(key)) for key in state_dict) > len(state_dict)


def match_lora(model: ModelPatcher, state_dict: StateDict) -> tuple[dict[Any, Any], float, str]:
    """The host's patches for `model`, the share of the file's layers they cover, and the first layer they do not.

    Text encoder layers do not count: an anchor is a diffusion model. share: 0 to 1; 0 for a file for another model.
    Raises BrokenLoraError for a file that would fit no model.
    """
    key_map = with_layouts(comfy.lora.model_lora_keys_unet(model.model, {}))
    try:
        state_dict = comfy.lora_convert.convert_lora(dict(state_dict))
        parts = (key for key in state_dict if _ADAPTER_PART.search(key) and not _TEXT_ENCODER.match(key))
        layers = {key: _layer(key) for key in parts}
        check_pairs(layers, state_dict)
        patches = comfy.lora.load_lora(state_dict, key_map, log_missing=False)
    except KeyError as error:  # the host takes a file to be whole
        raise BrokenLoraError(f"it has no {error.args[0]}") from error
    except (IndexError, RuntimeError, TypeError) as error:
        raise BrokenLoraError("a part of it has a shape that no adapter has") from error
    for key, patch in patches.items():
        check_whole(key, patch)
    shapes = weight_shapes(model.model)
    patches = {key: as_on_layer(key, patch, shapes) for key, patch in patches.items() if fits(key, patch, shapes)}
    targets = {name for name, target in key_map.items() if target in patches}

    missed = sorted({*layers.values()} - targets)
    share = 1 - len(missed) / len(layers) if layers and patches else 0.0
    return patches, share, missed[0] if missed else ""


def with_layouts(key_map: dict[str, Any]) -> dict[str, Any]:
    """The host's key map, and the same layers under the names it does not list: PEFT's and newer diffusers'.

    The host knows a UNet's attention as `….processor.to_q` and `….processor.to_out`; files written since diffusers
    0.22 say `….to_q` and `….to_out.0`. PEFT puts `base_model.model.` in front of any of them.
    """
    out = dict(key_map)
    for name, target in key_map.items():
        if "." not in name:  # kohya's flattened names have no wrappers
            continue
        plain = name.replace(".processor.to_", ".to_")
        for variant in {name, plain, re.sub(r"\.to_out$", ".to_out.0", plain)}:
            bare = re.sub(r"^(base_model\.model\.|unet\.|transformer\.|diffusion_model\.)+", "", variant)
            for wrapper in _WRAPPERS:
                out.setdefault(wrapper + bare, target)
    return out


def _layer(key: str) -> str:
    """`a.b.to_q.lora_A.weight` → `a.b.to_q`; `a.b.processor.to_q_lora.up.weight` → `a.b.processor.to_q`."""
    return _ADAPTER_PART.sub("", key)


def normalise(state_dict: StateDict, path: Path, metadata: Mapping[str, str] | None) -> tuple[StateDict, bool]:
    """PEFT's names and scale in the host's terms. Returns the state dict and whether the file's scale is known.

    PEFT keeps lora_alpha apart from the weights: in `adapter_config.json` beside the file, or, as diffusers writes
    it, in the metadata. The host takes a layer without an `.alpha` for alpha = rank, so a Flow-GRPO LoRA with
    lora_alpha 64 and rank 32 would act at half its strength. Raises ValueError where that cannot be read.
    """
    # `lora_A.default.weight`: PEFT's in-memory names, saved as they are.
    out = {re.sub(r"\.(lora_[AB])\.default\.weight$", r".\1.weight", key): value for key, value in state_dict.items()}
    downs = [key for key in out if key.endswith((".lora_A.weight", ".lora_A"))]
    if not downs or any(key.endswith(".alpha") for key in out):
        return out, True
    config = peft_config(path, metadata)
    if config is None:
        return out, False
    for key in downs:
        layer, rank = _layer(key), len(out[key]) if out[key].ndim else 1
        out[f"{layer}.alpha"] = torch.tensor(config.alpha(layer, rank))
    return out, True
