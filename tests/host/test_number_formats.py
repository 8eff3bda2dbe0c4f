"""What users start their ComfyUI with: number formats, and models that are only partly on the device."""

import comfy.cli_args
import comfy.model_management
import comfy.sd
import pytest
import tiny_models
import torch
from host_runs import conds_of
from safetensors.torch import save_file
from test_quantised import lora_anchor, lora_file
from truth import (
    BOUND,
    call,
    distance,
    k_sampled,
    mixture,
    posterior_sampler,
    sampled,
    sigmas_of,
)

STEPS, CFG = 3, 4.0
FLAGS = {"--bf16-unet": "bf16_unet", "--fp16-unet": "fp16_unet", "--fp8_e4m3fn-unet": "fp8_e4m3fn_unet"}
SETTINGS = [*FLAGS, "fp8 checkpoints", "partly loaded"]


@pytest.fixture
def setting(request, monkeypatch):
    comfy.model_management.unload_all_models()
    if request.param in FLAGS:
        monkeypatch.setattr(comfy.cli_args.args, FLAGS[request.param], True)
    if request.param == "partly loaded":  # as on a card that holds half of a model; the CPU itself holds all
        load = comfy.model_management.LoadedModel.model_load

        def half(self, lowvram_model_memory=0, *args, **kwargs):
            assert not args
            return load(self, self.model.model_size() // 2, **kwargs)

        monkeypatch.setattr(comfy.model_management.LoadedModel, "model_load", half)
    yield request.param
    comfy.model_management.unload_all_models()


def file(tiny, setting, path):
    """The checkpoint, and for fp8 its weights as such checkpoints have them."""
    if setting != "fp8 checkpoints":
        return path
    small = path.with_name(f"fp8_{path.name}")
    if not small.exists():
        weights, _ = comfy.utils.load_torch_file(str(path), return_metadata=True)
        save_file({k: v.to(torch.float8_e4m3fn) if v.ndim > 1 else v for k, v in weights.items()}, small)
    return small


def models_of(tiny, setting, kind, anchor):
    """A reference and its REALIGN_ANCHOR, and two MODELs on weights of their own."""

    def load(which):
        return tiny.load(file(tiny, setting, which(kind)))

    reference = load(tiny.reference)
    if anchor == "LoRA":
        made, other = (lora_anchor(one, lora_file(tiny, kind, 0.3)) for one in (reference, load(tiny.reference)))
        return reference, made, [load(tiny.reference), other[0].patcher]
    name = f"checkpoints/{file(tiny, setting, tiny.anchor(kind)).name}"
    inputs = dict(model=reference, anchor_name=name, strength=1.0, beta_source="from file", beta=1.0)
    return reference, call("LoadAnchorModel", **inputs)[0], [load(tiny.reference), load(tiny.anchor)]


def realigned(node, reference, anchor, lam, conds, latent):
    if node == "sampler":
        return call(
            "RealignSampler", model=reference, anchor=anchor, positive=conds[0], negative=conds[1], latent_image=latent,
            seed=1234567, steps=STEPS, cfg=CFG, sampler_name="ddim", scheduler="simple", denoise=1.0, lambda_=lam,
        )[0]  # fmt: skip
    inputs = dict(model=reference, anchor=anchor, lambda_=lam)
    if node == "guider":
        guider = call("RealignGuider", positive=conds[0], negative=conds[1], cfg=CFG, **inputs)[0]
        return sampled(guider, latent, "euler", sigmas_of(reference, STEPS))
    return k_sampled(call("RealignModel", **inputs)[0], conds, latent, STEPS, "euler", CFG)


def rounding(tiny, kind, models, anchor, conds, latent):
    """How far the number format of stock runs of a reference and its anchor moves them."""
    exact = comfy.sd.load_diffusion_model(str(tiny.reference(kind)), model_options={"dtype": torch.float32})
    pairs = [(models[0], exact)]
    if anchor == "LoRA":  # is merged into weights of the format
        pairs.append((models[1], lora_anchor(exact, lora_file(tiny, kind, 0.3))[0].patcher))
    return max(distance(*(k_sampled(one, conds, latent, STEPS, "euler", CFG) for one in pair)) for pair in pairs)


@pytest.mark.parametrize("anchor", ["full", "LoRA"])
@pytest.mark.parametrize("node", ["sampler", "guider", "model"])
@pytest.mark.parametrize("setting", SETTINGS, indirect=True)
def test_ends_and_middle(tiny, setting, node, anchor):
    """λ 0 and 1 are the stock runs, and λ 0.5 is the mixture of two. Where sums come in another order (Realign
    Sampler's step is another formula than ddim's, a LoRA is added or merged) a run moves less than by its format."""
    kind = "sd3" if node == "guider" else "sd15"
    conds, latent = conds_of(kind), tiny_models.latent(kind)
    reference, aligned, true = models_of(tiny, setting, kind, anchor)
    room = max(BOUND, 0.5 * rounding(tiny, kind, true, anchor, conds, latent))
    own, sampler = (posterior_sampler(kind == "sd3", 0.0, 0.5), "ddim") if node == "sampler" else (None, "euler")
    ends = [k_sampled(one, conds, latent, STEPS, sampler, CFG) for one in (reference, aligned[0].patcher)]
    assert distance(*ends) > 10 * BOUND
    for lam, want in zip((0.0, 1.0), ends):
        apart = distance(realigned(node, reference, aligned, lam, conds, latent), want)
        same = node != "sampler" and not (lam == 1 and aligned[0].patcher.injections)
        assert apart <= (0 if same else room), f"λ {lam}: {apart:.1e}, at most {room:.1e}"
    want = mixture(true, 0.5, conds, latent, sampler, sigmas_of(reference, STEPS), CFG, own=own)
    apart = distance(realigned(node, reference, aligned, 0.5, conds, latent), want)
    most = BOUND if anchor == "full" and own is None else room
    print(f"{setting}, {node}, {anchor}: {apart:.1e} std; the format moves {2 * room:.1e}, λ {distance(*ends):.1e}")
    assert apart <= most
