"""Incomplete, broken and odd files: refused in a sentence before any model is loaded, or right all the same."""

from __future__ import annotations

import errno
import json
import logging
import re
import signal
from pathlib import Path

import comfy.sd
import pytest
import safetensors
import torch
from anchor_files import load, refusal
from realign.nodes.models.beta import beta_from_metadata
from realign.nodes.models.finite import AT_ONCE, is_finite
from realign.nodes.models.peft import config_beside, header_config
from safetensors import SafetensorError
from safetensors.torch import save_file

HOLE = {
    "sd15": "middle_block.1.transformer_blocks.0.attn1.to_q.weight",
    "sd3": "joint_blocks.0.x_block.attn.proj.weight",
}


@pytest.fixture
def sd15(models):
    return models("sd15")[0]


@pytest.mark.parametrize("level", ["INFO", "ERROR", "CRITICAL"])
@pytest.mark.parametrize("kind", ["sd15", "sd3"])
def test_a_missing_weight(monkeypatch, caplog, tiny, models, kind, level):
    """The host only logs it, where its log is as low."""
    weights = dict(tiny.weights(kind))
    weights.pop(HOLE[kind])
    path = tiny.checkpoint(f"{kind}_with_a_hole", weights)
    caplog.set_level(getattr(logging, level))
    text = refusal(monkeypatch, models(kind)[0], f"checkpoints/{path.name}")
    assert "incomplete: weights are missing" in text
    assert HOLE[kind] in text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float8_e5m2])
def test_a_weight_that_is_not_finite(monkeypatch, tiny, sd15, value, dtype):
    weights = dict(tiny.weights("sd15"))
    weights[HOLE["sd15"]] = weights[HOLE["sd15"]].clone()
    weights[HOLE["sd15"]][7, 7] = value
    weights[HOLE["sd15"]] = weights[HOLE["sd15"]].to(dtype)
    path = tiny.checkpoint(f"sd15_{value}_{dtype}", weights)
    text = refusal(monkeypatch, sd15, f"checkpoints/{path.name}")
    assert "not finite numbers" in text
    assert HOLE["sd15"] in text


def test_what_is_no_part_of_the_diffusion_model_may_be_anything(tiny, sd15):
    weights = {f"model.diffusion_model.{key}": value for key, value in tiny.weights("sd15").items()}
    weights["first_stage_model.decoder.odd.weight"] = torch.full((2, 2), float("nan"))
    save_file(weights, tiny.dir / "checkpoints" / "sd15_odd_vae.safetensors")
    assert load(sd15, "checkpoints/sd15_odd_vae.safetensors")


def test_finite():
    parts = [torch.zeros(3), torch.zeros(0), torch.zeros(3, dtype=torch.int8), torch.ones(()), torch.zeros(3).bool()]
    assert all(is_finite(part) for part in parts)
    last = torch.zeros(AT_ONCE + 1, dtype=torch.float16)
    last[-1] = float("nan")
    assert not is_finite(last)
    assert not is_finite(last.to(torch.float8_e4m3fn))
    assert not is_finite(torch.tensor(-float("inf"), dtype=torch.bfloat16))


NO_WEIGHTS = {
    "a list": [1, 2],
    "a list of one": [torch.ones(2)],
    "a text": "x",
    "a number": 7,
    "nothing": None,
    "an empty dict": {},
    "a dict of texts": {"a": "b", "c": "d"},
    "numbers for names": {1: torch.ones(2), 2: torch.ones(2)},
    "a state dict that is none": {"state_dict": 5},
    "a state dict that is a list": {"state_dict": [torch.ones(2)]},
    "sparse": {"a.weight": torch.eye(3).to_sparse(), "b.weight": torch.eye(3).to_sparse()},
}


@pytest.mark.parametrize("what", NO_WEIGHTS)
def test_a_pickle_without_weights(monkeypatch, tiny, sd15, what):
    path = tiny.dir / "checkpoints" / f"{what.replace(' ', '_')}.ckpt"
    torch.save(NO_WEIGHTS[what], path)
    assert "holds no weights" in refusal(monkeypatch, sd15, f"checkpoints/{path.name}")


def test_a_pickle_of_a_tensor(monkeypatch, tiny, sd15):
    torch.save(torch.ones(3), tiny.dir / "checkpoints" / "tensor.ckpt")
    assert "holds no weights" in refusal(monkeypatch, sd15, "checkpoints/tensor.ckpt")


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


def of_windows(number):
    error = OSError(errno.EINVAL, "Insufficient system resources exist to complete the requested service")
    error.winerror = number
    return error


