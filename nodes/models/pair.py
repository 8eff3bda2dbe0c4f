"""Reference and anchor as the host's model objects: do they fit each other, and can both be loaded at once?"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager

import comfy.model_management
import comfy.model_sampling
import torch
from comfy.model_patcher import ModelPatcher

from ...realign_core import NoiseLevel
from .layers import weight_shapes
from .options import additions

VARIANCE_EXPLODING = (comfy.model_sampling.EPS, comfy.model_sampling.V_PREDICTION, comfy.model_sampling.EDM)
FLOW = (comfy.model_sampling.CONST,)
# They derive from EPS or CONST, but their samples do not follow x_t = α x_0 + σ ε.
NOT_DIFFUSION = tuple(
    getattr(comfy.model_sampling, name)
    for name in ("X0", "IMG_TO_IMG", "IMG_TO_IMG_FLOW")
    if hasattr(comfy.model_sampling, name)
)
# What the host keeps of a device's memory, on a model and on its layers (comfy/model_patcher.py, dynamic loading).
_OF_MODEL, _OF_LAYERS = re.compile(r"dynamic_"), re.compile(r"_v(_|$)|_pins?(_|$)")


def prediction_type(patcher: ModelPatcher) -> str:
    """What the model predicts, as the host names it: EPS, V_PREDICTION, CONST (flow matching) …"""
    for cls in type(patcher.get_model_object("model_sampling")).__mro__:
        if not issubclass(cls, torch.nn.Module):
            return cls.__name__
    return "unknown"


def noise_levels(patcher: ModelPatcher, sigmas: torch.Tensor) -> list[NoiseLevel]:
    """α and σ of each of the host's sigmas (T + 1,). Raises ValueError for a model that is neither VE nor flow.

    The host samples EPS, V_PREDICTION and EDM models in the VE scaling, α = 1, and flow models with α = 1 - σ
    (comfy/model_sampling.py, `noise_scaling`).
    """
    sampling = patcher.get_model_object("model_sampling")
    if isinstance(sampling, (*FLOW, *VARIANCE_EXPLODING)) and not isinstance(sampling, NOT_DIFFUSION):
        return [noise_level(patcher, sigma) for sigma in sigmas.tolist()]
    raise ValueError(
        f"Realign cannot sample a {prediction_type(patcher)} model ({architecture(patcher)}): its noise is neither "
        "of the EPS, V_PREDICTION or EDM kind nor flow matching (CONST). Use another reference model."
    )


def noise_level(patcher: ModelPatcher, sigma: float) -> NoiseLevel:
    """As `noise_levels`, for one σ; a model of any other kind counts as VE, as RLG needs no α."""
    sampling = patcher.get_model_object("model_sampling")
    if isinstance(sampling, FLOW) and not isinstance(sampling, NOT_DIFFUSION):
        return NoiseLevel(1.0 - sigma, sigma * float(getattr(sampling, "noise_scale", 1.0)))
    return NoiseLevel(1.0, sigma)


def architecture(patcher: ModelPatcher) -> str:
    """The host's name of the model's family, e.g. SD15, SDXL, SD3."""
    return type(patcher.model.model_config).__name__


def check_pair(reference: ModelPatcher, anchor: ModelPatcher, name: str) -> None:
    """Raise ValueError, in one sentence an artist can act on, unless the anchor can be mixed with the reference."""
    ours, theirs = architecture(reference), architecture(anchor)
    advice = "An anchor must be the reference model itself, trained further (DPO, SPO …), or a LoRA for it."
    if type(reference.model.diffusion_model) is not type(anchor.model.diffusion_model) or ours != theirs:
        raise ValueError(f"The anchor “{name}” is {theirs}, but the reference model is {ours}. {advice}")
    difference = _layer_difference(reference, anchor)
    if difference:
        raise ValueError(
            f"The anchor “{name}” is a different kind of {ours} than the reference: {difference}. {advice}"
        )
    ours, theirs = prediction_type(reference), prediction_type(anchor)
    if ours != theirs:
        raise ValueError(
            f"The anchor “{name}” predicts {theirs}, but the reference model predicts {ours}. If they are trained "
            "alike, load the anchor with a model loader, apply the same ModelSampling node to it as to the "
            "reference, and use “Anchor from MODEL”."
        )


def pair_notes(reference: ModelPatcher, anchor: ModelPatcher, name: str) -> list[str]:
    """What is no error, and yet makes λ = 1 another picture than the anchor's own, in a sentence each."""
    notes, models = [], (reference, anchor)
    ours, theirs = (one.get_model_object("model_sampling") for one in models)
    if not _same_levels(ours, theirs):
        ranges = (f"σ {float(one.sigma_min):.3g} … {float(one.sigma_max):.4g}" for one in (theirs, ours))
        notes.append(
            f"The anchor “{name}” has another noise schedule than the reference ({' and '.join(ranges)}): the two are "
            "mixed at equal σ, and λ = 1 is the anchor at the reference's noise levels, not its own run. For its own, "
            "put the same ModelSampling node on both."
        )
    if _carries_more(reference, anchor):
        notes.append(
            f"The reference carries a LoRA (or other weight patches) that the anchor “{name}” does not: it fades as λ "
            "rises. To keep it, load it into both."
        )
    return notes


