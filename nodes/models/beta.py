"""β from what training tools write into a file's metadata."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

# `beta_dpo` is the argument of the Diffusion-DPO reference code and of diffusers' DPO scripts; trainers that record
# their arguments prefix it (kohya: `ss_`) or nest it in JSON. A bare `beta` counts only at the top level: deeper down
# it is more often an optimiser's.
NESTED = ("beta_dpo", "dpo_beta", "ss_beta_dpo", "ss_dpo_beta", "beta_kl", "kl_beta", "ss_beta_kl", "ss_kl_beta")
TOP_LEVEL = ("realign.beta", *NESTED, "beta")


def beta_from_metadata(metadata: Mapping[str, str] | None) -> float | None:
    """β > 0 from safetensors metadata (str → str, values may be JSON); None where the file does not say."""
    metadata = metadata or {}
    named = [metadata[name] for name in TOP_LEVEL if name in metadata]
    return next(_positive(named + list(_nested(metadata))), None)


def _nested(value: Any) -> Iterator[Any]:
    """Values under the known names, at any depth of dicts, lists and JSON text."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name in NESTED:
                yield item
            yield from _nested(item)
    elif isinstance(value, list):
        for item in value:
            yield from _nested(item)


def _positive(values: list[Any]) -> Iterator[float]:
    for value in values:
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number) and number > 0:
            yield number
