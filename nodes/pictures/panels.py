"""A run's trace as plots."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch

from .colours import AMBER, BLUE, INK, RAMP, ramp
from .facts import Facts
from .labels import WITHOUT_REWARD, model_name, number, row_label
from .particle_panels import particle_panels
from .particle_words import told
from .plot import Line, Panel, drawn, schedule_panels
from .text import Text, as_image, drawn_labels, font, wrapped
from .traced import Values

WIDTH, HEIGHT, MARGIN = 880, 300, (72, 44, 24, 56)  # px; as `drawn` takes them
TEXT, LEFT = 18, 32  # px: of the words below the plots, and their margin on both sides
COLOURS = (BLUE, AMBER, RAMP[2], (74, 222, 128), RAMP[1], RAMP[3])  # the reference, then the anchors
NOT_MEASURED = "not measured, a model was not called"


def report_plots(known: Facts) -> torch.Tensor:
    """IMAGE (1, H, W, 3). Below the plots of a run with particles stands what they come to, in words."""
    plots, run = drawn(all_panels(known), WIDTH, HEIGHT, MARGIN), known.particles
    if run is None:
        return plots
    lines = [
        line for said in told(run, swept=bool(known.cells)) for line in wrapped(said, font(TEXT), WIDTH - 2 * LEFT)
    ]
    text = Text(lines, TEXT, INK)
    below = drawn_labels((WIDTH, text.height + 2 * TEXT), [(text, LEFT, TEXT / 2, "l")])
    return torch.cat([plots, as_image(below)], 1) if lines else plots


def all_panels(known: Facts) -> list[Panel]:
    """Of a sweep or a run, then of its particles."""
    panels, run = sweep_panels(known) if known.cells else run_panels(known), known.particles
    return panels if run is None else [*panels, *particle_panels(run, step_ticks(len(run.steps)))]


def run_panels(known: Facts) -> list[Panel]:
    """λ and β/λ per step, and the KL that each picture of the batch has spent by then; none without an anchor."""
    if not known.measured:
        return []
    axis, ticks = "step", step_ticks(len(known.steps))
    beta = known.anchors[0].get("beta") if len(known.anchors) == 1 else None
    lambdas = known.step_lambdas(0)
    masked = " (λ where its mask is 1)" if known.any_masked else ""
    panels = schedule_panels(lambdas[0], beta, axis + masked, ticks)
    if len(lambdas) > 1:
        lines = [
            Line([*enumerate(values)], COLOURS[1 + (k - 1) % (len(COLOURS) - 1)], model_name(known, k))
            for k, values in enumerate(lambdas, 1)
        ]
        panels[0] = Panel("λ of each anchor", lines, panels[0].axis, reach=1.0, ticks=ticks)
    lines = []
    for model in range(1 + len(lambdas)):
        for i in range(known.count):
            spent, name = running_total(known.step_kl(i, model)), f"to {model_name(known, model)}"
            lines.append(Line([*enumerate(spent)], COLOURS[model % len(COLOURS)], "" if i else name))
    return [
        *panels,
        Panel("KL so far, nats" + WITHOUT_REWARD * known.tilted, lines, axis, ticks=ticks, empty=NOT_MEASURED),
    ]


def sweep_panels(known: Facts) -> list[Panel]:
    """KL against λ, to the reference and to each anchor, a line per row; and the KL of each step, a line per λ."""
    axis = "how much of the λ schedule" if known.scheduled else "λ"
    axis += ", masked" if known.any_masked else ""
    values = [cell.value for cell in known.cells[: known.columns]]
    order = sorted(range(known.columns), key=lambda column: values[column])
    ticks = [(values[column], number(values[column])) for column in order]
    panels = []
    for model in range(1 + len(known.anchors)):
        lines = []
        for pictures, colour in zip(known.table, ramp(len(known.table))):
            points = [(values[column], known.kl(pictures[column], model)) for column in order]
            label = ", ".join(row_label(known.cells[pictures[0]], known.varies, known.seed))
            lines.append(Line(points, colour, label))
        name = f"KL to {model_name(known, model)}, nats" + WITHOUT_REWARD * known.tilted
        panels.append(Panel(name, lines, axis, ticks=ticks, empty=NOT_MEASURED))
    return [*panels, _step_panel(known, values, order)]


def _step_panel(known: Facts, values: Sequence[float], order: Sequence[int]) -> Panel:
    lines = []
    for column, colour in zip(order, ramp(known.columns)):
        rows = [known.step_kl(picture) for picture in known.table[:, column]]
        # None where one is not known: the others' mean would be that of other pictures.
        points = [*enumerate(None if None in kls else sum(kls) / len(kls) for kls in zip(*rows))]
        lines.append(Line(points, colour, f"λ {'×' if known.scheduled else ''}{number(values[column])}"))
    name = "KL to the reference per step, nats"
    name += f" (mean of {len(known.table)} rows)" if len(known.table) > 1 else ""
    return Panel(name, lines, "step", ticks=step_ticks(len(known.steps)), empty=NOT_MEASURED)


def running_total(values: Values) -> Values:
    """The sum up to each value; None from the first that is not known."""
    return [*accumulate(values, lambda total, value: None if total is None or value is None else total + value)]


def step_ticks(steps: int) -> list[tuple[float, str]]:
    """Marks on the steps' axis, which counts them from 1: all of up to ten, otherwise the first and round numbers."""
    apart = next(n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000) if steps / n <= 10 or n == 2000)
    marked = [1, *(step for step in range(apart, steps + 1, apart) if step - 1 > apart / 2)]
    return [(step - 1.0, str(step)) for step in marked]
