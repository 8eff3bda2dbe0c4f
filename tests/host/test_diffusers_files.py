"""LoRA files as diffusers and its training scripts write them, in every naming they have had: what was trained."""

from __future__ import annotations

import copy
import json
import logging

import pytest
import real_adapters
import torch
from anchor_files import load, refusal
from diffusers import StableDiffusionPipeline
from diffusers.training_utils import _collate_lora_metadata
from diffusers.utils import convert_state_dict_to_diffusers
from diffusers.utils.state_dict_utils import convert_state_dict_to_kohya
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from real_adapters import ATTENTION, ROUNDING, effects, patched_weights
from safetensors.torch import load_file, save_file

CONFIGS = {
    "alpha": LoraConfig(r=4, lora_alpha=32, target_modules=ATTENTION),
    "rsLoRA": LoraConfig(r=4, lora_alpha=8, use_rslora=True, target_modules=ATTENTION),
    "patterns": LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=ATTENTION,
        rank_pattern={"to_q": 2},
        alpha_pattern={"^mid_block.*": 32, r"attn1\.to_out\.0": 3},
    ),
    "DoRA": LoraConfig(r=4, lora_alpha=8, use_dora=True, target_modules=ATTENTION),
}


@pytest.fixture(scope="module")
def trained(library):
    """(unet with the adapter, its weights once merged, in the host's names), by what of PEFT's it uses; made once."""
    made = {}

    def get(what):
        if what not in made:
            unet = library.unet()
            unet.add_adapter(CONFIGS[what])
            real_adapters.drawn(unet)
            merged = copy.deepcopy(unet)
            merged.fuse_lora()
            merged.unload_lora()
            made[what] = unet, library.in_hosts_names(merged)
        return made[what]

    return get


def by_pipeline(layers, header):
    def write(library, unet, folder):
        weights = layers(get_peft_model_state_dict(unet))
        metadata = _collate_lora_metadata({"unet": unet}) if header else {}
        StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=weights, **metadata)

    return write


def by_unet(library, unet, folder):
    unet.save_lora_adapter(folder)


def old_attention(state_dict):
    """`….processor.to_q_lora.down.weight`, before diffusers 0.22."""
    out = {}
    for key, value in state_dict.items():
        layer, _, factor = key.removesuffix(".weight").rpartition(".lora_")
        head, _, name = layer.removesuffix(".0").rpartition(".")
        out[f"{head}.processor.{name}_lora.{ {'A': 'down', 'B': 'up'}[factor] }.weight"] = value
    return out


WRITERS = {
    "training scripts": by_pipeline(convert_state_dict_to_diffusers, header=True),
    "PEFT's names": by_pipeline(lambda layers: layers, header=True),
    "attention processors": by_pipeline(old_attention, header=True),
    "the UNet itself": by_unet,
}
CASES = [(how, what) for how in WRITERS for what in CONFIGS if (how, what) != ("attention processors", "DoRA")]


@pytest.mark.parametrize(("how", "what"), CASES)
def test_a_file_of_diffusers(library, sd15, trained, caplog, how, what):
    unet, want = trained(what)
    folder = library.dir / f"{how} {what}"
    WRITERS[how](library, unet, folder)
    with caplog.at_level(logging.INFO):
        got = patched_weights(load(sd15, f"loras/{folder.name}/pytorch_lora_weights.safetensors")[0].patcher)
    error, effect = effects(got, want, sd15.model.state_dict())
    assert effect > 0.01
    assert error < ROUNDING
    assert "100% of the LoRA's layers matched" in caplog.text
    assert "assumed" not in caplog.text


def test_without_a_header_the_scale_is_assumed_and_that_is_said(library, sd15, trained, caplog):
    unet, want = trained("alpha")
    folder = library.dir / "no header"
    by_pipeline(convert_state_dict_to_diffusers, header=False)(library, unet, folder)
    with caplog.at_level(logging.INFO):
        got = patched_weights(load(sd15, "loras/no header/pytorch_lora_weights.safetensors")[0].patcher)
    base = sd15.model.state_dict()
    assert "no lora_alpha found" in caplog.text
    at_rank = {key: base[key] + (value - base[key]) / 8 for key, value in want.items()}
    assert effects(got, at_rank, base)[0] < ROUNDING


