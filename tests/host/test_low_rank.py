"""LoadAnchorModel's low_rank: a full anchor kept as reference + low-rank difference, and its cache."""

from __future__ import annotations

import logging

import comfy.lora
import comfy.model_management
import comfy.sd
import comfy.utils
import folder_paths
import pytest
import tiny_models
import torch
from host_runs import conds_of, distance, stock
from realign.nodes import load_anchor
from realign.nodes.load_anchor import LoadAnchorModel
from realign.nodes.models import low_rank
from rounding import assert_agree
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nodes import LoraLoaderModelOnly

KEY = "middle_block.1.transformer_blocks.0.attn2.to_k.weight"  # 320 × 768
CONV = "input_blocks.1.0.in_layers.2.weight"  # 320 × 320 × 3 × 3


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache's folder, in a user folder of this test's own."""
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path))
    return tmp_path / "realign" / "low_rank"


@pytest.fixture
def sd15(models):
    return models("sd15")[0].clone()


def load(reference, path, rank):
    return LoadAnchorModel.execute(reference, f"checkpoints/{path.name}", 1.0, "from file", 0.0, rank).args


def anchor_weights(tiny, kind):
    """Moved everywhere, but for SD3's table of positions, which is no trained weight."""
    out = tiny_models.perturbed(tiny.weights(kind), 7)
    return {k: tiny.weights(kind)[k] if k == "pos_embed" else v for k, v in out.items()}


def low_rank_noise(shape, rank, seed):
    generator = torch.Generator().manual_seed(seed)
    up = torch.randn(shape[0], rank, generator=generator)
    return (up @ torch.randn(rank, shape[1:].numel(), generator=generator)).view(shape) * 0.3 / shape[1:].numel() ** 0.5


def moved_by_rank_4(tiny, kind):
    """Every matrix and convolution moved by a difference of rank 4, every norm and bias by noise."""
    out = anchor_weights(tiny, kind)
    for seed, (key, value) in enumerate(tiny.weights(kind).items()):
        if value.ndim > 1 and key.endswith(".weight"):
            out[key] = value + low_rank_noise(value.shape, 4, seed)
    return out


def changed(tiny, name, **differences):
    """An SD 1.5 checkpoint that differs in the layers named alone."""
    weights = {k: v + differences[k] if k in differences else v for k, v in tiny.weights("sd15").items()}
    return tiny.checkpoint(name, weights)


def merged(tiny, kind):
    """The reference with a rank 4 LoRA baked in."""
    weights = dict(tiny.weights(kind))
    for layer, (up, down) in tiny.lora_weights(kind).items():
        weights[f"{layer}.weight"] = weights[f"{layer}.weight"] + up @ down
    return tiny.checkpoint(f"{kind}_low_rank_merged", weights)


def sentence(error):
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def keeps(caplog):
    """The percentage on the node's label, which is also in the log."""
    text = next(r.getMessage() for r in reversed(caplog.records) if "of the difference" in r.getMessage())
    return float(text.split("keeps ")[1].split("%")[0])


def patched(patcher, key):
    """A weight as the host would put it on its device to sample."""
    comfy.model_management.unload_model_and_clones(patcher)
    return patcher.patch_weight_to_device(f"diffusion_model.{key}", return_weight=True)


@pytest.mark.parametrize("kind", ["sd15", "sd3"])
def test_the_highest_rank_is_the_anchor(tiny, models, kind, caplog):
    caplog.set_level(logging.INFO)
    path = tiny.checkpoint(f"{kind}_low_rank_full", anchor_weights(tiny, kind))
    reference, stock_anchor = models(kind)[0], tiny.load(path)
    anchor, model = load(reference, path, 1024)
    assert anchor[0].patcher is model
    assert model.is_clone(reference)
    assert keeps(caplog) == 100
    conds, latent = conds_of(kind), tiny_models.latent(kind)
    want = stock(stock_anchor, *conds, latent, "ddim")
    assert distance(stock(reference, *conds, latent, "ddim"), want) > 0.1
    assert_agree(stock(model, *conds, latent, "ddim"), want, (stock_anchor,), conds)


