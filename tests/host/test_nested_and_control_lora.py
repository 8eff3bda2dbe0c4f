"""Two cases that need models of their own: nested latents (video and audio in one), and ControlLoras."""

from __future__ import annotations

import comfy.conds
import comfy.controlnet
import comfy.latent_formats
import comfy.model_base
import comfy.supported_models_base
import tiny_models
import torch
from comfy.model_patcher import ModelPatcher
from comfy.nested_tensor import NestedTensor
from host_runs import (
    assert_parity,
    conds_of,
    distance,
    everywhere,
    realign,
    realign_guider,
    sampled,
    stock,
    stock_guider,
)
from rounding import assert_agree
from safetensors.torch import save_file

import nodes as host


class TwoStreams(torch.nn.Module):
    """Stands for a video and audio network: gets the streams unpacked, and mixes each with its own weights."""

    dtype = torch.float32

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weights = [torch.randn(c, c, generator=generator) / c**0.5 for c in (4, 2)]

    def forward(self, x, t, context=None, **_):
        return [torch.einsum("oc,bc...->bo...", w, part).tanh() for w, part in zip(self.weights, x)]


class TwoStreamModel(comfy.model_base.BaseModel):
    def extra_conds(self, **kwargs):
        return {"latent_shapes": comfy.conds.CONDConstant(kwargs["latent_shapes"])}


def two_stream_model(seed):
    config = comfy.supported_models_base.BASE({"disable_unet_model_creation": True, "in_channels": 4})
    config.latent_format = comfy.latent_formats.LatentFormat()
    model = TwoStreamModel(config)
    model.diffusion_model = TwoStreams(seed)
    return ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def test_nested_latents():
    pair = [two_stream_model(seed) for seed in (1, 2)]
    conds = [[[torch.zeros(1, 1, 1), {}]]] * 2
    latent = {"samples": NestedTensor([torch.zeros(2, 4, 3, 8, 8), torch.zeros(2, 2, 16)])}
    for sampler in ("ddpm", "ddim"):
        for lam, model in zip((0.0, 1.0), pair):
            got, denoised, _ = realign(pair, *conds, latent, lam, sampler)
            want = stock(model, *conds, latent, sampler)
            assert denoised["samples"].is_nested
            for ours, theirs in zip(got["samples"].unbind(), want["samples"].unbind()):
                assert ours.shape == theirs.shape
            assert_agree(got, want, pair, conds)
        run = dict(sampler=sampler, scheduler="normal")
        ends = [sampled(stock_guider(model, *conds), latent, **run)["samples"].unbind() for model in pair]
        for end in (0, 1):
            plain, mapped = (
                sampled(realign_guider(pair, *conds, lam, **mask), latent, **run)["samples"].unbind()
                for lam, mask in ((end, {}), (1.0, {"lambda_mask": everywhere(end)}))
            )
            assert all(torch.equal(a, b) for a, b in zip(plain, ends[end]))
            assert torch.equal(mapped[0], ends[end][0])  # a λ mask is of the first stream
            assert torch.equal(mapped[1], ends[1][1])
        between = realign(pair, *conds, latent, 0.5, sampler)[0]["samples"].unbind()
        assert all((a - b).abs().max() > 0.05 for a, b in zip(between, want["samples"].unbind()))


def control_lora(tiny):
    """A ControlLora file: low-rank changes to the encoder it is applied to, and a hint network of its own."""
    net = comfy.controlnet.load_controlnet(str(tiny.controlnet()))
    own = net.control_model.state_dict()
    generator = torch.Generator().manual_seed(17)
    weights = {"lora_controlnet": torch.tensor([])}
    for name, value in own.items():
        if name.startswith(("input_hint_block", "zero_convs", "middle_block_out")):
            weights[name] = value
        elif name.endswith(".weight") and value.ndim >= 2 and "attn" in name:
            weights[name.removesuffix("weight") + "up"] = 0.1 * torch.randn(value.shape[0], 2, generator=generator)
            weights[name.removesuffix("weight") + "down"] = 0.1 * torch.randn(2, value[0].numel(), generator=generator)
    path = tiny.dir / "controlnet" / "control_lora.safetensors"
    save_file({k: v.contiguous() for k, v in weights.items()}, path)
    return comfy.controlnet.load_controlnet(str(path))


def test_control_lora_is_built_from_each_models_own_weights(models, tiny):
    """One shared object would be rebuilt from the model prepared last, and steer the other with foreign weights."""
    hint = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(8))
    net = control_lora(tiny)
    conds = host.ControlNetApplyAdvanced().apply_controlnet(*conds_of("sd15"), net, hint, 1.0, 0.0, 1.0)
    latent = tiny_models.latent("sd15")
    assert (
        distance(stock(models("sd15")[0], *conds, latent), stock(models("sd15")[0], *conds_of("sd15"), latent)) > 0.01
    )
    assert_parity(models("sd15"), conds, latent)

    # At λ = 0.5 both run in each step; the anchor's share of the first step tells whose weights its net has.
    first = dict(steps=4, sampler="ddim", end_at_step=1, return_with_leftover_noise=True)
    parts = [realign(models("sd15"), *conds, latent, lam, **first)[1]["samples"] for lam in (0.0, 0.5, 1.0)]
    assert_agree({"samples": parts[1]}, {"samples": (parts[0] + parts[2]) / 2}, models("sd15"), conds)
