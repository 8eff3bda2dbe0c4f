"""What pictures are labelled with: λ, β/λ, seed and KL, of the run that made them.

What ran is told by its trace; without one, by the graph that the host has just run.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

from ...realign_core import Cell, Sweep
from .graph_words import Graph, run_behind, sweep_above

NOT_A_TRACE = "This is not a trace: {}. Connect Realign Sampler's “trace” output as it is."
MASKED = "masked"
NO_STEPS = (
    "The trace holds no step: the guider or MODEL that Realign Trace is connected to was not sampled, or had nothing "
    "to do (denoise 0). Connect Realign Trace to the one that made these pictures."
)


@dataclass(frozen=True)
class Facts:
    """What is known of the pictures of one batch.

    cells: one per picture, in the batch's order; empty for a run without a sweep. columns: of the sweep's table, whose
    rows follow one another. scheduled: the sweep's λ multiply a schedule. trace: as `Trace.to_dict` gives it.
    set_lambda, set_mask: λ of all pictures and whether a λ mask was connected, as the graph has it; for want of a
    trace. unused_sweep: a sweep was given that the run did not get.
    """

    count: int
    cells: tuple[Cell, ...] = ()
    columns: int = 0
    scheduled: bool = False
    trace: dict[str, Any] | None = None
    set_lambda: float | None = None
    set_mask: bool = False
    unused_sweep: bool = False

    @property
    def rows(self) -> int:
        return self.count // self.columns if self.columns else 0

    @functools.cached_property
    def varies(self) -> frozenset[str]:
        return varying(self.cells)

    @property
    def anchors(self) -> list[dict[str, Any]]:
        return list((self.trace or {}).get("anchors") or [])

    @property
    def settings(self) -> dict[str, Any]:
        return dict((self.trace or {}).get("settings") or {})

    @property
    def seed(self) -> int | None:
        """The run's; a cell's seed is added to it."""
        return self.settings.get("seed")

    def kl_reference(self, picture: int) -> float | None:
        return _at((self.trace or {}).get("kl_reference"), picture)

    def kl_anchors(self, picture: int) -> list[float | None]:
        return [_at(values, picture) for values in (self.trace or {}).get("kl_anchors") or []]

    def step_lambdas(self, picture: int) -> list[list[float | None]]:
        """Per anchor, the picture's λ at each step: the sampler's λ times the anchor's share, without λ masks."""
        steps = [step.get("lambdas_before_mask", step["lambdas"]) for step in (self.trace or {}).get("steps") or []]
        anchors = len(steps[0]) if steps else 0
        return [[_at(step[k], picture) for step in steps] for k in range(anchors)]

    def masked(self, picture: int) -> bool:
        """Whether λ was that only where a mask let it."""
        if self.lambda_(picture) == 0:
            return False
        return any(anchor.get("masked") for anchor in self.anchors) if self.trace else self.set_mask

    def lambda_(self, picture: int) -> float | None:
        """The picture's λ: its column's, or the one that the only anchor had at every step; with a mask, where that
        is 1."""
        if self.cells:
            return self.cells[picture].value
        if not self.trace:
            return self.set_lambda
        lambdas = self.step_lambdas(picture)
        lam = _constant(lambdas[0]) if len(lambdas) == 1 else None
        return None if lam is None else round(lam, 6)  # without the last bits of fp32

    def beta(self, picture: int) -> float | None:
        """β/λ, the KL strength that the picture stands for; with a mask, where that is 1.

        None where there is no such number: λ is 0 or less or changes over the run, or there are several anchors, or one
        whose β is not known.
        """
        lam = self.lambda_(picture)
        if len(self.anchors) != 1 or not self.anchors[0].get("beta") or self.scheduled or lam is None:
            return None
        lambdas = self.step_lambdas(picture)[0]
        if lambdas and _constant(lambdas) is None:
            return None
        share = self.anchors[0].get("share", 1.0) if self.cells else 1.0  # the steps' λ hold the share already
        strength = self.anchors[0]["beta"] / (lam * share) if lam * share > 0 else math.inf
        return strength if math.isfinite(strength) else None


