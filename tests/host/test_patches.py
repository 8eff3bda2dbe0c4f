"""Nodes of the host that patch a MODEL, before a LoRA anchor is put on it: patches that read the batch, or keep state.

The truth loads reference and merged anchor from two files and puts the node on each.
"""

import pytest
import tiny_models
from comfy_extras.nodes_apg import APG
from comfy_extras.nodes_nag import NAGuidance
from comfy_extras.nodes_sag import SelfAttentionGuidance
from safetensors.torch import save_file
from truth import call, mixture, near, realign_guider, sampled, sigmas_of


def nag(model):
    return NAGuidance.execute(model, 3.0, 0.5, 1.5).args[0]


def sag(model):
    return SelfAttentionGuidance.execute(model, 0.5, 2.0).args[0]


def apg(model):
    return APG.execute(model, 1.0, 5.0, -0.5).args[0]


def lora_pair(tiny, kind, strength=0.7):
    """A LoRA's file, as "loras/name", and the paths of the reference and of a checkpoint with the LoRA merged in."""
    factors, weights = tiny.lora_weights(kind, 31), dict(tiny.weights(kind))
    parts = {}
    for layer, (up, down) in factors.items():
        name = "diffusion_model." + layer if kind == "sd3" else "lora_unet_" + layer.replace(".", "_")
        parts |= {name + ".lora_up.weight": up, name + ".lora_down.weight": down}
        weights[layer + ".weight"] = weights[layer + ".weight"] + strength * up @ down
    name = f"{kind}_patches.safetensors"
    save_file(parts, tiny.dir / "loras" / name)
    return f"loras/{name}", (tiny.reference(kind), tiny.checkpoint(f"{kind}_merged_{strength}", weights))


def run_lora(tiny, kind, patch, title, sampler="dpmpp_2m", lam=0.6, strength=0.7, steps=6):
    lora, files = lora_pair(tiny, kind, strength)
    conds = tiny_models.conditioning(kind, 21), tiny_models.conditioning(kind, 22)
    latent, ours = tiny_models.latent(kind, 1, 8), patch(tiny.load(files[0]))
    sigmas = sigmas_of(ours, steps)
    true = mixture([patch(tiny.load(f)) for f in files], lam, conds, latent, sampler, sigmas)
    inputs = dict(model=ours, anchor_name=lora, strength=strength, beta_source="unknown / no KL term", beta=1.0)
    anchor_model = call("LoadAnchorModel", **inputs)[1]
    near(title, sampled(realign_guider(ours, anchor_model, conds, lam), latent, sampler, sigmas), true)


def test_without_a_patch(tiny):
    """What the bound is: this passes."""
    run_lora(tiny, "sd15", lambda model: model, "no node, SD 1.5")


def test_nag(tiny):
    run_lora(tiny, "sd15", nag, "NAGuidance, sd15")


def test_sag(tiny):
    run_lora(tiny, "sd15", sag, "SelfAttentionGuidance, sd15")


@pytest.mark.parametrize("kind", ["sd15", "sd3"])
def test_apg_with_momentum(tiny, kind):
    run_lora(tiny, kind, apg, f"APG, {kind}")


def caching(model):
    """As the caching packs do it: a wrapper around the model that answers every other step with its last difference."""
    kept = {}

    def wrapper(apply_model, args):
        x, step, key = args["input"], args["timestep"], tuple(args["cond_or_uncond"])
        old = kept.get(key)
        if old is not None and old["fresh"] and not old["step"].equal(step):
            kept[key] = old | {"fresh": False}
            return x + old["difference"]
        out = apply_model(x, step, **args["c"])
        kept[key] = {"difference": out - x, "step": step.clone(), "fresh": True}
        return out

    model = model.clone()
    model.set_model_unet_function_wrapper(wrapper)
    return model


@pytest.mark.parametrize("kind", ["sd15", "sd3"])
def test_a_caching_wrapper(tiny, kind):
    run_lora(tiny, kind, caching, f"a caching wrapper, {kind}")
