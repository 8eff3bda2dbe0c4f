"""A reference that is worked on by several devices: its clones answer for it, and never for an anchor.

Two devices of this machine's one: the host tells "cpu" from "cpu:0", and works on both.
"""

from __future__ import annotations

import comfy.k_diffusion.sampling
import comfy.model_patcher
import comfy.samplers
import pytest
import tiny_models
import torch
from safetensors.torch import save_file
from truth import (
    k_sampled,
    mixture,
    near,
    posterior_sampler,
    realign_guider,
    realign_model,
    realign_sampler,
    sampled,
    sigmas_of,
    stock_guider,
)

import nodes as host_nodes

KIND, STEPS, LAMBDA = "sd15", 4, 0.6


def on_two_devices(model):
    """As MultiGPU Work Units makes it of a machine with two."""
    model = model.clone()
    other = model.deepclone_multigpu(new_load_device=torch.device("cpu", 0))
    other.is_multigpu_base_clone = True
    model.set_additional_models("multigpu", [other])
    model.match_multigpu_clones()
    return model


def conds():
    return tiny_models.conditioning(KIND, 51), tiny_models.conditioning(KIND, 52)


def lora_of(tiny, model):
    """The stock LoRA loader's clone: the same weights, and what else the model has."""
    name = f"{KIND}_multigpu.safetensors"
    if not (tiny.dir / "loras" / name).exists():
        parts = {}
        for layer, (up, down) in tiny.lora_weights(KIND, 31).items():
            key = "lora_unet_" + layer.replace(".", "_")
            parts |= {key + ".lora_up.weight": up, key + ".lora_down.weight": down}
        save_file(parts, tiny.dir / "loras" / name)
    return host_nodes.LoraLoaderModelOnly().load_lora_model_only(model, name, 0.7)[0]


def pairs(tiny, anchor):
    """(reference on two devices, anchor) and the same two on one device and weights of their own."""

    def load(path):
        return tiny.load(path(KIND))

    reference = on_two_devices(load(tiny.reference))
    if anchor == "LoRA":
        return (reference, lora_of(tiny, reference)), (load(tiny.reference), lora_of(tiny, load(tiny.reference)))
    other = load(tiny.anchor)
    other = on_two_devices(other) if anchor == "full, on two" else other
    return (reference, other), (load(tiny.reference), load(tiny.anchor))


def clones_options():
    """euler, by way of a copy of the model options that shares nothing with them, as samplers of other packs make."""

    def sample(model, x, sigmas, extra_args=None, **kwargs):
        own = {
            **extra_args,
            "model_options": comfy.model_patcher.create_model_options_clone(extra_args["model_options"]),
        }
        return comfy.k_diffusion.sampling.sample_euler(model, x, sigmas, extra_args=own, **kwargs)

    return comfy.samplers.KSAMPLER(sample)


ANCHORS = ["full", "full, on two", "LoRA"]


def test_the_host_works_on_both(tiny, caplog):
    """So that the tests below can fail: each conditioning has its device."""
    (reference, _), (plain, _) = pairs(tiny, "full")
    asked = []
    for patcher in (reference, *reference.get_additional_models_with_key("multigpu")):
        patcher.model.diffusion_model.register_forward_pre_hook(lambda *_, p=patcher: asked.append(str(p.load_device)))
    latent = tiny_models.latent(KIND)
    near("stock", *(k_sampled(model, conds(), latent, STEPS, "euler") for model in (reference, plain)))
    assert sorted(asked) == ["cpu"] * STEPS + ["cpu:0"] * STEPS


@pytest.mark.parametrize("anchor", ANCHORS)
@pytest.mark.parametrize("name", ["euler", "euler, options cloned"])
@pytest.mark.parametrize("how", ["guider", "model"])
def test_the_mixture(tiny, how, name, anchor):
    (reference, other), true = pairs(tiny, anchor)
    latent, sigmas = tiny_models.latent(KIND), sigmas_of(reference, STEPS)
    sampler = clones_options() if "cloned" in name else "euler"
    want = mixture(true, LAMBDA, conds(), latent, "euler", sigmas)
    if how == "guider":
        got = sampled(realign_guider(reference, other, conds(), LAMBDA), latent, sampler, sigmas)
    else:
        guider = stock_guider(realign_model(reference, other, LAMBDA), conds(), 4.0)
        got = sampled(guider, latent, sampler, sigmas)
    near(f"two devices, {name}, {anchor}, {how}", got, want)


@pytest.mark.parametrize("lam", [0.0, 1.0])
@pytest.mark.parametrize("anchor", ANCHORS)
def test_one_model_alone(tiny, anchor, lam):
    (reference, other), true = pairs(tiny, anchor)
    latent, sigmas = tiny_models.latent(KIND), sigmas_of(reference, STEPS)
    got = sampled(realign_guider(reference, other, conds(), lam), latent, "euler", sigmas)
    want = k_sampled(true[int(lam)], conds(), latent, STEPS, "euler")
    near(f"two devices, {anchor}, λ {lam:g}", got, want)


@pytest.mark.parametrize("anchor", ANCHORS)
def test_the_posterior_sampler(tiny, anchor):
    (reference, other), true = pairs(tiny, anchor)
    latent, sigmas = tiny_models.latent(KIND), sigmas_of(reference, STEPS)
    want = mixture(true, LAMBDA, conds(), latent, "ddim", sigmas, own=posterior_sampler(False, 0.0, LAMBDA))
    got = realign_sampler(reference, other, conds(), latent, LAMBDA, STEPS)[0]
    near(f"two devices, {anchor}, sampler", got, want)
