"""Can an anchor run on the reference's own weights?"""

from __future__ import annotations

from typing import Any

import torch
from comfy.model_patcher import ModelPatcher


class CannotShareError(Exception):
    """Why an anchor cannot run on the reference's weights. The message ends the sentence “… because”."""


def own_patches(reference: ModelPatcher, anchor: ModelPatcher, own_key: str) -> dict[str, list[Any]]:
    """The weight patches that `anchor` has beyond `reference`'s. Raises CannotShareError if it is not just an addition.

    reference, anchor: two clones on one weight copy. Everything but the patches must be the same: options, wrappers,
    callbacks, hooks and replaced objects act on both models, or on none. own_key: of Realign's wrapper.
    """
    if reference.get_additional_models_with_key("multigpu"):
        raise CannotShareError("the model is spread over several GPUs")
    for patcher in (reference, anchor):
        wrappers = [key for by_key in patcher.wrappers.values() for key, found in by_key.items() if found]
        others = [*wrappers, *patcher.model_options.get("transformer_options", {}).get("wrappers", {}).values()]
        if any(key != own_key for key in others) or any(patcher.callbacks.values()) or patcher.injections:
            raise CannotShareError("a node has put wrappers on the model, which must see one model at a time")
    if not alike(reference.model_options, anchor.model_options):
        raise CannotShareError("a patch is applied to one of the two models only")
    if not _same_objects(reference, anchor):
        raise CannotShareError("a part is replaced in one of the two models only")
    extra = {}
    for key in {**reference.patches, **anchor.patches}:
        ours, theirs = reference.patches.get(key, []), anchor.patches.get(key, [])
        if not alike(ours, theirs[: len(ours)]):
            raise CannotShareError("the reference carries a LoRA that the anchor does not have")
        if theirs[len(ours) :]:
            extra[key] = theirs[len(ours) :]
    return extra


def alike(a: Any, b: Any) -> bool:
    """Whether nested dicts, lists and tuples hold the very same things."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(alike(value, b[key]) for key, value in a.items())
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(alike, a, b))
    return isinstance(a, (str, int, float, bool)) and a == b


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
