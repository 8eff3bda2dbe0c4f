"""docs/evidence_exact.png."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes

from realign_study.report.drawing import COLOURS, GREY

from .exact_cases import (
    ALONE,
    CONTROL,
    CORRECTED,
    EXACT_WORLDS,
    FAR,
    LEARNED,
    MERGED,
    PARTICLE_DRAWS,
    PARTICLES,
    RETRAINED,
    RING,
    STEPS,
    STEPWISE,
    pairs,
)
from .exact_results import Found, Results
from .exact_runs import SAMPLERS
from .exact_worlds import BETAS
from .plots import curve, sheet

BEYOND = "total variation beyond retraining"


def draw(results: Results, path: Path) -> None:
    with sheet(path, 2, 3) as panels:
        _worlds(panels[0], results)
        _dots(panels[1], Found(results, RING), (STEPWISE, ALONE, CORRECTED))
        panels[1].set_title("Ring: the correction, 4 particles")
        _dots(panels[2], Found(results, LEARNED), (STEPWISE, MERGED))
        panels[2].set_title("Networks on the ring: merged weights")
        _steps(panels[3], results)
        _particles(panels[4], results)
        _rewards(panels[5], results)
        for axes in panels:
            axes.legend(frameon=False, fontsize=8, ncols=2 if axes is panels[3] else 1)


def _lambda_axis(axes: Axes) -> None:
    axes.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks([0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20], ["0.05", "0.1", "0.25", "0.5", "1", "2", "5", "10", "20"])
    axes.minorticks_off()
    axes.set(xlabel="λ = β of the anchor / β wanted", ylabel=BEYOND)


def _worlds(axes: Axes, results: Results) -> None:
    """The anchor of the smallest β below λ 1, that of the largest above it."""
    for place, world in enumerate(EXACT_WORLDS):
        found, ends = Found(results, world), []
        for anchor in (BETAS[0], BETAS[-1]):
            at = sorted((anchor / target, target) for target in BETAS if target != anchor)
            ends.append(([one for one, _ in at], [found.excess(STEPWISE, [(anchor, target)]) for _, target in at]))
        curve(axes, *ends[0], world, place)
        curve(axes, *ends[1], "_", place)
    _lambda_axis(axes)
    axes.set_title(f"Step by step, from the anchors of β {BETAS[0]:g} (left) and {BETAS[-1]:g}")


def _dots(axes: Axes, found: Found, methods: tuple[str, ...]) -> None:
    """Every pair."""
    for place, method in enumerate(methods):
        figures = [(anchor / target, found.excess(method, [(anchor, target)])) for anchor, target in pairs()]
        x, y = [one for one, _ in figures], [figure for _, figure in figures]
        axes.vlines(x, [f.low for f in y], [f.high for f in y], color=COLOURS[place], alpha=0.4, linewidth=1)
        axes.plot(x, [f.value for f in y], "o", markersize=4, color=COLOURS[place], label=method)
    _lambda_axis(axes)


def _steps(axes: Axes, results: Results) -> None:
    for place, sampler in enumerate(SAMPLERS):
        runs = [Found(results, RING, sampler, steps) for steps in STEPS]
        curve(axes, STEPS, [run.distance(STEPWISE, 1.0, 0.5) for run in runs], f"{sampler}, λ 0.5", place)
        curve(axes, STEPS, [run.distance(RETRAINED, 1.0) for run in runs], f"{sampler}, retrained", place, "--")
    axes.set_xscale("log")
    axes.set_xticks(STEPS, [str(steps) for steps in STEPS])
    axes.minorticks_off()
    axes.set(xlabel="steps", ylabel="total variation", ylim=(0, 0.95), title="Ring, β 1: samplers and steps")


def _particles(axes: Axes, results: Results) -> None:
    for place, (world, counts) in enumerate(PARTICLES.items()):
        found = Found(results, world, draws=PARTICLE_DRAWS[world])
        anchor, target = FAR
        plain = found.distance(STEPWISE, target, anchor)
        runs = [Found(results, world, draws=found.draws, particles=count) for count in counts]
        for method, dash in ((ALONE, ":"), (CORRECTED, "-")):
            shown = [plain, *(run.distance(method, target, anchor) for run in runs)]
            curve(axes, [1, *counts], shown, f"{world}, {method.removeprefix('corrected, ')}", place, dash)
        axes.axhline(found.distance(RETRAINED, target).value, color=COLOURS[place], linewidth=0.9, linestyle="--")
    axes.set_xscale("log", base=2)
    axes.set_xticks([1, 4, 8, 16, 32, 64], ["step by step", "4", "8", "16", "32", "64"])
    axes.set(xlabel="particles (dashed: retrained)", ylabel="total variation", title="λ 0.1: how many particles")


def _rewards(axes: Axes, results: Results) -> None:
    """Which way λ errs, from the anchor of the smallest β."""
    for place, world in enumerate(one for one in (*EXACT_WORLDS, LEARNED)):
        found, targets = Found(results, world), BETAS[1:][::-1]
        shown = [found.signed(STEPWISE, (BETAS[0], target)) for target in targets]
        curve(axes, [BETAS[0] / t for t in targets], shown, world, place, "--" if world in (CONTROL, LEARNED) else "-")
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_ylim(top=0.1)
    axes.set(
        xlabel="λ", ylabel="mean reward less retrained, of the way", title=f"Which way λ errs, anchor β {BETAS[0]:g}"
    )
