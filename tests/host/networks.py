"""The networks of the host's own list of models, small: random weights in the host's own classes.

Each is made as the host's loader makes it: the list's class (`comfy.supported_models`) takes the network's arguments,
and its `get_model` makes the model. Only the arguments are ours, in specs_unet.py, specs_image.py and specs_video.py:
heads, axes and depths are cut, and what the host fixes (a latent's channels, patches) stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import comfy.supported_models
import torch
from comfy.model_patcher import CoreModelPatcher
from comfy.nested_tensor import NestedTensor
from comfy.weight_adapter.lora import LoRAAdapter

CPU = torch.device("cpu")
Draw = Callable[..., torch.Tensor]  # (*shape): seeded noise


@dataclass(frozen=True)
class Network:
    """How one class of the host's list is made small."""

    config: Mapping[str, Any]  # the network's arguments; what is not given is what the class demands
    latent: tuple[int, ...] | list[tuple[int, ...]]  # an empty latent's shape without the batch; a list for streams
    context: tuple[int, int] = (6, 64)  # tokens and channels of the prompt
    options: Callable[[Draw], dict[str, Any]] = lambda draw: {}  # what else a conditioning holds
    beside: Callable[[Draw], dict[str, torch.Tensor]] = lambda draw: {}  # weights that a file has beside the network's
    shrink: Callable[[torch.nn.Module], None] = lambda module: None  # parts whose size stands in the host's code
    batch: int = 1  # of a latent whose batch is its frames


def drawn(seed: int) -> Draw:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator)


def build(name: str, network: Network, moved: float = 0.0, seed: int = 1) -> CoreModelPatcher:
    """MODEL of a class of the list. moved: by how much of its spread every weight is moved, for an anchor."""
    cls = getattr(comfy.supported_models, name)
    config = cls({**cls.unet_config, **network.config})
    config.unet_config |= {key: network.config[key] for key in network.config.keys() & cls.unet_extra_config.keys()}
    config.set_inference_dtype(torch.float32, None)
    draw = drawn(seed)
    model = config.get_model(network.beside(draw))
    network.shrink(model.diffusion_model)
    model.diffusion_model.eval()
    fill(model.diffusion_model, draw)
    if moved:
        further = drawn(seed + 1)
        for weight in model.diffusion_model.parameters():
            weight.data += moved * (weight.std() if weight.numel() > 1 else 0.1) * further(*weight.shape)
    patcher = CoreModelPatcher(model, CPU, CPU)
    patcher.cached_patcher_init = (build, (name, network, moved, seed))  # as every loader of the host
    return patcher


def fill(module: torch.nn.Module, draw: Draw, scale: float = 1.0) -> None:
    """Random weights, and buffers that a file would hold: 1/√fan_in for matrices, 1 for norms, small vectors."""
    for name, weight in module.state_dict().items():
        noise = draw(*weight.shape)
        if weight.ndim > 1:
            weight.copy_(noise * scale / weight[0].numel() ** 0.5)
        elif name.endswith(("weight", "scale", "gamma")):
            weight.copy_(1 + 0.1 * noise)
        else:
            weight.copy_(0.1 * noise)


def with_lora(model: CoreModelPatcher, strength: float = 1.0, seed: int = 5) -> CoreModelPatcher:
    """A clone with a LoRA on every Linear of the network; it shares the model's weights."""
    draw, patches = drawn(seed), {}
    for name, layer in model.model.diffusion_model.named_modules():
        weight = getattr(layer, "weight", None)
        if isinstance(layer, torch.nn.Linear) and weight is not None:
            up, down = 0.3 * draw(weight.shape[0], 2), draw(2, weight.shape[1]) / weight.shape[1] ** 0.5
            patches[f"diffusion_model.{name}.weight"] = LoRAAdapter(set(), (up, down, 2.0, None, None, None))
    clone = model.clone()
    assert patches
    assert set(clone.add_patches(patches, strength)) == set(patches)
    return clone


def conditioning(network: Network, seed: int) -> list:
    draw = drawn(seed)
    return [[draw(1, *network.context), network.options(draw)]]


def latent(network: Network, batch: int = 1) -> dict[str, Any]:
    """LATENT, empty."""
    if isinstance(network.latent, list):
        return {"samples": NestedTensor([torch.zeros(batch, *shape) for shape in network.latent])}
    return {"samples": torch.zeros(batch, *network.latent)}


def pooled(size: int) -> Callable[[Draw], dict[str, Any]]:
    return lambda draw: {"pooled_output": draw(1, size)}


def masked(draw: Draw) -> dict[str, Any]:
    """As text encoders give it that pad their tokens."""
    return {"attention_mask": torch.ones(1, 6, dtype=torch.long)}
