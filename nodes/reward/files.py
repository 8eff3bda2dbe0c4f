"""Reward models' files: where they lie, and what is in them."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.clip_vision
import comfy.utils
import folder_paths
import torch

from ..models.files import one_line, read_file
from ..models.finite import not_finite
from ..models.machine import check_machine
from .aesthetic import Aesthetic, head_of, is_head
from .clip import TextReward, network
from .protocol import Reward

FOLDER = "reward_models"
FOLDERS = (FOLDER, "clip_vision", "text_encoders")  # where a CLIP with both its towers may lie, too
WHERE = (
    "PickScore: yuvalkirstain/PickScore_v1 on huggingface.co; HPS v2: xswu/HPSv2 there; CLIP: "
    "openai/clip-vit-large-patch14 there; aesthetic: sac+logos+ava1-l14-linearMSE.pth of "
    "christophschuhmann/improved-aesthetic-predictor on github.com"
)
PLAIN_NAMES = {"model", "pytorch_model", "open_clip_pytorch_model", "open_clip_model", "diffusion_pytorch_model"}
# What a file's shapes do not say, by the towers' width: how wide an attention head is where it is not 64, and the
# towers whose activation is OpenAI's. A config.json beside the file says both.
HEAD_WIDTH = {1280: 80, 1408: 88, 1664: 104}
TEXT_HEAD_WIDTH = 64
QUICK = (768, 1024)  # of the image tower: ViT-B and ViT-L
LAST_TOKEN = 49407

Weights = dict[str, torch.Tensor]


def register() -> None:
    """Makes `reward_models` one of the host's model folders, beside what extra_model_paths.yaml says of it."""
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))
    paths, extensions = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, extensions or folder_paths.supported_pt_extensions)


def list_files() -> list[str]:
    """Every file that a reward model may be in, as "folder/name".

    A page that downloads saves "reward_models/name" under that name in reward_models: such a file has this name too.
    """
    found = ((folder, name) for folder in FOLDERS for name in folder_paths.get_filename_list(folder))
    return list(dict.fromkeys(f"{folder}/{name.removeprefix(folder + os.sep)}" for folder, name in found))


def find_file(choice: str) -> Path:
    """The path behind "folder/name". Raises ValueError, which says where such files are to be had."""
    folder, _, name = choice.partition("/")
    names = (name, choice) if folder in FOLDERS and name and "\0" not in name else ()
    path = next(filter(None, (folder_paths.get_full_path(folder, name) for name in names)), None)
    if path is None:
        here = folder_paths.get_folder_paths(FOLDER)[0]
        shown = one_line(choice) or "(none chosen)"
        raise ValueError(
            f"There is no reward model “{shown}”. Put it into {here}, press R to refresh, and choose it ({WHERE})."
        )
    return Path(path)


def load_reward(path: Path, prompt: str, crop: str, clip_vision: Any | None) -> Reward:
    """The reward that is in a file: a CLIP with both towers, or an aesthetic head, which needs a CLIP_VISION.

    Raises ValueError, in one sentence, for every other file and for one that lacks weights.
    """
    weights, _ = read_file(path)
    name = name_of(path)
    bad = not_finite(weights.items())
    if bad:
        raise ValueError(
            f"“{path.name}” is damaged: its weight {bad} is not finite (NaN or infinity). Download it again."
        )
    if is_head(weights):
        if clip_vision is None:
            raise ValueError(
                f"“{path.name}” is an aesthetic head, which reads a picture as CLIP ViT-L/14 sees it: connect Load "
                "CLIP Vision, with such a model, to “clip_vision”."
            )
        return Aesthetic(name, head_of(weights, path.name), clip_vision, crop)
    return text_reward(path, name, weights, prompt, crop)


