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
