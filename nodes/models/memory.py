"""How much of a device's memory a run may take, and which weights the host will stream to it, by the host's figures.

The host loads models one after the other (comfy/model_management.py, `load_models_gpu`): each gets what is free beside
what sampling needs, and of a model that does not fit the rest stays in main memory and is moved at every call of it.
All sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_management as host
import torch
from comfy.model_patcher import ModelPatcher

MEMORY_MARGIN = 1.5  # as the host's calc_cond_batch has over its own estimate
_LAYERS_MOVED = 3  # layers of streamed weights that are on the device at once: one that computes, two on their way


@dataclass(frozen=True)
class Device:
    """A device's memory, as the host divides it."""

    free: float  # once no model is on it
    streams: bool = True  # else all weights are put on it, whether there is room or not
    least: float = 0.0  # that the host leaves free for sampling
    reserved: float = 0.0  # that it adds to its estimate of what sampling takes
    weights_share: float = 0.0  # of what is free that a model may take, however much sampling needs

    @classmethod
    def of(cls, device: torch.device, free: float | None = None) -> Device:
        """As it is now. free: another amount, of a card that is not here."""
        if free is None:
            loaded = [m.model_loaded_memory() for m in host.current_loaded_models if m.device == device and m.model]
            free = host.get_free_memory(device) + sum(loaded)
        streams = host.vram_state in (host.VRAMState.LOW_VRAM, host.VRAMState.NORMAL_VRAM) and host.lowvram_available
        least, reserved = host.minimum_inference_memory(), host.extra_reserved_memory()
        return cls(free, streams, least, reserved, host.MIN_WEIGHT_MEMORY_RATIO)

    def working(self, patcher: ModelPatcher, shape: Sequence[int]) -> float:
        """What is left free of weights for a call of one conditioning. shape: of the latents."""
        return max(self.least, patcher.model.memory_required(list(shape)) + self.reserved)

    def kept(self, sizes: Sequence[float], working: float) -> list[float]:
        """How much of each model is on the device. sizes: in the order in which the host loads them."""
        if not self.streams:
            return list(sizes)
        free, out = self.free, []
        for size in sizes:
            room = max(0.0, free - working, min(free * self.weights_share, free - self.least))
            out.append(min(size, room))
            free -= out[-1]
        return out


@dataclass(frozen=True)
class Load:
    """Models that a run has loaded at once."""

    sizes: Sequence[float]  # in the order in which the host loads them
    calls: Sequence[float]  # of each in a step, on average

    @property
    def size(self) -> float:
        return sum(self.sizes)

    def lacking(self, device: Device, working: float) -> float:
        """How much more memory it would take to have all weights on the device."""
        return max(0.0, self.size + working - device.free)

    def streamed(self, device: Device, working: float) -> float:
        """Weights that are moved to the device in a step, on average."""
        kept = device.kept(self.sizes, working)
        return sum(calls * (size - on) for size, calls, on in zip(self.sizes, self.calls, kept))


def distinct(patchers: Sequence[ModelPatcher]) -> list[ModelPatcher]:
    """One of those that share their weights."""
    return [one for i, one in enumerate(patchers) if not any(one.is_clone(other) for other in patchers[:i])]


def free_memory(patchers: Sequence[ModelPatcher]) -> float:
    """What a batch may take on the device of these models once they are loaded, and nothing else is."""
    device = patchers[0].load_device
    if host.is_device_cpu(device):
        return float(host.get_free_memory(device))
    return Device.of(device).free - sum(one.model_size() for one in distinct(patchers))


def free_memory_of_streamed(patchers: Sequence[ModelPatcher]) -> float:
    """What a batch may take where weights make room for it, as far as the host has them do so."""
    device = patchers[0].load_device
    if host.is_device_cpu(device) or not (of := Device.of(device)).streams:
        return free_memory(patchers)
    models = distinct(patchers)
    held = sum(of.kept([one.model_size() for one in models], of.free))
    return of.free - held - of.reserved - _LAYERS_MOVED * max(map(_largest_layer, models))


def _largest_layer(patcher: Any) -> int:
    return max((parameter.nbytes for parameter in patcher.model.parameters()), default=0)
