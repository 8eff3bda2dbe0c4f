"""RealignCompare: the pictures of a λ sweep on one node, to look at and to choose from; the page's part is `web/`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import torch
from comfy_api.latest import io

from ..realign_core import LambdaSchedule, Sweep
from .checked import Node
from .inputs import report_input
from .page import show_text
from .pictures.facts import Facts, facts
from .pictures.graph_words import run_behind, seed_behind
from .pictures.records import page_record, with_report
from .pictures.reported import parse_report
from .pictures.saved import save_cells, told_alone
from .pictures.traced import parse_trace
from .sweep import RealignSweep
from .types import ALIASES, CATEGORY, LambdaType

PICKED = re.compile(r"λ (?P<value>-?\d+(\.\d+)?(e-?\d+)?)(, row (?P<row>[1-9]\d{0,3}))?", re.ASCII)
NOT_THERE = "{} was chosen, but is not in this sweep: “chosen” gives all pictures. Choose another one."


class RealignCompare(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignCompare",
            display_name="λ Compare",
            category=CATEGORY,
            description=(
                "All pictures of a λ sweep at a glance: look at them one against the other, large and magnified, take "
                "the λ you like over to the slider, and keep the picture. Earlier runs stay at hand. Connect the "
                "decoded images, and the same λ sweep as the sampler's."
            ),
            search_aliases=[*ALIASES, "sweep", "grid", "xy plot", "compare", "viewer", "slider", "loupe", "wipe"],
            inputs=[
                io.Image.Input("images", tooltip="The decoded pictures, one per cell of the sweep, in its order."),
                LambdaType.Input("sweep", optional=True, tooltip="The λ sweep of that run. Left open: no λ to choose."),
                io.String.Input(
                    "trace",
                    optional=True,
                    force_input=True,
                    tooltip="Of Realign Sampler or Realign Trace: shows each picture's KL, and β/λ.",
                ),
                io.String.Input(
                    "picked",
                    default="",
                    optional=True,
                    extra_dict={"hidden": True},  # the page's buttons write it
                    tooltip=(
                        "The picture that “chosen” gives, as its buttons write it: “λ 0.75, row 2”. Left empty: all of "
                        "them."
                    ),
                ),
                report_input(),
            ],
            outputs=[
                io.Image.Output(
                    display_name="chosen",
                    tooltip="The chosen picture, for an upscaler or a detailer; all of them while none is chosen.",
                ),
                io.Float.Output(
                    display_name="λ", tooltip="Of the chosen picture; while none is chosen, of the slider or the first."
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        images: torch.Tensor,
        sweep: Sweep | LambdaSchedule | None = None,
        trace: str | None = None,
        picked: str = "",
        report: str | None = None,
    ) -> io.NodeOutput:
        hidden = getattr(cls, "hidden", None)
        graph, node_id = getattr(hidden, "prompt", None), getattr(hidden, "unique_id", None)
        wanted = _wanted(picked)
        known = facts(len(images), sweep, parse_trace(trace) if trace else None, graph, node_id)
        seed = seed_behind(graph, node_id) if known.seed is None else known.seed
        behind = run_behind(graph, node_id)
        saved = save_cells(images, known, told_of(known, hidden))
        record = page_record(known, saved.files, seed) | {"thumbs": saved.thumbs, "run": saved.run, "time": time.time()}
        if report:
            record = with_report(record, parse_report(report), len(images))
        place = _place(known, wanted)
        if place is not None:
            return io.NodeOutput(images[place : place + 1], known.lambda_(place), ui={"realign_compare": [record]})
        if wanted and known.cells:
            show_text(node_id, NOT_THERE.format(picked.strip()))
        lam = behind.lambda_ if behind and behind.lambda_ is not None else known.lambda_(0)
        return io.NodeOutput(images, lam or 0.0, ui={"realign_compare": [record]})


def told_of(known: Facts, hidden: Any) -> Callable[[int], Any]:
    """What the file of each picture tells, for a node with these hidden inputs: the workflow that makes it alone."""
    behind = run_behind(getattr(hidden, "prompt", None), getattr(hidden, "unique_id", None))
    swept = behind.sweep if behind and known.cells else None
    return told_alone(known, hidden, swept, _widgets())


def _wanted(picked: str) -> tuple[float, int] | None:
    """λ and row, from 0, of the picture that was chosen. Raises ValueError for a text that names none."""
    if not picked.strip():
        return None
    found = PICKED.fullmatch(picked.strip())
    if found is None:
        raise ValueError(f"“picked” is “{picked.strip()[:40]}”, but must be like “λ 0.75, row 2”, or empty.")
    return float(found["value"]), int(found["row"] or 1) - 1


def _place(known: Facts, wanted: tuple[float, int] | None) -> int | None:
    """Where the chosen picture is in the batch; None where it is not among these pictures."""
    rows, columns = known.table.shape
    if wanted is None or not known.cells or wanted[1] >= rows:
        return None
    row = known.table[wanted[1]].tolist()
    return next((i for i in row if abs(known.cells[i].value - wanted[0]) < 1e-6), None)


def _widgets() -> list[tuple[str, Any]]:
    """λ Sweep's widgets in the page's order, with their defaults."""
    inputs = sorted(RealignSweep.define_schema().inputs, key=lambda item: bool(item.optional))
    return [(item.id, item.default) for item in inputs if isinstance(item, io.WidgetInput)]


NODES = [RealignCompare]
