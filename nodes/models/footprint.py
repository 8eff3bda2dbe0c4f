"""What is on a MODEL and on its network, to be the same before and after a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from comfy.model_patcher import ModelPatcher

from .described import public_name
from .options import alike
from .put_on import PutOn

# Where torch keeps the hooks of a module, and of all modules.
HOOKS = {
    "_forward_hooks": "forward hook",
    "_forward_pre_hooks": "forward hook",
    "_backward_hooks": "backward hook",
    "_backward_pre_hooks": "backward hook",
    "_state_dict_hooks": "state_dict hook",
}
GLOBAL = ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks")
WORDS = {"patches": "weight patches", "weight_wrapper_patches": "weight wrappers"}  # the others say it themselves


class Hook(NamedTuple):
    place: str  # the module's name
    kind: str
    function: Any


@dataclass(frozen=True, eq=False)
class Footprint:
    """hooks: how often each function is at each place. modules: by their names in the model. busy: whether the model
    still belongs to a run."""

    put_on: PutOn
    hooks: Counter[Hook]
    modules: Mapping[str, torch.nn.Module]
    busy: bool

    @classmethod
    def of(cls, patcher: ModelPatcher) -> Footprint:
        modules = dict(patcher.model.named_modules())
        return cls(
            PutOn.of(patcher),
            Counter(_hooks(modules)),
            modules,
            getattr(patcher.model, "current_patcher", None) is not None,
        )

    def left(self, later: Footprint) -> list[str]:
        """What `later` has or lacks beyond this, a few words each; a function is named by the node that made it."""
        out = []
        for there, gone, said in ((later, self, ""), (self, later, " is gone")):
            for hook in there.hooks - gone.hooks:
                out.append(f"a {hook.kind} of “{public_name(hook.function)}” on {hook.place or 'the model'}{said}")
        changed = [name for name in self.modules if later.modules.get(name) is not self.modules[name]]
        changed += [name for name in later.modules if name not in self.modules]
        if changed:
            out.append(f"another layer at {changed[0]}" + (f" and {len(changed) - 1} more" if changed[1:] else ""))
        for field, before in self.put_on.fields.items():
            if not alike(before, later.put_on.fields[field]):
                out.append(f"other {WORDS.get(field, field.replace('_', ' '))}")
        if self.put_on.additional.keys() != later.put_on.additional.keys():
            out.append("other additional models")
        if later.busy and not self.busy:
            out.append("the run itself, which has not ended")
        return out


def _hooks(modules: Mapping[str, torch.nn.Module]) -> Iterator[Hook]:
    for name in GLOBAL:
        for one in getattr(torch.nn.modules.module, name, {}).values():
            yield Hook("all models", HOOKS[name.removeprefix("_global")], one)
    for place, module in modules.items():
        for name, kind in HOOKS.items():
            for one in (getattr(module, name, None) or {}).values():
                yield Hook(place, kind, one)
        if "forward" in vars(module):
            yield Hook(place, "forward function", vars(module)["forward"])
