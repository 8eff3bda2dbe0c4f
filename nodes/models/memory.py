"""How much of a device's memory a run may take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.model_management

MEMORY_MARGIN = 1.5  # as the host's calc_cond_batch has over its own estimate


def free_memory(patchers: Sequence[Any]) -> float:
    """Bytes that a batch may take on the device of these models once they are loaded, and nothing else is."""
    device = patchers[0].load_device
    free: float = comfy.model_management.get_free_memory(device)
    if comfy.model_management.is_device_cpu(device):
        return free
    distinct = [one for i, one in enumerate(patchers) if not any(one.is_clone(other) for other in patchers[:i])]
    loaded = [m.model_loaded_memory() for m in comfy.model_management.current_loaded_models if m.device == device]
    return free + sum(loaded) - sum(one.model_size() for one in distinct)
