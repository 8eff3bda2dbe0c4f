"""Anchor files: listed over the host's folders, and read so that what is wrong is said in one sentence."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.utils
import folder_paths
import torch
from pydantic import BaseModel, ValidationError

from .layouts import StateDict
from .machine import check_machine

FOLDERS = ("checkpoints", "diffusion_models", "loras")
INDEX = ".json"  # how an index ends
MOST_SAID = 200  # characters of a name or reason that is not ours
PART_OF = re.compile(
    r"-(?P<part>\d{5})-of-(?P<of>\d{5})(?=\.)"
)  # in the name of a shard, as the Hub's libraries write it


def list_files() -> list[str]:
    """Every file an anchor can come from, as "folder/name", in the host's model folders.

    Where the page itself can download, it saves an anchor in its folder under the name it has here: "loras/name" in
    loras. That file has this name too.
    """
    found = ((folder, name) for folder in FOLDERS for name in _with_indices(folder))
    return list(dict.fromkeys(f"{folder}/{name.removeprefix(folder + os.sep)}" for folder, name in found))


def _with_indices(folder: str) -> list[str]:
    """The host's list of a folder's files, and the indices of models that lie there in shards, which it leaves out."""
    names = folder_paths.get_filename_list(folder)
    out = []
    for name in names:
        shard = PART_OF.search(name)
        if shard and int(shard["part"]) == 1:
            path = folder_paths.get_full_path(folder, name)
            index = index_of(Path(path)) if path else None
            if index:
                out.append(os.path.join(os.path.dirname(name), index.name))
        out.append(name)
    return out


def index_of(shard: Path) -> Path | None:
    """The index of a sharded model, by one of its parts; None where there is none.

    `model-00001-of-00002.safetensors` has `model.safetensors.index.json`; a variant's name stands before the shard's
    number and behind the index': `model.fp16-00001-of-…`, `model.safetensors.index.fp16.json`.
    """
    name = PART_OF.split(shard.name)[0]
    stem, _, variant = name.partition(".")
    names = [f"{name}{shard.suffix}.index.json", f"{stem}{shard.suffix}.index.{variant}.json"]
    return next((shard.with_name(index) for index in names if shard.with_name(index).is_file()), None)


def listed_as(path: Path) -> str:
    """A file's name in `list_files`, or its own where it lies in none of the host's folders."""
    for folder in FOLDERS:
        for base in folder_paths.get_folder_paths(folder):
            if path.is_relative_to(base):
                return f"{folder}/{path.relative_to(base)}"
    return path.name


def find_file(choice: str) -> Path:
    """The path behind "folder/name". Raises ValueError where there is no such file."""
    folder, _, name = choice.partition("/")
    names = (name, choice) if folder in FOLDERS and "\0" not in choice else ()
    path = next(filter(None, (folder_paths.get_full_path(folder, name) for name in names)), None)
    if path is None:
        raise ValueError(
            f"There is no anchor file “{one_line(choice)}”. Put it into ComfyUI's models/{FOLDERS[0]}, "
            f"models/{FOLDERS[1]} or models/{FOLDERS[2]} folder, press R to refresh, and choose it again."
        )
    return Path(path)


class Index(BaseModel):
    """Of a model in shards: the file that each weight is in."""

    weight_map: dict[str, str]


def read_file(path: Path) -> tuple[StateDict, dict[str, str]]:
    """Tensors and metadata of a safetensors file or a plain-weights pickle, by the host's safe loading; of an index,
    those of all shards.

    Raises ValueError, in one sentence, for a file that is truncated, corrupt, or holds more than weights.
    """
    if path.suffix == INDEX:
        return _read_shards(path)
    try:
        loaded, metadata = comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
    except Exception as error:  # every reader has its own errors for the same broken file
        check_machine(error, f"“{path.name}” cannot be loaded")
        says = str(error).lower()
        if isinstance(error, pickle.UnpicklingError) and ("weights_only" in says or "weights only" in says):
            raise ValueError(
                f"“{path.name}” holds Python objects besides weights, which could run code when opened, so it was not "
                "opened. Use a .safetensors version of it."
            ) from error
        if not _is_whole_pickle(path):
            raise _unreadable(path, error) from error
        loaded, metadata = None, None  # the host looked for names of weights in a list, a text or a tensor
    items = loaded.items() if isinstance(loaded, Mapping) else ()
    weights = {key: value for key, value in items if isinstance(key, str) and _is_weight(value)}
    if not weights:
        raise ValueError(f"“{path.name}” holds no weights. Choose a model or LoRA file.")
    return weights, metadata or {}


def parts_of(path: Path) -> tuple[Path, ...]:
    """All that a model is in: its file; of an index the shards, too, sorted by their names.

    Raises ValueError for an index that is none, and where a shard is missing.
    """
    if path.suffix != INDEX:
        return (path,)
    return (path, *(_shard(path, name) for name in sorted({*_weight_map(path).values()})))


def _weight_map(path: Path) -> dict[str, str]:
    try:
        return Index.model_validate_json(path.read_bytes()).weight_map
    except (ValidationError, OSError) as error:
        check_machine(error, f"“{path.name}” cannot be loaded")
        raise ValueError(
            f"“{path.name}” is no index of a model in shards, which says in what file each weight is. Choose a model "
            "or LoRA file."
        ) from error


def _shard(path: Path, name: str) -> Path:
    """The shard that an index names. Raises ValueError where it is not beside the index, and for another index."""
    shard = path.with_name(name) if name == os.path.basename(name) and name not in ("", ".", "..") else None
    if shard is None or not shard.is_file():
        raise ValueError(
            f"“{path.name}” names the shard “{one_line(name)}”, which is not beside it: download it, too, or "
            "choose another version of the model."
        )
    if shard.suffix == INDEX:
        raise ValueError(
            f"“{path.name}” names “{one_line(name)}” as a shard, which is an index and no file of weights: download "
            "the index again."
        )
    return shard


def _read_shards(path: Path) -> tuple[StateDict, dict[str, str]]:
    """The weights of all files that an index names. Raises ValueError where one is missing, or lacks a weight."""
    weights: StateDict = {}
    metadata: dict[str, str] = {}
    for shard in parts_of(path)[1:]:
        held, said_there = read_file(shard)
        weights, metadata = weights | held, metadata | said_there
    missing = next((key for key in _weight_map(path) if key not in weights), None)
    if missing is not None:
        raise ValueError(
            f"“{path.name}” is incomplete: its shards lack the weight {one_line(missing)}. Download them again."
        )
    return weights, metadata


def _is_whole_pickle(path: Path) -> bool:
    try:
        torch.load(path, map_location="meta", weights_only=True)
        return True
    except Exception:
        return False


def _is_weight(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout is torch.strided


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"“{path.name}” cannot be read: it is truncated or corrupt ({said(error)}). Download it again.")


def said(error: Exception) -> str:
    """An error in one line; of one that is Python's own only its kind."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    is_own = isinstance(error, (AttributeError, TypeError, LookupError, RecursionError))
    return type(error).__name__ if is_own or not lines else one_line(lines[0])


def one_line(text: Any, most: int = MOST_SAID) -> str:
    """On one line, of at most so many characters."""
    text = " ".join(str(text).replace("\0", " ").split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
