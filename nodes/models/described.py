"""A MODEL in words that may be made public: number formats and the nodes on it, and no path, prompt or file."""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher

from .options import copied
from .reach import OWN, made_by

MOST_NAMED = 20  # nodes of a sentence
SOME = 0.01  # of a model's bytes; a number format with less is not worth a word
NODES_FIELDS = ("model_options", "wrappers", "callbacks")  # where nodes put functions, nested in dicts and lists
ALL_FIELDS = (*NODES_FIELDS, "injections", "object_patches")
PROJECT = Path(__file__).parents[2] / "pyproject.toml"


@cache
def own_version() -> str:
    """The pack's."""
    text = PROJECT.read_text(encoding="utf-8") if PROJECT.is_file() else ""
    own = re.search(r'^version = "([^"]+)"', text, re.MULTILINE)
    return own[1] if own else "unknown"


def versions(patcher: ModelPatcher) -> str:
    """Of all that a run depends on, and the device's name."""
    from comfyui_version import __version__ as host

    device = comfy.model_management.get_torch_device_name(patcher.load_device)
    parts = [f"Realign {own_version()}", f"ComfyUI {host}", f"torch {torch.__version__}"]
    return ", ".join([*parts, f"Python {platform.python_version()}", platform.system(), device])


def formats(patcher: ModelPatcher) -> str:
    """The number formats of the weights, the largest part first, and the one that is computed in."""
    sizes: Counter[str] = Counter()
    network = patcher.model.diffusion_model
    for tensor in chain(network.parameters(), network.buffers()):
        sizes[format_of(tensor)] += tensor.numel()
    kinds = [kind for kind, size in sizes.most_common() if size >= SOME * sizes.total()]
    computed = short(patcher.model.get_dtype_inference())
    return f"{' and '.join(kinds) or 'no'} weights, computed in {computed}"


def format_of(tensor: torch.Tensor) -> str:
    """Of a weight: float16; of a packed one, how it is packed and into what."""
    packed = getattr(tensor, "storage_dtype", None)  # of the host's quantised tensors
    if isinstance(packed, torch.dtype):
        return f"quantised {short(packed)}"
    if type(tensor) in (torch.Tensor, torch.nn.Parameter):
        return short(tensor.dtype)
    return f"{type(tensor).__name__} {short(tensor.dtype)}"  # of other packs, as those of GGUF


def short(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def public_name(function: Any) -> str:
    """Of a function or an object that a node has made, the pack, the module and the class, without the pack's path."""
    name: str = re.split(r"[/\\]", made_by(function))[-1]
    return name


def nodes_on(patcher: ModelPatcher) -> list[str]:
    """The public names of what is on a MODEL and is not the host's own or this pack's, in their order."""
    functions = chain.from_iterable(_functions(getattr(patcher, field)) for field in ALL_FIELDS)
    return list(dict.fromkeys(public_name(one) for one in functions if not _is_plain(one)))


def patches_on(patcher: ModelPatcher) -> str:
    """The weight patches and the nodes on a MODEL, in words."""
    named = nodes_on(patcher)
    parts = [f"{len(patcher.patches)} patched weights"] if patcher.patches else []
    parts += named[:MOST_NAMED] + ([f"and {len(named) - MOST_NAMED} more"] if len(named) > MOST_NAMED else [])
    return ", ".join(parts) or "nothing"


def suspects(patcher: ModelPatcher) -> list[str]:
    """The public names of the functions that a MODEL can do without."""
    functions = chain.from_iterable(_functions(getattr(patcher, field)) for field in NODES_FIELDS)
    return list(dict.fromkeys(public_name(one) for one in functions if not _is_plain(one)))


def without(patcher: ModelPatcher, name: str) -> ModelPatcher:
    """A clone without the functions of this public name."""
    clone = patcher.clone()
    for field in NODES_FIELDS:
        setattr(clone, field, _dropped(copied(getattr(clone, field)), lambda one: public_name(one) == name))
    return clone


def _dropped(value: Any, unwanted: Callable[[Any], bool]) -> Any:
    """Nested dicts and lists without the functions that are unwanted."""
    if isinstance(value, dict):
        kept = {key: one for key, one in value.items() if not (_is_function(one) and unwanted(one))}
        return {key: _dropped(one, unwanted) for key, one in kept.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_dropped(one, unwanted) for one in value if not (_is_function(one) and unwanted(one)))
    return value


def _functions(value: Any) -> Iterator[Any]:
    """In nested dicts and lists."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _functions(one)
    elif hasattr(value, "inject"):
        yield value.inject
    elif _is_function(value):
        yield value


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, (type, torch.dtype))


def _is_plain(function: Any) -> bool:
    """Whether the host itself or this pack has made it."""
    name = made_by(function)
    return name.startswith(("comfy.", "torch.")) or (bool(OWN) and name.startswith(f"{OWN}."))


def in_memory(role: str, patchers: Sequence[ModelPatcher]) -> list[str]:
    """Of each of these models that the host has loaded now: how much of it is on the device."""
    out = []
    for loaded in comfy.model_management.current_loaded_models:
        patcher = loaded.model
        if patcher is None or not any(patcher.is_clone(one) for one in patchers):
            continue
        size, there = loaded.model_memory(), loaded.model_loaded_memory()
        streamed = size - there if patcher.load_device != patcher.offload_device else 0
        how = f"{amount(streamed)} of it streamed in each call" if streamed > SOME * size else "all loaded"
        out.append(f"{role} {amount(size)}, {how}")
    return out


def amount(size: float) -> str:
    return f"{size / 2**30:.3g} GB" if size >= 2**30 else f"{size / 2**20:.3g} MB"