@pytest.mark.parametrize("kind", ["sd15", "sd3"])
def test_matrices_convolutions_norms_and_biases(tiny, models, kind, caplog, cache):
    """A difference of rank 4 everywhere fits into rank 8, by factors and not by whole layers: the same picture."""
    caplog.set_level(logging.INFO)
    path = tiny.checkpoint(f"{kind}_rank_4", moved_by_rank_4(tiny, kind))
    reference, stock_anchor = models(kind)[0], tiny.load(path)
    _, model = load(reference, path, 8)
    assert keeps(caplog) == 100
    conds, latent = conds_of(kind), tiny_models.latent(kind)
    want = stock(stock_anchor, *conds, latent, "ddim")
    assert distance(stock(reference, *conds, latent, "ddim"), want) > 0.1
    assert_agree(stock(model, *conds, latent, "ddim"), want, (stock_anchor,), conds)
    (file,) = cache.iterdir()
    assert file.stat().st_size < path.stat().st_size / 5
    parts = {key.split(".", 1)[1].rsplit(".", 1)[1] for key in load_file(file)}
    assert parts == {"weight", "diff_b"} | ({"diff"} if kind == "sd15" else set())  # this SD3 has no norms' weights


def test_a_convolution_in_the_hosts_layout(tiny, sd15):
    noise = low_rank_noise(tiny.weights("sd15")[CONV].shape, 4, 1)
    path = changed(tiny, "sd15_one_conv", **{CONV: noise})
    state_dict, share = low_rank.factorise(sd15, tiny.load(path), 8)
    layer = f"diffusion_model.{CONV.removesuffix('.weight')}"
    assert {key: tuple(value.shape) for key, value in state_dict.items()} == {
        f"{layer}.lora_up.weight": (320, 8, 1, 1),
        f"{layer}.lora_down.weight": (8, 320, 3, 3),
    }
    assert share > 0.999
    up, down = (value.abs().amax() for value in state_dict.values())
    assert 0.1 < up / down < 10  # √s each
    _, model = load(sd15, path, 8)
    assert torch.allclose(patched(model, CONV), tiny.weights("sd15")[CONV] + noise, atol=1e-5)


@pytest.mark.parametrize("kind", ["sd15", "sd3"])
def test_a_merged_lora_is_found_again(tiny, models, kind, caplog):
    caplog.set_level(logging.INFO)
    reference, path = models(kind)[0], merged(tiny, kind)
    state_dict, share = low_rank.factorise(reference, tiny.load(path), 8)
    assert share > 0.999
    layers = {key.rsplit(".lora_", 1)[0].removeprefix("diffusion_model.") for key in state_dict if ".lora_" in key}
    whole = {key.removesuffix(".diff").removeprefix("diffusion_model.") for key in state_dict if key.endswith(".diff")}
    assert layers | whole == set(tiny.lora_weights(kind))  # what has no difference is left out
    load(reference, path, 8)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING and "Realign" in r.getMessage()]


def test_the_share_is_that_of_the_best_approximation(tiny, sd15):
    """Noise has no low rank: what rank 16 keeps of it is what an exact SVD says, and no more."""
    noise = torch.randn(320, 768, generator=torch.Generator().manual_seed(2)) * 0.01
    path = changed(tiny, "sd15_one_layer", **{KEY: noise})
    state_dict, share = low_rank.factorise(sd15, tiny.load(path), 16)
    squares = torch.linalg.svdvals(noise.double()) ** 2
    best = float(squares[:16].sum() / squares.sum())
    assert 0.05 < best < 0.5
    assert best * 0.99 < share < best + 1e-5
    up, down = (
        state_dict[f"diffusion_model.{KEY.removesuffix('weight')}lora_{part}.weight"] for part in ("up", "down")
    )
    assert share == pytest.approx(1 - float((noise - up @ down).norm() / noise.norm()) ** 2, abs=1e-4)