def test_converted_to_kohya_by_diffusers(library, sd15, trained):
    """Which writes alpha = rank, whatever it was: the help says so."""
    unet, want = trained("alpha")
    weights = {f"unet.{key}": value for key, value in get_peft_model_state_dict(unet).items()}
    save_file(convert_state_dict_to_kohya(weights), library.dir / "kohya.safetensors")
    got, base = patched_weights(load(sd15, "loras/kohya.safetensors")[0].patcher), sd15.model.state_dict()
    at_rank = {key: base[key] + (value - base[key]) / 8 for key, value in want.items()}
    assert effects(got, at_rank, base)[0] < ROUNDING


@pytest.mark.parametrize("written", ["plain", "unet.", "transformer.", "as Python writes it"])
def test_the_scale_in_flat_keys_of_the_header(library, sd15, trained, written):
    unet, want = trained("patterns")
    config = CONFIGS["patterns"].to_dict()
    names = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora")
    as_text = str if written == "as Python writes it" else json.dumps
    prefix = written if written.endswith(".") else ""
    path = library.dir / f"flat {written.strip('.')}.safetensors"
    weights = {f"unet.{key}": value for key, value in get_peft_model_state_dict(unet).items()}
    save_file(weights, path, {f"{prefix}{name}": as_text(config[name]) for name in names})
    error, _ = effects(patched_weights(load(sd15, f"loras/{path.name}")[0].patcher), want, sd15.model.state_dict())
    assert error < ROUNDING


@pytest.mark.parametrize("where", ["header", "beside"])
@pytest.mark.parametrize("what", ["r", "targets"])
def test_the_scale_of_another_lora_is_not_used(library, sd15, trained, caplog, where, what):
    unet, want = trained("alpha")
    config = {
        "r": 32 if what == "r" else 4,
        "lora_alpha": 64,
        "target_modules": ["q_proj"] if what == "targets" else None,
    }
    folder = library.dir / f"another {where} {what}"
    folder.mkdir()
    metadata = {"lora_adapter_metadata": json.dumps(config)} if where == "header" else None
    if where == "beside":
        (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file({f"unet.{k}": v for k, v in get_peft_model_state_dict(unet).items()}, folder / "x.safetensors", metadata)
    with caplog.at_level(logging.INFO):
        got, base = (
            patched_weights(load(sd15, f"loras/{folder.name}/x.safetensors")[0].patcher),
            sd15.model.state_dict(),
        )
    assert "another LoRA's" in caplog.text
    assert "alpha = rank is assumed" in caplog.text
    at_rank = {key: base[key] + (value - base[key]) / 8 for key, value in want.items()}
    assert effects(got, at_rank, base)[0] < ROUNDING


def test_two_scales_that_differ_are_said(library, sd15, trained, caplog):
    unet, want = trained("alpha")
    folder = library.dir / "two scales"
    by_unet(library, unet, folder)
    (folder / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 5}')
    with caplog.at_level(logging.INFO):
        got = patched_weights(load(sd15, f"loras/{folder.name}/pytorch_lora_weights.safetensors")[0].patcher)
    assert effects(got, want, sd15.model.state_dict())[0] < ROUNDING  # the header's
    assert "beside it says another" in caplog.text

    weights = load_file(folder / "pytorch_lora_weights.safetensors")
    alphas = {key.replace(".lora_A.weight", ".alpha"): torch.tensor(32.0) for key in weights if "lora_A" in key}
    save_file(weights | alphas, folder / "alphas.safetensors", {"lora_alpha": "8", "r": "4"})
    with caplog.at_level(logging.INFO):
        got = patched_weights(load(sd15, f"loras/{folder.name}/alphas.safetensors")[0].patcher)
    assert effects(got, want, sd15.model.state_dict())[0] < ROUNDING  # its own
    assert "its header says another scale" in caplog.text


def test_two_adapters_in_one_file(monkeypatch, library, sd15, trained):
    unet, _ = trained("alpha")
    weights = get_peft_model_state_dict(unet)
    both = {key.replace(".weight", f".{name}.weight"): v.clone() for key, v in weights.items() for name in ("a", "b")}
    save_file(both, library.dir / "two_adapters.safetensors")
    assert "two adapters at once" in refusal(monkeypatch, sd15, "loras/two_adapters.safetensors")
