"""RealignReport: a run's trace as plots, as tidy JSON and as CSV."""

from __future__ import annotations

import csv
import io as text_io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from comfy_api.latest import io, ui

from .pictures.labels import Facts, facts, number, parse_trace, row_label, trace_batch
from .pictures.plot import AMBER, BLUE, RAMP, Line, Panel, drawn, ramp, schedule_panels
from .types import ALIASES, CATEGORY

WIDTH, HEIGHT, MARGIN = 880, 300, (72, 44, 24, 56)  # px; the report's plots, as plot.drawn takes them
COLOURS = (BLUE, AMBER, RAMP[2], (74, 222, 128), RAMP[1], RAMP[3])  # the reference, then the anchors
NOT_MEASURED = "not measured, a model was not called"


class RealignReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignReport",
            display_name="λ Report",
            category=CATEGORY,
            description=(
                "What a run did: λ, β/λ and the KL spent, as plots, tidy JSON and CSV. For a λ "
                "sweep: KL against λ, and per step for each λ. KL is in nats; what was not measured is left out."
            ),
            search_aliases=[*ALIASES, "kl", "trace", "plot", "csv", "json", "export", "lambda sweep", "statistics"],
            inputs=[
                io.String.Input("trace", force_input=True, tooltip="Of Realign Sampler or Realign Trace, as it is.")
            ],
            outputs=[
                io.Image.Output(display_name="plots", tooltip="The plots, one picture."),
                io.String.Output(
                    display_name="json",
                    tooltip=(
                        "settings, anchors, pictures (λ, β/λ as beta, masked, seed, cfg, η, KL) and steps, one record "
                        "per picture and step. Counted from 1; null is what is not known."
                    ),
                ),
                io.String.Output(
                    display_name="csv",
                    tooltip="One line per picture and step, the same numbers; an empty field is what is not known.",
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, trace: str) -> io.NodeOutput:
        parsed = parse_trace(trace)
        known = facts(trace_batch(parsed), None, parsed)
        plots = drawn(sweep_panels(known) if known.cells else run_panels(known), WIDTH, HEIGHT, MARGIN)
        return io.NodeOutput(plots, as_json(known), as_csv(known), ui=ui.PreviewImage(plots, cls=cls))


def picture_record(known: Facts, picture: int) -> dict[str, Any]:
    """A picture's numbers; picture, row, column and image are counted from 1. beta: β/λ. None: not known.

    masked: whether λ and β are those where a λ mask is 1.
    """
    cell = known.cells[picture] if known.cells else None
    columns = known.columns or known.count
    etas = known.trace["etas"] if known.trace and known.trace.get("etas") else [None]
    return {
        "picture": picture + 1,
        "row": picture // columns + 1,
        "column": picture % columns + 1,
        "lambda": known.lambda_(picture),
        "beta": known.beta(picture),
        "masked": known.masked(picture),
        "seed": None if known.seed is None else known.seed + (cell.seed if cell else 0),
        "image": cell.image + 1 if cell else picture + 1,
        "cfg": cell.cfg if cell and cell.cfg is not None else known.settings.get("cfg"),
        "eta": cell.eta if cell and cell.eta is not None else etas[0],
        "kl_reference": known.kl_reference(picture),
        **{f"kl_anchor_{k}": value for k, value in enumerate(known.kl_anchors(picture), 1)},
    }


def step_records(known: Facts, picture: int) -> Iterator[dict[str, Any]]:
    """One record per step, counted from 1. step_lambda_k: anchor k's λ, its share included. KL: what the step adds.

    mean_lambda_k: of a run with a λ mask, the mean over the picture.
    """
    lambdas = known.step_lambdas(picture)
    for i, step in enumerate((known.trace or {})["steps"]):
        means = step["lambdas"] if "lambdas_before_mask" in step else []
        yield {
            "step": i + 1,
            "sigma": step["sigma"],
            "sigma_next": step["sigma_next"],
            **{f"step_lambda_{k}": values[i] for k, values in enumerate(lambdas, 1)},
            **{f"mean_lambda_{k}": values[picture] for k, values in enumerate(means, 1)},
            "kl_reference": _at(step["kl_reference"], picture),
            **{f"kl_anchor_{k}": _at(values, picture) for k, values in enumerate(step["kl_anchors"], 1)},
            "model_calls": step["model_calls"],
        }


def as_json(known: Facts) -> str:
    """settings, anchors, pictures (records of `picture_record`) and steps (of `step_records`, with their picture)."""
    pictures = range(known.count)
    report = {
        "settings": known.settings,
        "anchors": known.anchors,
        "pictures": [picture_record(known, i) for i in pictures],
        "steps": [{"picture": i + 1, **record} for i in pictures for record in step_records(known, i)],
    }
    return json.dumps(report, ensure_ascii=False, indent=1, allow_nan=False)


def as_csv(known: Facts) -> str:
    """A line per picture and step: of the picture's numbers those that are not KL, then the step's."""
    lines = []
    for i in range(known.count):
        own = {key: value for key, value in picture_record(known, i).items() if not key.startswith("kl_")}
        lines += [{**own, **record} for record in step_records(known, i)]
    text = text_io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def run_panels(known: Facts) -> list[Panel]:
    """λ and β/λ per step, and the KL that each picture of the batch has spent by then."""
    steps = len((known.trace or {})["steps"])
    axis, ticks = "step", step_ticks(steps)
    beta = known.anchors[0].get("beta") if len(known.anchors) == 1 else None
    lambdas = known.step_lambdas(0)
    masked = any(known.masked(i) for i in range(known.count))
    panels = schedule_panels(lambdas[0], beta, f"{axis} (λ where its mask is 1)" if masked else axis, ticks)
    if len(lambdas) > 1:
        lines = [
            Line([*enumerate(values)], COLOURS[1 + k % (len(COLOURS) - 1)], _anchor_name(known, k))
            for k, values in enumerate(lambdas)
        ]
        panels[0] = Panel("λ of each anchor", lines, panels[0].axis, reach=1.0, ticks=ticks)
    lines = []
    for k in range(1 + len(lambdas)):
        name = "to the reference" if k == 0 else f"to {_anchor_name(known, k - 1)}"
        for i in range(known.count):
            spent = running_total(_step_kl(known, i, k))
            lines.append(Line([*enumerate(spent)], COLOURS[k % len(COLOURS)], "" if i else name))
    return [*panels, Panel("KL so far, nats", lines, axis, ticks=ticks, empty=NOT_MEASURED)]


def sweep_panels(known: Facts) -> list[Panel]:
    """KL against λ, to the reference and to each anchor, a line per row; and the KL of each step, a line per λ."""
    axis = "how much of the λ schedule" if known.scheduled else "λ"
    axis += ", masked" if any(known.masked(i) for i in range(known.count)) else ""
    values = [cell.value for cell in known.cells[: known.columns]]
    order = sorted(range(known.columns), key=lambda column: values[column])
    ticks = [(values[column], number(values[column])) for column in order]
    panels = []
    for k in range(1 + len(known.anchors)):
        lines = []
        for row, colour in enumerate(ramp(known.rows)):
            first = row * known.columns
            points = [(values[column], _whole_kl(known, first + column, k)) for column in order]
            label = ", ".join(row_label(known.cells[first], known.varies, known.seed))
            lines.append(Line(points, colour, label))
        name = "the reference" if k == 0 else _anchor_name(known, k - 1)
        panels.append(Panel(f"KL to {name}, nats", lines, axis, ticks=ticks, empty=NOT_MEASURED))
    return [*panels, _step_panel(known, values, order)]


def _step_panel(known: Facts, values: Sequence[float], order: Sequence[int]) -> Panel:
    steps = len((known.trace or {})["steps"])
    lines = []
    for column, colour in zip(order, ramp(known.columns)):
        rows = [_step_kl(known, row * known.columns + column, 0) for row in range(known.rows)]
        points = [(i, _mean([row[i] for row in rows])) for i in range(steps)]
        lines.append(Line(points, colour, f"λ {'×' if known.scheduled else ''}{number(values[column])}"))
    name = "KL to the reference per step, nats" + (f" (mean of {known.rows} rows)" if known.rows > 1 else "")
    return Panel(name, lines, "step", ticks=step_ticks(steps), empty=NOT_MEASURED)


def running_total(values: Sequence[float | None]) -> list[float | None]:
    """The sum up to each value; None from the first that is not known."""
    totals: list[float | None] = []
    total: float | None = 0.0
    for value in values:
        total = None if total is None or value is None else total + value
        totals.append(total)
    return totals


def step_ticks(steps: int) -> list[tuple[float, str]]:
    """Marks on the steps' axis, which counts them from 1: all of up to ten, otherwise the first and round numbers."""
    apart = next(n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000) if steps / n <= 10 or n == 2000)
    marked = [1, *(step for step in range(apart, steps + 1, apart) if step - 1 > apart / 2)]
    return [(step - 1.0, str(step)) for step in marked]


def _step_kl(known: Facts, picture: int, model: int) -> list[float | None]:
    """What each step adds to a picture's KL to the reference (model 0) or to anchor `model` - 1."""
    steps = (known.trace or {})["steps"]
    return [_at(step["kl_anchors"][model - 1] if model else step["kl_reference"], picture) for step in steps]


def _whole_kl(known: Facts, picture: int, model: int) -> float | None:
    return known.kl_anchors(picture)[model - 1] if model else known.kl_reference(picture)


def _anchor_name(known: Facts, k: int) -> str:
    return str(known.anchors[k].get("name", f"anchor {k + 1}")) if k < len(known.anchors) else f"anchor {k + 1}"


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one of them is not known: the others' mean would be that of other pictures."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _at(values: Sequence[float | None] | None, picture: int) -> float | None:
    return None if values is None else values[picture]


NODES = [RealignReport]
