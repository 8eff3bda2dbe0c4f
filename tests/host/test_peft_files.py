"""Adapter files of every kind that PEFT writes: what PEFT makes of them, to rounding, or refused by name."""

from __future__ import annotations

import logging

import pytest
import real_adapters
from anchor_files import load, refusal
from peft import (
    AdaLoraConfig,
    BOFTConfig,
    FourierFTConfig,
    HRAConfig,
    IA3Config,
    LNTuningConfig,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    MissConfig,
    OFTConfig,
    RandLoraConfig,
    VeraConfig,
)
from real_adapters import ATTENTION, CONVOLUTIONS, ROUNDING, effects, patched_weights

ALL = [*ATTENTION, "ff.net.0.proj", "proj_in", *CONVOLUTIONS, "time_emb_proj"]


APPLIED = {
    "LoRA": LoraConfig(r=4, lora_alpha=32, target_modules=ALL),
    "LoRA with patterns": LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=ATTENTION,
        rank_pattern={"^down_blocks.*to_q": 2, "attn2.to_k": 8},
        alpha_pattern={"^mid_block.*": 32, r"attn1\.to_[qk]": 1.5},
    ),
    "rsLoRA": LoraConfig(r=4, lora_alpha=8, use_rslora=True, target_modules=ALL),
    "rsLoRA with patterns": LoraConfig(
        r=4,
        lora_alpha=8,
        use_rslora=True,
        target_modules=ATTENTION,
        rank_pattern={"to_q": 9},
        alpha_pattern={"to_v": 3},
    ),
    "targets as a pattern": LoraConfig(r=4, lora_alpha=16, target_modules=r".*attn\d\.to_(q|v)"),
    "DoRA": LoraConfig(r=4, lora_alpha=8, use_dora=True, target_modules=ALL),
    "LoRA with a bias": LoraConfig(r=4, lora_alpha=8, lora_bias=True, target_modules=["to_out.0", "conv1"]),
    "both biases": LoraConfig(
        r=4, lora_alpha=8, lora_bias=True, bias="lora_only", target_modules=["to_out.0", "conv1"]
    ),
    "biases of the layers": LoraConfig(r=4, lora_alpha=8, bias="lora_only", target_modules=["to_out.0", "conv1"]),
    "all biases": LoraConfig(r=4, lora_alpha=8, bias="all", target_modules=["to_q"]),
    "modules to save": LoraConfig(r=4, lora_alpha=8, target_modules=["to_q"], modules_to_save=["conv_in", "norm1"]),
    "AdaLoRA": AdaLoraConfig(init_r=6, target_r=4, lora_alpha=8, target_modules=ATTENTION, total_step=10),
    "LoHa": LoHaConfig(r=4, alpha=16, target_modules=ALL),
    "LoHa with patterns": LoHaConfig(
        r=4, alpha=16, target_modules=ATTENTION, rank_pattern={"to_q": 2}, alpha_pattern={"^mid_block.*": 3}
    ),
    "LoHa, Tucker": LoHaConfig(r=4, alpha=16, target_modules=CONVOLUTIONS, use_effective_conv2d=True),
    "LoKr": LoKrConfig(r=4, alpha=16, target_modules=ALL),
    "LoKr, both decomposed": LoKrConfig(
        r=2, alpha=16, target_modules=ALL, decompose_both=True, rank_pattern={"to_q": 3}, alpha_pattern={"to_k": 5}
    ),
    "LoKr, none decomposed": LoKrConfig(r=64, alpha=16, target_modules=ALL, rank_pattern={"to_q": 100}),
    "LoKr, Tucker": LoKrConfig(r=4, alpha=16, target_modules=CONVOLUTIONS, use_effective_conv2d=True),
    "another start": LoraConfig(r=4, lora_alpha=8, init_lora_weights="orthogonal", target_modules=ATTENTION),
}


@pytest.mark.parametrize("what", APPLIED)
def test_a_file_of_peft_is_what_peft_makes_of_it(library, sd15, caplog, what):
    name = "peft " + what.replace(",", "")
    choice = library.saved(name, library.trained(APPLIED[what]))
    want = library.applied(name)
    with caplog.at_level(logging.INFO):
        got = patched_weights(load(sd15, choice)[0].patcher)
    error, effect = effects(got, want, sd15.model.state_dict())
    assert effect > 0.01
    assert error < ROUNDING
    assert "100% of the LoRA's layers matched" in caplog.text
    assert "assumed" not in caplog.text
    assert "left out" not in caplog.text


REFUSED = {
    "(IA)³": IA3Config(target_modules=ATTENTION, feedforward_modules=[]),
    "OFT": OFTConfig(r=0, oft_block_size=32, target_modules=ATTENTION),
    "BOFT": BOFTConfig(boft_block_size=4, target_modules=ATTENTION),
    "HRA": HRAConfig(r=4, target_modules=ATTENTION),
    "VeRA": VeraConfig(r=4, target_modules=["attn1.to_q"]),
    "FourierFT": FourierFTConfig(n_frequency=10, target_modules=ATTENTION),
    "RandLoRA": RandLoraConfig(r=4, target_modules=["attn1.to_q"]),
    "LN tuning": LNTuningConfig(target_modules=["norm1", "norm2"]),
    "MiSS": MissConfig(r=4, target_modules=["attn1.to_q"]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_kind_that_cannot_be_applied_is_named(monkeypatch, library, sd15, kind):
    said = refusal(monkeypatch, sd15, library.saved(f"refused {kind}", library.trained(REFUSED[kind])))
    assert f"an adapter of the kind {kind}" in said
    assert "cannot apply" in said


@pytest.mark.parametrize("start", ["pissa_niter_4", "olora"])
def test_a_start_that_changes_the_models_weights(monkeypatch, library, sd15, start):
    """What PEFT saves belongs to weights that it has taken the start off; converted, it is a LoRA of twice the rank."""
    config = LoraConfig(r=4, lora_alpha=8, init_lora_weights=start, target_modules=["to_q", "to_out.0"])
    model = real_adapters.get_peft_model(library.unet(), config)
    model.peft_config["default"].init_lora_weights = True  # so that it is saved as it is
    model.save_pretrained(library.dir / start / "start")
    model.peft_config["default"].init_lora_weights = start
    said = refusal(monkeypatch, sd15, library.saved(start, real_adapters.drawn(model)))
    assert {"olora": "OLoRA"}.get(start, "PiSSA") in said
    assert "path_initial_model_for_weight_conversion" in said

    before = str(library.dir / start / "start")
    choice = library.saved(f"{start} converted", model, path_initial_model_for_weight_conversion=before)
    want = library.in_hosts_names(model.merge_and_unload())
    error, effect = effects(patched_weights(load(sd15, choice)[0].patcher), want, sd15.model.state_dict())
    assert effect > 0.01
    assert error < ROUNDING
