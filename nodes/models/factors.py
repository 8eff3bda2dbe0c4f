"""Is an adapter whole, and does it make a difference of its layer's size? Asked before any model is called.

The host finds out while it samples, layer by layer: with a bare error, or with a line in the log and without the layer.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

import comfy.lora
import torch

from .dora import PeftDora
from .layers import is_matrix
from .layouts import Layer

# Where the host's adapters have their factors and DoRA's scale among their weights (comfy/weight_adapter).
FACTORS = {"lora": (0, 1, 3), "loha": (0, 1, 3, 4, 5, 6), "lokr": (0, 1, 3, 4, 5, 6, 7), "glora": (0, 1, 2, 3)}

ODD_PART = "a part of it is missing, or has a shape that no adapter has"


class BrokenLoraError(ValueError):
    """What is wrong with an adapter, whatever model it is for. The message ends the sentence “… is broken: ”."""


def check_whole(key: Any, patch: Any) -> None:
    """Raise BrokenLoraError for an adapter that makes no difference at all. key: of the weight that it is for."""
    name, weights = getattr(patch, "name", None), getattr(patch, "weights", ())
    where = f"in {short(key)} "
    for factor in (weights[i] for i in FACTORS.get(name, ()) if weights[i] is not None):
        if factor.ndim < 2:
            raise BrokenLoraError(f"{where}a factor has the shape {tuple(factor.shape)}, and is no matrix")
        if not factor.numel():
            raise BrokenLoraError(f"{where}a factor is empty, of the shape {tuple(factor.shape)}")
        if factor.is_complex():
            raise BrokenLoraError(f"{where}a factor holds complex numbers")
    if isinstance(patch, PeftDora) and weights[4].numel() != len(weights[0]):
        raise BrokenLoraError(f"{where}it has {weights[4].numel()} magnitudes for {len(weights[0])} rows")
    if name == "lora":
        up, down, mid = weights[0], weights[1], weights[3]
        ranks = (
            [math.prod(up.shape[1:]), down.shape[0]] if mid is None else [up.shape[1], *mid.shape[:2], down.shape[0]]
        )
        if any(one != other for one, other in pairwise(ranks)):
            raise BrokenLoraError(f"{where}its factors have the ranks {' and '.join(map(str, ranks))}")


def fits(key: Any, patch: Any, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a patch's layer exists and has its size. Raises BrokenLoraError for factors that cannot be multiplied.

    key: the weight's name, or (name, slice[, function]). patch: the host's adapter, or ("diff", (tensor,)).
    """
    name, offset, function = (key, None, None) if isinstance(key, str) else (*key, None)[:3]
    if name not in shapes or not _may_fit(patch, shapes[name], offset):
        return False
    if offset is not None and offset[1] + offset[2] > shapes[name][offset[0]]:
        return False
    kind, parts = (patch[0], patch[1]) if isinstance(patch, tuple) else (type(patch), patch.weights)
    try:
        return _changes(kind, tuple(_signature(part) for part in parts), shapes[name], offset, function)
    except Exception as error:
        if isinstance(patch, tuple):
            return False
        raise BrokenLoraError(f"in {short(key)} its factors do not fit each other") from error


@lru_cache(maxsize=1024)
def _changes(kind: Any, parts: tuple[Any, ...], shape: tuple[int, ...], offset: Any, function: Any) -> bool:
    """Whether the host's own arithmetic with factors of such shapes changes a weight of this one; a model has few.

    kind: the adapter's class, or what the plain patch is called. parts: shapes, or what else an adapter holds.
    """
    with torch.inference_mode(False):  # tensors of the inference mode do not count their changes
        weight = torch.empty(shape, device="meta")
        held = tuple(_made(part) for part in parts)
        patch = (kind, held) if isinstance(kind, str) else kind(set(), held)
        out = comfy.lora.calculate_weight([(1.0, patch, 1.0, offset, function)], weight, "")
        return out is not weight or weight._version > 0  # changed; padded to another shape it is another tensor


def _signature(value: Any) -> Any:
    """What of an adapter's part its fit depends on, to look it up by."""
    if isinstance(value, torch.Tensor):
        return ("shape", tuple(value.shape))
    return tuple(value) if isinstance(value, list) else None if value is None else "number"


def _made(signature: Any) -> Any:
    if isinstance(signature, tuple) and signature[:1] == ("shape",):
        return torch.empty(signature[1], device="meta")
    if signature == "number":  # α, of which OFT asks whether the weights reach it
        return 0.0
    return list(signature) if signature is not None else None


