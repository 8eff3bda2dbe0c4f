"""Adapter files for the tests, of every kind that the host reads, and the models they are put on."""

from __future__ import annotations

import comfy.lora
import torch


def patched(model, weights, strength=1.0):
    """MODEL with an adapter file on it, by the host's own loading."""
    patches = comfy.lora.load_lora(weights, comfy.lora.model_lora_keys_unet(model.model, {}))
    assert patches
    clone = model.clone()
    assert set(clone.add_patches(patches, strength)) == set(patches)
    return clone


class Calls:
    """Counts the network's forward passes on a model, and the rows of each."""

    def __init__(self, model):
        self.rows = []
        self._handle = model.model.diffusion_model.register_forward_pre_hook(
            lambda module, args: self.rows.append(args[0].shape[0])
        )

    def __enter__(self):
        return self.rows

    def __exit__(self, *_):
        self._handle.remove()


def layers_of(tiny, kind, want):
    """Some layers' names and weight shapes: want(name, shape)."""
    shapes = {k.removesuffix(".weight"): v.shape for k, v in tiny.weights(kind).items() if k.endswith(".weight")}
    return {name: shape for name, shape in shapes.items() if want(name, shape)}


def randn(*shape, seed=9):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def matrices(tiny, kind):
    return layers_of(tiny, kind, lambda name, shape: len(shape) == 2 and ("attn" in name or ".linear" in name))


def convolutions(tiny, kind):
    return layers_of(tiny, kind, lambda name, shape: len(shape) == 4)


def lora(layers):
    out = {}
    for name, (n_out, n_in, *kernel) in layers.items():
        ones = [1] * len(kernel)
        out[f"diffusion_model.{name}.lora_up.weight"] = 0.3 * randn(n_out, 4, *ones)
        out[f"diffusion_model.{name}.lora_down.weight"] = randn(4, n_in, *kernel) / (n_in * 4) ** 0.5
        out[f"diffusion_model.{name}.alpha"] = torch.tensor(2.0)
    return out


def locon_with_mid(layers):
    out = {}
    for name, (n_out, n_in, *kernel) in layers.items():
        if kernel == [3, 3]:
            out[f"diffusion_model.{name}.lora_up.weight"] = 0.3 * randn(n_out, 4, 1, 1)
            out[f"diffusion_model.{name}.lora_down.weight"] = randn(4, n_in, 1, 1) / n_in**0.5
            out[f"diffusion_model.{name}.lora_mid.weight"] = randn(4, 4, 3, 3) / 6
    return out


def loha(layers):
    out = {}
    for name, (n_out, n_in, *kernel) in layers.items():
        size = n_in * torch.Size(kernel).numel()
        for half in ("hada_w1", "hada_w2"):
            out[f"diffusion_model.{name}.{half}_a"] = randn(n_out, 4, seed=len(half)) * 0.5
            out[f"diffusion_model.{name}.{half}_b"] = randn(4, size, seed=ord(half[-1])) / size**0.25 * 0.5
    return out


def lokr(layers):
    out = {}
    for name, (n_out, n_in) in layers.items():
        out[f"diffusion_model.{name}.lokr_w1"] = randn(4, 4) * 0.3
        out[f"diffusion_model.{name}.lokr_w2"] = randn(n_out // 4, n_in // 4) / n_in**0.5
    return out


def lokr_on_convolutions(layers):
    out = {}
    for name, (n_out, n_in, *kernel) in layers.items():
        if n_out % 4 == 0 and n_in % 4 == 0:
            out[f"diffusion_model.{name}.lokr_w1"] = randn(4, 4) * 0.3
            out[f"diffusion_model.{name}.lokr_w2"] = randn(n_out // 4, n_in // 4, *kernel) / (9 * n_in) ** 0.5
    return out


def differences(tiny, kind):
    """Full differences of weights and biases of matrices, convolutions and norms."""
    out = {}
    for name, value in tiny.weights(kind).items():
        layer, _, part = name.rpartition(".")
        if part in ("weight", "bias") and any(k in name for k in ("attn", "norm", "in_layers", "out_layers")):
            spread = value.std().nan_to_num(0.1) if value.ndim > 1 else 0.1
            out[f"diffusion_model.{layer}.diff{'_b' if part == 'bias' else ''}"] = 0.3 * spread * randn(*value.shape)
    return out


ADAPTERS = {
    "lora": lambda tiny, kind: lora(matrices(tiny, kind)),
    "locon": lambda tiny, kind: lora(convolutions(tiny, kind)),
    "locon, tucker": lambda tiny, kind: locon_with_mid(convolutions(tiny, kind)),
    "loha": lambda tiny, kind: loha(matrices(tiny, kind)),
    "loha on convolutions": lambda tiny, kind: loha(convolutions(tiny, kind)),
    "lokr": lambda tiny, kind: lokr(matrices(tiny, kind)),
    "lokr on convolutions": lambda tiny, kind: lokr_on_convolutions(convolutions(tiny, kind)),
    "differences": differences,
}
