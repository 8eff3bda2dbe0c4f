"""The demo models in the real host: the stock sampler draws what the captions say, and the anchor is more vivid."""

from __future__ import annotations

import colorsys
import shutil

import comfy.lora
import pytest
import realign.nodes.models.demo as demo
import torch
from realign.nodes.demo import RealignDemoModels
from realign.nodes.models.demo_network import CAPTION, caption_ids

import nodes

SEED, STEPS, CFG = 7, 12, 2.0


@pytest.fixture(scope="module")
def loaded():
    """shape, colour, background -> model, anchor, positive, negative, vae."""
    return lambda shape="any", colour="any", background="any": RealignDemoModels.execute(
        shape, colour, background
    ).result[:5]


def draw(model, positive, negative, vae, batch=4, size=64):
    """(B, H, W, 3) in [0, 1], by the stock nodes alone."""
    latent = nodes.EmptyLatentImage().generate(size, size, batch)[0]
    latent = nodes.common_ksampler(model, SEED, STEPS, CFG, "euler", "normal", positive, negative, latent)[0]
    return nodes.VAEDecode().decode(vae, latent)[0]


def chroma(images):
    return float((images.amax(-1) - images.amin(-1)).mean())


def test_stock_nodes_draw_a_picture(loaded):
    model, _, positive, negative, vae = loaded("heart", "red")
    images = draw(model, positive, negative, vae)
    assert images.shape == (4, 64, 64, 3)
    assert images.isfinite().all()
    assert images.std(dim=(1, 2)).amin() > 0.03
    assert (images[0] - images[1]).abs().mean() > 0.02  # a batch is not one picture four times


def test_anchor_is_more_vivid(loaded):
    model, anchor, positive, negative, vae = loaded("star")
    plain = chroma(draw(model, positive, negative, vae, batch=8))
    vivid = chroma(draw(anchor[0].patcher, positive, negative, vae, batch=8))
    assert vivid > plain + 0.1


@pytest.mark.parametrize(("colour", "hue"), [("red", 0.99), ("yellow", 0.145), ("green", 0.33), ("blue", 0.60)])
def test_samples_have_the_colour_of_their_caption(loaded, colour, hue):
    model, _, positive, negative, vae = loaded("ball", colour, "plain")
    centre = draw(model, positive, negative, vae)[:, 26:38, 26:38].mean((0, 1, 2))
    found = colorsys.rgb_to_hsv(*centre.tolist())[0]
    assert abs((found - hue + 0.5) % 1 - 0.5) < 0.06


def test_other_picture_sizes_run(loaded):
    model, _, positive, negative, vae = loaded()
    assert draw(model, positive, negative, vae, batch=1, size=72).shape == (1, 72, 72, 3)


def test_models_have_weights_of_their_own(loaded):
    model, anchor, *_ = loaded()
    assert model.model is not anchor[0].patcher.model
    assert not model.is_clone(anchor[0].patcher)
    copy = model.deepclone_multigpu()
    assert copy.model is not model.model


def test_anchor_names_its_beta(loaded):
    _, anchor, *_ = loaded()
    assert anchor[0].beta == float(demo.read("anchor")[1]["realign.beta"]) > 0


def test_stock_loras_find_their_layers(loaded):
    model, *_ = loaded()
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    weights = model.model.state_dict()
    assert "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_q" in keys
    assert sum(key in weights for key in set(keys.values())) > 50


def test_negative_is_the_empty_caption(loaded):
    _, _, positive, negative, _ = loaded()
    assert torch.equal(positive[0][0], negative[0][0])
    assert positive[0][0].shape == (1, len(CAPTION), 64)


def test_unknown_word_is_named():
    with pytest.raises(ValueError, match="no shape “cube”"):
        caption_ids(shape="cube")


@pytest.mark.parametrize("damage", ["missing", "cut", "wrong layers", "no captions"])
def test_unusable_file_is_one_sentence(tmp_path, monkeypatch, damage):
    for name in ("reference", "anchor"):
        shutil.copy(demo.FOLDER / f"{name}.safetensors", tmp_path)
    broken = tmp_path / "reference.safetensors"
    if damage == "missing":
        broken.unlink()
    elif damage == "cut":
        broken.write_bytes(broken.read_bytes()[:10_000])
    else:
        import comfy.utils

        weights = comfy.utils.load_torch_file(str(broken))
        weights.pop(demo.REFERENCE_TOKENS if damage == "no captions" else "diffusion_model.out.2.weight")
        broken.unlink()
        comfy.utils.save_torch_file(weights, str(broken))
    monkeypatch.setattr(demo, "FOLDER", tmp_path)
    with pytest.raises(
        ValueError, match=r"^The demo model .*reference\.safetensors cannot be used: .*train_demo\.py\.$"
    ):
        RealignDemoModels.execute("any", "any", "any")
