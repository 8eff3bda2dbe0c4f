"""RealignCompare: the pictures of a λ sweep on one node, flipped through in place; the page's part is `web/`."""

from __future__ import annotations

import random
import string

import torch
from comfy_api.latest import io, ui

from ..realign_core import LambdaSchedule, Sweep
from .checked import Node
from .pictures.facts import facts
from .pictures.graph_words import seed_behind
from .pictures.records import page_record
from .pictures.traced import parse_trace
from .types import ALIASES, CATEGORY, LambdaType


class RealignCompare(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignCompare",
            display_name="λ Compare",
            category=CATEGORY,
            description=(
                "Flips through the pictures of a λ sweep in place, and takes the λ you like over to the sampler's "
                "slider. Connect the decoded images, and the same λ sweep as the sampler's."
            ),
            search_aliases=[*ALIASES, "sweep", "grid", "xy plot", "compare", "viewer", "slider"],
            inputs=[
                io.Image.Input("images", tooltip="The decoded pictures, one per cell of the sweep, in its order."),
                LambdaType.Input("sweep", optional=True, tooltip="The λ sweep of that run. Left open: no λ to choose."),
                io.String.Input(
                    "trace",
                    optional=True,
                    force_input=True,
                    tooltip="Of Realign Sampler or Realign Trace: shows each picture's KL, and β/λ.",
                ),
            ],
            outputs=[],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, images: torch.Tensor, sweep: Sweep | LambdaSchedule | None = None, trace: str | None = None
    ) -> io.NodeOutput:
        hidden = getattr(cls, "hidden", None)
        graph, node_id = getattr(hidden, "prompt", None), getattr(hidden, "unique_id", None)
        known = facts(len(images), sweep, parse_trace(trace) if trace else None, graph, node_id)
        prefix = "realign_compare_" + "".join(random.choices(string.ascii_lowercase, k=5))
        saved = ui.ImageSaveHelper.save_images(images, prefix, io.FolderType.temp, cls if hidden else None, 1)
        seed = seed_behind(graph, node_id) if known.seed is None else known.seed
        return io.NodeOutput(ui={"realign_compare": [page_record(known, saved, seed)]})


NODES = [RealignCompare]
