"""How adapter files write their keys: the layer, what of it the tensor is, and the kind of adapter that has it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

StateDict = dict[str, torch.Tensor]

# kohya (lora_up), diffusers (.lora.up, before 0.22 _lora.up; of text encoders lora_linear_layer), PEFT (lora_A; in
# memory with the adapter's name behind it).
_LORA = re.compile(
    r"(?:[._]lora\.|\.lora_linear_layer\.|\.lora_)(?P<factor>A|B|E|up|down|mid)"
    r"(?:\.(?!weight$|bias$)(?P<adapter>[^.]+))?(?:\.(?P<what>weight|bias))?$"
)
_FACTORS = {"A": "lora_down", "B": "lora_up", "up": "lora_up", "down": "lora_down", "mid": "lora_mid", "E": "lora_E"}
# The other parts that are used, by kind; behind those of PEFT may stand the adapter's name, as in memory.
_PARTS = {
    "LoRA": r"(?:dora_scale|reshape_weight)$|lora_magnitude_vector",
    "LoHa": r"hada_(?:w[12]_[ab]|t[12])",
    "LoKr": r"lokr_(?:w[12](?:_[ab])?|t2)",
    "GLoRA": r"[ab][12]\.weight$",
    "OFT": r"(?:oft_blocks|rescale)$",
    "difference": r"(?:diff|diff_b|w_norm|b_norm|set_weight)$",
    "": r"alpha$",
}
_PART = re.compile(
    rf"\.(?:{'|'.join(f'(?P<k{i}>{parts})' for i, parts in enumerate(_PARTS.values()))})"
    r"(?:\.(?!weight$)(?P<adapter>[^.]+))?(?:\.weight)?$"
)
_KINDS = tuple(_PARTS)

# What neither the host nor the pack can apply, by how its parts begin (PEFT's own prefixes); LyCORIS' on_input.
REFUSED = {
    "ia3_": "(IA)³",
    "on_input": "(IA)³",
    "oft_": "OFT as PEFT writes it",
    "boft_": "BOFT as PEFT writes it",
    "glora_": "GLoRA as PEFT writes it",
    "lora_embedding_": "LoRA of an embedding",
    "lora_diag": "KaSA",
    "lora_monteclora": "MonteCLoRA",
    "ln_tuning_": "LN tuning",
    "hra_": "HRA",
    "vera_": "VeRA",
    "pvera_": "PVeRA",
    "fourierft_": "FourierFT",
    "gralora_": "GraLoRA",
    "hira_": "HiRA",
    "randlora_": "RandLoRA",
    "vblora_": "VB-LoRA",
    "miss_": "MiSS",
    "bone_": "Bone",
    "c3a_": "C3A",
    "shira_": "SHiRA",
    "road_": "RoAd",
    "delora_": "DeLoRA",
    "waveft_": "WaveFT",
    "poly_": "Poly",
    "psoft_": "PSOFT",
    "osf_": "OSF",
    "lily_": "Lily",
    "tinylora_": "TinyLoRA",
    "unilora_": "Uni-LoRA",
    "adamss_": "AdaMSS",
    "beft_": "BEFT",
    "deft_": "DEFT",
    "frod_": "FRoD",
    "peanut_": "PEANuT",
    "supertuning_": "SuperTuning",
    "trainable_tokens_": "trainable tokens",
    "lambda_layer": "T-LoRA",
    "p_layer": "T-LoRA",
    "q_layer": "T-LoRA",
}
_REFUSED = re.compile(rf"(?:^|\.)(?P<start>{'|'.join(map(re.escape, REFUSED))})\w*(?:\.[^.]+){{0,2}}$")

TEXT_ENCODER = re.compile(
    r"^(?:base_model\.model\.)?(?:lora_te|lora_prior_te|lycoris_text_model|text_encoder|text_model\.|clip_|t5xxl\.|te\d?\."
    r"|bundle_emb\.|encoder\.block\.\d+\.layer\.)"
)
# PEFT wraps the model once or twice, and pipelines put the module's name before or after.
WRAPPERS = re.compile(r"^(?:base_model\.model\.|unet\.|transformer\.|diffusion_model\.)+")
_PLAIN = re.compile(r"^(?P<layer>.+?)(?:\.base_layer|\.modules_to_save(?:\.[^.]+)?)?\.(?P<what>weight|bias)$")
PLAIN = "plain."  # before the part's name: a weight or bias as it is after training, not a difference


@dataclass(frozen=True)
class Part:
    """Of one key. name: in the host's terms, e.g. lora_up.weight; kind: "" where several kinds have it.

    adapter: PEFT's name of it in memory, "" for none.
    """

    layer: str
    name: str
    kind: str
    adapter: str = ""

    @property
    def refused(self) -> bool:
        return self.name == ""


def part_of(key: str) -> Part | None:
    """What an adapter's key is; None for any other key, those of plain weights too."""
    found = _LORA.search(key)
    if found:
        name = _FACTORS[found["factor"]]
        kind = "AdaLoRA" if name == "lora_E" else "LoRA"
        return Part(key[: found.start()], f"{name}.{found['what'] or 'weight'}", kind, found["adapter"] or "")
    found = _PART.search(key)
    if found:
        index, name = next((i, found[f"k{i}"]) for i in range(len(_KINDS)) if found[f"k{i}"])
        return Part(key[: found.start()], name, _KINDS[index], found["adapter"] or "")
    found = _REFUSED.search(key)
    return Part(key[: found.start()], "", REFUSED[found["start"]]) if found else None


