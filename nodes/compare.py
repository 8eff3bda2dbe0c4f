"""RealignCompare: the pictures of a λ sweep on one node, flipped through in place; the page's part is `web/`."""

from __future__ import annotations

import random
import string
from typing import Any

import torch
from comfy_api.latest import io, ui

from ..realign_core import LambdaSchedule, Sweep
from .pictures.graph_words import seed_behind
from .pictures.labels import Facts, column_label, facts, parse_trace, row_label, strength_label
from .types import ALIASES, CATEGORY, LambdaType


class RealignCompare(io.ComfyNode):
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
        columns = known.columns or known.count
        shown = {
            "columns": columns,
            "rows": known.count // columns,
            "seed": seed_behind(graph, node_id) if known.seed is None else known.seed,
            "swept": bool(known.cells),
            "unused_sweep": known.unused_sweep,
            "cells": [picture(known, i, columns) | {"image": dict(image)} for i, image in enumerate(saved)],
        }
        return io.NodeOutput(ui={"realign_compare": [shown]})


def picture(known: Facts, i: int, columns: int) -> dict[str, Any]:
    """What the page gets of one picture. lambda, cfg, eta: what “Use λ” sets, or None. beta: the β it stands for.

    masked: whether a λ mask took part; λ and β are then those where the mask is 1.
    """
    cell = known.cells[i] if known.cells else None
    name, row = picture_names(known, i)
    return {
        "lambda": cell.value if cell else None,
        "row": i // columns,
        "column": i % columns,
        "seed_offset": cell.seed if cell else 0,
        "cfg": cell.cfg if cell else None,
        "eta": cell.eta if cell else None,
        "name": name,
        "row_label": row,
        "label": ", ".join(part for part in (name, row) if part),
        "beta": known.beta(i),
        "masked": known.masked(i),
        "kl": known.kl_reference(i),
    }


def picture_names(known: Facts, i: int) -> tuple[str, str]:
    """What tells a picture from those beside it, and its row from the others: (“λ 0.5”, “cfg 5, seed +1”)."""
    if known.cells:
        cell = known.cells[i]
        return column_label(cell.value, scheduled=known.scheduled)[0], ", ".join(row_label(cell, known.varies))
    strength = strength_label(known, i)
    name = f"picture {i + 1}" if known.count > 1 or not strength else ""
    return " · ".join(part for part in (name, strength) if part), ""


NODES = [RealignCompare]
