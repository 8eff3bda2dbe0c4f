"""What becomes of each key of an anchor's file, models in shards, and files of what is no anchor: said in words."""

from __future__ import annotations

import json
import logging
import re

import pytest
import real_adapters
import tiny_models
import torch
from adapter_files import ADAPTERS, convolutions, layers_of, matrices, randn
from anchor_files import load, refusal
from host_runs import conds_of, everywhere, realign, stock
from realign.nodes.models.account import Account, Fate
from realign.nodes.models.demo import demo_model
from realign.nodes.models.files import list_files
from realign.nodes.models.formats import FORMATS, load_anchor, open_anchor
from realign.nodes.models.peft import VARIANTS
from rounding import assert_agree
from safetensors.torch import save_file

TEXT = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"


@pytest.fixture(scope="module")
def sd15(models):
    return models("sd15")[0]


@pytest.fixture
def write(tiny, request):
    """Writes a LoRA file under the test's name and gives the node's choice."""

    def save(weights, folder="loras", **metadata):
        name = re.sub(r"\W+", "_", request.node.name)
        values = {key: value.contiguous() for key, value in weights.items()}
        save_file(values, tiny.dir / folder / f"{name}.safetensors", metadata or None)
        return f"{folder}/{name}.safetensors"

    return save


def account_of(tiny, reference, choice):
    return load_anchor(reference, open_anchor(tiny.dir / choice), 1.0).account


def kohya(tiny, dtype=torch.float32):
    out = {}
    for layer, (up, down) in tiny.lora_weights("sd15").items():
        name = "lora_unet_" + layer.replace(".", "_")
        out |= {f"{name}.lora_up.weight": up.to(dtype), f"{name}.lora_down.weight": down.to(dtype)}
        out[f"{name}.alpha"] = torch.tensor(2.0)
    return out


def text_encoder():
    return {f"{TEXT}.lora_up.weight": torch.ones(8, 4), f"{TEXT}.lora_down.weight": torch.ones(4, 8)}


def test_every_key_has_its_fate(tiny, sd15, write):
    weights = kohya(tiny)
    empty = "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_q"
    weights |= {f"{empty}.lora_up.weight": torch.ones(320, 0), f"{empty}.lora_down.weight": torch.ones(0, 320)}
    weights |= {f"lora_unet_gone.lora_{way}.weight": torch.ones(4, 4) for way in ("up", "down")}
    other = "lora_unet_middle_block_1_proj_in"
    weights |= {f"{other}.lora_up.weight": torch.ones(7, 4), f"{other}.lora_down.weight": torch.ones(4, 7)}
    weights |= text_encoder() | {"bundle_emb.style.clip_l": torch.ones(2, 8), "step": torch.ones(1)}
    account = account_of(tiny, sd15, write(weights))
    assert account.fates.keys() == weights.keys()
    by_fate = {fate: {key.split(".")[0] for key, its in account.fates.items() if its is fate} for fate in Fate}
    assert by_fate[Fate.NOTHING] == {empty}
    assert by_fate[Fate.NO_LAYER] == {"lora_unet_gone"}
    assert by_fate[Fate.OTHER_SIZE] == {other}
    assert by_fate[Fate.TEXT_ENCODER] == {TEXT, "bundle_emb"}
    assert by_fate[Fate.UNKNOWN] == {"step"}
    used = len(tiny.lora_weights("sd15")) - 1
    assert len(by_fate[Fate.USED]) == used
    said = " ".join(account.lines())
    assert f"only {used} of {used + 2} layers" in said
    assert "not e.g. lora_unet_gone" in said
    assert "text-encoder part (2 layers) not used here: for it, connect" in said
    assert f"3 weights of rank 0, which adds nothing, e.g. {empty}" in said
    assert "1 weight of a meaning that is not known here, e.g. step" in said


