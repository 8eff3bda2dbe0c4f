"""LoRA files: which of a model's weights a file's keys name, in every layout that trainers write."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import comfy.lora
import comfy.lora_convert
import torch
from comfy.model_patcher import ModelPatcher
from pydantic import AliasChoices, BaseModel, Field, StrictFloat, ValidationError

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
    """
    state_dict = comfy.lora_convert.convert_lora(dict(state_dict))
    key_map = with_layouts(comfy.lora.model_lora_keys_unet(model.model, {}))
    patches = comfy.lora.load_lora(state_dict, key_map, log_missing=False)
    shapes = {key: tuple(weight.shape) for key, weight in model.model.state_dict().items()}
    patches = {key: patch for key, patch in patches.items() if _fits(key, patch, shapes)}
    targets = {name for name, target in key_map.items() if target in patches}

    layers = {_layer(key) for key in state_dict if _ADAPTER_PART.search(key) and not _TEXT_ENCODER.match(key)}
    missed = sorted(layers - targets)
    share = 1 - len(missed) / len(layers) if layers and patches else 0.0
    return patches, share, missed[0] if missed else ""


def _fits(key: Any, patch: Any, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a patch's layer exists and has its size. The host would skip it with a line in the log, while sampling.

    key: the weight's name, or (name, slice). patch: the host's adapter, or ("diff", (tensor,)).
    """
    if not isinstance(key, str):
        return key[0] in shapes
    if key not in shapes:
        return False
    name, parts = getattr(patch, "name", None), getattr(patch, "weights", None)
    if name == "lora":
        up, down, reshape = parts[0], parts[1], parts[5] if len(parts) > 5 else None
        if reshape is not None or parts[3] is not None:  # padded, or Tucker-decomposed
            return True
        return up.shape[0] * down[0].numel() == math.prod(shapes[key]) and up.shape[0] == shapes[key][0]
    if name == "loha" and parts[5] is None:
        return parts[0].shape[0] * parts[1][0].numel() == math.prod(shapes[key])
    if isinstance(patch, tuple) and patch[0] == "diff":
        return tuple(patch[1][0].shape) == shapes[key]
    return True


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
    lora_alpha 64 and rank 32 would act at half its strength.
    """
    # `lora_A.default.weight`: PEFT's in-memory names, saved as they are.
    out = {re.sub(r"\.(lora_[AB])\.default\.weight$", r".\1.weight", key): value for key, value in state_dict.items()}
    downs = [key for key in out if key.endswith((".lora_A.weight", ".lora_A"))]
    if not downs or any(key.endswith(".alpha") for key in out):
        return out, True
    config = _peft_config(path, metadata)
    if config is None:
        return out, False
    for key in downs:
        layer, rank = _layer(key), out[key].shape[0]
        out[f"{layer}.alpha"] = torch.tensor(config.alpha(layer, rank))
    return out, True


def _spelt(name: str, default: Any = ...) -> Any:
    """A field as PEFT writes it, and as diffusers does in a file's metadata: with the module's name in front."""
    return Field(default, validation_alias=AliasChoices(name, f"transformer.{name}", f"unet.{name}"))


class PeftConfig(BaseModel):
    """What PEFT's configuration says of the scale of its weights."""

    lora_alpha: StrictFloat = _spelt("lora_alpha")
    alpha_pattern: dict[str, float] | None = _spelt("alpha_pattern", None)  # by a pattern that ends a layer's name
    use_rslora: bool | None = _spelt("use_rslora", None)  # the scale is α/√r instead of α/r

    def alpha(self, layer: str, rank: int) -> float:
        """The layer's α for the host, whose scale is α/r: that of the first pattern that fits, else `lora_alpha`."""
        patterns = (self.alpha_pattern or {}).items()
        found = (alpha for pattern, alpha in patterns if re.match(rf"(.*\.)?({pattern})$", layer))
        return next(found, self.lora_alpha) * (rank**0.5 if self.use_rslora else 1.0)


def _peft_config(path: Path, metadata: Mapping[str, str] | None) -> PeftConfig | None:
    """From the metadata that diffusers writes, else from the file that PEFT writes; None where neither says it."""
    sources: list[str | bytes] = [(metadata or {}).get("lora_adapter_metadata", "")]
    with suppress(OSError):
        sources.append(path.with_name("adapter_config.json").read_bytes())
    for source in sources:
        with suppress(ValidationError):
            return PeftConfig.model_validate_json(source)
    return None
