"""A model's own copy of what the host keeps state in: ControlNets and hooks on conditioning."""

from __future__ import annotations

from typing import Any

from ..types import Conditioning


class OwnState:
    """Copies conditionings so that two models can run them in turn without sharing mutable state.

    A ControlNet remembers the model it was prepared for (ControlLora is even built from its weights), and a hook's
    keyframes remember the last σ they were asked for, so that the second model to ask is told that nothing changed.
    What was one object in the conditionings is one object in the copies.
    """

    def __init__(self) -> None:
        self._copies: dict[int, tuple[Any, Any]] = {}  # id → (original, kept alive so that its id stays its own; copy)

    def conditioning(self, conditioning: Conditioning) -> Conditioning:
        return [[cond, self._options(options), *rest] for cond, options, *rest in conditioning]

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        options = options.copy()
        if options.get("control") is not None:
            options["control"] = self._once(options["control"], self._control)
        if options.get("hooks") is not None:
            options["hooks"] = self._once(options["hooks"], self._hooks)
        return options

    def _once(self, original: Any, make: Any) -> Any:
        if id(original) not in self._copies:
            self._copies[id(original)] = (original, make(original))
        return self._copies[id(original)][1]

    def _control(self, control: Any) -> Any:
        own = control.copy()
        if control.previous_controlnet is not None:
            own.set_previous_controlnet(self._once(control.previous_controlnet, self._control))
        if control.extra_hooks is not None:
            own.extra_hooks = self._once(control.extra_hooks, self._hooks)
        return own

    def _hooks(self, group: Any) -> Any:
        own = group.clone()
        for hook in own.hooks:
            hook.hook_keyframe = self._once(hook.hook_keyframe, lambda keyframes: keyframes.clone())
        return own
