"""Adapter files: which of a model's weights they change, and what becomes of each of their keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import comfy.lora
import comfy.lora_convert
import torch
from comfy.model_patcher import ModelPatcher

from .account import Account, Fate
from .dora import PeftDora
from .factors import BrokenLoraError, as_on_layer, check_layer, check_whole, fits, in_one
from .layers import weight_shapes
from .layouts import PLAIN, Contents, Layer, StateDict, contents, plain_name
from .scale import OtherLoraError, in_hosts_terms

MAGNITUDE = "lora_magnitude_vector"
ROUNDED = {"rtol": 2**-8, "atol": 2**-24}  # by one of two weights in 16 bits: bfloat16's, and float16's smallest number


class Names:
    """Which weight of a model a layer's name in a file stands for: (name) or (name, slice[, function])."""

    def __init__(self, model: ModelPatcher):
        self._exact = comfy.lora.model_lora_keys_unet(model.model, {})

    @cached_property
    def _plain(self) -> dict[str, Any]:
        """By the names that PEFT and newer diffusers have for what the host lists under older ones."""
        out: dict[str, Any] = {}
        for name, target in self._exact.items():
            if "." in name:  # kohya's flattened names have no wrappers
                out.setdefault(plain_name(name), target)
        return out

    def target(self, layer: str) -> Any:
        """None for a layer that the model does not have."""
        found = self._exact.get(layer)
        return found if found is not None else self._plain.get(plain_name(layer))


@dataclass(frozen=True)
class Matched:
    """The host's patches of a file, by weight, and what became of the file's keys."""

    patches: dict[Any, Any]
    account: Account


def read_adapter(state_dict: StateDict) -> Contents:
    """The file's keys by what they are. Raises BrokenLoraError for a file that would fit no model."""
    try:
        found = contents(comfy.lora_convert.convert_lora(dict(state_dict)))
    except KeyError as error:
        raise BrokenLoraError(f"it has no {error.args[0]}") from error
    if found.twice:
        raise BrokenLoraError(f"it holds two adapters at once, each with a {found.twice}")
    return found


def match_lora(model: ModelPatcher, found: Contents, notes: tuple[str, ...] = ()) -> Matched:
    """The patches for `model`; none for a file for another model. notes: of the scale, for the account.

    Raises BrokenLoraError for a file that would fit no model, and OtherLoraError for one that belongs to other weights.
    """
    fates = dict.fromkeys(found.text_encoder, Fate.TEXT_ENCODER) | dict.fromkeys(found.unknown, Fate.UNKNOWN)
    names, shapes = Names(model), weight_shapes(model.model)
    used: dict[str, bool] = {}
    here: dict[str, Any] = {}  # layers of the file that the model has, and the weights that they are for
    for name, layer in found.layers.items():
        check_layer(layer)
        if _is_empty(layer):
            fates |= dict.fromkeys(layer.keys.values(), Fate.NOTHING)
            continue
        in_hosts_terms(layer)
        used[name], target = False, names.target(name)
        if target is not None:
            here[name] = target
    if not used and Fate.NOTHING in fates.values():
        raise BrokenLoraError("all its factors are empty, of rank 0")
    patches: dict[Any, Any] = {}
    for name, made in _patches(found.layers, here).items():
        for key, patch in made.items():
            check_whole(key, patch)
            made[key] = in_one(key, patch, shapes)
        changes = bool(made or _kept(found.layers[name]))  # not an α alone
        used[name] = changes and all(fits(key, patch, shapes) for key, patch in made.items())
        if used[name]:  # as a whole, or not at all
            patches |= {key: as_on_layer(key, patch, shapes) for key, patch in made.items()}
    _check_unknown(found.unknown, names)
    own = PlainWeights(model)
    for name in filter(used.get, here):
        _put_plain(own, patches, found.layers[name], here[name], shapes)
    for name, was_used in used.items():
        fate = Fate.USED if was_used else Fate.OTHER_SIZE if name in here else Fate.NO_LAYER
        fates |= dict.fromkeys(found.layers[name].keys.values(), fate)
    return Matched(patches, Account(fates, used, len({*found.text_encoder.values()}), notes))


def _is_empty(layer: Layer) -> bool:
    """Whether the layer is a LoRA of rank 0, as shrinking leaves it."""
    up, down = (layer.parts.get(f"lora_{way}.weight") for way in ("up", "down"))
    if up is None or down is None or min(up.ndim, down.ndim) < 2:
        return False
    return len(down) == 0 and up.shape[1] == 0