def facts(
    count: int, sweep: Any, trace: dict[str, Any] | None, graph: Graph | None = None, node_id: str | None = None
) -> Facts:
    """What is known of `count` pictures that reach the node `node_id` of a graph.

    sweep: what is connected as the λ sweep; a λ schedule, which a bypassed sweep hands on, counts as none. With a
    trace the run is the trace's. Without one the sweep is what ran if the nearest Realign node above the node's
    images got it; if it did not, λ is that node's own.

    Raises ValueError where pictures, sweep and trace are not of one batch.
    """
    sweep = sweep if isinstance(sweep, Sweep) else None
    behind = run_behind(graph, node_id) if trace is None else None
    if trace is not None:
        swept = trace.get("sweep")
    else:
        given = sweep_above(graph, node_id, "sweep")
        ran = behind is None or given is None or behind.sweep == given
        swept = sweep.to_dict() if sweep is not None and ran else None
    cells = _cells(swept) if swept else ()
    traced = trace_batch(trace) if trace else count
    if cells and len(cells) != count:
        raise ValueError(
            f"There are {count} images, but the λ sweep has {len(cells)} cells: connect the decoded pictures of the "
            "run that got this λ Sweep's “latent” and “λ sweep”, all of them in one batch."
        )
    if traced != count:
        raise ValueError(
            f"There are {count} images, but the trace is of a run with {traced}: connect images and trace of the same "
            "Realign Sampler."
        )
    if sweep is not None and swept and tuple(sweep.cells()) != cells:
        raise ValueError("The trace is of another sweep: connect the “trace” of the run that got this λ Sweep.")
    return Facts(
        count,
        cells,
        columns=swept["columns"] if swept else 0,
        scheduled=bool(swept and swept.get("schedule")),
        trace=trace,
        set_lambda=behind.lambda_ if behind else None,
        set_mask=behind is not None and behind.masked,
        unused_sweep=sweep is not None and not swept,
    )


def parse_trace(text: str) -> dict[str, Any]:
    """The trace's JSON as data. Raises ValueError, in one sentence, for a text that is no run's trace."""
    try:
        trace = json.loads(text)
    except ValueError:
        raise ValueError(NOT_A_TRACE.format("the text is not JSON")) from None
    if isinstance(trace, dict) and trace.get("steps") == [] and "model_calls" in trace:
        raise ValueError(NO_STEPS)
    try:
        lists = [trace["kl_reference"], *trace["kl_anchors"]]
        for step in trace["steps"]:
            lists += [step["kl_reference"], *step["kl_anchors"], *step["lambdas"]]
            lists += step.get("lambdas_before_mask", [])
            float(step["sigma"]), float(step["sigma_next"]), float(step["model_calls"])
        if trace.get("sweep"):
            lists.append(_cells(trace["sweep"]))
        whole = all(len(values) == trace_batch(trace) for values in lists if values is not None)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise ValueError(NOT_A_TRACE.format("the JSON is not that of a run"))
    return dict(trace)


def trace_batch(trace: dict[str, Any]) -> int:
    """How many pictures the run of a trace made."""
    return len(trace["steps"][0]["lambdas"][0])


def number(value: float, digits: int = 4) -> str:
    """A few significant digits and no more zeros than needed: 10000, 0.25, 1052, 0.00012, 1.2e-7."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "∞"
    if not 1e-4 <= abs(value) < 1e7:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{_short(mantissa)}e{int(exponent)}"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return _short(f"{value:.{max(decimals, 0)}f}")


def column_label(value: float, beta: float | None = None, scheduled: bool = False) -> tuple[str, str]:
    """What stands over a column: λ, and below it the β it stands for, "" where that is not known."""
    below = "reference" if value == 0 else f"β {number(beta)}" if beta else ""
    return f"λ ×{number(value)}" if scheduled else f"λ {number(value)}", below


def varying(cells: Sequence[Cell]) -> frozenset[str]:
    """What differs among cells: “value”, “seed”, “image”, “cfg”, “eta”."""
    return frozenset(name for name in Cell._fields if len({getattr(cell, name) for cell in cells}) > 1)


def row_label(cell: Cell, varies: Set[str], base_seed: int | None = None) -> list[str]:
    """What tells the cell's row from the others, one part per line. varies: see `varying`."""
    parts = [f"cfg {number(cell.cfg)}"] if cell.cfg is not None and "cfg" in varies else []
    parts += [f"η {number(cell.eta)}"] if cell.eta is not None and "eta" in varies else []
    if "seed" in varies:
        parts.append(f"seed +{cell.seed}" if base_seed is None else f"seed {base_seed + cell.seed}")
    return parts + ([f"image {cell.image + 1}"] if "image" in varies else [])


