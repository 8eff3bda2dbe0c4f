"""Nodes for the host of test_bad_inputs.py, which loads this file as a pack of its own: values that no node gives."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import comfy.clip_vision
import comfy.model_management
import torch

# What nodes look for beside the host: they are to look at what they are given, not only at what lacks.
for name in ("imscore", "open_clip", "timm", "ftfy", "wcwidth"):
    sys.modules.setdefault(name, ModuleType(name))


class Anything(str):
    """A type that can be linked to every other."""

    def __ne__(self, other):
        return False


def built(value):
    """JSON, in which {"number": "nan"} and {"tensor": shape, "dtype", "value"} stand for what JSON has not."""
    if isinstance(value, dict) and "number" in value:
        return float(value["number"])
    if isinstance(value, dict) and "tensor" in value:
        dtype = getattr(torch, value.get("dtype", "float32"))
        return torch.full(value["tensor"], float(value.get("value", 0)), dtype=torch.float32).to(dtype)
    if isinstance(value, dict):
        return {key: built(item) for key, item in value.items()}
    return [built(item) for item in value] if isinstance(value, list) else value


class Odd:
    """Hands on a value of any kind."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"json": ("STRING", {})}})
    RETURN_TYPES, FUNCTION, CATEGORY = (Anything("*"),), "give", "tests"

    def give(self, json_text=None, **inputs):
        return (built(json.loads(inputs["json"])),)


class Sees:
    """A CLIP vision model, small and with whatever weights its memory holds."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("CLIP_VISION",), "give", "tests"

    def give(self):
        config = dict(num_hidden_layers=1, hidden_size=8, num_attention_heads=1, intermediate_size=8)
        config |= dict(hidden_act="gelu", model_type="clip_vision_model", num_channels=3, patch_size=14, image_size=28)
        return (comfy.clip_vision.ClipVisionModel(config | {"projection_dim": 8}),)


class Loaded:
    """Shows how many models the host holds."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {}})
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "count", "tests", True
    IS_CHANGED = classmethod(lambda cls: float("nan"))

    def count(self):
        return {"ui": {"loaded": [len(comfy.model_management.current_loaded_models)]}}


class Finite:
    """Shows whether a latent is finite."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"latent": ("LATENT", {})}})
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "look", "tests", True

    def look(self, latent):
        return {"ui": {"finite": [bool(torch.isfinite(latent["samples"]).all())]}}


NODE_CLASS_MAPPINGS = {"Odd": Odd, "Sees": Sees, "Loaded": Loaded, "Finite": Finite}