FULL, CLOSED = "the computer's memory is full", "its file cannot be opened"
MACHINE = {
    "Python's": (MemoryError(), FULL),
    "the system's": (OSError(errno.ENOMEM, "Cannot allocate memory"), FULL),
    "Windows' page file": (SafetensorError("I/O error: The paging file is too small. (os error 1455)"), FULL),
    "Windows' number": (of_windows(1455), FULL),
    "torch's": (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried …"), FULL),
    "Metal's": (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), FULL),
    "no access": (PermissionError(errno.EACCES, "Permission denied"), f"{CLOSED} (Permission denied)"),
    "gone": (FileNotFoundError(errno.ENOENT, "No such file or directory"), f"{CLOSED} (No such file or directory)"),
    "a drive": (OSError(errno.EIO, "Input/output error"), f"{CLOSED} (Input/output error)"),
}
READERS = {"a LoRA": (safetensors, "safe_open"), "a full model": (comfy.sd, "load_state_dict_guess_config")}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("what", MACHINE)
def test_what_is_the_machines_is_not_said_of_the_file(monkeypatch, tiny, sd15, what, reader):
    """The host takes an error's first argument for its text, and fails at a number."""
    error, words = MACHINE[what]
    monkeypatch.setattr(*READERS[reader], raising(error))
    text = refusal(monkeypatch, sd15, f"checkpoints/{tiny.anchor('sd15').name}")
    assert words in text
    assert "Download" not in text


