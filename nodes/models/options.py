"""Model options and patches as the host nests them: dicts and lists, and what was changed in them since."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from comfy.patcher_extension import copy_nested_dicts


def copied(options: dict[str, Any]) -> dict[str, Any]:
    """Dicts and lists anew, what they hold the same."""
    out: dict[str, Any] = copy_nested_dicts(options)
    return out


def follow(own: dict[Any, Any], before: dict[Any, Any], after: dict[Any, Any]) -> None:
    """Change `own` as `before` was changed to become `after`."""
    for key in before.keys() - after.keys():
        own.pop(key, None)
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict):
            nested = own[key] if isinstance(own.get(key), dict) else {}
            follow(nested, old if isinstance(old, dict) else {}, value)
            if nested or key in own or key not in before:  # else it is the other's alone: clones on further devices
                own[key] = nested
        elif isinstance(value, list):
            old = old if isinstance(old, list) else []
            gone, further = additions(value, old), additions(old, value)
            if gone or further:
                own[key] = [*additions(gone, own.get(key) or []), *further]
        elif key not in before or value is not old:
            own[key] = value


def additions(before: Iterable[Any], after: Iterable[Any]) -> list[Any]:
    """Of `after`, what is not in `before`."""
    before = list(before)
    return [value for value in after if not any(value is old for old in before)]


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


def same_function(a: Any, b: Any) -> bool:
    """Whether two functions were made by the same node with the same inputs."""
    code, other = getattr(a, "__code__", None), getattr(b, "__code__", None)
    if a is b or code is None or code is not other or a.__defaults__ != b.__defaults__:
        return a is b
    cells = ([_known_as(cell.cell_contents) for cell in function.__closure__ or ()] for function in (a, b))
    return alike(*cells)


def _known_as(value: Any) -> Any:
    """The host makes a class anew whenever its node runs."""
    return f"{value.__module__}.{value.__qualname__}" if isinstance(value, type) else value


class OwnOptions:
    """One model's model options, the same dict throughout a run: nodes' functions keep what they remember in it.

    own: as the host has prepared them. sampler: the sampler's, as they were then.
    """

    def __init__(self, own: dict[str, Any], sampler: dict[str, Any]):
        self._own, self._seen = own, copied(sampler)

    def following(self, sampler: dict[str, Any]) -> dict[str, Any]:
        """With what the sampler has changed in its own since the last question."""
        follow(self._own, self._seen, sampler)
        self._seen = copied(sampler)
        return self._own
