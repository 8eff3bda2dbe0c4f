"""Full models: a checkpoint or diffusion model, whole and finite, or refused in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import comfy.sd
import torch
from comfy.model_patcher import ModelPatcher
from torch.nn.modules.module import register_module_module_registration_hook

from .account import Account, Fate
from .files import INDEX, PART_OF, index_of, listed_as, read_file, said
from .finite import not_finite
from .layouts import StateDict
from .machine import check_machine

PREFIX = "model.diffusion_model."
QUANTISED = "_quantization_metadata"  # in a file's header, as the host writes it


def load_model(
    path: Path,
    state_dict: StateDict,
    metadata: dict[str, str],
    dtype: torch.dtype | None = None,
    disable_dynamic: bool = False,
) -> tuple[ModelPatcher, Account]:
    """A full model in any layout the host detects: checkpoint, diffusion model, diffusers UNet or transformer.

    dtype: of its weights; None, and for a quantised file: the host's choice. disable_dynamic: whether the host must not
    load its weights layer by layer on demand, as for a copy that is compiled or on another device.

    Raises ValueError for a file that is no diffusion model, that lacks weights (the host would only warn, and sample
    with what happened to lie in memory), or whose weights are not finite.
    """
    reload: tuple[Any, ...]
    keys = list(state_dict)
    quantised = QUANTISED in metadata or any(key.endswith((".comfy_quant", "scaled_fp8")) for key in keys)
    options = {} if dtype is None or quantised else {"dtype": dtype}
    with _loaded_weights() as found:
        try:
            if any(key.startswith(PREFIX) for key in keys):
                patcher = comfy.sd.load_state_dict_guess_config(
                    state_dict,
                    output_vae=False,
                    output_clip=False,
                    model_options=options,
                    metadata=metadata,
                    disable_dynamic=disable_dynamic,
                )[0]
                again = str(path), False, False, False, None, True, options
                reload = (comfy.sd.load_checkpoint_guess_config, again, 0)
            else:
                patcher = comfy.sd.load_diffusion_model_state_dict(state_dict, options, metadata, disable_dynamic)
                reload = (comfy.sd.load_diffusion_model, (str(path), options))
        except Exception as error:
            check_machine(error, f"“{path.name}” cannot be loaded")
            raise ValueError(
                _one_of_many(path) or f"“{path.name}” is no diffusion model that this ComfyUI can load ({said(error)})."
            ) from error
    if patcher is None:
        raise ValueError(
            _one_of_many(path) or f"“{path.name}” is neither a diffusion model that this ComfyUI knows nor a LoRA."
        )
    if found.missing:
        rest = len(found.missing) - 3
        names = ", ".join(found.missing[:3]) + (f" and {rest} more" if rest > 0 else "")
        raise ValueError(
            _one_of_many(path) or f"“{path.name}” is incomplete: weights are missing ({names}). Download it again."
        )
    broken = not_finite(patcher.model.diffusion_model.named_parameters())
    if broken:
        raise ValueError(
            f"“{path.name}” is broken: its weight {broken} holds values that are not finite numbers (NaN or infinity). "
            "Download it again, or take another version of it."
        )
    patcher.cached_patcher_init = (_read_again, (str(path), dtype)) if path.suffix == INDEX else reload
    return patcher, _account(keys, found.unexpected)


def _read_again(path: str, dtype: torch.dtype | None, disable_dynamic: bool = False) -> ModelPatcher:
    """As the host's own loaders, which it calls for a copy of a model with weights of its own."""
    return load_model(Path(path), *read_file(Path(path)), dtype, disable_dynamic)[0]


def _account(keys: list[str], unexpected: list[str]) -> Account:
    """Of a full model's keys. unexpected: the model's names of what it has no place for."""
    checkpoint = any(key.startswith(PREFIX) for key in keys)
    odd = {PREFIX + name for name in unexpected} | {*unexpected}
    fates = {
        key: Fate.ELSEWHERE if checkpoint and not key.startswith(PREFIX) else Fate.UNKNOWN if key in odd else Fate.USED
        for key in keys
    }
    return Account(fates, {})


def _one_of_many(path: Path) -> str:
    """What to say of a file that is one part of a sharded model; "" for any other."""
    part = PART_OF.search(path.name)
    if not part:
        return ""
    index = index_of(path)
    if index is None:
        return (
            f"“{path.name}” is one part of {int(part['of'])} of a model that was saved in shards: put all of them and "
            f"their index ({path.name[: part.start()]}….index.json) into one folder, and choose the index."
        )
    return (
        f"“{path.name}” is one part of {int(part['of'])} of a model that was saved in shards in the folder "
        f"“{path.parent.name}”: choose the index of its parts, “{listed_as(index)}”, which loads all of them."
    )


@dataclass
class _Loaded:
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)


@contextmanager
def _loaded_weights() -> Iterator[_Loaded]:
    """Of diffusion models that the host loads while the context is open: the keys that they lack, and those of the file
    that they have no place for, as torch compares them.

    The host makes the model and loads its weights in one call, and only warns of what is missing, in its log.
    """
    found = _Loaded()
    handles = []

    def made(module: torch.nn.Module, name: str, part: torch.nn.Module) -> None:
        if name == "diffusion_model":
            handles.append(part.register_load_state_dict_post_hook(loaded))

    def loaded(module: torch.nn.Module, keys: Any) -> None:
        found.missing[:], found.unexpected[:] = keys.missing_keys, keys.unexpected_keys

    handles.append(register_module_module_registration_hook(made))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
