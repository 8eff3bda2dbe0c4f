"""Adapter files as `peft` and `diffusers` write them, and what they make of them, on the host's tiny SD 1.5."""

from __future__ import annotations

import copy

import comfy.lora
import torch
from comfy.utils import unet_to_diffusers
from diffusers import UNet2DConditionModel
from peft import PeftModel, get_peft_model

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
CONVOLUTIONS = ["conv1", "conv2"]  # 3×3; proj_in and proj_out are 1×1
ROUNDING = 2e-5  # of the largest change of a weight; float32, factors of rank 4 to 8


class Library:
    """diffusers' UNet with the host's weights, and names on both sides."""

    def __init__(self, tiny, reference):
        self.dir = tiny.dir / "loras"
        self._weights = tiny.weights("sd15")
        names = unet_to_diffusers(reference.model.model_config.unet_config)
        self.names = {theirs: ours for theirs, ours in names.items() if ours in self._weights}
        with torch.device("meta"):
            self._unet = UNet2DConditionModel(
                block_out_channels=(320,),
                layers_per_block=1,
                cross_attention_dim=768,
                attention_head_dim=8,
                down_block_types=("CrossAttnDownBlock2D",),
                up_block_types=("CrossAttnUpBlock2D",),
            )
        weights = {theirs: self._weights[ours].clone() for theirs, ours in self.names.items()}
        self._unet.load_state_dict(weights, assign=True)

    def unet(self):
        return copy.deepcopy(self._unet)

    def in_hosts_names(self, unet):
        return {f"diffusion_model.{self.names[name]}": value for name, value in unet.state_dict().items()}

    def trained(self, config):
        """PEFT's model with an adapter whose every value is drawn: most kinds start without effect."""
        torch.manual_seed(0)  # of the starts that PEFT draws itself
        return drawn(get_peft_model(self.unet(), config))

    def saved(self, name, model, **options):
        """The node's choice for the file that PEFT writes."""
        model.save_pretrained(self.dir / name, **options)
        return f"loras/{name}/adapter_model.safetensors"

    def applied(self, name):
        """All weights, in the host's names, with the file's adapter merged by PEFT."""
        merged = PeftModel.from_pretrained(self.unet(), self.dir / name).merge_and_unload()
        return self.in_hosts_names(merged)


def drawn(model, seed=3):
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        if value.requires_grad and value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            if "magnitude" in name:
                value.data *= 1 + 0.2 * noise
            elif value.ndim > 1 or "bias" not in name:
                value.data += noise * 0.3
            else:
                value.data += noise * 0.02
    return model


def patched_weights(patcher):
    """All weights of a MODEL with its patches on them, as the host computes them."""
    out = {}
    for key, value in patcher.model.state_dict().items():
        if key in patcher.patches:
            value = comfy.lora.calculate_weight(patcher.patches[key], value.float().clone(), key)
        out[key] = value
    return out


def effects(got, want, base):
    """The largest error and the largest effect, as shares of the effect: an adapter without one tests nothing."""
    error = max((got[key] - value).abs().max().item() for key, value in want.items())
    effect = max((value - base[key]).abs().max().item() for key, value in want.items())
    return error / max(effect, 1e-9), effect