@dataclass
class Layer:
    """One layer of an adapter file. parts: by the host's names; keys: the file's, by the same."""

    name: str
    parts: StateDict = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)

    def put(self, part: str, key: str, value: torch.Tensor) -> None:
        self.parts[part], self.keys[part] = value, key


@dataclass
class Contents:
    """An adapter file, every key in one of these."""

    layers: dict[str, Layer] = field(default_factory=dict)  # of the diffusion model, by their names in the file
    text_encoder: dict[str, str] = field(default_factory=dict)  # key: layer
    unknown: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)  # kinds that cannot be applied, each with a key of it
    twice: str = ""  # a key whose part is there under another adapter's name too


def contents(state_dict: Mapping[str, Any]) -> Contents:
    out = Contents()
    for key, value in state_dict.items():
        part = part_of(key)
        if TEXT_ENCODER.match(key):
            out.text_encoder[key] = part.layer if part else key
            continue
        if part is None:
            plain = _PLAIN.match(key)
            if plain is None:
                out.unknown.append(key)
                continue
            part = Part(plain["layer"], PLAIN + plain["what"], "")
        if part.refused:
            out.refused.setdefault(part.kind, key)
            continue
        layer = out.layers.setdefault(part.layer, Layer(part.layer))
        if part.name in layer.parts:
            out.twice = key
        layer.put(part.name, key, value)
        if part.kind:
            layer.kinds.add(part.kind)
    return out


def is_adapter(keys: Iterable[str]) -> bool:
    """Whether most keys are parts of adapters: a stray look-alike in a full model does not count. Biases do not count
    either: PEFT saves a model's along with any number of adapters."""
    parts = [part_of(key) is not None for key in keys if not key.endswith(".bias")]
    on_input = sum(key.endswith(".on_input") for key in keys)  # (IA)³ of LyCORIS: each has a `weight` beside it
    return 2 * (sum(parts) + on_input) > len(parts)


def plain_name(layer: str) -> str:
    """A layer's name as diffusers and PEFT have it: without wrappers, and as it is since diffusers 0.22, which calls
    `….processor.to_q` `….to_q` and `….processor.to_out` `….to_out.0`."""
    name = WRAPPERS.sub("", layer).replace(".processor.to_", ".to_")
    return f"{name}.0" if name.endswith(".to_out") else name