def _patches(layers: Mapping[str, Layer], here: Mapping[str, Any]) -> dict[str, dict[Any, Any]]:
    """The host's patches for the weights of each layer of the file that the model has."""
    out: dict[str, dict[Any, Any]] = {}
    whose: dict[Any, str] = {}
    for name, target in here.items():
        parts = {part: value for part, value in layers[name].parts.items() if not part.startswith(PLAIN)}
        if MAGNITUDE in parts:
            parts["dora_scale"] = parts.pop(MAGNITUDE)
        try:
            loaded = comfy.lora.load_lora(
                {f"{name}.{part}": value for part, value in parts.items()}, {name: target}, log_missing=False
            )
        except KeyError as error:  # the host takes a file to be whole
            raise BrokenLoraError(f"it has no {error.args[0]}") from error
        out[name] = {}
        for key, patch in loaded.items():
            if whose.setdefault(key, name) != name:
                raise BrokenLoraError(f"{whose[key]} and {name} are for the same weight")
            if MAGNITUDE in layers[name].parts and getattr(patch, "name", "") == "lora":
                patch = PeftDora(patch.loaded_keys, patch.weights)
            out[name][key] = patch
        _check_all_used(name, parts, loaded.values())
    return out


def _check_all_used(name: str, parts: StateDict, patches: Any) -> None:
    """Raise BrokenLoraError for a part that is in none of the host's patches of the layer, which would be left out."""
    held = {id(value) for patch in patches for value in getattr(patch, "weights", None) or patch[1]}
    for part, value in parts.items():
        if part not in ("alpha", "reshape_weight") and id(value) not in held:
            raise BrokenLoraError(f"in {name} its {part} belongs to no adapter that ComfyUI knows")


class PlainWeights:
    """A model's weights as they are without the patches that the host may have on them at the moment."""

    def __init__(self, model: ModelPatcher):
        self._model = model

    @cached_property
    def _all(self) -> dict[str, list[Any]]:
        patches: dict[str, list[Any]] = self._model.get_key_patches("diffusion_model.")
        return patches

    def __getitem__(self, key: str) -> torch.Tensor:
        """In float32."""
        weight, convert = self._all[key][0]
        plain: torch.Tensor = convert(weight)
        return plain.to(torch.float32)


def _kept(layer: Layer) -> StateDict:
    """Its weight and bias as they are after training, where they are kept whole."""
    return {what: layer.parts[PLAIN + what] for what in ("weight", "bias") if PLAIN + what in layer.parts}


def _put_plain(
    own: PlainWeights, patches: dict[Any, Any], layer: Layer, target: Any, shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Add what a weight or bias that is kept whole (PEFT's modules_to_save and biases) differs by from the model's.

    Raises BrokenLoraError for one of another size, and OtherLoraError for one that an adapter is for, too, unless it is
    the model's own.
    """
    for what, value in _kept(layer).items():
        name, *rest = (target,) if isinstance(target, str) else target
        key = f"{name.removesuffix('.weight')}.{what}"
        if rest or shapes.get(key) != tuple(value.shape):
            raise BrokenLoraError(f"its {layer.keys[PLAIN + what]} is no weight of this model, which has other sizes")
        before = own[key].to(value.device)
        difference = value.float() - before
        put = patches.get(key)
        if put is not None and not (isinstance(put, tuple) and put[0] == "diff"):  # what an adapter was trained on
            if not torch.allclose(value.float(), before, **ROUNDED):
                raise OtherLoraError(
                    f"holds other weights beside its factors than this model's ({layer.keys[PLAIN + what]}), as the "
                    "whole state of a network in training does: save it with PEFT's save_pretrained, or merge it into "
                    "the model, and load that here."
                )
            continue
        if put is not None:  # a bias that a LoRA adds to
            difference = difference + put[1][0]
        patches[key] = ("diff", (difference,))


def _check_unknown(keys: list[str], names: Names) -> None:
    """Raise BrokenLoraError for a key of no known meaning that belongs to a layer of the model: it would be missed."""
    for key in keys:
        layer = key
        while "." in layer:
            layer = layer.rpartition(".")[0]
            if names.target(layer) is not None:
                raise BrokenLoraError(f"its {key} is a part that no known kind of adapter has")