@pytest.mark.parametrize("reader", READERS)
def test_a_device_out_of_memory_is_the_hosts_to_see(monkeypatch, tiny, sd15, reader):
    """Which then frees what it has loaded."""
    monkeypatch.setattr(*READERS[reader], raising(torch.cuda.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        load(sd15, f"checkpoints/{tiny.anchor('sd15').name}")


def test_a_pickle_and_an_index_that_may_not_be_read(monkeypatch, tiny, sd15):
    torch.save({"a": torch.ones(2)}, tiny.dir / "checkpoints" / "closed.ckpt")
    monkeypatch.setattr(torch, "load", raising(MACHINE["no access"][0]))
    assert CLOSED in refusal(monkeypatch, sd15, "checkpoints/closed.ckpt")
    (tiny.dir / "checkpoints" / "closed.safetensors.index.json").write_text("{}")
    monkeypatch.setattr(Path, "read_bytes", raising(MACHINE["no access"][0]))
    assert CLOSED in refusal(monkeypatch, sd15, "checkpoints/closed.safetensors.index.json")


@pytest.mark.parametrize("ending", ["ckpt", "pt", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"not a model", b"\x80\x02]q\x00." + b"(" * 50_000])
def test_a_file_that_is_none(monkeypatch, tiny, sd15, ending, content):
    path = tiny.dir / "checkpoints" / f"none_{len(content)}.{ending}"
    path.write_bytes(content)
    text = refusal(monkeypatch, sd15, f"checkpoints/{path.name}")
    assert "truncated or corrupt" in text or "besides weights" in text or "holds no weights" in text


@pytest.mark.parametrize(
    "name", ["loras/../../x", "loras/\0", "elsewhere/x.safetensors", "", "loras/" + "x" * 5000, "a\nb"]
)
def test_a_name_that_is_none(sd15, name):
    with pytest.raises(ValueError, match="There is no anchor file") as error:
        load(sd15, name)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


METADATA = {
    "a number of 5,000 digits": {"beta_dpo": "9" * 5000},
    "one in JSON": {"args": '{"beta_dpo": ' + "9" * 5000 + "}"},
    "endless nesting": {"args": "[" * 100_000},
    "endless nesting that ends": {"args": "[" * 100_000 + "]" * 100_000},
    "texts in texts": {"args": json.dumps({"a": json.dumps({"b": json.dumps({"beta_dpo": "1_0"})})})},
    "no number": {"beta_dpo": "1_0", "beta": "inf", "realign.beta": "true"},
    "yes": {"args": '{"beta_dpo": true}'},
    "no text": {"beta_dpo": "\ud800"},
}


@pytest.mark.parametrize("what", METADATA)
def test_metadata_that_says_no_beta(what):
    assert beta_from_metadata(METADATA[what]) is None


def test_beta_is_found_behind_what_cannot_be_read(tiny, sd15):
    assert beta_from_metadata({"a": "[" * 1000, "b": json.dumps({"c": json.dumps({"beta_dpo": 500})})}) == 500
    weights = {f"model.diffusion_model.{key}": value for key, value in tiny.weights("sd15").items()}
    save_file(
        weights, tiny.dir / "checkpoints" / "sd15_nested.safetensors", {"a": "[" * 10_000, "beta_dpo": "9" * 5000}
    )
    assert load(sd15, "checkpoints/sd15_nested.safetensors")[0].beta is None


CONFIGS = {
    "a list": (b"[1]", "object"),
    "a text": (b'"x"', "object"),
    "not UTF-8": (b"\xff\xfe{", "JSON"),
    "alpha a text": (b'{"lora_alpha": 4, "alpha_pattern": {".*": "x"}}', r"alpha_pattern “\.\*”: .*number"),
    "pattern a list": (b'{"lora_alpha": 4, "alpha_pattern": [1]}', "alpha_pattern"),
    "bad pattern": (b'{"lora_alpha": 4, "alpha_pattern": {"(": 1}}', r"alpha_pattern “\(”: unclosed group"),
    "a pattern that looks around": (b'{"lora_alpha": 4, "alpha_pattern": {"(?!a).*": 1}}', "look-around"),
    "a pattern of millions": (b'{"lora_alpha": 4, "alpha_pattern": {"((a{99}){99}){99}": 1}}', "too often"),
    "a pattern without end": (json.dumps({"lora_alpha": 4, "alpha_pattern": {"a" * 9999: 1}}).encode(), "1000 char"),
    "deeply nested": (b"[" * 100_000, "recursion"),
    "a huge number": (b'{"lora_alpha": ' + b"1" * 5000 + b"}", "JSON"),
    "an α beyond all": (b'{"lora_alpha": 1e999}', "lora_alpha: .*finite"),
    "an α that is a text": (b'{"lora_alpha": "4"}', "lora_alpha: .*number"),
}


@pytest.fixture
def peft_file(tiny, request):
    """A LoRA in PEFT's names, in a folder of its own."""
    folder = tiny.dir / "loras" / re.sub(r"\W", "_", request.node.name)
    folder.mkdir(parents=True)

    def write(metadata=None, config=None):
        parts = {}
        for layer, (up, down) in tiny.lora_weights("sd15").items():
            parts |= {f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}
        parts = {f"base_model.model.{key}": value.contiguous() for key, value in parts.items()}
        save_file(parts, folder / "x.safetensors", metadata)
        if config is not None:
            (folder / "adapter_config.json").write_bytes(config)
        return f"loras/{folder.name}/x.safetensors"

    return write


# Metadata is text, so that it is UTF-8 always.
PLACES = [(what, "beside the file") for what in CONFIGS]
PLACES += [(what, "in its metadata") for what in CONFIGS if what != "not UTF-8"]


@pytest.mark.parametrize(("what", "where"), PLACES)
def test_a_broken_adapter_config(monkeypatch, sd15, peft_file, what, where):
    text, words = CONFIGS[what]
    if where == "beside the file":
        choice = peft_file(config=text)
    else:
        choice = peft_file({"lora_adapter_metadata": text.decode()})
    said = refusal(monkeypatch, sd15, choice)
    assert re.search(words, said)
    assert ("adapter_config.json" if where == "beside the file" else "lora_adapter_metadata") in said


def test_a_pattern_that_never_ends_in_python(sd15, peft_file):
    """Within the time that its length allows; the alarm is for a test run that would otherwise hang."""
    choice = peft_file(config=b'{"lora_alpha": 4, "alpha_pattern": {"([a-z_.0-9]+)+!": 1, "(.*.*.*.*.*.*)*x": 2}}')
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("no answer"))
    signal.alarm(60)
    try:
        assert load(sd15, choice)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("pattern", "layer", "fits"),
    [
        ("to_q", "a.b.to_q", True),
        ("to_q", "to_q", True),
        ("to_q", "a.my_to_q", False),
        ("to_q", "a.to_q.b", False),
        ("attn1.to_q", "a.attn1.to_q", True),
        ("^a.*to_q", "a.b.to_q", True),
        (r"layers\.(1|2)\.to_[qk]", "x.layers.2.to_k", True),
        (r"layers\.(1|2)\.to_[qk]", "x.layers.3.to_k", False),
        (r"layers\.\d{1,2}\.to_q", "x.layers.23.to_q", True),
        (".*", "anything.at.all", True),
        ("a|b", "x.b", True),
        ("a|b", "x.c", False),
    ],
)
def test_patterns_are_read_as_peft_reads_them(tmp_path, pattern, layer, fits):
    """Python's own for comparison: `(.*\\.)?(pattern)$`, from the name's beginning."""
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 1, "alpha_pattern": {pattern: 2}}))
    assert bool(re.match(rf"(.*\.)?({pattern})$", layer)) == fits
    assert config_beside(tmp_path / "x.safetensors").alpha(layer) == (2 if fits else 1)


def test_a_config_that_says_no_scale_is_none(tmp_path):
    for text in ("{}", '{"lora_alpha": null}', '{"peft_type": "OFT", "r": 4}'):
        (tmp_path / "adapter_config.json").write_text(text)
        assert config_beside(tmp_path / "x.safetensors") is None
        assert header_config(tmp_path / "x.safetensors", {"lora_adapter_metadata": text}) is None
    assert config_beside(tmp_path / "elsewhere" / "x.safetensors") is None
    assert header_config(tmp_path / "x.safetensors", {"r": "4", "alpha_pattern": "{}"}) is None
