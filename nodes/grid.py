"""RealignGrid: the pictures of a λ sweep as one labelled picture."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..realign_core import LambdaSchedule, Sweep
from .checked import Node
from .inputs import ADVANCED
from .pictures.facts import facts
from .pictures.labels import caption
from .pictures.sheet import LARGEST, SMALLEST, sheets
from .pictures.tables import table_of
from .pictures.traced import parse_trace
from .types import ALIASES, CATEGORY, LambdaType


class RealignGrid(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignGrid",
            display_name="λ Grid",
            category=CATEGORY,
            description=(
                "The pictures of a λ sweep as one labelled picture, to look at, save and share. λ stands over the "
                "columns, seed, cfg, η or prompt beside the rows, the KL spent below each. With the trace it also says "
                "β/λ, seeds and settings. Any batch of pictures works; it also goes on as it came."
            ),
            search_aliases=[*ALIASES, "xy plot", "contact sheet", "labels", "lambda sweep", "compare"],
            inputs=[
                io.Image.Input("images", tooltip="The decoded pictures of the run, as one batch."),
                LambdaType.Input(
                    "sweep",
                    optional=True,
                    tooltip="λ Sweep's “λ sweep”, if the run got it: columns and rows. Left open: as the trace says.",
                ),
                io.String.Input(
                    "trace",
                    optional=True,
                    force_input=True,
                    tooltip=(
                        "Of Realign Sampler or Realign Trace: adds β/λ, the run's seed and settings, and each "
                        "picture's KL."
                    ),
                ),
                io.Int.Input(
                    "cell_size",
                    default=0,
                    min=0,
                    max=4096,
                    **ADVANCED,
                    tooltip=(
                        f"Longer side of a picture in the grid, in px (1–4096). 0: as the pictures are, but at least "
                        f"{SMALLEST}. The whole grid is at most {LARGEST} px wide and high."
                    ),
                ),
                io.String.Input(
                    "footer",
                    default="",
                    multiline=True,
                    **ADVANCED,
                    tooltip="Text below the grid. Left empty: models, settings and prompt, in a few lines.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="grid", tooltip="The labelled grid, one picture. Of a single picture: that, as it is."
                ),
                io.Image.Output(
                    display_name="labelled", tooltip="A batch: each picture with its own labels below, all of one size."
                ),
                io.Image.Output(
                    display_name="singles",
                    tooltip="A batch: the pictures as they came, without labels, e.g. for Save Image or an upscaler.",
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        images: torch.Tensor,
        sweep: Sweep | LambdaSchedule | None = None,
        trace: str | None = None,
        cell_size: int = 0,
        footer: str = "",
    ) -> io.NodeOutput:
        hidden = getattr(cls, "hidden", None)
        graph, node_id = getattr(hidden, "prompt", None), getattr(hidden, "unique_id", None)
        known = facts(images.shape[0], sweep, parse_trace(trace) if trace else None, graph, node_id)
        captions = [caption(known, i) for i in range(known.count)]
        grid, labelled = sheets(images, table_of(known, footer, graph, node_id), captions, cell_size)
        shown = labelled if known.count == 1 else grid
        return io.NodeOutput(grid, labelled, images, ui=ui.PreviewImage(shown, cls=cls))


NODES = [RealignGrid]
