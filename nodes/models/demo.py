"""The demo models that ship with the pack: their files, and their captions."""

from __future__ import annotations

from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from einops import rearrange

from ..types import Conditioning
from .demo_network import REFERENCE_TOKENS, TOKEN_DIM, VOCABULARY, build_model, caption_ids
from .machine import check_machine

FOLDER = Path(__file__).resolve().parents[2] / "demo"
PREFIX = "diffusion_model."


def demo_model(name: str, disable_dynamic: bool = False) -> ModelPatcher:
    """The "reference" or the "anchor", each on weights of its own.

    The files hold fp16; the model computes in fp32 everywhere, so that pictures are the same on every device.
    Raises ValueError, in one sentence, for a file that is missing or not as the training script writes it.
    """
    weights, _ = read(name)
    weights = {key.removeprefix(PREFIX): value for key, value in weights.items() if key.startswith(PREFIX)}
    home = comfy.model_management.unet_offload_device()
    model = build_model(home)
    try:
        model.diffusion_model.load_state_dict(weights)
    except RuntimeError as error:
        check_machine(error, f"The demo model {FOLDER / name}.safetensors cannot be loaded")
        raise ValueError(_unusable(name, "its layers are not those of the demo model")) from error
    kind = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = kind(model, load_device=comfy.model_management.get_torch_device(), offload_device=home)
    patcher.cached_patcher_init = (demo_model, (name,))  # how the host makes copies with weights of their own
    return patcher


def caption_tokens() -> torch.Tensor:
    """(VOCABULARY, TOKEN_DIM): what each word of a caption is to both models. Raises ValueError as `demo_model`."""
    tokens = read("reference")[0].get(REFERENCE_TOKENS)
    if tokens is None or tokens.shape != (VOCABULARY, TOKEN_DIM):
        raise ValueError(_unusable("reference", "its captions are not those of the demo model"))
    return tokens.float()


def caption(tokens: torch.Tensor, **words: str) -> Conditioning:
    """tokens: (VOCABULARY, TOKEN_DIM) -> a conditioning (1, 3, TOKEN_DIM); a kind that is left out is "any"."""
    return [[rearrange(tokens[caption_ids(**words)], "word channel -> 1 word channel"), {}]]


def read(name: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of `demo/<name>.safetensors`. Raises ValueError for a missing or damaged file."""
    path = FOLDER / f"{name}.safetensors"
    if not path.is_file():
        raise ValueError(_unusable(name, "it is missing"))
    try:
        weights, metadata = comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
    except Exception as error:
        check_machine(error, f"The demo model {path} cannot be loaded")
        raise ValueError(_unusable(name, "it is damaged")) from error
    return weights, metadata or {}


def _unusable(name: str, reason: str) -> str:
    return (
        f"The demo model {FOLDER / name}.safetensors cannot be used: {reason}. Install the pack again, or make the "
        "file with tools/train/train_demo.py."
    )
