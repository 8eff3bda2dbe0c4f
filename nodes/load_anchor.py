"""LoadAnchorModel: an aligned model from any file an artist would have."""

from __future__ import annotations

import logging
from pathlib import Path

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from .checked import Node
from .inputs import ADVANCED, beta_input, choice, number
from .models.anchor import NO_BETA, Anchor, typed_beta
from .models.beta import beta_from_metadata
from .models.files import find_file, list_files
from .models.formats import MODEL, adapter_clone, load_anchor, open_anchor
from .models.low_rank import factorise
from .models.low_rank_cache import Difference, DifferenceCache
from .page import SHOWS, beta_shown, said
from .types import CATEGORY, FIRST_ALIASES, AnchorType

FROM_FILE = "from file"
LOW_SHARE = 0.9  # of the difference's energy; below, an anchor is no longer what its trainer made


class LoadAnchorModel(Node):
    says_itself = ("anchor_name",)  # `find_file` says where the file should be

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadAnchorModel",
            display_name="Load Anchor Model",
            category=CATEGORY,
            description=(
                "Loads a model that was trained to please (Diffusion-DPO, SPO, Flow-GRPO …), so that a λ slider brings "
                "as much of its look into your pictures as you like. It becomes the anchor: a full checkpoint, a "
                "diffusion model or diffusers UNet/transformer file, or a LoRA (kohya, diffusers, PEFT or LyCORIS)."
            ),
            search_aliases=[*FIRST_ALIASES, "anchor", "spo", "flow-grpo"],
            inputs=[
                io.Model.Input("model", tooltip="The reference: the model that was aligned, before alignment."),
                choice("anchor_name", list_files())(
                    "The anchor's file, from the checkpoints, diffusion_models and loras folders. A model in shards is "
                    "listed by its index (….index.json)."
                ),
                number("strength", 1.0, -10, 10, 0.01)(
                    "Strength of a LoRA (-10 to 10; 1 as trained). Without effect on a full model: use λ."
                ),
                choice("beta_source", [FROM_FILE, "typed", NO_BETA])(
                    "Where β comes from: the file's metadata where its trainer wrote it, the value typed below, or "
                    "none. Without β, λ is only called “strength”."
                ),
                beta_input(),
                number("low_rank", 0, 0, 1024, 8, **ADVANCED)(
                    "0 keeps a full anchor exact, as a second model. A rank (8 to 1024; 32 to 256 usual) keeps "
                    "only the reference and a low-rank difference: less memory. Without effect on a LoRA."
                ),
            ],
            outputs=[
                AnchorType.Output(display_name="anchor", tooltip="The anchor, for the sampler, guider or MODEL."),
                io.Model.Output(display_name="model", tooltip="The anchor as a MODEL, for any other node."),
            ],
            hidden=[io.Hidden.unique_id],
            **SHOWS,
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        anchor_name: str,
        strength: float,
        beta_source: str,
        beta: float,
        low_rank: int = 0,
    ) -> io.NodeOutput:
        path, known = find_file(anchor_name), None
        if beta_source != FROM_FILE:
            known = typed_beta(beta_source, beta)
        patcher, metadata, lines, level = _loaded(model, path, strength, low_rank)
        if beta_source == FROM_FILE:
            known = beta_from_metadata(metadata)
        lines.insert(0, f"β = {known:g}" if known else "β unknown: λ is strength")
        logging.log(level, "Realign anchor %s: %s", path.name, "; ".join(lines))
        shown = beta_shown(known) | said(cls, lines)
        return io.NodeOutput((Anchor(patcher, path.name, known),), patcher, ui=shown)


def _loaded(
    model: ModelPatcher, path: Path, strength: float, low_rank: int
) -> tuple[ModelPatcher, dict[str, str], list[str], int]:
    """The anchor as a MODEL, its file's metadata, and what became of the file: in lines, and as a level of the log."""
    cache = DifferenceCache.of(model, path, low_rank) if low_rank else None
    found = cache.read() if cache else None
    if cache and found:  # the file is not read
        patcher, line = low_rank_clone(model, found, low_rank, path.name)
        return patcher, cache.metadata(), [line], logging.INFO
    file = open_anchor(path)
    loaded = load_anchor(model, file, strength)
    patcher, lines = loaded.patcher, loaded.account.lines()
    if loaded.kind == MODEL and low_rank:
        difference = factorise(model, patcher, low_rank)
        if cache:
            cache.write(difference)
        patcher, line = low_rank_clone(model, difference, low_rank, path.name)
        lines.append(line)
    return patcher, file.metadata, lines, logging.WARNING if loaded.account.missed else logging.INFO


def low_rank_clone(model: ModelPatcher, difference: Difference, rank: int, name: str) -> tuple[ModelPatcher, str]:
    """A clone of the reference with its difference to an anchor on it, and how much of that the rank keeps."""
    state_dict, share = difference
    patcher, _ = adapter_clone(model, state_dict, 1.0, name)
    note = f"rank {rank} keeps {share:.1%} of the difference"
    if share < LOW_SHARE:
        logging.warning(
            "Realign anchor %s: %s only: raise low_rank, or set it to 0 for the exact anchor as a second model",
            name,
            note,
        )
    return patcher, note


NODES = [LoadAnchorModel]