def in_training(tiny, change, dtype=torch.float32):
    """The state dict of a network that PEFT has wrapped, of a few layers; the weights below the adapters changed so."""
    out = {}
    for layer, (up, down) in tiny.lora_weights("sd15").items():
        if "attn" in layer:
            name = f"base_model.model.{layer}"
            out |= {f"{name}.lora_A.default.weight": down, f"{name}.lora_B.default.weight": up}
            out[f"{name}.base_layer.weight"] = (tiny.weights("sd15")[f"{layer}.weight"] + change).to(dtype)
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_models_own_weights_below_an_adapter_change_nothing(tiny, sd15, write, dtype):
    weights = in_training(tiny, 0, dtype)
    loaded = load_anchor(sd15, open_anchor(tiny.dir / write(weights)), 1.0)
    assert {*loaded.account.fates.values()} == {Fate.USED}
    assert len(loaded.patcher.patches) == len(weights) // 3
    assert {patch[0][1].name for patch in loaded.patcher.patches.values()} == {"lora"}


def test_other_weights_below_an_adapter_are_refused(monkeypatch, tiny, sd15, write):
    assert "save it with PEFT's save_pretrained" in refusal(monkeypatch, sd15, write(in_training(tiny, 0.1)))


@pytest.mark.parametrize("bias", ["diff_b", "lora_up.bias", "a bias kept whole"])
def test_a_layer_of_which_only_a_part_fits_is_left_out_and_said(tiny, sd15, write, bias):
    """Its bias alone would be applied without the weight that it was trained with."""
    name = "input_blocks.1.0.in_layers.2"
    layer = f"diffusion_model.{name}"
    weights = {f"{layer}.lora_up.weight": torch.ones(320, 4, 1, 1), f"{layer}.alpha": torch.tensor(4.0)}
    weights |= {f"{layer}.lora_down.weight": torch.ones(4, 327, 3, 3)}
    weights |= {f"{layer}.{'bias' if 'kept' in bias else bias}": torch.ones(320)}
    loaded = load_anchor(sd15, open_anchor(tiny.dir / write(kohya(tiny) | weights)), 1.0)
    assert {loaded.account.fates[key] for key in weights} == {Fate.OTHER_SIZE}
    assert f"not e.g. {layer}" in " ".join(loaded.account.lines())
    assert f"{layer}.bias" not in loaded.patcher.patches


def test_a_share_that_is_not_all_is_never_said_to_be():
    layers = {f"layer {i}": i > 0 for i in range(1000)}
    assert "99% of the LoRA's layers" in Account({}, layers).lines()[0]
    assert "all 999 layers: 100%" in Account({}, {name: True for name, used in layers.items() if used}).lines()[0]


def test_an_unknown_part_of_a_layer_that_the_model_has_is_refused(monkeypatch, tiny, sd15, write):
    layer = next(iter(kohya(tiny))).split(".")[0]
    said = refusal(monkeypatch, sd15, write(kohya(tiny) | {f"{layer}.lokr_t1": torch.ones(2)}))
    assert f"its {layer}.lokr_t1 is a part that no known kind of adapter has" in said


def test_parts_of_two_kinds_for_one_layer_are_refused(monkeypatch, tiny, sd15, write):
    """The host would take the last kind alone."""
    layer = next(key for key in kohya(tiny) if "attn1_to_q" in key).split(".")[0]
    both = {f"{layer}.hada_{part}": torch.ones(320, 4) for part in ("w1_a", "w2_a")}
    both |= {f"{layer}.hada_{part}": torch.ones(4, 320) for part in ("w1_b", "w2_b")}
    assert "belongs to no adapter" in refusal(monkeypatch, sd15, write(kohya(tiny) | both))


def test_two_layers_for_the_same_weight_are_refused(monkeypatch, tiny, sd15, write):
    ours = next(key for key in tiny.lora_weights("sd15") if "attn1.to_q" in key)
    twice = {f"diffusion_model.{ours}.lora_{way}.weight": torch.ones(320, 320) for way in ("up", "down")}
    assert "are for the same weight" in refusal(monkeypatch, sd15, write(kohya(tiny) | twice))


