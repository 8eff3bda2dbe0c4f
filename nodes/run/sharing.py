"""Can an anchor run on the reference's own weights?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import comfy.weight_adapter
import torch
from comfy.model_patcher import ModelPatcher

from ..models.forward_lora import ForwardLora
from ..models.on_layer import ADDITIVE, CannotShareError
from ..models.options import additions, alike
from ..models.put_on import compiling
from .call import KEY


@dataclass(frozen=True, eq=False)
class Beyond:
    """What an anchor has beyond the reference, on whose weights it runs."""

    patches: dict[str, list[Any]]  # of weights, as the host's `ModelPatcher.patches`
    injections: list[Any]  # of modules (bypass LoRAs): the host's PatcherInjection


def beyond(reference: ModelPatcher, anchor: ModelPatcher) -> Beyond:
    """reference, anchor: two clones on one weight copy. Raises CannotShareError if the anchor is not just an addition.

    Options, wrappers, callbacks, hooks and replaced objects must act on both models, or on none.
    """
    if reference.get_additional_models_with_key("multigpu"):
        raise CannotShareError("the model is spread over several GPUs")
    if compiling(reference) or compiling(anchor):
        raise CannotShareError("the model is compiled, and compiled modules run no hooks")
    for field in ("wrappers", "callbacks"):
        if not alike(*(_without_ours(getattr(patcher, field)) for patcher in (reference, anchor))):
            raise CannotShareError("a node has put wrappers on one of the two models only")
    if not alike(reference.model_options, anchor.model_options):
        raise CannotShareError("a patch is applied to one of the two models only")
    if not _same_objects(reference, anchor):
        raise CannotShareError("a part is replaced in one of the two models only")
    ours, theirs = injected(reference), injected(anchor)
    if additions(theirs, ours):
        raise CannotShareError("the reference has a LoRA beside its weights that the anchor does not have")
    patches, further = _further(reference.patches, anchor.patches), additions(ours, theirs)
    return Beyond(
        joined([patches, *(one.patches for one in further if isinstance(one, ForwardLora))]),
        [one for one in further if not isinstance(one, ForwardLora)],
    )


def joined(patches: Iterable[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    """Of weights, one after the other."""
    out: dict[str, list[Any]] = {}
    for one in patches:
        for key, entries in one.items():
            out[key] = [*out.get(key, []), *entries]
    return out


def injected(patcher: ModelPatcher) -> list[Any]:
    """All that the host puts into the network when it loads this MODEL."""
    return [injection for every in patcher.injections.values() for injection in every]


def _without_ours(by_kind: dict[str, dict[Any, list[Any]]]) -> dict[str, dict[Any, list[Any]]]:
    """Wrappers or callbacks, without this pack's and without empty lists."""
    kept = {kind: {k: v for k, v in by_key.items() if k != KEY and v} for kind, by_key in by_kind.items()}
    return {kind: by_key for kind, by_key in kept.items() if by_key}


def _further(ours: dict[str, list[Any]], theirs: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The weight patches of `theirs` that are not in `ours`."""
    out = {}
    for key in {**ours, **theirs}:
        common, own, late = ours.get(key, []), [], False
        waiting = list(common)
        for entry in theirs.get(key, []):
            if waiting and alike(entry, waiting[0]):
                late = late or (bool(own) and not adds(entry))
                waiting.pop(0)
            else:
                own.append(entry)
        if waiting:
            raise CannotShareError("the reference carries a LoRA that the anchor does not have")
        if late:
            raise CannotShareError(f"a patch of {key} that both have changes what the anchor's own adds")
        if own:
            out[key] = own
    return out


def adds(entry: tuple[Any, ...]) -> bool:
    """Whether a weight patch only adds to the weight, so that its place among others makes no difference."""
    _, patch, strength_model, _, _ = entry
    if strength_model != 1.0:
        return False
    if isinstance(patch, comfy.weight_adapter.WeightAdapterBase):
        return patch.name in ADDITIVE and patch.weights[ADDITIVE[patch.name]] is None
    return isinstance(patch, tuple) and patch[0] == "diff" and len(patch[1]) == 1


def _same_objects(reference: ModelPatcher, anchor: ModelPatcher) -> bool:
    names = {**reference.object_patches, **anchor.object_patches}.keys() - {"model_sampling"}
    if any(reference.object_patches.get(n) is not anchor.object_patches.get(n) for n in names):
        return False
    if not alike(reference.weight_wrapper_patches, anchor.weight_wrapper_patches):
        return False
    return _same_sampling(*(p.get_model_object("model_sampling") for p in (reference, anchor)))


def _same_sampling(a: Any, b: Any) -> bool:
    """Whether two noise parametrisations ask and read the network alike; their schedules may differ (a shift)."""
    if a is b:
        return True
    sigma = torch.tensor([0.05, 0.3, 0.9])
    x, out = torch.ones(3, 1, 1, 1), torch.full((3, 1, 1, 1), 0.5)
    return all(
        torch.equal(torch.as_tensor(ask(a)), torch.as_tensor(ask(b)))
        for ask in (
            lambda s: s.timestep(sigma.to(s.sigmas.device)).cpu(),
            lambda s: s.calculate_input(sigma, x),
            lambda s: s.calculate_denoised(sigma, out, x),
        )
    )