def test_a_low_share_is_said(tiny, models, sd15, caplog):
    caplog.set_level(logging.INFO)
    _, low = low_rank.factorise(sd15, models("sd15")[1], 8)
    load(sd15, tiny.anchor("sd15"), 8)
    assert low < 0.6
    assert keeps(caplog) == pytest.approx(100 * low, abs=0.06)
    (warning,) = (r.getMessage() for r in caplog.records if r.levelno == logging.WARNING and "keeps" in r.getMessage())
    assert "raise low_rank, or set it to 0" in warning


def test_the_programs_random_numbers_are_neither_used_nor_changed(tiny, sd15):
    path = tiny.load(merged(tiny, "sd15"))
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        results.append(low_rank.factorise(sd15, path, 8)[0])
        after = torch.randn(3)
        torch.manual_seed(seed)
        assert torch.equal(after, torch.randn(3))
    assert all(torch.equal(value, results[1][key]) for key, value in results[0].items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_half(tiny, dtype):
    pair = [
        comfy.sd.load_diffusion_model_state_dict(dict(weights), model_options={"dtype": dtype})
        for weights in (tiny.weights("sd15"), moved_by_rank_4(tiny, "sd15"))
    ]
    state_dict, share = low_rank.factorise(*pair, 32)
    assert {value.dtype for value in state_dict.values()} == {dtype}
    assert share > 0.999


def test_a_difference_near_the_end_of_half_precision(tiny):
    """A millionth of the weights' size: either factor alone would be lost, with s on one side."""
    delta = low_rank_noise(torch.Size((320, 768)), 4, 1) * 1e-6
    parts, kept = low_rank._parts(f"diffusion_model.{KEY}", delta, torch.float16, 8, True)
    assert len(parts) == 2
    assert (kept - delta).norm() < 0.01 * delta.norm()


@pytest.fixture
def calls(monkeypatch):
    """The ranks that were really computed."""
    out, real = [], low_rank.factorise
    monkeypatch.setattr(load_anchor, "factorise", lambda *args: out.append(args[2]) or real(*args))
    return out


def same_patches(a, b):
    keys = [key for key in a.model.state_dict() if key in a.patches]
    return len(keys) == len(a.patches) == len(b.patches) and all(
        torch.equal(low_rank_weight(a, key), low_rank_weight(b, key)) for key in keys
    )


def low_rank_weight(patcher, key):
    weight = torch.zeros_like(low_rank.weights_of(patcher)[key], dtype=torch.float32)
    return comfy.lora.calculate_weight(patcher.patches[key], weight, key)


def test_a_second_load_comes_from_the_cache(tiny, sd15, calls, cache, caplog):
    caplog.set_level(logging.INFO)
    path = merged(tiny, "sd15")
    _, first = load(sd15, path, 8)
    percent = keeps(caplog)
    (file,) = cache.iterdir()
    assert file.name.startswith("sd15_low_rank_merged-r8-")
    with safe_open(file, "pt") as opened:
        assert {"rank": "8", "anchor": path.name}.items() <= opened.metadata().items()
        assert float(opened.metadata()["share"]) == pytest.approx(percent / 100, abs=1e-3)
    _, second = load(tiny.load(tiny.reference("sd15")), path, 8)
    assert calls == [8]
    assert keeps(caplog) == percent
    assert same_patches(first, second)


def test_what_else_is_another_file(tiny, sd15, calls, cache):
    """Another rank, another reference, and an anchor that differs in one value that the sample does not hold."""
    load(sd15, changed(tiny, "sd15_once", **{KEY: 0.01}), 8)
    load(sd15, changed(tiny, "sd15_once", **{KEY: 0.01}), 16)
    other = tiny.load(tiny.checkpoint("sd15_other", tiny_models.perturbed(tiny.weights("sd15"), 3, 0.01)))
    load(other, changed(tiny, "sd15_once", **{KEY: 0.01}), 8)
    one = torch.full((320, 768), 0.01)
    one[100, 101] += 0.5
    load(sd15, changed(tiny, "sd15_once_more", **{KEY: one}), 8)
    assert calls == [8, 16, 8, 8]
    assert len({file.name.split("-r")[1] for file in cache.iterdir()}) == 4


@pytest.mark.parametrize("damage", ["cut", "empty", "bit", "no metadata"])
def test_a_broken_cached_file_is_computed_again(tiny, sd15, calls, cache, caplog, damage):
    path = merged(tiny, "sd15")
    _, first = load(sd15, path, 8)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    broken = {"cut": whole[: len(whole) // 2], "empty": b"", "bit": whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:]}
    if damage == "no metadata":
        save_file(load_file(file), file)
    else:
        file.write_bytes(broken[damage])
    _, second = load(sd15, path, 8)
    assert calls == [8, 8]
    assert same_patches(first, second)
    assert "computed again" in caplog.text
    assert [f.name for f in cache.iterdir()] == [file.name]
    load(sd15, path, 8)
    assert calls == [8, 8]


def test_a_disk_that_takes_no_file(tiny, sd15, cache, caplog):
    cache.parent.write_text("a file where the folder should be")
    _, model = load(sd15, merged(tiny, "sd15"), 8)
    assert model.patches
    assert "could not be kept" in caplog.text


def test_cancel_leaves_no_file(tiny, sd15, cache, monkeypatch):
    done, real = [], low_rank._parts

    def parts(*args):
        done.append(args[0])
        if len(done) == 3:
            comfy.model_management.interrupt_current_processing()
        return real(*args)

    monkeypatch.setattr(low_rank, "_parts", parts)
    path = merged(tiny, "sd15")
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        load(sd15, path, 8)
    assert len(done) == 3
    assert not list(cache.parent.rglob("*.*"))


def test_progress_is_shown(tiny, sd15, monkeypatch):
    shown = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, *_, **__: shown.append((value, total)))
    load(sd15, merged(tiny, "sd15"), 8)
    assert shown[-1] == (len(tiny.weights("sd15")),) * 2


def test_the_cached_file_is_a_lora_for_any_loader(tiny, sd15, cache, caplog):
    path = tiny.checkpoint("sd15_rank_4", moved_by_rank_4(tiny, "sd15"))
    _, model = load(sd15, path, 8)
    (file,) = cache.iterdir()
    by_host, _ = comfy.sd.load_lora_for_models(sd15, None, load_file(file), 1.0, 1.0)
    (tiny.dir / "loras" / "from_cache.safetensors").write_bytes(file.read_bytes())
    by_node = LoraLoaderModelOnly().load_lora_model_only(sd15, "from_cache.safetensors", 1.0)[0]
    assert "not loaded" not in caplog.text.lower()
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    want = stock(model, *conds, latent)
    for other in (by_host, by_node):
        assert_agree(stock(other, *conds, latent), want, (model,), conds)


def test_a_reference_whose_clone_is_loaded_with_a_lora(tiny, sd15, caplog):
    """The host then holds patched weights in the module that both share; the difference is to the model's own."""
    path = merged(tiny, "sd15")
    want, _ = low_rank.factorise(sd15, tiny.load(path), 8)
    clone, _ = comfy.sd.load_lora_for_models(sd15, None, dict(want), 0.5, 0)
    stock(clone, *conds_of("sd15"), tiny_models.latent("sd15"))
    own = tiny.weights("sd15")[KEY]
    assert not torch.equal(sd15.model.state_dict()[f"diffusion_model.{KEY}"].cpu(), own)  # or this tests nothing
    got, _ = low_rank.factorise(sd15, tiny.load(path), 8)
    assert all(torch.equal(value, got[key]) for key, value in want.items())


def test_low_rank_is_without_effect_on_a_lora_file(tiny, sd15, cache):
    weights = {}
    for layer, (up, down) in tiny.lora_weights("sd15").items():
        weights |= {f"diffusion_model.{layer}.lora_up.weight": up, f"diffusion_model.{layer}.lora_down.weight": down}
    save_file(weights, tiny.dir / "loras" / "low_rank_lora.safetensors")
    args = (sd15, "loras/low_rank_lora.safetensors", 0.5, "from file", 0.0)
    assert same_patches(LoadAnchorModel.execute(*args, 64).args[1], LoadAnchorModel.execute(*args).args[1])
    assert not cache.exists()


def test_rank_0_is_a_model_of_its_own(tiny, sd15, cache):
    _, model = load(sd15, tiny.anchor("sd15"), 0)
    assert not model.is_clone(sd15)
    assert not model.patches
    assert not cache.exists()


def test_a_patched_reference_is_refused(tiny, sd15):
    path = merged(tiny, "sd15")
    lora, _ = low_rank.factorise(sd15, tiny.load(path), 8)
    style, _ = comfy.sd.load_lora_for_models(sd15, None, lora, 0.3, 0)
    with pytest.raises(ValueError, match="carries a LoRA or other weight patches") as error:
        load(style, path, 8)
    assert "low_rank = 0" in sentence(error)
    load(style, path, 0)


def test_a_quantised_model_is_refused(tiny, sd15):
    packed = comfy.sd.load_diffusion_model_state_dict(
        dict(tiny.weights("sd15")), model_options={"dtype": torch.float8_e4m3fn}
    )
    for pair, what in (((packed, sd15), "reference"), ((sd15, packed), "anchor")):
        with pytest.raises(ValueError, match=f"The {what} is quantised") as error:
            low_rank.factorise(*pair, 8)
        assert "low_rank = 0" in sentence(error)


def test_another_architecture_is_refused_first(tiny, sd15):
    sd15.patches = {"anything": []}
    with pytest.raises(ValueError, match="is SD3, but the reference model is SD15"):
        load(sd15, tiny.anchor("sd3"), 8)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(tiny, sd15, cache, value):
    broken = torch.zeros(320, 768)
    broken[3, 4] = value
    with pytest.raises(ValueError, match="not finite") as error:
        load(sd15, changed(tiny, f"sd15_{value}", **{KEY: broken}), 8)
    assert KEY in sentence(error)
    assert not cache.exists()


def test_the_reference_itself_is_refused(tiny, sd15):
    with pytest.raises(ValueError, match="the reference's own") as error:
        load(sd15, tiny.reference("sd15"), 8)
    sentence(error)


def test_what_the_host_cannot_patch_is_refused(tiny):
    """SD3's table of positions is a buffer: the host would leave the reference's."""
    reference = tiny.load(tiny.reference("sd3"))
    with pytest.raises(ValueError, match="differs from the reference in “pos_embed”") as error:
        load(reference, tiny.anchor("sd3"), 8)
    assert "low_rank = 0" in sentence(error)


@pytest.mark.parametrize(("where", "patchable"), [("out.0", True), ("", False)])
def test_raw_parameters(tiny, where, patchable):
    """A layer's own parameter goes into the file; one beside further layers is beyond the host's patches."""
    sd15, anchor = (tiny.load(tiny.reference("sd15")) for _ in range(2))
    for patcher, value in ((sd15, 1.0), (anchor, 1.5)):
        module = patcher.model.diffusion_model.get_submodule(where)
        module.register_parameter("gain", torch.nn.Parameter(torch.full((320,), value), requires_grad=False))
    name = f"{where}.gain".lstrip(".")
    if not patchable:
        with pytest.raises(ValueError, match=f"“{name}”"):
            low_rank.factorise(sd15, anchor, 8)
    state_dict = {f"diffusion_model.{name}.diff": torch.full((320,), 0.5)}
    if patchable:
        assert str(low_rank.factorise(sd15, anchor, 8)[0]) == str(state_dict)
    model, _ = comfy.sd.load_lora_for_models(sd15, None, state_dict, 1.0, 0)
    comfy.model_management.load_models_gpu([model])
    gain = model.model.diffusion_model.get_submodule(where).gain
    assert float(gain[0]) == (1.5 if patchable else 1.0)  # what the host really does
