"""RealignDemoModels: the small pair of models that ships with the pack, so that nothing has to be downloaded."""

from __future__ import annotations

from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from .anchor import Anchor
from .beta import beta_from_metadata
from .conditioning import Conditioning
from .demo_model import CAPTION, REFERENCE_TOKENS, TOKEN_DIM, VOCABULARY, build_model, caption_ids
from .page import SHOWS, beta_shown
from .types import ALIASES, CATEGORY, AnchorType

FOLDER = Path(__file__).resolve().parent.parent / "demo"
PREFIX = "diffusion_model."


class RealignDemoModels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignDemoModels",
            display_name="Realign Demo Models",
            category=CATEGORY,
            description=(
                "A small pixel-space model of drawn shapes and an anchor trained from it by Diffusion-DPO to prefer "
                "colourful pictures. Both ship with the pack and run on a CPU. Use an Empty Latent Image of 64×64."
            ),
            search_aliases=[*ALIASES, "demo", "example", "tutorial", "anchor"],
            inputs=[
                io.Combo.Input(
                    "shape",
                    options=list(CAPTION["shape"]),
                    default="heart",
                    tooltip="The shape; any: left to the model.",
                ),
                io.Combo.Input(
                    "colour",
                    options=list(CAPTION["colour"]),
                    default="any",
                    tooltip="Its colour; any: left to the model.",
                ),
                io.Combo.Input(
                    "background",
                    options=list(CAPTION["background"]),
                    default="any",
                    tooltip="What lies behind it; any: left to the model.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The reference: drawn shapes as they are, mostly muted."),
                AnchorType.Output(display_name="anchor", tooltip="The model trained to prefer colourful pictures."),
                io.Conditioning.Output(display_name="positive", tooltip="The caption chosen above."),
                io.Conditioning.Output(display_name="negative", tooltip="The empty caption: any shape, any colour."),
                io.Vae.Output(display_name="vae", tooltip="The stock “pixel_space”: the model's latents are pixels."),
                io.Model.Output(display_name="anchor model", tooltip="The anchor as a MODEL, for merges and KSampler."),
            ],
            **SHOWS,
        )

    @classmethod
    def execute(cls, shape: str, colour: str, background: str) -> io.NodeOutput:
        import nodes  # the host's own; while custom nodes are being imported it is not complete yet

        tokens = caption_tokens()
        anchor = Anchor(demo_model("anchor"), "demo: colourful", beta_from_metadata(read("anchor")[1]))
        positive = caption(tokens, shape=shape, colour=colour, background=background)
        vae = nodes.VAELoader().load_vae("pixel_space")[0]
        outputs = demo_model("reference"), anchor, positive, caption(tokens), vae, anchor.patcher
        return io.NodeOutput(*outputs, ui=beta_shown(anchor.beta))


def demo_model(name: str, disable_dynamic: bool = False) -> ModelPatcher:
    """The "reference" or the "anchor", each on weights of its own.

    The files hold fp16; the model computes in fp32 everywhere, so that pictures are the same on every device.
    Raises ValueError, in one sentence, for a file that is missing or not as the training script writes it.
    """
    weights, _ = read(name)
    weights = {key.removeprefix(PREFIX): value for key, value in weights.items() if key.startswith(PREFIX)}
    home = comfy.model_management.unet_offload_device()
    model = build_model(home)
    try:
        model.diffusion_model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(_unusable(name, "its layers are not those of the demo model")) from error
    kind = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = kind(model, load_device=comfy.model_management.get_torch_device(), offload_device=home)
    patcher.cached_patcher_init = (demo_model, (name,))  # how the host makes copies with weights of their own
    return patcher


def caption_tokens() -> torch.Tensor:
    """(VOCABULARY, TOKEN_DIM): what each word of a caption is to both models. Raises ValueError as `demo_model`."""
    tokens = read("reference")[0].get(REFERENCE_TOKENS)
    if tokens is None or tokens.shape != (VOCABULARY, TOKEN_DIM):
        raise ValueError(_unusable("reference", "its captions are not those of the demo model"))
    return tokens.float()


def caption(tokens: torch.Tensor, **words: str) -> Conditioning:
    """tokens: (VOCABULARY, TOKEN_DIM) -> a conditioning (1, 3, TOKEN_DIM); a kind that is left out is "any"."""
    return [[tokens[caption_ids(**words)].unsqueeze(0), {}]]


def read(name: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of `demo/<name>.safetensors`. Raises ValueError for a missing or damaged file."""
    path = FOLDER / f"{name}.safetensors"
    if not path.is_file():
        raise ValueError(_unusable(name, "it is missing"))
    try:
        weights, metadata = comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
    except Exception as error:
        raise ValueError(_unusable(name, "it is damaged")) from error
    return weights, metadata or {}


def _unusable(name: str, reason: str) -> str:
    return (
        f"The demo model {FOLDER / name}.safetensors cannot be used: {reason}. Install the pack again, or make the "
        "file with tools/train_demo.py."
    )
