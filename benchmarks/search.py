"""λ Search beside full grids, on the demo models: `make search`. Minutes on one core.

Ten repetitions, each with seeds of its own. A full grid makes all its pictures by Realign Sampler and λ Sweep; λ Search
looks for the same λ with the same seeds and rewards. Writes search.md and search.png to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from fewer_calls_models import enter_host
from PIL import Image
from rewards_runs import COLOURFUL, SCHEDULER, Bench
from tables import table
from torch import Tensor

PACK = Path(__file__).resolve().parents[1]
LOW, HIGH, STEP = 0.0, 1.5, 0.05
SEEDS, CFG, WITHIN, SHARE = 4, 1.0, 0.05, 0.4
FINE = 0.01  # between the λ that the search may choose
BRIGHT, SHARP = "brightness", "sharpness"
HEAD = """# Find the λ, beside a full grid

Printed by `make search` (benchmarks/search.py) in {minutes:.0f} minutes of one core: {repeats} repetitions with seeds
of their own. The demo models, hearts of any colour, {steps} steps of ddpm, cfg {cfg:g}. The full grid is λ {low:g} to
{high:g} by {step:g} at {seeds} seeds, {grid} pictures; its λ is the one with the largest mean, of those that keep the
limit. λ Search has the same range and seeds, its λ are multiples of {fine:g}, and it ends where it knows λ to ±
{within:g}, nine times of ten, by its own account. Wanted: λ within ±{within:g} of the grid's with at most {share:.0%}
of its pictures. “exact”: where the grid's means, joined by a cubic spline, are best; where a limit cuts, the grid's own
λ is the next one below. It counts as in the interval where it is no further out than {fine:g}. Pictures that both
made are {apart} apart at the most (largest difference of latents).

"""


class Balanced:
    """Colourfulness less a tenth of sharpness: has a peak over λ."""

    name = f"{COLOURFUL} − {SHARP} / 10"

    def __init__(self, rewards: Mapping[str, Any]):
        self.rewards = rewards

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self.rewards[COLOURFUL].score(images, prompts) - self.rewards[SHARP].score(images, prompts) / 10


@dataclass(frozen=True)
class Task:
    name: str
    reward: str
    kl_budget: float = 0.0
    second: str = ""
    may_fall: float = 0.0

    def best(self, lambdas: Tensor, means: Mapping[str, Tensor]) -> float:
        """Of means over these λ, the first of them 0."""
        keeps = torch.ones(len(lambdas), dtype=torch.bool)
        if self.kl_budget:
            keeps &= means["kl"] <= self.kl_budget
        if self.second:
            keeps &= means[self.second] >= means[self.second][0] - self.may_fall
        return float(lambdas[means[self.reward].masked_fill(~keeps, -torch.inf).argmax()])


TASKS = (
    Task(f"most {COLOURFUL}, KL at most {{kl:g}} nats", COLOURFUL, kl_budget=250.0),
    Task(f"most {COLOURFUL}, {BRIGHT} down by at most {{fall:g}}", COLOURFUL, second=BRIGHT, may_fall=25.0),
    Task(f"most {Balanced.name}", Balanced.name),
)


@dataclass(frozen=True)
class Grid:
    latents: Tensor  # (S, V, ...)
    lambdas: Tensor  # (V,), fp64
    means: Mapping[str, Tensor]  # (V,) of each reward, and of KL

    @property
    def pictures(self) -> int:
        return SEEDS * len(self.lambdas)

    def finer(self, count: int = 1501) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Cubic splines through the means; where KL is not known, through its neighbours."""
        from scipy.interpolate import CubicSpline

        fine = torch.linspace(LOW, HIGH, count, dtype=torch.float64)
        found = {}
        for name, values in self.means.items():
            known = values.isfinite()
            found[name] = torch.from_numpy(CubicSpline(self.lambdas[known], values[known])(fine.numpy()))
        return fine, found