def text_reward(path: Path, name: str, weights: Weights, prompt: str, crop: str) -> TextReward:
    """Raises ValueError for what is no CLIP with both its towers, whatever of it is odd."""
    beside = config_beside(path)
    try:
        weights = as_host(weights)
        vision, text = configs(weights, beside)
        scale = math.exp(float(weights.pop("logit_scale", math.log(100))))
        patcher = network(vision, text)
        wanted = patcher.model.state_dict()
        lacking = [key for key, value in wanted.items() if key not in weights or weights[key].shape != value.shape]
        if not lacking:
            patcher.model.load_state_dict({key: weights[key] for key in wanted})
    except Exception as error:  # of any shapes and settings that the host's networks cannot be made of
        check_machine(error, f"“{path.name}” cannot be loaded")
        raise ValueError(_not_clip(path, ", or none that the config.json beside it fits" if beside else "")) from error
    if lacking:
        raise ValueError(_not_clip(path, f", or not all of one ({len(lacking)} weights lack, {lacking[0]} for one)"))
    length = int(text["max_position_embeddings"])
    return TextReward(name, patcher, scale, int(vision["image_size"]), length, crop, prompt)


def name_of(path: Path) -> str:
    """Its own, or its folder's where every model has a file of that name."""
    return path.parent.name if path.stem in PLAIN_NAMES and path.parent.name not in FOLDERS else path.stem


def as_host(weights: Weights) -> Weights:
    """The weights of a CLIP as ClipNetwork calls them, from transformers' names or from open_clip's and OpenAI's."""
    weights = {key.removeprefix("module."): value for key, value in weights.items()}
    if "visual.class_embedding" in weights:
        weights = comfy.clip_vision.convert_to_transformers(weights, "visual.")
        return comfy.utils.clip_text_transformers_convert(weights, "", "text.")
    mine = ("text_model.", "text_projection.")
    return {f"text.{key}" if key.startswith(mine) else key: value for key, value in weights.items()}


def configs(weights: Mapping[str, torch.Tensor], beside: Any | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of both towers, as the host's networks want them. beside: transformers' CLIPConfig, where there is one.

    Raises KeyError for what is no CLIP with both its towers.
    """
    patches = weights["vision_model.embeddings.patch_embedding.weight"]
    positions = weights["vision_model.embeddings.position_embedding.weight"]
    tokens = weights["text.text_model.embeddings.position_embedding.weight"]
    vision, text = (_tower(weights, prefix) for prefix in ("vision_model.", "text.text_model."))
    vision |= {
        "model_type": "clip_vision_model",
        "num_channels": patches.shape[1],
        "patch_size": patches.shape[-1],
        "image_size": math.isqrt(positions.shape[0] - 1) * patches.shape[-1],
        "projection_dim": weights["visual_projection.weight"].shape[0],
        "num_attention_heads": vision["hidden_size"] // HEAD_WIDTH.get(vision["hidden_size"], 64),
    }
    act = "quick_gelu" if vision["hidden_size"] in QUICK else "gelu"
    vision["hidden_act"] = text["hidden_act"] = act
    text |= {
        "max_position_embeddings": tokens.shape[0],
        "eos_token_id": LAST_TOKEN,
        "num_attention_heads": text["hidden_size"] // TEXT_HEAD_WIDTH,
    }
    for tower, said in ((vision, "vision_config"), (text, "text_config")) if beside else ():
        own = getattr(beside, said)
        tower |= {"num_attention_heads": own.num_attention_heads, "hidden_act": own.hidden_act}
    return vision, text


def _tower(weights: Mapping[str, torch.Tensor], prefix: str) -> dict[str, Any]:
    layer = re.compile(re.escape(prefix) + r"encoder\.layers\.(\d+)\.")
    layers = {int(found[1]) for key in weights if (found := layer.match(key))}
    inner, width = weights[f"{prefix}encoder.layers.0.mlp.fc1.weight"].shape
    return {"num_hidden_layers": max(layers) + 1, "hidden_size": width, "intermediate_size": inner}


def config_beside(path: Path) -> Any | None:
    """What the config.json in the file's folder says of a CLIP, with transformers' values for what it leaves out."""
    file = path.with_name("config.json")
    try:
        said = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if not isinstance(said, dict) or "vision_config" not in said:
            return None
        from transformers import CLIPConfig  # takes a moment: not while the pack is imported

        return CLIPConfig.from_dict(said)
    except Exception as error:  # each library has its own for what is no config
        check_machine(error, f"“{file.name}” beside “{path.name}” cannot be read")
        raise ValueError(
            f"“{file.name}” beside “{path.name}” cannot be read: download it again, or remove it."
        ) from error


def _not_clip(path: Path, more: str) -> str:
    return (
        f"“{path.name}” is no CLIP with both its image and its text tower{more}, and no aesthetic head: choose another "
        f"file ({WHERE})."
    )
