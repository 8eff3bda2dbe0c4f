"""Adapter files that LyCORIS writes: the weights that LyCORIS makes of them, to rounding, or refused by name."""

from __future__ import annotations

import logging

import pytest
import torch
from anchor_files import load, refusal
from lycoris import LycorisNetwork, create_lycoris
from real_adapters import ROUNDING, drawn, effects, patched_weights
from safetensors.torch import save_file


def written(library, name, **options):
    """The node's choice for a file with the adapter on attention and residual blocks, and the merged weights."""
    LycorisNetwork.apply_preset({"target_module": ["Attention", "ResnetBlock2D"], "target_name": []})
    unet = library.unet()
    # LyCORIS runs LoHa and LoKr with their scale once and merges them with it twice: a scale of 1 is both.
    alpha = 4.0 if options["algo"] in ("loha", "lokr") else 3.0
    network = create_lycoris(unet, 1.0, linear_dim=4, linear_alpha=alpha, **options)
    network.apply_to()
    drawn(network)
    weights = {key: value.detach().clone().contiguous() for key, value in network.state_dict().items()}
    save_file(weights, library.dir / f"{name}.safetensors")
    network.restore()
    network.merge_to(1.0)
    return f"loras/{name}.safetensors", unet


APPLIED = {
    "LoCon": dict(algo="lora"),
    "LoCon, Tucker": dict(algo="lora", use_tucker=True),
    "rsLoRA": dict(algo="lora", rs_lora=True),
    "LoHa": dict(algo="loha"),
    "LoHa, Tucker": dict(algo="loha", use_tucker=True),
    "LoKr": dict(algo="lokr", factor=4),
    "LoKr, both decomposed": dict(algo="lokr", factor=8, decompose_both=True),
    "LoKr, Tucker": dict(algo="lokr", use_tucker=True),
    "LoKr, none decomposed": dict(algo="lokr", full_matrix=True),
    "differences": dict(algo="full"),
    "norms": dict(algo="lora", train_norm=True),
    "OFT": dict(algo="diag-oft"),
    "GLoRA": dict(algo="glora"),
    "DoRA of columns": dict(algo="lora", dora_wd=True, wd_on_output=False),
}


@pytest.mark.parametrize("what", APPLIED)
def test_a_file_of_lycoris_is_what_lycoris_makes_of_it(library, sd15, caplog, what):
    choice, merged = written(library, f"lycoris {what.replace(',', '')}", **APPLIED[what])
    want = library.in_hosts_names(merged)
    with caplog.at_level(logging.INFO):
        got = patched_weights(load(sd15, choice)[0].patcher)
    error, effect = effects(got, want, sd15.model.state_dict())
    assert effect > 0.01
    assert error < ROUNDING
    assert "100% of the LoRA's layers matched" in caplog.text
    assert "assumed" not in caplog.text


def test_ia3_is_named(monkeypatch, library, sd15):
    choice, _ = written(library, "lycoris ia3", algo="ia3")
    assert "an adapter of the kind (IA)³" in refusal(monkeypatch, sd15, choice)


def test_t_lora_is_named(monkeypatch, library, sd15):
    """Which changes with the time step; its start, an SVD of every layer, would take half a minute here."""
    parts = {"q_layer.weight": torch.ones(4, 320), "p_layer.weight": torch.ones(320, 4), "lambda_layer": torch.ones(4)}
    layer = "lycoris_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    weights = {f"{layer}.{part}": value for part, value in parts.items()} | {f"{layer}.alpha": torch.tensor(4.0)}
    save_file(weights, library.dir / "tlora.safetensors")
    assert "an adapter of the kind T-LoRA" in refusal(monkeypatch, sd15, "loras/tlora.safetensors")
