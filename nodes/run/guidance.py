"""What a sampler adds to the host's model options while it runs."""

from __future__ import annotations

from typing import Any


def carried_over(base: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """`base` with what a sampler changed in the model options between `before` and `after`."""
    if after is before:
        return base
    out = base.copy()
    for key, value in after.items():
        old = before.get(key)
        if value is old:
            continue
        if isinstance(value, dict):
            out[key] = carried_over(out.get(key) or {}, old or {}, value)
        elif isinstance(value, list):
            more = added(old or [], value)
            if more:
                out[key] = [*(out.get(key) or []), *more]
        else:
            out[key] = value
    return out


def added(before: list[Any], after: list[Any]) -> list[Any]:
    return [value for value in after if not any(value is old for old in before)]
