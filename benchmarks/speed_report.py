"""The tables of a speed measurement."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from speed_cases import (
    CFG,
    CHECK_STEPS,
    LAMBDAS,
    LORA_RANK,
    MERGE,
    NAMES,
    OVERHEAD_STEPS,
    RANK,
    SIZES,
    STOCK,
    TARGET,
    TOLERANCE,
    device_name,
)
from speed_runs import Overhead, Result
from tables import quartiles, spread, table


def time_table(result: Result) -> str:
    unit = result.unit
    columns = [f"time, λ = {lam:g}" for lam in LAMBDAS]
    rows = [["method", "anchor", *columns, "calls per step", "rows", "λ = 0: reference", "λ = 1: anchor"]]
    rows.append([STOCK, "–", spread(unit.ratios), "", "", f"{len(unit.rows) / CHECK_STEPS:g}", "1", "–", "–"])
    for method, anchor in dict.fromkeys((run.method, run.anchor) for run in result.runs):
        fixed = result.find(method, anchor, None)  # a method without λ
        of = [fixed, None, None] if fixed else [result.find(method, anchor, lam) for lam in LAMBDAS]
        cells = [
            spread(run.ratios) if run and run.ratios else "failed" if run and run.error else "–" if run else ""
            for run in of
        ]
        calls = [f"{len(run.rows) / CHECK_STEPS:g}" for run in of if run]
        shares = [f"{sum(run.rows) / sum(unit.rows):g}" for run in of if run]
        ends = [result.verdict(of[0]), result.verdict(of[2])]
        rows.append([method, anchor, *cells, " / ".join(calls), " / ".join(shares), *ends])
    return table(rows)


def overhead_table(overheads: Sequence[Overhead]) -> str:
    rows = [["models", "batch", "method, λ = 0.5", "anchor", "outside the network", "beyond stock", "in ms", "target"]]
    for one in overheads:
        beyond = spread(one.beyond, percent=True) if one.beyond else "–"
        met = "–" if not one.beyond else "met" if quartiles(one.beyond)[0] <= TARGET else f"MISSED ({TARGET:.0%})"
        outside = spread(one.outside, percent=True)
        taken = f"{quartiles(one.milliseconds)[0]:.1f}" if one.milliseconds else "–"
        rows.append([NAMES[one.kind], str(one.batch), one.method, one.anchor, outside, beyond, taken, met])
    return table(rows)


def memory_table(memory: Sequence[dict[str, Any]]) -> str:
    rows = [["method, λ = 0.5", "anchor", "loaded models", "peak while sampling", "peak while loading", "MB at peak"]]
    unit = memory[0]
    for one in memory:
        ratios = [f"{one[key] / unit[key]:.2f}" for key in ("host", "peak", "loading")]
        rows.append([one["method"], one["anchor"], *ratios, f"{one['peak'] / 2**20:.0f}"])
    return table(rows)


def report(
    results: Sequence[Result],
    overheads: Sequence[Overhead],
    memory: Sequence[dict[str, Any]],
    memory_kind: str,
    options: argparse.Namespace,
) -> str:
    import comfyui_version

    noise = [ratio for result in results for ratio in result.unit.ratios]
    parts = [
        "# Speed and memory",
        f"Written by `make bench`. ComfyUI {comfyui_version.__version__}, torch {torch.__version__}, {device_name()}.",
        f"Times are ratios to the stock KSampler with one model, cfg {CFG:g}, {options.steps} steps, euler (ddim for "
        f"RealignSampler, which is euler to the host): median (quartiles) of {options.repeats} rounds in which all "
        f"methods take turns. The first row is KSampler against its own neighbouring runs: the machine's noise, here "
        f"{spread(noise)} over all tables. Calls per step, rows of all calls (ratio): at λ = 0 / 0.5 / 1. “λ = 0: "
        "reference” and “λ = 1: anchor” compare the latents with KSampler's: exact, the largest difference in "
        f"standard deviations where it is at most {TOLERANCE:g}, else WRONG. “–” among the times: run once, for "
        "the other columns only (make bench ARGS=--full times it too).",
        f"Anchors: a full model; a LoRA of rank {LORA_RANK} on all attention and feed-forward matrices; the full model "
        f"as reference + difference of rank {RANK}, norms and biases whole. The small networks are narrow (SD3 64 "
        "channels, demo 48 to 96, the others 320), so that these ranks cost more beside them than beside a real "
        f"model. “{MERGE}”: ModelMergeSimple, LoraLoaderModelOnly for a LoRA.",
    ]
    for result in results:
        size = SIZES[result.kind]
        parts += [f"## {NAMES[result.kind]}, batch {result.batch}, latents {size} × {size}", time_table(result)]
        errors = {f"- {run.method}, {run.anchor}: {run.error}" for run in result.runs if run.error}
        parts += ["\n".join(sorted(errors))] if errors else []
    if overheads:
        parts += [
            "## Outside of the network",
            f"Of the time of a run of {OVERHEAD_STEPS} steps, what is not spent in the network's forward passes; and "
            "how much of the run, and how many ms, that is beyond what KSampler spends there for as many rows. A "
            "LoRA's or low-rank form's own arithmetic is in the network.",
            overhead_table(overheads),
        ]
    if memory:
        where = "GPU" if torch.cuda.is_available() else "process"
        parts += [
            "## Memory",
            f"{NAMES[memory_kind]}, batch 1, each in a fresh process, ratios to one model. Loaded models: the sizes "
            f"that the host counts while sampling. Peaks: of the {where}, beyond what it has before anything is "
            "loaded; they include activations, the weights that a merge keeps to be undone, and, on a CPU, pages of "
            "the files that are mapped into memory.",
            memory_table(memory),
        ]
    return "\n\n".join(parts) + "\n"