@pytest.mark.parametrize("prefix", ["lora_te_", "base_model.model.", "text_encoder."])
def test_a_lora_of_the_text_encoder_alone(monkeypatch, sd15, write, prefix):
    name = {"lora_te_": TEXT}.get(prefix, f"{prefix}text_model.encoder.layers.0.self_attn.q_proj")
    parts = ("up", "down") if prefix == "lora_te_" else ("B", "A")
    said = refusal(monkeypatch, sd15, write({f"{name}.lora_{part}.weight": torch.ones(4, 4) for part in parts}))
    assert "for the text encoder alone" in said


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_number_formats(tiny, sd15, write, dtype):
    """Each as its values are; up and down may differ."""
    mixed = {key: value.float() if "up" in key else value for key, value in kohya(tiny, dtype).items()}
    plain = {key: value.float() for key, value in mixed.items()}
    got, want = (real_adapters.patched_weights(load(sd15, write(weights))[0].patcher) for weights in (mixed, plain))
    assert all(torch.allclose(got[key], value, rtol=1e-5, atol=1e-6) for key, value in want.items())


LOKR = {
    "factored": {"lokr_w2_a": (80, 2), "lokr_w2_b": (2, 720)},
    "Tucker": {"lokr_w2_a": (2, 80), "lokr_w2_b": (2, 80), "lokr_t2": (2, 2, 3, 3)},
    "whole, with an alpha of 0": {"lokr_w2": (80, 80, 3, 3)},
}


@pytest.mark.parametrize("what", LOKR)
def test_a_lokr_on_convolutions_is_mixed_as_it_is_merged(tiny, sd15, write, what):
    """The host can merge what of it it cannot apply in the forward pass; λ beside 1 is the forward pass."""
    weights = {}
    for name, shape in convolutions(tiny, "sd15").items():
        if tuple(shape) == (320, 320, 3, 3):
            flat = f"lora_unet_{name.replace('.', '_')}"
            parts = {part: randn(*size) / size[-1] ** 0.5 for part, size in ({"lokr_w1": (4, 4)} | LOKR[what]).items()}
            weights |= {f"{flat}.{part}": value for part, value in parts.items()}
            weights[f"{flat}.alpha"] = torch.tensor(0.0 if "0" in what else 1.0)
    anchor, conds, latent = load(sd15, write(weights)), conds_of("sd15"), tiny_models.latent("sd15")
    want = stock(anchor[0].patcher, *conds, latent, "ddim")
    got = realign((sd15, anchor), *conds, latent, 1.0, "ddim", lambda_mask=everywhere(1))[0]
    assert_agree(got, want, (sd15, anchor[0].patcher), conds)
    assert (want["samples"] - stock(sd15, *conds, latent, "ddim")["samples"]).abs().max() > 0.01 * want["samples"].std()


def test_a_lora_beside_biases_is_no_full_model(tiny, sd15, write):
    """PEFT saves all biases along with any number of adapters."""
    layer = next(iter(matrices(tiny, "sd15")))
    rows, columns = tiny.weights("sd15")[f"{layer}.weight"].shape
    weights = {f"diffusion_model.{key}": value for key, value in tiny.weights("sd15").items() if key.endswith(".bias")}
    weights |= {f"diffusion_model.{layer}.lora_A.weight": randn(4, columns)}
    weights |= {f"diffusion_model.{layer}.lora_B.weight": randn(rows, 4)}
    assert load_anchor(sd15, open_anchor(tiny.dir / write(weights)), 1.0).kind == FORMATS[1].kind


@pytest.mark.parametrize("field", VARIANTS)
def test_a_form_of_lora_that_is_none_is_named(monkeypatch, tiny, sd15, write, field):
    up, down = tiny.lora_weights("sd15")[next(iter(tiny.lora_weights("sd15")))]
    weights = {"unet.a.lora_A.weight": down, "unet.a.lora_B.weight": up}
    config = {"r": 4, "lora_alpha": 4} | {name: None for name in VARIANTS} | {field: {"r": 1}}
    said = refusal(monkeypatch, sd15, write(weights, lora_adapter_metadata=json.dumps(config)))
    assert f"is a {VARIANTS[field]}, which ComfyUI cannot apply" in said


