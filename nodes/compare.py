"""RealignCompare: the pictures of a λ sweep on one node, flipped through in place; the page's part is `web/`."""

from __future__ import annotations

import random
import string
from collections import deque
from typing import Any

import torch
from comfy_api.latest import io, ui

from ..realign_core import LambdaSchedule, Sweep
from .labels import Facts, column_label, facts, lambda_label, parse_trace, row_label
from .types import ALIASES, CATEGORY, LambdaType

SEEDS = ("seed", "noise_seed")  # what samplers and noise nodes call it


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
        told = parse_trace(trace) if trace else None
        swept = sweep if isinstance(sweep, Sweep) else None  # bypassed, it hands on a schedule
        known = facts(len(images), swept, told)
        hidden = getattr(cls, "hidden", None)
        prefix = "realign_compare_" + "".join(random.choices(string.ascii_lowercase, k=5))
        saved = ui.ImageSaveHelper.save_images(images, prefix, io.FolderType.temp, cls if hidden else None, 1)
        seed = known.seed
        if seed is None:
            seed = nearest_seed(getattr(hidden, "prompt", None), getattr(hidden, "unique_id", None))
        columns = known.columns or known.count
        shown = {
            "columns": columns,
            "rows": known.count // columns,
            "seed": seed,
            "cells": [picture(known, i, columns) | {"image": dict(image)} for i, image in enumerate(saved)],
        }
        return io.NodeOutput(ui={"realign_compare": [shown]})


def picture(known: Facts, i: int, columns: int) -> dict[str, Any]:
    """What the page gets of one picture. lambda, cfg, eta: what “Use λ” sets, or None. beta: the β it stands for."""
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
        "kl": known.kl_reference(i),
    }


def picture_names(known: Facts, i: int) -> tuple[str, str]:
    """What tells a picture from those beside it, and its row from the others: (“λ 0.5”, “cfg 5, seed +1”)."""
    if known.cells:
        cell = known.cells[i]
        return column_label(cell.value, scheduled=known.scheduled)[0], ", ".join(row_label(cell, known.cells))
    strength = lambda_label(known.step_lambdas(i)) if known.count == 1 else ""
    return strength or f"picture {i + 1}", ""


def nearest_seed(prompt: dict[str, Any] | None, node_id: str | None) -> int | None:
    """The seed of the nearest node before the images of this one, in the graph that runs."""
    if not prompt or node_id not in prompt:
        return None
    waiting, seen = deque([prompt[node_id]["inputs"].get("images")]), set()
    while waiting:
        link = waiting.popleft()
        if not isinstance(link, list) or link[0] not in prompt or link[0] in seen:
            continue
        seen.add(link[0])
        inputs = prompt[link[0]].get("inputs", {})
        found: int | None = next((inputs[name] for name in SEEDS if isinstance(inputs.get(name), int)), None)
        if found is not None:
            return found
        waiting.extend(inputs.values())
    return None
