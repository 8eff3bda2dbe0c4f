"""β from what training tools write into a file's metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import from_json

from ...realign_core import plain_number

# `beta_dpo` is the argument of the Diffusion-DPO reference code and of diffusers' DPO scripts; trainers that record
# their arguments prefix it (kohya: `ss_`) or nest it in JSON. A bare `beta` counts only at the top level: deeper down
# it is more often an optimiser's.
NESTED = ("beta_dpo", "dpo_beta", "ss_beta_dpo", "ss_dpo_beta", "beta_kl", "kl_beta", "ss_beta_kl", "ss_kl_beta")
TOP_LEVEL = ("realign.beta", *NESTED, "beta")


def beta_from_metadata(metadata: Mapping[str, str] | None) -> float | None:
    """β > 0 from safetensors metadata (str → str, values may be JSON); None where the file does not say."""
    metadata = metadata or {}
    named = [metadata[name] for name in TOP_LEVEL if name in metadata]
    return next(_positive([*named, *_nested(metadata)]), None)


def _nested(value: Any) -> Iterator[Any]:
    """Values under the known names, at any depth of dicts, lists and JSON text."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            try:
                value = from_json(value)
            except ValueError:  # no JSON, or nested or written without end
                continue
        if isinstance(value, Mapping):
            yield from (item for name, item in value.items() if name in NESTED)
            value = list(value.values())
        if isinstance(value, list):
            waiting += reversed(value)


def _positive(values: list[Any]) -> Iterator[float]:
    for value in values:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        number = plain_number(value) if isinstance(value, str) else None
        if number is not None and number > 0:
            yield number
