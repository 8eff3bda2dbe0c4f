"""What is known of pictures: λ, β/λ, seed and KL, of the run that made them.

What ran is told by its trace; without one, by the graph that the host has just run.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from einops import rearrange

from ...realign_core import Cell, Sweep
from .graph_words import Graph, run_behind, sweep_above
from .traced import Swept, Traced, TracedParticles, TracedStep, Values


@dataclass(frozen=True)
class Facts:
    """What is known of the pictures of one batch. `model` is 0 for the reference, k for anchor k."""

    count: int
    cells: tuple[Cell, ...] = ()  # one per picture, in the batch's order; none for a run without a sweep
    columns: int = 0  # of the sweep's table, whose rows follow one another
    scheduled: bool = False  # the sweep's λ multiply a schedule
    prompts: tuple[
        str, ...
    ] = ()  # of the sweep's rows, where they have their own; "" for one that is not known as text
    draft: bool = False  # the sweep was sampled with fewer model calls
    trace: Traced | None = None
    set_lambda: float | None = None  # λ of all pictures, as the graph has it; for want of a trace
    set_mask: bool = False  # a λ mask was connected, as the graph has it; for want of a trace
    unused_sweep: bool = False  # a sweep was given that the run did not get

    @functools.cached_property
    def table(self) -> np.ndarray:
        """(rows, columns): the pictures as they stand in the sweep's table; without a sweep they are one row."""
        pictures = np.arange(self.count)
        return rearrange(pictures, "(row column) -> row column", column=self.columns or self.count)

    @functools.cached_property
    def varies(self) -> frozenset[str]:
        return varying(self.cells)

    @property
    def anchors(self) -> list[dict[str, Any]]:
        return self.trace.anchors if self.trace else []

    @property
    def settings(self) -> dict[str, Any]:
        return self.trace.settings if self.trace else {}

    @property
    def steps(self) -> Sequence[TracedStep]:
        return self.trace.steps if self.trace else ()

    @property
    def particles(self) -> TracedParticles | None:
        """What the trace tells of groups of particles, where the run had some."""
        return self.trace.particles if self.trace else None

    @property
    def tilted(self) -> bool:
        """Whether a reward took part, which no KL to a model accounts for."""
        return self.particles is not None and self.particles.reward is not None

    @property
    def measured(self) -> bool:
        """Whether there is a KL to the models: a trace, of a run that mixed."""
        return self.trace is not None and self.trace.mixes

    @property
    def seed(self) -> int | None:
        """The run's; a cell's seed is added to it."""
        return self.settings.get("seed")

    @property
    def any_masked(self) -> bool:
        return any(self.masked(picture) for picture in range(self.count))

    def cell(self, picture: int) -> Cell:
        """The picture's place in the sweep; without a sweep one that says nothing."""
        return self.cells[picture] if self.cells else Cell(None, 0, picture, None, None)

    def kl(self, picture: int, model: int = 0) -> float | None:
        """From the picture's run to a model, nats; of a run with a reward, from the mixture alone."""
        return kls(self.trace, picture)[model] if self.trace and self.trace.mixes else None

    def step_kl(self, picture: int, model: int = 0) -> Values:
        """(T,), what each step adds to that."""
        return [kls(step, picture)[model] for step in self.steps]

    def step_lambdas(self, picture: int) -> list[Values]:
        """(K, T), the picture's λ at each step: the sampler's λ times the anchor's share, without λ masks."""
        steps = [step.lambdas_before_mask or step.lambdas for step in self.steps]
        return [[step[k][picture] for step in steps] for k in range(len(steps[0]) if steps else 0)]

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
        if _constant(self.step_lambdas(picture)[0]) is None:
            return None
        share = self.anchors[0].get("share", 1.0) if self.cells else 1.0  # the steps' λ hold the share already
        strength = self.anchors[0]["beta"] / (lam * share) if lam * share > 0 else math.inf
        return strength if math.isfinite(strength) else None


def facts(
    count: int, sweep: Any, trace: Traced | None, graph: Graph | None = None, node_id: str | None = None
) -> Facts:
    """What is known of `count` pictures that reach the node `node_id` of a graph.

    sweep: what is connected as the λ sweep; a λ schedule, which a bypassed sweep hands on, counts as none. With a
    trace the run is the trace's. Without one the sweep is what ran if the nearest Realign node above the node's
    images got it; if it did not, λ is that node's own.

    Raises ValueError where pictures, sweep and trace are not of one batch.
    """
    sweep = sweep if isinstance(sweep, Sweep) else None
    behind = run_behind(graph, node_id) if trace is None else None
    swept = trace.sweep if trace and trace.mixes else None  # without an anchor there was no λ to sweep
    if sweep and not trace and (not behind or sweep_above(graph, node_id, "sweep") in (None, behind.sweep)):
        told = {"schedule": sweep.schedule, "prompts": sweep.prompts, "draft": sweep.draft}
        swept = Swept.model_construct(columns=sweep.columns, cells=tuple(sweep.cells()), **told)
    if swept and len(swept.cells) != count:
        raise ValueError(
            f"There are {count} images, but the λ sweep has {len(swept.cells)} cells: connect the decoded pictures of "
            "the run that got this λ Sweep's “latent” and “λ sweep”, all of them in one batch."
        )
    if trace and trace.batch != count:
        raise ValueError(
            f"There are {count} images, but the trace is of a run with {trace.batch}: connect images and trace of the "
            "same Realign Sampler."
        )
    if sweep and swept and (tuple(sweep.cells()), sweep.prompts) != (swept.cells, swept.prompts):
        raise ValueError("The trace is of another sweep: connect the “trace” of the run that got this λ Sweep.")
    return Facts(
        count,
        cells=swept.cells if swept else (),
        columns=swept.columns if swept else 0,
        scheduled=bool(swept and swept.schedule),
        prompts=swept.prompts if swept else (),
        draft=bool(swept and swept.draft),
        trace=trace,
        set_lambda=behind.lambda_ if behind else None,
        set_mask=behind is not None and behind.masked,
        unused_sweep=sweep is not None and not swept,
    )


def kls(told: Traced | TracedStep, picture: int) -> Values:
    """(K + 1,), a picture's KL to the reference and to each anchor, of the run or of a step."""
    return [None if values is None else values[picture] for values in (told.kl_reference, *told.kl_anchors)]


def varying(cells: Sequence[Cell]) -> frozenset[str]:
    """What differs among cells: “value”, “seed”, “image”, “cfg”, “eta”, “prompt”."""
    return frozenset(name for name in Cell._fields if len({getattr(cell, name) for cell in cells}) > 1)


def _constant(values: Values) -> float | None:
    return values[0] if values and len(set(values)) == 1 else None