def _may_fit(patch: Any, shape: tuple[int, ...], offset: Any) -> bool:
    """Whether sizes agree, where that is soon said: the host would log each that does not. shape: of the weight."""
    if offset is not None:
        shape = tuple(offset[2] if dim == offset[0] else size for dim, size in enumerate(shape))
    name, parts = getattr(patch, "name", None), getattr(patch, "weights", None)
    if name == "lora":
        up, down, reshape = parts[0], parts[1], parts[5] if len(parts) > 5 else None
        if reshape is not None:  # padded
            return True
        if parts[3] is not None:  # Tucker-decomposed
            return len(shape) > 2
        return up.shape[0] * down[0].numel() == math.prod(shape) and up.shape[0] == shape[0]
    if name == "loha" and parts[5] is None:
        return parts[0].shape[0] * parts[1][0].numel() == math.prod(shape)
    if name == "lokr" and parts[7] is None:  # the Kronecker product of two
        one, other = (parts[i] if parts[i] is not None else parts[j] for i, j in ((0, 3), (1, 5)))
        return one.shape[0] * other.shape[0] == shape[0]
    if isinstance(patch, tuple) and patch[0] == "diff":
        return tuple(patch[1][0].shape) == shape
    return True


def as_on_layer(key: Any, patch: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
    """The same adapter, its factors in the dimensions of its layer: the host flattens them where it merges weights, and
    takes them as they are where it applies them in the forward pass. Of one that fits."""
    kernel = shapes[key if isinstance(key, str) else key[0]][2:]
    name, weights = getattr(patch, "name", None), list(getattr(patch, "weights", ()))
    if name == "lora" and weights[3] is None:
        if all(factor.ndim == 2 for factor in weights[:2]) or (kernel and weights[1].shape[2:] == kernel):
            return patch
        weights[:2] = (factor.flatten(1) for factor in weights[:2])
    elif name == "lokr" and weights[1] is not None and (weights[1].shape[2:] != kernel or weights[0] is not None):
        weights[1] = weights[1].reshape(len(weights[1]), -1, *kernel)
        if weights[0] is not None:  # merged, two whole factors have no α; in the forward pass it is divided by itself
            weights[2] = None
    else:
        return patch
    return type(patch)(patch.loaded_keys, tuple(weights))


def in_one(key: Any, patch: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
    """The same adapter; of a LoKr on a convolution with its second factor multiplied out, and its scale in it.

    The host cannot merge that factor where it is Tucker-decomposed, nor apply its parts in the forward pass.
    """
    kernel = shapes.get(key if isinstance(key, str) else key[0], ())[2:]
    if getattr(patch, "name", None) != "lokr" or patch.weights[1] is not None or not kernel:
        return patch
    one, _, alpha, one_a, one_b, a, b, core, magnitude = patch.weights
    try:
        one = one if one is not None else one_a.float() @ one_b.float()
        if core is None:
            other = (a.float() @ b.float()).reshape(len(a), -1, *kernel)
        else:
            other = torch.einsum("i j ..., i p, j r -> p r ...", core.float(), a.float(), b.float()).contiguous()
    except (RuntimeError, AttributeError) as error:
        raise BrokenLoraError(f"in {short(key)} its factors do not fit each other") from error
    scale = 1.0 if alpha is None else alpha / len(b)
    return type(patch)(patch.loaded_keys, (one, other * scale, None, None, None, None, None, None, magnitude))


def acts(adapter: Any, layer: torch.nn.Module, offset: tuple[int, int, int] | None = None) -> bool:
    """Whether a host's adapter that knows its layer can be applied in the forward pass, which takes fewer shapes than
    merging does. layer: a matrix or convolution. offset: (dim, start, size) of the weight that it is for."""
    channels = "features" if is_matrix(layer) else "channels"
    sizes = [getattr(layer, f"out_{channels}"), getattr(layer, f"in_{channels}")]
    if offset is not None:
        sizes[offset[0]] = offset[2]
    kernel = zip(getattr(layer, "kernel_size", ()), getattr(layer, "dilation", ()))
    space = [apart * (length - 1) + 1 for length, apart in kernel]
    probe = copy.copy(adapter)
    with torch.inference_mode(False):
        probe.weights = tuple(
            torch.empty(value.shape, device="meta") if isinstance(value, torch.Tensor) else value
            for value in adapter.weights
        )
        x, out = (torch.empty(1, size, *space, device="meta") for size in reversed(sizes))
        try:
            return probe.h(x, out).shape[1] == sizes[0]
        except Exception:
            return False


def check_layer(layer: Layer) -> None:
    """Raise BrokenLoraError for a layer that has one of its two factors only, or an α that is not one number."""
    alpha = layer.parts.get("alpha")
    if alpha is not None and alpha.numel() != 1:
        raise BrokenLoraError(f"in {layer.name} alpha has the shape {tuple(alpha.shape)}, and is no number")
    halves = [way for way in ("up", "down") if f"lora_{way}.weight" in layer.parts]
    if len(halves) == 1:
        raise BrokenLoraError(f"{layer.name} has only the factor that goes {halves[0]}, not the other")


def short(key: Any) -> str:
    name = key if isinstance(key, str) else key[0]
    return name.removeprefix("diffusion_model.").removesuffix(".weight")
