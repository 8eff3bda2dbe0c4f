"""What nodes have put on a MODEL: as a value, and onto another model.

A node behind a Realign node acts on the reference's clone alone. To act on every model, as if it stood before each,
what it has added is put on the anchors as well.
"""

from __future__ import annotations

import copy
import uuid
from dataclasses import dataclass
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy.weight_adapter.bypass import BypassInjectionManager
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY, TORCH_COMPILE_KWARGS

from .options import alike, copied, follow
from .reach import made_by, reached

FIELDS = (
    "patches",
    "model_options",
    "wrappers",
    "callbacks",
    "injections",
    "object_patches",
    "weight_wrapper_patches",
    "attachments",
)
# Functions that hold what weights made of a prompt when the graph ran, by file and name, and the nodes they are of: no
# walk tells such a tensor from any other.
OF_WEIGHTS = {"nag_nodes.nag_attn2_replace_wrapper": "Normalized Attention Guidance"}


@dataclass(frozen=True, eq=False)
class PutOn:
    """All that is on a MODEL: the host's fields by name, dicts of dicts and lists."""

    fields: dict[str, dict[Any, Any]]
    additional: dict[str, list[ModelPatcher]]

    @classmethod
    def of(cls, patcher: ModelPatcher) -> PutOn:
        fields = {name: copied(getattr(patcher, name)) for name in FIELDS}
        return cls(fields, dict(patcher.additional_models))

    def changed(self, later: PutOn) -> bool:
        """Whether `later`, of a clone, has anything else."""
        return self.additional.keys() != later.additional.keys() or not alike(self.fields, later.fields)

    def change(self, patcher: ModelPatcher, later: PutOn) -> ModelPatcher:
        """A clone of another model's patcher with what `later` has beyond this."""
        clone = patcher.clone()
        for name in FIELDS:
            follow(getattr(clone, name), self.fields[name], later.fields[name])
        for key in later.additional.keys() - self.additional.keys():
            clone.set_additional_models(key, later.additional[key])
        if not alike(self.fields["patches"], later.fields["patches"]):
            clone.patches_uuid = uuid.uuid4()
        return clone

    def made_of_weights(self, later: PutOn) -> str:
        """A node that `later` has beyond this which holds what the weights it was put on have made; or ""."""
        was, now = (reached([one.fields["model_options"]]).functions for one in (self, later))
        names = {".".join(made_by(now[one]).split(".")[-2:]) for one in now.keys() - was.keys()}
        return next((OF_WEIGHTS[name] for name in names & OF_WEIGHTS.keys()), "")


def fit(patcher: ModelPatcher, was: torch.nn.Module, name: str) -> ModelPatcher:
    """The patcher, whose nodes' functions were made for another model, with all of them on its own.

    What the host can make again is made again: compiled modules and bypass LoRAs. Raises ValueError, naming the node,
    for what holds on to the other. was: that model. name: the anchor's.
    """
    if patcher.model is was:
        return patcher
    for injections in patcher.injections.values():
        for i, injection in enumerate(injections):
            injections[i : i + 1] = _injected_anew(injection, patcher) or [injection]
    keys = [key for wrapper in compiling(patcher) for key in compiled_by(wrapper)]
    if keys and TORCH_COMPILE_KWARGS in patcher.model_options:
        set_torch_compile_wrapper(patcher, keys=keys, **patcher.model_options[TORCH_COMPILE_KWARGS])
    theirs = {id(module) for module in was.diffusion_model.modules()}
    for module, node in reached([getattr(patcher, field) for field in FIELDS[1:-1]]).modules.values():
        if id(getattr(module, "_orig_mod", module)) in theirs:
            raise of_other_weights(node, name)
    return patcher


def of_other_weights(node: str, name: str) -> ValueError:
    """That a node cannot act on an anchor of this name."""
    return ValueError(
        f"“{node}” holds on to the weights that it was put on, so that it cannot act on the anchor “{name}”, which has "
        "others: put its node on each model by itself, before the Realign node (for a LoRA, load the checkpoint a "
        "second time), or bypass it."
    )


def compiling(patcher: ModelPatcher) -> list[Any]:
    """The host's wrappers that run compiled modules."""
    wrappers: list[Any] = patcher.wrappers.get(WrappersMP.APPLY_MODEL, {}).get(COMPILE_KEY, [])
    return wrappers


def compiled_by(wrapper: Any) -> dict[str, Any]:
    """The compiled modules of such a wrapper, by their names in the model."""
    held = [cell.cell_contents for cell in getattr(wrapper, "__closure__", None) or ()]
    return next((value for value in held if isinstance(value, dict)), {})


def _injected_anew(injection: Any, patcher: ModelPatcher) -> list[Any]:
    """A bypass LoRA on the modules of this model."""
    for cell in getattr(injection.inject, "__closure__", None) or ():
        if isinstance(cell.cell_contents, BypassInjectionManager):
            manager = copy.copy(cell.cell_contents)
            manager.hooks = []
            made: list[Any] = manager.create_injections(patcher.model)
            return made
    return []
