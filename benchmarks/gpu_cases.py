"""What `gpu.py` runs on the device, and how one run of it is measured."""

from __future__ import annotations

import argparse
import gc
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
import torch
from real_sizes import FP8, Shapes, Windows, lora
from speed_cases import CFG, DUAL, FULL_ANCHOR, GUIDER, LORA, LOW_RANK, SAMPLER, STOCK, Case, now, say
from speed_memory import peak_memory, reset_peak
from speed_runs import Run, counted, has_dual, make_run, take_turns, with_guider
from sweep import VALUES

GPU_KINDS = ("sdxl", "sd35", "flux")
FORMATS = {"bf16": torch.bfloat16, "fp8": FP8}
RANKS = {LORA: 16, LOW_RANK: 64}
FEWER = {"difference reuse": FULL_ANCHOR, "control variate": LORA}
SWEEP = f"sweep of {len(VALUES)} λ"
NEEDS_PLAIN = "needs 16 bit weights"
NO_TIME = "no time left"
LONGER = 3  # times as many steps, for what does not ask every model in each


class NotHereError(Exception):
    """This machine cannot have such models."""


class Clock:
    """Seconds that are left of all."""

    def __init__(self, seconds: float):
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        return self.end - time.monotonic()

    def share(self, parts: int) -> Clock:
        """Of the next one of so many parts."""
        return Clock(self.left() / parts)


@dataclass
class RealCase(Case):
    shapes: Shapes = field(default_factory=lambda: Shapes("sdxl"))

    def latent(self, batch: int) -> dict[str, torch.Tensor]:
        return self.shapes.latent(batch)


@dataclass
class GpuRun(Run):
    longer: int = 1  # how many times the steps that it is asked for
    cost: float = 3.0  # stock runs that it takes about as long as, with its loading
    peak: float = 0.0
    synchronisations: int | None = None
    seconds: float = 0.0  # of the counted run
    failed: bool = False  # and not for want of time or memory


@dataclass
class Measured:
    kind: str
    number_format: str
    steps: int
    runs: list[GpuRun]  # the stock run first


def load_real(kind: str, number_format: str, is_small: bool) -> RealCase:
    """Reference and anchors. A full anchor is left out where main memory could not hold both models."""
    import comfy.model_management as management
    from realign.nodes.models.anchor import Anchor
    from realign.nodes.models.formats import adapter_clone

    shapes, dtype, device = Shapes(kind, is_small), FORMATS[number_format], management.get_torch_device()
    if not management.supports_cast(device, dtype):
        raise NotHereError(f"this device has no {number_format}")
    compute = management.unet_manual_cast(dtype, device, [torch.bfloat16, torch.float16, torch.float32])
    reference = Windows(1).fill(shapes.model(dtype, "meta", compute))
    models = {}
    if 2 * reference.model_size() < 0.9 * psutil.virtual_memory().available:
        models[FULL_ANCHOR] = Windows(2).fill(shapes.model(dtype, "meta", compute))
    for name, rank in RANKS.items():
        if name == LORA or dtype != FP8:  # a low-rank difference needs plain weights
            factors = lora(reference, rank, 3, everywhere=name == LOW_RANK)
            models[name] = adapter_clone(reference, factors, 1.0, name)[0]
    anchors = {name: ((Anchor(model, name),), model) for name, model in models.items()}
    return RealCase(kind, reference, anchors, shapes.conditioning(1), shapes.conditioning(2), 0, shapes)


def runs_of(case: RealCase) -> list[GpuRun]:
    """The stock run, then the others, the most wanted first: the last are left out where time is short."""
    wanted: list[tuple[str, str, Callable[[], Run]]] = [
        (method, anchor, lambda m=method, a=anchor: make_run(case, 1, m, a, 0.5))
        for method, anchor in [(GUIDER, LORA), (GUIDER, FULL_ANCHOR), (SAMPLER, LORA), (SAMPLER, FULL_ANCHOR)]
    ]
    wanted += [
        (f"{GUIDER}, {fewer}", anchor, lambda f=fewer, a=anchor: make_run(case, 1, GUIDER, a, 0.5, fewer_calls=f))
        for fewer, anchor in FEWER.items()
    ]
    wanted.append((GUIDER, LOW_RANK, lambda: make_run(case, 1, GUIDER, LOW_RANK, 0.5)))
    if has_dual():
        wanted.append((DUAL, FULL_ANCHOR, lambda: make_run(case, 1, DUAL, FULL_ANCHOR, None)))
    wanted += [(f"{GUIDER}, {SWEEP}", anchor, lambda a=anchor: sweep_run(case, a)) for anchor in (LORA, FULL_ANCHOR)]
    out = [as_gpu_run(make_run(case, 1, STOCK, "–", None), STOCK)]
    for name, anchor, make in wanted:
        if anchor in case.anchors:
            out.append(as_gpu_run(make(), name))
        else:
            out.append(skipped(name, anchor, NEEDS_PLAIN if anchor == LOW_RANK else "main memory is too small"))
    return out


