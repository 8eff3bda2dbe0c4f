"""ControlNets, hook LoRAs with keyframes, patches: each acts on both models as it does on one in the stock host."""

from __future__ import annotations

import comfy.controlnet
import comfy.hooks
import pytest
import tiny_models
import torch
from host_runs import assert_ends_are_stock, assert_parity, conds_of, distance, realign, stock
from rounding import assert_agree

import nodes as host


@pytest.fixture
def controlled(tiny):
    """(positive, negative) with a ControlNet on both."""
    net = comfy.controlnet.load_controlnet(str(tiny.controlnet()))
    hint = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(8))
    return host.ControlNetApplyAdvanced().apply_controlnet(*conds_of("sd15"), net, hint, 0.8, 0.0, 0.7)


def lora_hook(tiny, keyframed):
    weights = {}
    for layer, (up, down) in tiny.lora_weights("sd15", seed=21).items():
        weights[f"diffusion_model.{layer}.lora_up.weight"] = up
        weights[f"diffusion_model.{layer}.lora_down.weight"] = down
    group = comfy.hooks.create_hook_lora(weights, 1.0, 0.0)
    if keyframed:
        keyframes = comfy.hooks.HookKeyframeGroup()
        keyframes.add(comfy.hooks.HookKeyframe(1.0, 0.0))
        keyframes.add(comfy.hooks.HookKeyframe(0.2, 0.4))
        keyframes.add(comfy.hooks.HookKeyframe(0.7, 0.7))
        group.set_keyframes_on_hooks(keyframes)
    return group


def with_hooks(conds, group):
    return tuple([[cond, {**options, "hooks": group}] for cond, options in c] for c in conds)


def test_controlnet(models, controlled):
    latent = tiny_models.latent("sd15", 2)
    plain = stock(models("sd15")[0], *conds_of("sd15"), latent)
    assert distance(stock(models("sd15")[0], *controlled, latent), plain) > 0.05  # the net does something
    assert_parity(models("sd15"), controlled, latent)
    assert_ends_are_stock(models("sd15"), controlled, latent)


@pytest.mark.parametrize("keyframed", [False, True])
def test_hook_lora(models, tiny, keyframed):
    conds = with_hooks(conds_of("sd15"), lora_hook(tiny, keyframed))
    latent = tiny_models.latent("sd15")
    assert (
        distance(stock(models("sd15")[1], *conds, latent), stock(models("sd15")[1], *conds_of("sd15"), latent)) > 0.01
    )
    steps = 5 if keyframed else 2  # at 0.2 each; the keyframes are at 0.4 and 0.7
    assert_parity(models("sd15"), conds, latent, steps=steps)
    assert_ends_are_stock(models("sd15"), conds, latent, steps=steps)


def predictions(pair, conds, latent, lam, steps):
    """What each model's every call received and returned, in order."""
    seen = ([], [])

    def watched(model, log):
        clone = model.clone()

        def wrapper(apply_model, parts):
            out = apply_model(parts["input"], parts["timestep"], **parts["c"])
            log.append((parts["input"].clone(), parts["timestep"].clone(), out.clone()))
            return out

        clone.set_model_unet_function_wrapper(wrapper)
        return clone

    realign([watched(m, log) for m, log in zip(pair, seen)], *conds, latent, lam, steps=steps)
    return seen


def test_keyframed_hook_reaches_the_second_model_at_every_step(models, tiny):
    """With one shared keyframe state, the model asked second keeps the weights of the keyframe before."""
    pair, latent = models("sd15"), tiny_models.latent("sd15")
    conds = with_hooks(conds_of("sd15"), lora_hook(tiny, keyframed=True))
    mixed = predictions(pair, conds, latent, 0.5, 8)[1]
    # The anchor alone, asked the same questions: λ = 1 sees other x, so replay each x through a run of its own state.
    replayed = predictions((pair[1], pair[0]), with_hooks(conds_of("sd15"), lora_hook(tiny, True)), latent, 0.5, 8)[0]
    for (x, t, out), (x_again, t_again, out_again) in zip(mixed, replayed):
        assert torch.equal(t, t_again)
        for ours, theirs in ((x, x_again), (out, out_again)):
            assert_agree({"samples": ours}, {"samples": theirs}, pair, conds_of("sd15"))


def test_patches_of_one_model_act_on_that_model_only(models):
    reference, anchor = models("sd15")
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")

    def halve_attention(model):
        clone = model.clone()
        clone.set_model_attn1_output_patch(lambda out, extra: out * 0.5)
        return clone

    for pair in ((halve_attention(reference), anchor), (reference, halve_attention(anchor))):
        assert_parity(pair, conds, latent)
        assert_ends_are_stock(pair, conds, latent)
    assert distance(stock(halve_attention(anchor), *conds, latent), stock(anchor, *conds, latent)) > 0.01


def test_area_and_masked_conditioning(models):
    positive, negative = conds_of("sd15")
    left = [[cond, {**o, "area": (8, 4, 0, 0), "strength": 1.0}] for cond, o in tiny_models.conditioning("sd15", 31)]
    mask = torch.zeros(1, 64, 64)
    mask[..., 20:] = 1
    masked = [[cond, {**o, "mask": mask, "mask_strength": 0.7}] for cond, o in tiny_models.conditioning("sd15", 32)]
    conds, latent = (positive + left + masked, negative), tiny_models.latent("sd15", size=8)
    assert_parity(models("sd15"), conds, latent)
    assert_ends_are_stock(models("sd15"), conds, latent)
