"""The scale of an adapter's weights, which PEFT keeps apart from them, and what else it means in the host's terms.

The host takes a layer without an α for α = r, so a Flow-GRPO LoRA with lora_alpha 64 and rank 32 would act at half its
strength.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from .factors import BrokenLoraError
from .layouts import Contents, Layer, plain_name
from .peft import CONFIG, PeftConfig, config_beside, header_config

ASSUMED = f"no lora_alpha found ({CONFIG}): alpha = rank is assumed"
ADDED = ("LoRA", "AdaLoRA", "LoHa", "LoKr")  # kinds of PEFT's with a scale
_ROWS = ("lora_down.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b")  # parts that have a row for each rank


class OtherLoraError(ValueError):
    """A file that is no plain LoRA for the model's weights. The message ends the sentence “The LoRA “…” ”."""


def with_scale(found: Contents, path: Path, metadata: Mapping[str, str] | None) -> tuple[str, ...]:
    """Give the layers their scale, in place, and return what has to be said of it.

    Raises ValueError where a configuration cannot be read, and OtherLoraError.
    """
    layers = [layer for layer in found.layers.values() if layer.kinds & {*ADDED} and _is_peft(layer)]
    if not layers:
        return ()
    ranks = {plain_name(layer.name): _checked_rank(layer) for layer in layers}
    without = [layer for layer in layers if "alpha" not in layer.parts]
    header = header_config(path, metadata or {})
    notes = []
    if header and (why := header.misfit(ranks)):
        notes.append(f"the scale in its header is another LoRA's ({why}), and is not used")
        header = None
    config = header
    if not header and without:
        config = config_beside(path)
        if config and (why := config.misfit(ranks)):
            notes.append(f"the {CONFIG} beside it is another LoRA's ({why}), and is not used")
            config = None
    if config and config.variant:
        raise OtherLoraError(
            f"is a {config.variant}, which ComfyUI cannot apply: merge it into the model with PEFT, and load the "
            "merged model here."
        )
    if config and config.taken_off:
        raise OtherLoraError(
            f"was started by {config.taken_off} and not converted, so that it belongs to weights that are not the "
            "model's: save it with PEFT's path_initial_model_for_weight_conversion, which makes a plain LoRA of it."
        )
    if not config:
        return (*notes, ASSUMED) if without else tuple(notes)
    notes += _conflicts(config, layers, without, path, ranks)
    unknown = [layer for layer in without if not _put(layer, config)]
    return (*notes, ASSUMED) if unknown else tuple(notes)


def _is_peft(layer: Layer) -> bool:
    """Whether the scale may be elsewhere: kohya's and LyCORIS' names, which are flat, and the host's come with an α."""
    flat = layer.name.startswith(("lora_", "lycoris_")) and "." not in layer.name
    return not flat and not any(key.endswith((".lora_up.weight", ".lora_down.weight")) for key in layer.keys.values())


def _rank(layer: Layer) -> int | None:
    """Of the layer's factors; None where it has none that say."""
    return next((len(layer.parts[part]) for part in _ROWS if part in layer.parts and layer.parts[part].ndim), None)


def _checked_rank(layer: Layer) -> int | None:
    """The rank that the configuration has to have; AdaLoRA's is what it started with, and 0 is what was shrunk away."""
    return None if "AdaLoRA" in layer.kinds else _rank(layer) or None


def _put(layer: Layer, config: PeftConfig) -> bool:
    """Whether the configuration says the layer's scale, which then is in its parts."""
    name, parts = plain_name(layer.name), layer.parts
    if "LoKr" in layer.kinds:  # the host leaves α out where both factors are whole
        rank = config.rank(name) or _rank(layer)
        if rank is None:
            return False
        factor = next(part for part in ("lokr_w1", "lokr_w1_a", "lokr_w2", "lokr_w2_a") if part in parts)
        parts[factor] = parts[factor].float() * config.scale(name, rank)
        return True
    rank = _rank(layer) or 0
    alpha = config.alpha(name) if "AdaLoRA" in layer.kinds else config.scale(name, rank or 1) * rank
    parts["alpha"] = torch.tensor(alpha if alpha > 0 or "AdaLoRA" not in layer.kinds else float(rank))
    return True


def _conflicts(
    config: PeftConfig, layers: list[Layer], without: list[Layer], path: Path, ranks: Mapping[str, int | None]
) -> list[str]:
    """What says another scale than the one that is used."""
    said = []
    for layer in layers:
        rank = _rank(layer)
        if layer not in without and rank and "LoRA" in layer.kinds and layer.parts["alpha"].numel() == 1:
            own, other = float(layer.parts["alpha"]) / rank, config.scale(plain_name(layer.name), rank)
            if abs(own - other) > 1e-3 * abs(own):
                said.append(f"its alphas are used, though its header says another scale ({other:g}, not {own:g})")
                break
    try:
        beside = config_beside(path)
    except ValueError:
        return said
    if beside and not beside.misfit(ranks):
        for layer in without:
            rank, name = _rank(layer) or 1, plain_name(layer.name)
            if abs(beside.scale(name, rank) - config.scale(name, rank)) > 1e-6 * abs(config.scale(name, rank)):
                said.append(f"its header's scale is used, though the {CONFIG} beside it says another")
                break
    return said


def in_hosts_terms(layer: Layer) -> None:
    """What PEFT writes and the host has no part for, as parts that it has; in place, once the scale is known."""
    parts = layer.parts
    if "lora_E.weight" in parts:  # AdaLoRA: ΔW = B (A ⊙ E), a value of E for each rank
        down = parts.get("lora_down.weight")
        if down is None or parts["lora_E.weight"].numel() != len(down):
            raise BrokenLoraError(f"in {layer.name} lora_E has not one value for each rank")
        parts["lora_down.weight"] = down * parts.pop("lora_E.weight").reshape(-1, *[1] * (down.ndim - 1))
    if "lora_up.bias" in parts:
        rank = _rank(layer)
        scale = float(parts["alpha"]) / rank if "alpha" in parts and rank else 1.0
        parts["diff_b"] = parts.pop("lora_up.bias") * scale
