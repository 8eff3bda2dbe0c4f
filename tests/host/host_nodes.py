"""The host's own nodes that take a MODEL and give one: which they are, what they are given, how they are run.

Read from the host's list as a real host fills it, so that a later host's nodes are there by themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import nodes as host

WIDGETS = ("INT", "FLOAT", "BOOLEAN", "STRING", "COMBO")


@cache
def model_nodes() -> dict[str, type]:
    """By id: every node of the host that takes a MODEL and gives a MODEL."""
    from server import PromptServer

    stand_in = not hasattr(PromptServer, "instance")
    if stand_in:  # one of the host's files asks the server for its list of replaced nodes
        PromptServer.instance = _AnyServer()
    try:
        failed = asyncio.run(host.init_builtin_extra_nodes())
    finally:
        if stand_in:
            del PromptServer.instance
    assert not failed, f"the host's own nodes were not loaded: {failed}"
    return {name: cls for name, cls in host.NODE_CLASS_MAPPINGS.items() if _is_host(cls) and _takes_and_gives(cls)}


class _AnyServer:
    def __getattr__(self, _: str) -> Any:
        return self

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self


def _is_host(cls: type) -> bool:
    return getattr(cls, "RELATIVE_PYTHON_MODULE", cls.__module__).split(".")[0] in ("nodes", "comfy_extras")


def _takes_and_gives(cls: type) -> bool:
    takes = any(_is_model(kind) for _, kind, _, _ in inputs_of(cls))
    return takes and any(_is_model(kind) for kind in cls.RETURN_TYPES)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, str) and "MODEL" in str(kind).split(",")


def inputs_of(cls: type) -> Iterator[tuple[str, Any, dict[str, Any], bool]]:
    """(name, type, options, is it required) of each input. A combo's type is COMBO, its choices are an option."""
    for group in ("required", "optional"):
        for name, spec in cls.INPUT_TYPES().get(group, {}).items():
            kind, options = spec[0], dict(spec[1]) if len(spec) > 1 else {}
            if isinstance(kind, list):
                kind, options = "COMBO", {"options": kind} | options
            yield name, str(kind), options, group == "required"


def run(cls: type, inputs: Mapping[str, Any]) -> tuple[Any, ...]:
    """A node's outputs, run as the host runs it."""
    out = getattr(cls if hasattr(cls, "EXECUTE_NORMALIZED") else cls(), cls.FUNCTION)(**inputs)
    return tuple(getattr(out, "args", out))


def default(kind: str, options: Mapping[str, Any]) -> Any:
    """Of a widget, as the page fills it."""
    if kind == "COMBO":
        return options.get("default", next(iter(options["options"]), None))
    return options.get("default", {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False, "STRING": ""}[kind])


def extreme(kind: str, options: Mapping[str, Any], high: bool) -> Any:
    """Of a widget: its least or largest value; a combo's last, then its second."""
    if kind in ("INT", "FLOAT"):
        return options.get("max" if high else "min", default(kind, options))
    if kind == "BOOLEAN":
        return high
    if kind == "COMBO":
        choices = list(options["options"])
        return choices[-1 if high else min(1, len(choices) - 1)] if choices else None
    return default(kind, options)


def model_input(cls: type) -> str:
    return next(name for name, kind, _, _ in inputs_of(cls) if _is_model(kind))


def model_of(cls: type, outputs: tuple[Any, ...]) -> Any:
    return next(out for kind, out in zip(cls.RETURN_TYPES, outputs) if _is_model(kind))
