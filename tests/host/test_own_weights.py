"""An anchor with a weight copy of its own keeps what is bound to the first one's modules, and does not touch those.

Bypass LoRAs (LoraLoaderBypass, LoraModelLoader with bypass) hook the modules that they were made for; a compiled model
is a callable of the module that was compiled. The truth loads each model from its own file.
"""

import comfy.sd
import comfy.utils
import pytest
import tiny_models
from comfy_api.torch_helpers import set_torch_compile_wrapper
from safetensors.torch import save_file
from truth import (
    BOUND,
    distance,
    near,
    realigned,
    sampled,
    show,
    sigmas_of,
    stock_guider,
    true_of,
)

import nodes as host_nodes

STEPS, LAMBDA, STRENGTH = 4, 0.25, 0.7


def lora_file(tiny, kind, seed):
    path = tiny.dir / "loras" / f"{kind}_own_{seed}.safetensors"
    if not path.exists():
        parts = {}
        for layer, (up, down) in tiny.lora_weights(kind, seed).items():
            name = "diffusion_model." + layer if kind == "sd3" else "lora_unet_" + layer.replace(".", "_")
            parts |= {name + ".lora_up.weight": up, name + ".lora_down.weight": down}
        save_file(parts, path)
    return path


def with_lora(tiny, model, kind):
    """As the stock LoraLoaderModelOnly."""
    return host_nodes.LoraLoaderModelOnly().load_lora_model_only(model, lora_file(tiny, kind, 31).name, STRENGTH)[0]


def with_bypass(tiny, model, kind):
    """As the stock LoraLoaderBypassModelOnly."""
    weights = comfy.utils.load_torch_file(str(lora_file(tiny, kind, 77)), safe_load=True)
    return comfy.sd.load_bypass_lora_for_models(model, None, weights, 0.5, 0)[0]


def compiled(model):
    """As the stock TorchCompileModel, with the backend that compiles nothing."""
    model = model.clone()
    set_torch_compile_wrapper(model=model, backend="eager")
    return model


def run(kind, ours, true, how, title, bound=BOUND):
    conds = tiny_models.conditioning(kind, 21), tiny_models.conditioning(kind, 22)
    latent, sigmas = tiny_models.latent(kind, 1, 8), sigmas_of(true[0], STEPS)
    want = true_of(how, true, conds, latent, LAMBDA, STEPS, kind == "sd3")
    before = sampled(stock_guider(ours[0], conds, 4.0), latent, "euler", sigmas)
    got = realigned(how, *ours, conds, latent, LAMBDA, STEPS)
    after = distance(sampled(stock_guider(ours[0], conds, 4.0), latent, "euler", sigmas), before)
    show(f"the reference alone after {title}, {kind}, {how}", f"{after:.2e} std", "0, as before")
    near(f"{title}, {kind}, {how}", got, want, bound)
    assert after == 0


HOW = pytest.mark.parametrize("how", ["sampler", "guider", "model"])
KIND = pytest.mark.parametrize("kind", ["sd3", "sd15"])


@HOW
@KIND
def test_a_bypass_lora_as_the_anchor(tiny, kind, how):
    def load():
        return tiny.load(tiny.reference(kind))

    reference = load()
    ours, true = (reference, with_bypass(tiny, reference, kind)), (load(), with_bypass(tiny, load(), kind))
    run(kind, ours, true, how, "a bypass LoRA as the anchor")


@HOW
@KIND
def test_a_lora_anchor_on_a_reference_with_a_bypass_lora(tiny, kind, how):
    def load():
        return with_bypass(tiny, tiny.load(tiny.reference(kind)), kind)

    reference = load()
    ours, true = (reference, with_lora(tiny, reference, kind)), (load(), with_lora(tiny, load(), kind))
    run(kind, ours, true, how, "a LoRA anchor beside a bypass LoRA")


@HOW
def test_a_lora_anchor_on_a_compiled_reference(tiny, how):
    kind = "sd3"

    def load():
        return compiled(tiny.load(tiny.reference(kind)))

    reference = load()
    ours, true = (reference, with_lora(tiny, reference, kind)), (load(), with_lora(tiny, load(), kind))
    run(kind, ours, true, how, "a LoRA anchor on a compiled model")