def skipped(name: str, anchor: str, why: str) -> GpuRun:
    return GpuRun(name, anchor, 0.5, lambda steps: torch.empty(0), error=why)


def as_gpu_run(run: Run, name: str) -> GpuRun:
    if any(fewer in name for fewer in FEWER):
        return GpuRun(name, run.anchor, run.lam, lambda steps: run.sample(LONGER * steps), longer=LONGER, cost=5.0)
    return GpuRun(name, run.anchor, run.lam, run.sample, cost=2.5 * len(VALUES) if SWEEP in name else 3.0)


def sweep_run(case: RealCase, anchor: str) -> Run:
    from realign.nodes.guider import RealignGuider
    from realign.nodes.sweep import RealignSweep

    listed = ", ".join(f"{value:g}" for value in VALUES)
    latent, values = RealignSweep.execute(case.latent(1), "list", 0.0, 1.0, 2, listed, 1, "seed", "").args
    inputs = case.reference, case.anchors[anchor][0], case.positive, case.negative, CFG, 0.5
    return Run(
        GUIDER, anchor, 0.5, with_guider(case, latent, RealignGuider.execute(*inputs, lambda_schedule=values).args[0])
    )


def measure_case(kind: str, number_format: str, options: argparse.Namespace, clock: Clock) -> Measured:
    """Every run once, alone on the device, to count; then rounds in which they take turns, while time lasts."""
    try:
        case = load_real(kind, number_format, options.small)
    except NotHereError as error:
        return Measured(kind, number_format, options.steps, [skipped(STOCK, "–", str(error))])
    runs = runs_of(case)
    unit, others = runs[0], [run for run in runs[1:] if not run.error]
    count(case, unit, options.steps)
    for run in others:
        if unit.error:
            run.error = "no stock run to compare with"
        elif clock.left() < run.cost * unit.seconds:
            run.error = NO_TIME
        else:
            count(case, run, options.steps)
    in_turns(unit, [run for run in others if not run.error], options, clock)
    forget(case)
    return Measured(kind, number_format, options.steps, runs)


def in_turns(unit: GpuRun, runs: Sequence[GpuRun], options: argparse.Namespace, clock: Clock) -> None:
    """Times of all, by rounds; where there is no time for one, of the run that was counted."""
    one_round = sum(run.seconds for run in (unit, *runs)) * 1.5
    for repeat in range(options.repeats if runs else 0):
        if clock.left() < one_round:
            break
        begin, start = time.monotonic(), repeat * len(runs) // options.repeats
        try:
            take_turns(unit, [*runs[start:], *runs[:start]], options.steps)
        except torch.OutOfMemoryError as error:
            say(f"  a round ends: {error}".splitlines()[0])
            break
        one_round = time.monotonic() - begin
    for run in (unit, *runs):
        if not run.ratios and not unit.error:
            run.ratios = [run.seconds / unit.seconds]
        run.ratios = [ratio / run.longer for ratio in run.ratios]


def count(case: RealCase, run: GpuRun, steps: int) -> None:
    """Passes, synchronisations and peak memory of one run, with no other model on the device."""
    import comfy.model_management as management

    management.unload_all_models()
    management.soft_empty_cache()
    reset_peak()
    try:
        run.sample(1)
        with counted(case) as run.rows, synchronisations() as waits:
            begin = now()
            run.sample(steps)
            run.seconds = now() - begin
        run.peak = peak_memory()
        run.synchronisations = None if waits is None else len(waits)
    except Exception as error:
        run.error = f"{type(error).__name__}: {error}".splitlines()[0]
        run.failed = not isinstance(error, torch.OutOfMemoryError)
        say(f"  {run.method}, {run.anchor}: {run.error}")


@contextmanager
def synchronisations() -> Iterator[list[Any] | None]:
    """A warning for each operation that waits for the device, where torch can tell (CUDA)."""
    if not torch.cuda.is_available():
        yield None
        return
    before = torch.cuda.get_sync_debug_mode()
    waits: list[Any] = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield waits
        finally:
            torch.cuda.set_sync_debug_mode(before)
            waits += [one for one in said if "synchronizing" in str(one.message)]


def forget(case: RealCase) -> None:
    """Give the models' memory back, before others are made."""
    import comfy.model_management as management

    management.unload_all_models()
    case.anchors.clear()
    case.reference = None
    gc.collect()
    management.soft_empty_cache()
