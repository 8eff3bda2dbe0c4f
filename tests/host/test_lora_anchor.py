"""LoRA anchors: they share the reference's weights in the host, and must be right all the same."""

from __future__ import annotations

import json

import pytest
import tiny_models
import torch
from comfy.utils import mmdit_to_diffusers, unet_to_diffusers
from host_runs import conds_of, distance, realign, stock
from realign.nodes.load_anchor import LoadAnchorModel
from rounding import assert_agree
from safetensors.torch import save_file

from nodes import LoraLoaderModelOnly

STEPS = {"sd15": dict(sampler="ddpm", steps=4), "sd3": dict(sampler="ddim", steps=6, scheduler="simple")}


def kohya(tiny, kind):
    out = {}
    for layer, (up, down) in tiny.lora_weights(kind).items():
        name = "lora_unet_" + layer.replace(".", "_")
        out |= {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down, f"{name}.alpha": torch.tensor(4.0)}
    return out


def diffusers_layers(tiny, models, kind):
    """{diffusers layer name: (up, down)} for the layers that have a name of their own in diffusers."""
    config = models(kind)[0].model.model_config.unet_config
    names = mmdit_to_diffusers(config) if kind == "sd3" else unet_to_diffusers(config)
    loras = tiny.lora_weights(kind)
    return {
        k.removesuffix(".weight"): loras[v.removesuffix(".weight")]
        for k, v in names.items()
        if isinstance(v, str) and v.removesuffix(".weight") in loras
    }


def write(tiny, name, weights, metadata=None):
    path = tiny.dir / "loras" / f"{name}.safetensors"
    save_file({k: v.contiguous() for k, v in weights.items()}, path, metadata=metadata)
    return f"loras/{path.name}"


def load(reference, choice, strength=1.0):
    return LoadAnchorModel.execute(reference, choice, strength, "from file", 0.0).args


@pytest.mark.parametrize("kind", ["sd15", "sd3"])
def test_base_and_lora_three_times_in_a_row(tiny, models, kind):
    """The trap: base MODEL and its LoRA clone share one module, and a run with both used the same weights twice."""
    choice = write(tiny, f"{kind}_kohya", kohya(tiny, kind))
    reference = models(kind)[0]
    anchor, _ = load(reference, choice)
    by_stock_node = LoraLoaderModelOnly().load_lora_model_only(reference, choice.removeprefix("loras/"), 1.0)[0]
    conds, latent, options = conds_of(kind), tiny_models.latent(kind), STEPS[kind]
    base, lora = (stock(model, *conds, latent, **options) for model in (reference, by_stock_node))
    assert distance(base, lora) > 0.1
    both, blends = (reference, by_stock_node), []
    for _ in range(3):
        assert_agree(realign((reference, anchor), *conds, latent, 0.0, **options)[0], base, both, conds)
        assert_agree(realign((reference, anchor), *conds, latent, 1.0, **options)[0], lora, both, conds)
        blends.append(realign((reference, anchor), *conds, latent, 0.5, **options)[0])
        assert torch.equal(stock(reference, *conds, latent, **options)["samples"], base["samples"])
        assert torch.equal(stock(by_stock_node, *conds, latent, **options)["samples"], lora["samples"])
    assert all(torch.equal(blends[0]["samples"], blend["samples"]) for blend in blends)
    assert distance(blends[0], base) > 0.05
    assert distance(blends[0], lora) > 0.05


@pytest.mark.numeric
@pytest.mark.parametrize("kind", ["sd15", "sd3"])
def test_blend_of_a_lora_anchor_is_that_of_the_merged_checkpoint(tiny, models, kind):
    """λ = 0.5 with the LoRA equals λ = 0.5 with a full checkpoint that has the LoRA baked in."""
    reference = models(kind)[0]
    anchor, _ = load(reference, write(tiny, f"{kind}_blend", kohya(tiny, kind)))
    merged = dict(tiny.weights(kind))
    for layer, (up, down) in tiny.lora_weights(kind).items():
        merged[f"{layer}.weight"] = merged[f"{layer}.weight"] + up @ down
    full = tiny.load(tiny.checkpoint(f"{kind}_merged", merged))
    conds, latent, options = conds_of(kind), tiny_models.latent(kind), STEPS[kind]
    want = realign((reference, full), *conds, latent, 0.5, **options)[0]
    assert_agree(realign((reference, anchor), *conds, latent, 0.5, **options)[0], want, (reference, full), conds)


