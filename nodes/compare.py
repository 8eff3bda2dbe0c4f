"""RealignCompare: the pictures of a λ sweep on one node, to look at and to choose from; the page's part is `web/`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from comfy_api.latest import io

from ..realign_core import LambdaSchedule, Sweep
from .checked import Node
from .inputs import report_input
from .page import show_text
from .pictures.facts import Facts, facts
from .pictures.graph_words import Behind, run_behind, seed_behind
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
        wanted = _wanted(picked)
        batch = shown(images, sweep, trace, report, hidden)
        known, told = batch.known, {"realign_compare": [batch.record]}
        place = _place(known, wanted)
        if place is not None:
            return io.NodeOutput(images[place : place + 1], known.lambda_(place), ui=told)
        if wanted and known.cells:
            show_text(getattr(hidden, "unique_id", None), NOT_THERE.format(picked.strip()))
        return io.NodeOutput(images, batch.lambda_, ui=told)


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


@dataclass(frozen=True)
class Shown:
    """record: what the page gets of the run, with `node`, the id of this one in the run's graph. lambda_: the slider's,
    else the first picture's; 0 where none is known."""

    known: Facts
    record: dict[str, Any]
    lambda_: float


def shown(
    images: torch.Tensor, sweep: Sweep | LambdaSchedule | None, trace: str | None, report: str | None, hidden: Any
) -> Shown:
    """images: (B, H, W, C). hidden: the node's, with prompt, extra_pnginfo and unique_id, or None.

    Raises ValueError for a trace, a sweep or a report of other pictures.
    """
    graph, node_id = getattr(hidden, "prompt", None), getattr(hidden, "unique_id", None)
    known = facts(len(images), sweep, parse_trace(trace) if trace else None, graph, node_id)
    told = parse_report(report) if report else None
    if told and len(told.scores) != len(images):
        raise ValueError(
            f"The report is of {len(told.scores)} pictures, and {len(images)} arrive here: connect the one of these "
            "pictures."
        )
    seed = seed_behind(graph, node_id) if known.seed is None else known.seed
    behind = run_behind(graph, node_id)
    saved = save_cells(images, known, _alone(known, hidden, behind))
    of_run = {"thumbs": saved.thumbs, "run": saved.run, "time": time.time(), "node": node_id}
    record = page_record(known, saved.files, seed) | of_run
    record = with_report(record, told) if told else record
    lam = behind.lambda_ if behind and behind.lambda_ is not None else known.lambda_(0)
    return Shown(known, record, lam or 0.0)


def _alone(known: Facts, hidden: Any, behind: Behind | None) -> Callable[[int], Any]:
    """What the file of each picture tells: the workflow that makes it alone."""
    return told_alone(known, hidden, behind.sweep if behind and known.cells else None, _widgets())


def _widgets() -> list[tuple[str, Any]]:
    """λ Sweep's widgets in the page's order, with their defaults."""
    inputs = sorted(RealignSweep.define_schema().inputs, key=lambda item: bool(item.optional))
    return [(item.id, item.default) for item in inputs if isinstance(item, io.WidgetInput)]


NODES = [RealignCompare]