def _same_levels(ours: torch.nn.Module, theirs: torch.nn.Module) -> bool:
    tables = [getattr(one, "sigmas", None) for one in (ours, theirs)]
    if any(table is None for table in tables):
        return True
    one, other = (table.detach().float().cpu() for table in tables if table is not None)
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-3, atol=1e-4)


def _carries_more(reference: ModelPatcher, anchor: ModelPatcher) -> bool:
    """Whether the reference has patches, or LoRAs beside its weights, that the anchor has not. Those of two files are
    told apart by their number alone."""
    for field in ("patches", "injections"):
        theirs = getattr(anchor, field)
        for key, ours in getattr(reference, field).items():
            both = theirs.get(key, [])
            if additions(both, ours) if anchor.is_clone(reference) else len(ours) > len(both):
                return True
    return False


def _layer_difference(reference: ModelPatcher, anchor: ModelPatcher) -> str:
    """The first layer whose weight differs in shape or that only one has; empty where all agree."""
    ours, theirs = _weight_shapes(reference), _weight_shapes(anchor)
    for layer, shape in ours.items():
        if layer not in theirs:
            return f"it has no layer {layer}"
        if theirs[layer] != shape:
            return f"its layer {layer} is {_times(theirs[layer])}, where the reference has {_times(shape)}"
    extra = next((layer for layer in theirs if layer not in ours), None)
    return f"it has a layer {extra} that the reference lacks" if extra else ""


def _weight_shapes(patcher: ModelPatcher) -> dict[str, tuple[int, ...]]:
    shapes = weight_shapes(patcher.model.diffusion_model)
    return {key.removesuffix(".weight"): shape for key, shape in shapes.items() if key.endswith(".weight")}


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def with_own_weights(patcher: ModelPatcher) -> ModelPatcher:
    """The same model with the same patches, on a weight copy of its own.

    A MODEL and its LoRA clone share one module; loading both for one run patches that module twice over, and both
    passes then silently use the same weights. The host can read a loader's model again (`deepclone_multigpu`); a
    model that came from elsewhere is copied, once the host has taken its patches off the shared weights.
    """
    if getattr(patcher, "cached_patcher_init", None) is not None:
        return patcher.deepclone_multigpu()
    comfy.model_management.unload_model_and_clones(patcher)
    config = patcher.model.model_config  # answers every attribute, __setstate__ too, so that it cannot be copied
    with _without_device_memory(patcher.model):
        model = copy.deepcopy(patcher.model, {id(config): config})
    clone = patcher.clone(model_override=(model, ({}, {}, {}, set())))
    clone.hook_backup = {}
    return clone


@contextmanager
def _without_device_memory(model: torch.nn.Module) -> Iterator[None]:
    """It belongs to this model alone: a copy of it would be used by both, and freed twice."""
    kept = [(vars(module), name) for module in model.modules() for name in vars(module) if _OF_LAYERS.match(name)]
    kept += [(vars(model), name) for name in vars(model) if _OF_MODEL.match(name)]
    values = [own.pop(name) for own, name in kept]
    try:
        yield
    finally:
        for (own, name), value in zip(kept, values):
            own[name] = value