def lambda_label(lambdas: Sequence[Sequence[float | None]]) -> str:
    """λ of a picture without a sweep, from its λ per anchor and step: "λ 0.5", "λ 0 – 1", "λ 0.5 + 0.25"."""
    spans = []
    for steps in lambdas:
        known = [value for value in steps if value is not None]
        low, high = number(min(known, default=math.nan)), number(max(known, default=math.nan))
        spans.append("" if not known else low if low == high else f"{low} – {high}")
    text = " + ".join(span for span in spans if span)
    return f"λ {text}" if text else ""


def strength_label(known: Facts, picture: int) -> str:
    """λ of a picture of a run without a sweep; "" where it is not known."""
    lambdas = known.step_lambdas(picture) if known.trace else [[known.set_lambda]]
    return lambda_label(lambdas)


def strength_parts(known: Facts, picture: int) -> list[str]:
    """λ and β/λ of a picture without a sweep, as far as they are known."""
    strength, beta = strength_label(known, picture), known.beta(picture)
    parts = (strength, f"β {number(beta)}" if beta else "", MASKED if strength and known.masked(picture) else "")
    return [part for part in parts if part]


def kl_label(value: float | None) -> str:
    return "KL –" if value is None else f"KL {number(value, 3)}"


def caption(known: Facts, picture: int) -> list[str]:
    """All that is known of one picture, as parts to be joined: λ, β, seed, cfg, η, image and KL."""
    parts = []
    if known.cells:
        cell = known.cells[picture]
        parts += [part for part in column_label(cell.value, known.beta(picture), known.scheduled) if part]
        parts += [MASKED] if known.masked(picture) else []
        parts += row_label(cell, known.varies | ({"seed"} if known.seed is not None else set()), known.seed)
    else:
        parts += strength_parts(known, picture)
        if known.count > 1 or not parts:
            parts.append(f"image {picture + 1}")
    return parts + ([kl_label(known.kl_reference(picture))] if known.trace else [])


def settings_label(known: Facts) -> str:
    """The sampler's settings, from the trace: "ddpm · normal · 30 steps · cfg 1.5 · seed 7"; "" without one.

    Spaces within a setting do not break. What varies over a sweep's rows is left to their labels.
    """
    run = known.settings
    cfgs, own_etas = ({getattr(cell, name) for cell in known.cells} - {None} for name in ("cfg", "eta"))
    parts = [str(run[key]) for key in ("sampler_name", "scheduler") if run.get(key)]
    parts += [f"{run['steps']} steps"] if "steps" in run else []
    parts += [f"cfg {number(*(cfgs or {run['cfg']}))}"] if "cfg" in run and len(cfgs) < 2 else []
    etas = own_etas or (known.trace or {}).get("etas") or []
    if etas and len(own_etas) < 2:
        parts.append("η " + ", ".join(dict.fromkeys(number(eta) for eta in etas)))
    parts += [f"denoise {number(run['denoise'])}"] if run.get("denoise", 1) != 1 else []
    parts += [f"seed {run['seed']}"] if "seed" in run and "seed" not in known.varies else []
    return " · ".join(part.replace(" ", "\xa0") for part in parts)


def anchor_label(anchor: dict[str, Any]) -> str:
    """An anchor's name, with the β it was trained at, if known, and its share of λ, if that is not all of it."""
    parts = [str(anchor.get("name", "anchor"))]
    parts += [f"β {number(anchor['beta'])}"] if anchor.get("beta") else []
    parts += [f"share {number(anchor['share'])}"] if anchor.get("share", 1) != 1 else []
    return parts[0] if len(parts) == 1 else f"{parts[0]} ({', '.join(parts[1:])})"


def _cells(swept: dict[str, Any]) -> tuple[Cell, ...]:
    return tuple(Cell(*(cell[name] for name in Cell._fields)) for cell in swept["cells"])


def _constant(values: Sequence[float | None]) -> float | None:
    return values[0] if values and len(set(values)) == 1 else None


def _at(values: Sequence[float | None] | None, picture: int) -> float | None:
    return values[picture] if values is not None else None


def _short(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