def test_anchor_from_the_stock_lora_loader(tiny, models):
    """A MODEL from LoraLoaderModelOnly shares the reference's weights too, and so does a patched reference."""
    choice = write(tiny, "sd15_stock", kohya(tiny, "sd15"))
    base = models("sd15")[0]
    style = LoraLoaderModelOnly().load_lora_model_only(base, choice.removeprefix("loras/"), 0.3)[0]
    both = LoraLoaderModelOnly().load_lora_model_only(style, choice.removeprefix("loras/"), 1.0)[0]
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    want = [stock(model, *conds, latent) for model in (style, both)]
    for lam, expected in zip((0.0, 1.0), want):
        realign((style, both), *conds, latent, 0.5)
        assert_agree(realign((style, both), *conds, latent, lam)[0], expected, (style, both), conds)
    assert torch.equal(stock(base, *conds, latent)["samples"], stock(base, *conds, latent)["samples"])


def test_strength_scales_the_lora(tiny, models):
    choice = write(tiny, "sd15_strength", kohya(tiny, "sd15"))
    reference = models("sd15")[0]
    anchor, model = load(reference, choice, 0.5)
    by_stock_node = LoraLoaderModelOnly().load_lora_model_only(reference, choice.removeprefix("loras/"), 0.5)[0]
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    want = stock(by_stock_node, *conds, latent)
    assert_agree(realign((reference, anchor), *conds, latent, 1.0)[0], want, (by_stock_node,), conds)
    assert_agree(stock(model, *conds, latent), want, (by_stock_node,), conds)