class Runs(Bench):
    """The demo models, their rewards, a full grid and the search."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rewards |= {Balanced.name: Balanced(self.rewards)}

    @property
    def pair(self) -> tuple[Any, ...]:
        return self.model, self.anchor, self.positive, self.negative

    def grid(self, seed: int, count: int) -> Grid:
        from realign.nodes.sampler import RealignSampler
        from realign.nodes.sweep import RealignSweep

        given, sweep = RealignSweep.execute(self.latent(1), "range", LOW, HIGH, count, "", SEEDS, "seed", "").args
        latent, _, trace = RealignSampler.execute(
            *self.pair, given, seed, self.steps, CFG, "ddpm", SCHEDULER, 1.0, 1.0, lambda_schedule=sweep
        ).args
        pictures = self.decoded(latent)
        means = {}
        for name in (COLOURFUL, BRIGHT, Balanced.name):
            means[name] = rearrange(self.scores(name, pictures).double(), "(s v) -> s v", s=SEEDS).mean(0)
        nats = [torch.nan if value is None else value for value in json.loads(trace)["kl_reference"]]
        means["kl"] = rearrange(torch.tensor(nats, dtype=torch.float64), "(s v) -> s v", s=SEEDS).mean(0)
        lambdas = torch.tensor(sweep.values, dtype=torch.float64)
        return Grid(rearrange(latent["samples"], "(s v) ... -> s v ...", s=SEEDS), lambdas, means)

    def found(self, task: Task, seed: int, most: int) -> tuple[dict[str, Any], Any, Tensor, Tensor]:
        """The report, the sweep, its latents and the curve of λ Search."""
        from realign.nodes.search import RealignSearch

        second = {"second": self.rewards[task.second], "may_fall": task.may_fall} if task.second else {}
        out = RealignSearch.execute(
            *self.pair, self.latent(1), self.rewards[task.reward], self.vae, seed, SEEDS, self.steps, CFG, "ddpm",
            SCHEDULER, 1.0, LOW, HIGH, most, task.kl_budget, precision=WITHIN, **second,
        ).args  # fmt: skip
        return json.loads(out[6]), out[3], out[2]["samples"], out[5]


def difference(grid: Grid, sweep: Any, latents: Tensor) -> float:
    """Of the pictures that both made, the largest of their latents."""
    own = rearrange(latents, "(s v) ... -> s v ...", s=SEEDS)
    known = {value: place for place, value in enumerate(grid.lambdas.tolist())}
    both = [(place, known[value]) for place, value in enumerate(sweep.values) if value in known]
    return max(float((own[:, a] - grid.latents[:, b]).abs().max()) for a, b in both)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", type=Path, required=True, help="ComfyUI's folder")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--small", action="store_true", help="one repetition of few steps: only to see that it runs")
    parser.add_argument("--out", type=Path, default=PACK / "benchmarks" / "results", help="a folder")
    options = parser.parse_args()
    if options.small:
        options.steps, options.repeats = 2, 1
    enter_host(options.host)
    import folder_paths

    folder_paths.set_temp_directory(tempfile.mkdtemp())
    torch.set_num_threads(1)
    began, count = time.process_time(), round((HIGH - LOW) / STEP) + 1
    rows: dict[Task, list[tuple[float, float, float, float, float, int]]] = {task: [] for task in TASKS}
    apart, curve = 0.0, None
    with torch.inference_mode():
        runs = Runs(options.steps, {})
        for repeat in range(options.repeats):
            grid = runs.grid(1000 * (repeat + 1), count)
            fine = grid.finer()
            for task in TASKS:
                told, sweep, latents, drawn = runs.found(task, 1000 * (repeat + 1), grid.pictures)
                curve = drawn if curve is None and task.second else curve
                apart = max(apart, difference(grid, sweep, latents))
                best = (task.best(grid.lambdas, grid.means), task.best(*fine))
                rows[task].append((*best, told["lambda"], told["low"], told["high"], told["pictures"]))
                print(f"{repeat + 1}: {said(task)}: {rows[task][-1]}", flush=True)
    minutes = (time.process_time() - began) / 60
    text = HEAD.format(
        minutes=minutes, repeats=options.repeats, steps=options.steps, cfg=CFG, low=LOW, high=HIGH, step=STEP,
        seeds=SEEDS, grid=SEEDS * count, within=WITHIN, share=SHARE, fine=FINE, apart=f"{apart:.1g}",
    )  # fmt: skip
    text += f"{summary(rows, SEEDS * count)}\n\n## Repetitions\n\n{repetitions(rows)}\n"
    text += "\nThe search of the first repetition for the second line:\n\n![The rewards over λ](search.png)\n"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "search.md").write_text(text, encoding="utf-8")
    if curve is not None:
        Image.fromarray((curve[0].numpy() * 255).round().astype(np.uint8)).save(options.out / "search.png")
    print(text)


def said(task: Task) -> str:
    return task.name.format(kl=task.kl_budget, fall=task.may_fall)


def summary(rows: Mapping[Task, Sequence[tuple[float, ...]]], pictures: int) -> str:
    head = [
        "looked for",
        f"within ±{WITHIN:g} of the grid's λ",
        "off, mean (largest)",
        "off the exact λ, mean (largest)",
    ]
    lines = [[*head, "exact λ in the interval", "pictures, mean (most)", "of the grid's, mean (most)"]]
    for task, found in rows.items():
        off = [abs(lam - grid) for grid, _, lam, *_ in found]
        exactly = [abs(lam - exact) for _, exact, lam, *_ in found]
        covered = sum(low - FINE <= exact <= high + FINE for _, exact, _, low, high, _ in found)
        made = [one[-1] for one in found]
        lines.append(
            [
                said(task),
                f"{sum(one <= WITHIN + 1e-6 for one in off)} of {len(found)}",
                f"{statistics.mean(off):.3f} ({max(off):.3f})",
                f"{statistics.mean(exactly):.3f} ({max(exactly):.3f})",
                f"{covered} of {len(found)}",
                f"{statistics.mean(made):.1f} ({max(made):.0f})",
                f"{statistics.mean(made) / pictures:.0%} ({max(made) / pictures:.0%})",
            ]
        )
    return table(lines)


def repetitions(rows: Mapping[Task, Sequence[tuple[float, ...]]]) -> str:
    lines = [["looked for", "repetition", "grid's λ", "exact λ", "found", "interval", "pictures"]]
    for task, found in rows.items():
        for repeat, (grid, exact, lam, low, high, made) in enumerate(found, 1):
            cells = [f"{grid:.2f}", f"{exact:.3f}", f"{lam:.2f}", f"{low:.2f} to {high:.2f}", f"{made:.0f}"]
            lines.append([said(task), f"{repeat}", *cells])
    return table(lines)


if __name__ == "__main__":
    main()
