"""RealignDemoModels: the small pair of models that ships with the pack, so that nothing has to be downloaded."""

from __future__ import annotations

from comfy_api.latest import io

from .checked import Node
from .inputs import choice
from .models.anchor import Anchor
from .models.beta import beta_from_metadata
from .models.demo import caption, caption_tokens, demo_model, read
from .models.demo_network import CAPTION
from .page import SHOWS, beta_shown
from .types import ALIASES, CATEGORY, AnchorType


class RealignDemoModels(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignDemoModels",
            display_name="Realign Demo Models",
            category=CATEGORY,
            description=(
                "Draws small shapes, muted or colourful, so that you can try λ at once with no download. Two models: "
                "one of drawn shapes, and its anchor, trained from it by Diffusion-DPO to prefer colourful pictures. "
                "Both ship with the pack and run on a CPU. Use an Empty Latent Image of 64×64."
            ),
            search_aliases=[*ALIASES, "demo", "example", "tutorial", "anchor"],
            inputs=[
                choice("shape", CAPTION["shape"], "heart")("The shape; any: left to the model."),
                choice("colour", CAPTION["colour"], "any")("Its colour; any: left to the model."),
                choice("background", CAPTION["background"], "any")("What lies behind it; any: left to the model."),
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
        outputs = demo_model("reference"), (anchor,), positive, caption(tokens), vae, anchor.patcher
        return io.NodeOutput(*outputs, ui=beta_shown(anchor.beta))


NODES = [RealignDemoModels]