LAYOUTS = {
    "diffusers, old": lambda layer: (
        layer.replace(".to_", ".processor.to_").replace("to_out.0", "to_out") + "_lora.{}.weight"
    ),
    "diffusers": lambda layer: f"unet.{layer}.lora.{{}}.weight",
    "PEFT": lambda layer: f"base_model.model.{layer}.lora_{{}}.weight",
    "PEFT in a pipeline": lambda layer: f"unet.{layer}.lora_{{}}.weight",
    "PEFT in memory": lambda layer: f"base_model.model.{layer}.lora_{{}}.default.weight",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sd15_layouts(tiny, models, layout):
    """Every layout gives what the same matrices give under kohya's names."""
    name_of, weights, same = LAYOUTS[layout], {}, {}
    parts = ("A", "B") if "PEFT" in layout else ("down", "up")
    for layer, (up, down) in diffusers_layers(tiny, models, "sd15").items():
        if "_lora." in name_of(layer) and "attn" not in layer:
            continue  # the old layout knew attention only
        weights[name_of(layer).format(parts[0])] = down
        weights[name_of(layer).format(parts[1])] = up
        flat = "lora_unet_" + layer.replace(".", "_")
        same |= {f"{flat}.lora_up.weight": up, f"{flat}.lora_down.weight": down}
    reference = models("sd15")[0]
    anchor, _ = load(reference, write(tiny, "sd15_layout", weights))
    expected, _ = load(reference, write(tiny, "sd15_same", same))
    assert len(anchor[0].patcher.patches) == len(expected[0].patcher.patches) == len(weights) // 2
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    got, want = (stock(one[0].patcher, *conds, latent) for one in (anchor, expected))
    assert_agree(got, want, (expected[0].patcher,), conds)


@pytest.mark.parametrize("where", ["adapter_config.json", "metadata"])
def test_peft_scale_is_read(tiny, models, where):
    """Flow-GRPO's LoRA for SD3.5 has lora_alpha 64 and rank 32: without the scale it acts at half its strength."""
    weights, plain = {}, {}
    for layer, (up, down) in diffusers_layers(tiny, models, "sd3").items():
        prefix = "base_model.model." if where == "adapter_config.json" else "transformer."
        weights |= {f"{prefix}{layer}.lora_A.weight": down, f"{prefix}{layer}.lora_B.weight": up}
        plain |= {f"transformer.{layer}.lora_A.weight": down, f"transformer.{layer}.lora_B.weight": up * 2}
    config = {"r": 4, "lora_alpha": 8}
    sibling = tiny.dir / "loras" / "adapter_config.json"
    metadata = None
    if where == "metadata":
        metadata = {"lora_adapter_metadata": json.dumps({f"transformer.{k}": v for k, v in config.items()})}
    else:
        sibling.write_text(json.dumps(config))
    try:
        reference = models("sd3")[0]
        anchor, _ = load(reference, write(tiny, "sd3_peft", weights, metadata))
    finally:
        sibling.unlink(missing_ok=True)
    expected, _ = load(reference, write(tiny, "sd3_plain", plain))
    conds, latent = conds_of("sd3"), tiny_models.latent("sd3")
    options = STEPS["sd3"]
    got, want = (stock(a[0].patcher, *conds, latent, **options) for a in (anchor, expected))
    assert_agree(got, want, (expected[0].patcher,), conds)


def test_partial_match_is_used_and_said(tiny, models, caplog):
    weights = kohya(tiny, "sd15")
    weights["lora_unet_no_such_layer.lora_up.weight"] = torch.ones(4, 4)
    weights["lora_unet_no_such_layer.lora_down.weight"] = torch.ones(4, 4)
    with caplog.at_level("WARNING"):
        load(models("sd15")[0], write(tiny, "sd15_partial", weights))
    assert "layers matched" in caplog.text
    assert "no_such_layer" in caplog.text


def test_text_encoder_layers_do_not_count_as_missed(tiny, models, caplog):
    weights = kohya(tiny, "sd15")
    for part in ("up", "down"):
        weights[f"lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_{part}.weight"] = torch.ones(4, 4)
    with caplog.at_level("INFO"):
        load(models("sd15")[0], write(tiny, "sd15_text", weights))
    assert "100% of the LoRA's layers matched" in caplog.text


def test_lora_for_another_architecture_is_refused(tiny, models):
    choice = write(tiny, "for_sd3", kohya(tiny, "sd3"))
    with pytest.raises(ValueError, match=r"“for_sd3.safetensors” fits no layer of the reference \(SD15\)"):
        load(models("sd15")[0], choice)


def test_lora_of_the_right_names_and_wrong_sizes_is_refused(tiny, models):
    """SD 1.5 and SDXL share layer names; the host would skip such a LoRA with a line in its log."""
    weights = {k: torch.cat([v, v]) if "lora_up" in k else v for k, v in kohya(tiny, "sd15").items()}
    choice = write(tiny, "sd15_sizes", weights)
    with pytest.raises(ValueError, match="fits no layer"):
        load(models("sd15")[0], choice)


def test_lora_with_nan_is_refused(tiny, models):
    weights = kohya(tiny, "sd15")
    next(iter(weights.values()))[0, 0] = float("nan")
    choice = write(tiny, "sd15_nan", weights)
    with pytest.raises(ValueError, match="not finite"):
        load(models("sd15")[0], choice)


def test_a_model_that_no_loader_can_read_again_is_copied(tiny, models):
    """GGUF loaders and merges make MODELs that the host has no file for; DoRA cannot share the reference's weights."""
    weights = kohya(tiny, "sd15")
    for name in [name for name in weights if name.endswith(".alpha")]:
        weights[name.replace(".alpha", ".dora_scale")] = torch.ones(
            weights[name.replace("alpha", "lora_up.weight")].shape[0], 1
        )
    choice = write(tiny, "sd15_dora", weights)
    reference = tiny.load(tiny.reference("sd15"))
    reference.cached_patcher_init = None
    anchor, model = load(reference, choice)
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    base, lora = stock(reference, *conds, latent), stock(model, *conds, latent)
    blend = realign((reference, anchor), *conds, latent, 0.5)[0]
    assert min(distance(blend, end) for end in (base, lora)) > 0.05
    assert torch.equal(stock(reference, *conds, latent)["samples"], base["samples"])
    other, _ = load(models("sd15")[0], choice)
    assert_agree(realign((reference, other), *conds, latent, 0.5)[0], blend, (reference, model), conds)