def test_dora_on_a_slice_of_a_weight(tiny, models, write):
    """SD3's q, k and v are one matrix in the host; each has its own LoRA and magnitudes in diffusers' names."""
    generator, parts, want = torch.Generator().manual_seed(1), {}, []
    key = "joint_blocks.0.x_block.attn.qkv.weight"
    whole = tiny.weights("sd3")[key]
    for name, weight in zip(("to_q", "to_k", "to_v"), whole.chunk(3)):
        up, down = (
            torch.randn(len(weight), 4, generator=generator),
            torch.randn(4, weight.shape[1], generator=generator),
        )
        size = weight.norm(dim=1) * (1 + torch.rand(len(weight), generator=generator))
        layer = f"transformer.transformer_blocks.0.attn.{name}"
        parts |= {f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up / 8}
        parts[f"{layer}.lora_magnitude_vector"] = size
        changed = weight + 2 * (up / 8) @ down
        want.append(changed * (size / changed.norm(dim=1))[:, None])
    file = open_anchor(tiny.dir / write(parts, lora_alpha="8", r="4"))
    for strength in (1.0, 0.5):
        anchor = load_anchor(models("sd3")[0], file, strength).patcher
        got = real_adapters.patched_weights(anchor)[f"diffusion_model.{key}"]
        assert torch.allclose(got, whole + strength * (torch.cat(want) - whole), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_every_kind_is_used_wholly(tiny, sd15, write, kind):
    account = account_of(tiny, sd15, write(ADAPTERS[kind](tiny, "sd15")))
    assert {*account.fates.values()} == {Fate.USED}
    assert account.share == 1


def test_ema_weights_alone_are_named(monkeypatch, tiny, sd15, write):
    weights = {"model_ema." + key.replace(".", ""): value for key, value in tiny.weights("sd15").items()}
    assert "EMA weights alone" in refusal(monkeypatch, sd15, write(weights, "checkpoints"))


def test_what_a_full_model_has_too_much_is_said(tiny, sd15, write, caplog):
    weights = {f"model.diffusion_model.{key}": value for key, value in tiny.weights("sd15").items()}
    weights |= {"model.diffusion_model.odd.weight": torch.ones(2), "first_stage_model.odd": torch.ones(2)}
    with caplog.at_level(logging.INFO):
        load(sd15, write(weights, "checkpoints"))
    assert "1 weight of a meaning that is not known here, e.g. model.diffusion_model.odd.weight" in caplog.text


@pytest.fixture(params=["", "fp16"])
def shards(tiny, request):
    """(folder, the index' name, the shards' names) of the anchor as diffusers saves what is large, in the host's names:
    the host knows diffusers' UNets by their full depths."""
    folder = tiny.dir / "diffusion_models" / f"unet_{request.param or 'plain'}_{len(request.node.name)}"
    folder.mkdir(exist_ok=True)
    weights = tiny_models.perturbed(tiny.weights("sd15"), 7)
    stem = "diffusion_pytorch_model" + (f".{request.param}" if request.param else "")
    where = {}
    for i in (0, 1):
        shard = f"{stem}-0000{i + 1}-of-00002.safetensors"
        part = sorted(weights)[i::2]
        save_file({name: weights[name].contiguous() for name in part}, folder / shard)
        where |= dict.fromkeys(part, shard)
    index = f"diffusion_pytorch_model.safetensors.index{f'.{request.param}' if request.param else ''}.json"
    (folder / index).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return folder, index, sorted({*where.values()})


def test_the_index_loads_all_shards(tiny, models, shards):
    folder, index, _ = shards
    choice = f"diffusion_models/{folder.name}/{index}"
    assert list_files().count(choice) == 1
    anchor = load(models("sd15")[0], choice)
    got, want = anchor[0].patcher.model.state_dict(), models("sd15")[1].model.state_dict()
    assert all(torch.equal(got[key], value) for key, value in want.items())
    again = anchor[0].patcher.deepclone_multigpu().model.state_dict()
    assert all(torch.equal(again[key], value) for key, value in want.items())


def test_every_loader_of_the_pack_makes_a_copy_without_dynamic_loading(tiny, models, shards):
    """As the host asks for one to compile it, for hooks, or for another device."""
    sd15, (folder, index, _) = models("sd15")[0], shards
    made = [demo_model("reference"), demo_model("anchor")]
    weights = tiny_models.perturbed(tiny.weights("sd15"), 7)
    whole = folder / "whole.safetensors"
    save_file({name: value.contiguous() for name, value in weights.items()}, whole)
    paths = [folder / index, whole, tiny.anchor("sd15")]
    made += [load_anchor(sd15, open_anchor(path), 1.0).patcher for path in paths]
    for patcher in made:
        read, arguments, *place = patcher.cached_patcher_init
        copy = read(*arguments, disable_dynamic=True)
        copy = copy[place[0]] if place else copy
        assert not copy.is_dynamic()
        got, want = copy.model.state_dict(), patcher.model.state_dict()
        assert all(torch.equal(got[key], value) for key, value in want.items())


def test_one_shard_names_the_folder_and_the_index(monkeypatch, sd15, shards):
    folder, index, (first, second) = shards
    for shard in (first, second):
        said = refusal(monkeypatch, sd15, f"diffusion_models/{folder.name}/{shard}")
        assert "one part of 2" in said
        assert f"in the folder “{folder.name}”" in said
        assert f"“diffusion_models/{folder.name}/{index}”" in said
    (folder / index).unlink()
    assert "put all of them and their index" in refusal(monkeypatch, sd15, f"diffusion_models/{folder.name}/{first}")


BAD_INDICES = {
    "no shard": ({"weight_map": {"a": "gone.safetensors"}}, "names the shard “gone.safetensors”, which is not beside"),
    "a shard elsewhere": ({"weight_map": {"a": "../x.safetensors"}}, "which is not beside it"),
    "itself": ({"weight_map": {"a": "m.safetensors.index.json"}}, "as a shard, which is an index"),
    "no map": ({"metadata": {}}, "is no index"),
    "a list": ([1], "is no index"),
    "a weight that no shard has": ({"weight_map": {"a": "held.safetensors"}}, "its shards lack the weight a"),
}


@pytest.mark.parametrize("what", BAD_INDICES)
def test_a_broken_index(monkeypatch, tiny, sd15, what):
    written, words = BAD_INDICES[what]
    folder = tiny.dir / "diffusion_models" / "broken index"
    folder.mkdir(exist_ok=True)
    save_file({"b": torch.ones(2)}, folder / "held.safetensors")
    (folder / "m.safetensors.index.json").write_text(json.dumps(written))
    assert words in refusal(monkeypatch, sd15, "diffusion_models/broken index/m.safetensors.index.json")


def test_a_difference_of_a_model_with_patches_on_its_weights(tiny, write):
    """PEFT's modules_to_save are compared with the model's own weights, not with what a LoRA has made of them."""
    reference = tiny.load(tiny.reference("sd15"))
    key = next(iter(layers_of(tiny, "sd15", lambda name, shape: name.endswith("attn1.to_q"))))
    patched = reference.clone()
    patched.add_patches({f"diffusion_model.{key}.weight": ("diff", (torch.ones(320, 320),))})
    stock(patched, *conds_of("sd15"), tiny_models.latent("sd15"), "ddim")  # now its weights have the patch on them
    other = next(name for name in tiny.lora_weights("sd15") if name != key)
    up, down = tiny.lora_weights("sd15")[other]
    whole = tiny.weights("sd15")[f"{key}.weight"] + 0.5
    weights = {f"diffusion_model.{other}.lora_A.weight": down, f"diffusion_model.{other}.lora_B.weight": up}
    weights |= {f"diffusion_model.{other}.alpha": torch.tensor(4.0), f"diffusion_model.{key}.weight": whole}
    anchor = load(patched, write(weights))
    (difference,) = anchor[0].patcher.patches[f"diffusion_model.{key}.weight"][-1][1][1]
    assert torch.allclose(difference, torch.full((320, 320), 0.5), atol=1e-6)
