"""LoRA files that are broken, refused in a sentence; and odd ones, which the pack takes as the host does."""

from __future__ import annotations

import re

import comfy.lora
import pytest
import tiny_models
import torch
from anchor_files import load, refusal
from host_runs import conds_of, everywhere, realign, stock
from rounding import assert_agree
from safetensors.torch import save_file

LINEAR, CONV = "input_blocks.1.1.transformer_blocks.0.attn1.to_q", "input_blocks.1.0.in_layers.2"  # 320×320, 3×3


@pytest.fixture
def sd15(models):
    return models("sd15")[0]


def randn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) / 8


def of(layer, **parts):
    """A file with one adapter, in kohya's names. __ in a part's name is a dot."""
    name = "lora_unet_" + layer.replace(".", "_")
    return {f"{name}.{part.replace('__', '.')}": value for part, value in parts.items()}


def lora(layer, up, down, **parts):
    return of(layer, lora_up__weight=up, lora_down__weight=down, **parts)


def loha(layer, **others):
    rows, columns = randn(320, 4), randn(4, 320)
    return of(layer, **dict(hada_w1_a=rows, hada_w1_b=columns, hada_w2_a=rows + 0.1, hada_w2_b=columns + 0.1) | others)


UP, DOWN = randn(320, 4), randn(4, 320)
BROKEN = {
    "ups only": (of(LINEAR, lora_up__weight=UP), "has only the factor that goes up"),
    "downs only": (of(LINEAR, lora_down__weight=DOWN), "has only the factor that goes down"),
    "PEFT's ups only": ({f"base_model.model.{LINEAR}.lora_B.weight": UP}, "has only the factor that goes up"),
    "a number for up": (lora(LINEAR, torch.tensor(1.0), DOWN), r"the shape \(\), and is no matrix"),
    "a row for down": (lora(LINEAR, UP, randn(320)), r"the shape \(320,\), and is no matrix"),
    "other ranks": (lora(LINEAR, UP, randn(8, 320)), "the ranks 4 and 8"),
    "other ranks, as many numbers": (lora(LINEAR, UP, randn(2, 640)), "the ranks 4 and 2"),
    "rank 0": (lora(LINEAR, randn(320, 0), randn(0, 320)), "empty"),
    "complex numbers": (lora(LINEAR, UP.to(torch.complex64), DOWN), "complex"),
    "α of three numbers": (lora(LINEAR, UP, DOWN, alpha=torch.ones(3)), r"alpha has the shape \(3,\)"),
    "NaN": (lora(LINEAR, UP, DOWN * float("nan")), "not finite"),
    "an infinite α": (lora(LINEAR, UP, DOWN, alpha=torch.tensor(float("inf"))), "not finite"),
    "NaN in 8 bits": (lora(LINEAR, UP, (DOWN * float("nan")).to(torch.float8_e4m3fn)), "not finite"),
    "half of a LoHa": (of(LINEAR, hada_w1_a=UP, hada_w1_b=DOWN), "has no .*hada_w2_a"),
    "a LoHa of other ranks": (loha(LINEAR, hada_w2_b=randn(5, 320)), "do not fit each other"),
    "a LoKr of other ranks": (
        of(LINEAR, lokr_w1=randn(4, 4), lokr_w2_a=randn(80, 2), lokr_w2_b=randn(3, 80)),
        "do not fit each other",
    ),
    "a LoKr without its first factor": (of(LINEAR, lokr_w2=randn(80, 80)), "missing, or has a shape"),
    "a LoKr with half of its second": (of(LINEAR, lokr_w1=randn(4, 4), lokr_w2_b=randn(2, 80)), "missing, or has a"),
    "an AdaLoRA with a number for a factor": (
        {f"{LINEAR}.lora_{part}": value for part, value in {"A": torch.ones(()), "B": UP, "E": randn(4, 1)}.items()},
        "missing, or has a shape",
    ),
    "a Tucker factor of a matrix": (lora(LINEAR, UP, DOWN, lora_mid__weight=randn(4, 4)), "do not fit|fits no layer"),
    "another size": (lora(LINEAR, randn(640, 4), DOWN), "fits no layer"),
    "a DoRA of another size": (lora(LINEAR, UP, DOWN, dora_scale=randn(3, 7)), "fits no layer"),
    "a LoKr of another size": (of(LINEAR, lokr_w1=randn(4, 4), lokr_w2=randn(80, 81)), "fits no layer"),
    "a LoKr of as many numbers": (of(LINEAR, lokr_w1=randn(2, 2), lokr_w2=randn(320, 80)), "fits no layer"),
    "an OFT of another size": (of(LINEAR, oft_blocks=randn(4, 81, 81)), "fits no layer"),
    "a difference of another size": (of(LINEAR, diff=randn(320, 321)), "fits no layer"),
    "a flat difference": (of(LINEAR, diff=randn(320 * 320)), "fits no layer"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_lora(monkeypatch, tiny, sd15, what):
    weights, words = BROKEN[what]
    path = tiny.dir / "loras" / f"broken_{re.sub(r'[^a-z0-9]', '_', what.lower())}.safetensors"
    save_file({key: value.contiguous() for key, value in weights.items()}, path)
    assert re.search(words, refusal(monkeypatch, sd15, f"loras/{path.name}"))


def test_one_broken_layer_among_many(monkeypatch, tiny, sd15):
    weights = {}
    for layer, (up, down) in tiny.lora_weights("sd15").items():
        weights |= lora(layer, up, down)
    weights |= lora(LINEAR, UP, randn(8, 320))
    save_file(weights, tiny.dir / "loras" / "one_broken.safetensors")
    assert LINEAR in refusal(monkeypatch, sd15, "loras/one_broken.safetensors")


# As the host merges them; in the forward pass it takes a layer's own dimensions.
ODD = {
    "a matrix as a convolution": lora(LINEAR, UP[..., None, None], DOWN[..., None, None]),
    "one factor as a convolution": lora(LINEAR, UP[..., None, None], DOWN),
    "a rank of two dimensions": lora(LINEAR, UP.view(320, 2, 2), DOWN),
    "a convolution as matrices": lora(CONV, UP, randn(4, 2880)),
    "a flat kernel": lora(CONV, UP[..., None], randn(4, 320, 9)),
    "a kernel of 9 by 1": lora(CONV, UP[..., None, None], randn(4, 320, 9, 1)),
    "a LoKr of a matrix as a convolution": of(LINEAR, lokr_w1=randn(4, 4), lokr_w2=randn(80, 80, 1, 1)),
    "a LoKr of a convolution as a matrix": of(CONV, lokr_w1=randn(4, 4), lokr_w2=randn(80, 720)),
    "a LoHa": loha(LINEAR),
    "an OFT": of(LINEAR, oft_blocks=randn(4, 80, 80) / 8),
    "a flat DoRA": lora(LINEAR, UP, DOWN, dora_scale=randn(320).abs()),
    "whole numbers": lora(LINEAR, torch.ones(320, 4, dtype=torch.int8), torch.ones(4, 320, dtype=torch.int8) * 2),
    "8 bits": lora(LINEAR, UP.to(torch.float8_e4m3fn), DOWN.to(torch.float8_e4m3fn)),
}


@pytest.mark.parametrize("what", ODD)
def test_a_lora_of_odd_shapes_is_what_the_host_makes_of_it(tiny, sd15, what):
    """Mixed, at λ = 1: the mask, whose value is not looked at, keeps it from being the anchor's own run."""
    path = tiny.dir / "loras" / f"odd_{what.replace(' ', '_').lower()}.safetensors"
    save_file({key: value.contiguous() for key, value in ODD[what].items()}, path)
    anchor, conds, latent = load(sd15, f"loras/{path.name}"), conds_of("sd15"), tiny_models.latent("sd15")
    want = stock(anchor[0].patcher, *conds, latent, "ddim")
    got = realign((sd15, anchor), *conds, latent, 1.0, "ddim", lambda_mask=everywhere(1))[0]
    assert_agree(got, want, (sd15, anchor[0].patcher), conds)
    assert (want["samples"] - stock(sd15, *conds, latent, "ddim")["samples"]).abs().max() > 0.01 * want["samples"].std()


MERGED_ONLY = ("a matrix as a convolution", "a flat kernel", "a LoKr of a convolution as a matrix")


@pytest.mark.parametrize("what", MERGED_ONLY)
def test_a_model_of_the_hosts_own_loader_is_an_anchor_too(sd15, what):
    """Whose factors stay as the file has them: the forward pass cannot apply them, and the anchor gets own weights."""
    patches = comfy.lora.load_lora(ODD[what], comfy.lora.model_lora_keys_unet(sd15.model, {}), log_missing=False)
    anchor = sd15.clone()
    assert anchor.add_patches(patches)
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    want = stock(anchor, *conds, latent, "ddim")
    got = realign((sd15, anchor), *conds, latent, 1.0, "ddim", lambda_mask=everywhere(1))[0]
    assert_agree(got, want, (sd15, anchor), conds)
