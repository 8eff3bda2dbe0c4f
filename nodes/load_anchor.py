"""LoadAnchorModel: an aligned model from any file an artist would have."""

from __future__ import annotations

import logging

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from .checked import Node
from .inputs import ADVANCED, beta_input, choice, number
from .models.anchor import NO_BETA, Anchor, typed_beta
from .models.beta import beta_from_metadata
from .models.factors import BrokenLoraError
from .models.files import find_file, list_files, load_model, read_file
from .models.finite import not_finite
from .models.lora import StateDict, is_lora, match_lora, normalise
from .models.low_rank import factorise
from .models.low_rank_cache import Difference, DifferenceCache
from .models.pair import check_pair
from .page import SHOWS, beta_shown, show_text
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
                "Loads the aligned model (the anchor) that belongs to a reference: a full checkpoint, a diffusion "
                "model or diffusers UNet/transformer file, or a LoRA (kohya, diffusers or PEFT)."
            ),
            search_aliases=[*FIRST_ALIASES, "anchor", "spo", "flow-grpo"],
            inputs=[
                io.Model.Input("model", tooltip="The reference: the model that was aligned, before alignment."),
                choice("anchor_name", list_files())(
                    "The anchor's file, from the checkpoints, diffusion_models and loras folders."
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
        path = find_file(anchor_name)
        known = None if beta_source == FROM_FILE else typed_beta(beta_source, beta)
        cache = DifferenceCache.of(model, path, low_rank) if low_rank else None
        difference = cache.read() if cache else None
        if cache and difference:
            state_dict, metadata = difference[0], cache.metadata()
        else:
            state_dict, metadata = read_file(path)
        if beta_source == FROM_FILE:
            known = beta_from_metadata(metadata)
        label = f"β = {known:g}" if known else "β unknown: λ is strength"

        if difference:
            patcher, note = low_rank_clone(model, difference, low_rank, path.name)
            label += f"\n{note}"
        elif is_lora(state_dict):
            state_dict, scale_known = normalise(state_dict, path, metadata)
            patcher, note = lora_clone(model, state_dict, strength, path.name)
            label += f"\n{note}"
            if not scale_known:
                label += "\nno lora_alpha found (adapter_config.json): alpha = rank is assumed"
        else:
            patcher = load_model(path, state_dict, metadata)
            check_pair(model, patcher, path.name)
            if low_rank:
                difference = factorise(model, patcher, low_rank)
                if cache:
                    cache.write(difference)
                patcher, note = low_rank_clone(model, difference, low_rank, path.name)
                label += f"\n{note}"
        logging.info("Realign anchor %s: %s", path.name, label.replace("\n", "; "))
        show_text(getattr(cls.hidden, "unique_id", None), label)
        return io.NodeOutput((Anchor(patcher, path.name, known),), patcher, ui=beta_shown(known))


def lora_clone(model: ModelPatcher, state_dict: StateDict, strength: float, name: str) -> tuple[ModelPatcher, str]:
    """A clone of the reference with the LoRA on it, and how much of the file it uses. Shares the reference's weights.

    Raises ValueError for a LoRA that fits no layer of the reference, that is not whole, or holds NaN or infinity.
    """
    if not_finite(state_dict.items()):
        raise ValueError(f"The LoRA “{name}” holds values that are not finite numbers (NaN or infinity): it is broken.")
    try:
        patches, share, missed = match_lora(model, state_dict)
    except BrokenLoraError as error:
        raise ValueError(f"The LoRA “{name}” is broken: {error}. Download it again, or choose another.") from error
    if not patches:
        raise ValueError(
            f"The LoRA “{name}” fits no layer of the reference ({type(model.model.model_config).__name__}): it was "
            "made for another architecture. Choose a LoRA for this model, or the model this LoRA is for."
        )
    clone = model.clone()
    clone.add_patches(patches, strength)
    note = f"{share:.0%} of the LoRA's layers matched"
    if share < 1:
        logging.warning("Realign anchor %s: only %s, e.g. not %s", name, note, missed)
        note = f"only {note}"
    return clone, note


def low_rank_clone(model: ModelPatcher, difference: Difference, rank: int, name: str) -> tuple[ModelPatcher, str]:
    """A clone of the reference with its difference to an anchor on it, and how much of that the rank keeps."""
    state_dict, share = difference
    patcher, _ = lora_clone(model, state_dict, 1.0, name)
    note = f"rank {rank} keeps {share:.1%} of the difference"
    if share < LOW_SHARE:
        logging.warning(
            "Realign anchor %s: %s only: raise low_rank, or set it to 0 for the exact anchor as a second model",
            name,
            note,
        )
    return patcher, note


NODES = [LoadAnchorModel]
