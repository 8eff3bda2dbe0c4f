"""Anchor files: listed over the host's folders, and read so that what is wrong is said in one sentence."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comfy.model_detection
import comfy.sd
import comfy.utils
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from torch.nn.modules.module import register_module_module_registration_hook

from .finite import not_finite
from .lora import StateDict

FOLDERS = ("checkpoints", "diffusion_models", "loras")
MOST_SAID = 200  # characters of a name or reason that is not ours


def list_files() -> list[str]:
    """Every file an anchor can come from, as "folder/name", in the host's model folders.

    Where the page itself can download, it saves an anchor in its folder under the name it has here: "loras/name" in
    loras. That file has this name too.
    """
    found = ((folder, name) for folder in FOLDERS for name in folder_paths.get_filename_list(folder))
    return list(dict.fromkeys(f"{folder}/{name.removeprefix(folder + os.sep)}" for folder, name in found))


def find_file(choice: str) -> Path:
    """The path behind "folder/name". Raises ValueError where there is no such file."""
    folder, _, name = choice.partition("/")
    names = (name, choice) if folder in FOLDERS and "\0" not in choice else ()
    path = next(filter(None, (folder_paths.get_full_path(folder, name) for name in names)), None)
    if path is None:
        raise ValueError(
            f"There is no anchor file “{_one_line(choice)}”. Put it into ComfyUI's models/{FOLDERS[0]}, "
            f"models/{FOLDERS[1]} or models/{FOLDERS[2]} folder, press R to refresh, and choose it again."
        )
    return Path(path)


def read_file(path: Path) -> tuple[StateDict, dict[str, str]]:
    """Tensors and metadata of a safetensors file or a plain-weights pickle, by the host's safe loading.

    Raises ValueError, in one sentence, for a file that is truncated, corrupt, or holds more than weights.
    """
    try:
        loaded, metadata = comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error).lower() or "weights only" in str(error).lower():
            raise ValueError(
                f"“{path.name}” holds Python objects besides weights, which could run code when opened, so it was not "
                "opened. Use a .safetensors version of it."
            ) from error
        raise _unreadable(path, error) from error
    except (AttributeError, TypeError, KeyError, IndexError):  # the host looks for weights in what is a list or a text
        loaded, metadata = None, None
    except Exception as error:  # every reader has its own errors for the same broken file
        raise _unreadable(path, error) from error
    items = loaded.items() if isinstance(loaded, Mapping) else ()
    weights = {key: value for key, value in items if isinstance(key, str) and _is_weight(value)}
    if not weights:
        raise ValueError(f"“{path.name}” holds no weights. Choose a model or LoRA file.")
    return weights, metadata or {}


def _is_weight(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout is torch.strided


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"“{path.name}” cannot be read: it is truncated or corrupt ({_said(error)}). Download it again.")


def _said(error: Exception) -> str:
    """An error in one line; of one that is Python's own only its kind."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    is_own = isinstance(error, (AttributeError, TypeError, LookupError, RecursionError))
    return type(error).__name__ if is_own or not lines else _one_line(lines[0])


def _one_line(text: str) -> str:
    text = " ".join(text.replace("\0", " ").split())
    return text if len(text) <= MOST_SAID else f"{text[: MOST_SAID - 1]}…"


def load_model(path: Path, state_dict: StateDict, metadata: dict[str, str]) -> ModelPatcher:
    """A full model in any layout the host detects: checkpoint, diffusion model, diffusers UNet or transformer.

    Raises ValueError for a file that is no diffusion model, that lacks weights (the host would only warn, and sample
    with what happened to lie in memory), or whose weights are not finite.
    """
    reload: tuple[Any, ...]
    with _missing_weights() as missing:
        try:
            if any(key.startswith("model.diffusion_model.") for key in state_dict):
                patcher = comfy.sd.load_state_dict_guess_config(
                    state_dict, output_vae=False, output_clip=False, metadata=metadata
                )[0]
                reload = (comfy.sd.load_checkpoint_guess_config, (str(path), False, False), 0)
            else:
                patcher = comfy.sd.load_diffusion_model_state_dict(state_dict, metadata=metadata)
                reload = (comfy.sd.load_diffusion_model, (str(path), {}))
        except Exception as error:
            raise ValueError(
                f"“{path.name}” is no diffusion model that this ComfyUI can load ({_said(error)})."
            ) from error
    if patcher is None:
        raise ValueError(f"“{path.name}” is neither a diffusion model that this ComfyUI knows nor a LoRA.")
    if missing:
        names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ValueError(f"“{path.name}” is incomplete: weights are missing ({names}). Download it again.")
    broken = not_finite(patcher.model.diffusion_model.named_parameters())
    if broken:
        raise ValueError(
            f"“{path.name}” is broken: its weight {broken} holds values that are not finite numbers (NaN or infinity). "
            "Download it again, or take another version of it."
        )
    patcher.cached_patcher_init = reload
    return patcher


@contextmanager
def _missing_weights() -> Iterator[list[str]]:
    """The weights that diffusion models lack which the host loads while the context is open, as torch reports them.

    The host makes the model and loads its weights in one call, and only warns of what is missing, in its log.
    """
    missing: list[str] = []
    handles = []

    def made(module: torch.nn.Module, name: str, part: torch.nn.Module) -> None:
        if name == "diffusion_model":
            handles.append(part.register_load_state_dict_post_hook(loaded))

    def loaded(module: torch.nn.Module, keys: Any) -> None:
        missing[:] = keys.missing_keys

    handles.append(register_module_module_registration_hook(made))
    try:
        yield missing
    finally:
        for handle in handles:
            handle.remove()
