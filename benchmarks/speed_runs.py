"""The runs that are compared: counted and checked once, then timed in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from speed_cases import (
    ANCHORS,
    BETWEEN_UNITS,
    CFG,
    CHECK_STEPS,
    DUAL,
    FULL_ANCHOR,
    GUIDER,
    LAMBDAS,
    LIGHT,
    LORA,
    LOW_RANK,
    MERGE,
    MODEL,
    OVERHEAD_REPEATS,
    OVERHEAD_STEPS,
    PACK_METHODS,
    SAMPLER,
    SCHEDULER,
    SEED,
    STOCK,
    TOLERANCE,
    Case,
    now,
)


@dataclass
class Run:
    """A way to sample. sample: steps -> latent. stock_sampler: what KSampler must run for the same picture."""

    method: str
    anchor: str
    lam: float | None
    sample: Callable[[int], torch.Tensor]
    stock_sampler: str = "euler"
    ratios: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)  # of each forward pass of the counted run
    out: torch.Tensor | None = None
    error: str = ""


def ksampler(case: Case, batch: int, model: Any, sampler: str = "euler") -> Callable[[int], torch.Tensor]:
    import nodes as host

    def sample(steps: int) -> torch.Tensor:
        conds = case.positive, case.negative
        done = host.common_ksampler(model, SEED, steps, CFG, sampler, SCHEDULER, *conds, case.latent(batch))
        return done[0]["samples"]

    return sample


def with_guider(case: Case, latent: dict[str, torch.Tensor], guider: Any) -> Callable[[int], torch.Tensor]:
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced

    sampling = case.reference.get_model_object("model_sampling")

    def sample(steps: int) -> torch.Tensor:
        sigmas = comfy.samplers.calculate_sigmas(sampling, SCHEDULER, steps)
        sampler, noise = comfy.samplers.sampler_object("euler"), Noise_RandomNoise(SEED)
        return SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, dict(latent)).args[0]["samples"]

    return sample


def make_run(case: Case, batch: int, method: str, kind: str, lam: float | None, **options: Any) -> Run:
    """What a workflow does once is done here: the host keeps the outputs of nodes whose inputs do not change.

    options: further inputs of RealignGuider.
    """
    from realign.nodes.guider import RealignGuider, RealignModel
    from realign.nodes.sampler import RealignSampler

    if method == STOCK:
        return Run(method, "–", None, ksampler(case, batch, case.reference))
    anchor, anchor_model = case.anchors[kind]
    if method == GUIDER:
        inputs = case.reference, anchor, case.positive, case.negative, CFG, lam
        guider = RealignGuider.execute(*inputs, **options).args[0]
        return Run(method, kind, lam, with_guider(case, case.latent(batch), guider))
    if method == MODEL:
        model = RealignModel.execute(case.reference, anchor, lam).args[0]
        return Run(method, kind, lam, ksampler(case, batch, model))
    if method == DUAL:
        from comfy_extras.nodes_custom_sampler import DualModelGuider

        guider = DualModelGuider.execute(case.reference, case.positive, CFG, anchor_model, case.negative).args[0]
        return Run(method, kind, lam, with_guider(case, case.latent(batch), guider))
    if method == MERGE:
        return Run(method, kind, lam, ksampler(case, batch, merged(case, kind, lam)))

    def sample(steps: int) -> torch.Tensor:
        done = RealignSampler.execute(
            model=case.reference,
            anchor=anchor,
            positive=case.positive,
            negative=case.negative,
            latent_image=case.latent(batch),
            seed=SEED,
            steps=steps,
            cfg=CFG,
            sampler_name="ddim",
            scheduler=SCHEDULER,
            denoise=1.0,
            lambda_=lam,
        )
        return done.args[0]["samples"]

    return Run(method, kind, lam, sample, "ddim")


def merged(case: Case, kind: str, lam: float) -> Any:
    """The stock interpolation of weights: LoraLoaderModelOnly for a LoRA, ModelMergeSimple for models."""
    from comfy_extras.nodes_model_merging import ModelMergeSimple

    import nodes as host

    if kind == LORA:
        return host.LoraLoaderModelOnly().load_lora_model_only(case.reference, f"{case.kind}_lora.safetensors", lam)[0]
    return ModelMergeSimple().merge(case.reference, case.anchors[kind][1], 1.0 - lam)[0]


def has_dual() -> bool:
    import comfy_extras.nodes_custom_sampler as custom

    return hasattr(custom, "DualModelGuider")


def is_timed(run: Run, kind: str, batch: int, full: bool) -> bool:
    """By default, the larger networks' runs at λ = 0 and 1, all one model alone, are timed for RealignGuider only.

    RealignModel is the guider's code behind another node.
    """
    if full or (kind in LIGHT and batch == 1):
        return True
    if run.lam in (0.0, 1.0):
        return run.method == GUIDER and run.anchor != LOW_RANK
    return run.method != MODEL


def runs_of(case: Case, batch: int, full: bool) -> list[Run]:
    out = [make_run(case, batch, method, kind, lam) for method in PACK_METHODS for kind in ANCHORS for lam in LAMBDAS]
    if full or batch == 1:
        kinds = ANCHORS if full else (FULL_ANCHOR, LORA)  # a low-rank form merged is a LoRA merged
        out += [make_run(case, batch, MERGE, kind, lam) for kind in kinds for lam in (LAMBDAS if full else (0.5,))]
        if has_dual():
            out.append(make_run(case, batch, DUAL, FULL_ANCHOR, None))
    return out


@contextmanager
def counted(case: Case) -> Iterator[list[int]]:
    """The rows of every forward pass of a diffusion network, whichever copy of the weights it runs on."""
    rows: list[int] = []
    kind = type(case.reference.model.diffusion_model)

    def count(module: torch.nn.Module, args: Any) -> None:
        if type(module) is kind:
            rows.append(args[0].shape[0])

    handle = torch.nn.modules.module.register_module_forward_pre_hook(count)
    try:
        yield rows
    finally:
        handle.remove()


def count_and_keep(case: Case, run: Run) -> None:
    try:
        with counted(case) as run.rows:
            run.out = run.sample(CHECK_STEPS).cpu()
    except Exception as error:
        run.error = f"{type(error).__name__}: {error}".splitlines()[0]


@dataclass
class Result:
    kind: str
    batch: int
    unit: Run
    runs: list[Run]
    expected: dict[tuple[str, str, float], torch.Tensor]  # (sampler, anchor kind, λ 0 or 1) -> the stock run

    def find(self, method: str, anchor: str, lam: float | None) -> Run | None:
        wanted = (method, anchor, lam)
        return next((run for run in self.runs if (run.method, run.anchor, run.lam) == wanted), None)

    def verdict(self, run: Run | None) -> str:
        if run is None or run.lam not in (0.0, 1.0):
            return "–"
        if run.out is None:
            return "failed"
        want = self.expected[run.stock_sampler, run.anchor, run.lam]
        if torch.equal(run.out, want):
            return "exact"
        distance = float((run.out - want).abs().max() / want.std())
        return f"{distance:.0e}" if distance <= TOLERANCE else f"WRONG, {distance:.2g}"


def measure(case: Case, batch: int, steps: int, repeats: int, full: bool) -> Result:
    """Every run once to count and compare, then `repeats` rounds in which the runs take turns."""
    unit, runs = make_run(case, batch, STOCK, "–", None), runs_of(case, batch, full)
    for run in (unit, *runs):
        count_and_keep(case, run)
    assert unit.out is not None, unit.error
    expected = {}
    for sampler in ("euler", "ddim"):
        reference = ksampler(case, batch, case.reference, sampler)(CHECK_STEPS).cpu()
        for kind, (_, model) in case.anchors.items():
            expected[sampler, kind, 0.0] = reference
            expected[sampler, kind, 1.0] = ksampler(case, batch, model, sampler)(CHECK_STEPS).cpu()
    timed = [run for run in runs if not run.error and is_timed(run, case.kind, batch, full)]
    for repeat in range(repeats):
        start = repeat * len(timed) // repeats
        take_turns(unit, timed[start:] + timed[:start], steps)
    return Result(case.kind, batch, unit, runs, expected)


def take_turns(unit: Run, runs: Sequence[Run], steps: int) -> None:
    """One round. Each run's ratio is that to the unit's runs before and after; so is the unit's own, to its noise."""
    units = [seconds(unit, steps)]
    for first in range(0, len(runs), BETWEEN_UNITS):
        part = runs[first : first + BETWEEN_UNITS]
        times = [seconds(run, steps) for run in part]
        units.append(seconds(unit, steps))
        for run, taken in zip(part, times):
            run.ratios.append(2 * taken / (units[-2] + units[-1]))
    unit.ratios += [2 * b / (a + c) for a, b, c in zip(units, units[1:], units[2:])]


def seconds(run: Run, steps: int) -> float:
    """Of one run, with its models loaded and its weights patched before."""
    run.sample(1)
    start = now()
    run.sample(steps)
    return now() - start


# Time outside of the network


@dataclass
class Overhead:
    kind: str
    batch: int
    method: str
    anchor: str
    outside: list[float] = field(default_factory=list)  # of the run, not in the network
    beyond: list[float] = field(default_factory=list)  # of the run, more than stock needs for as many rows
    milliseconds: list[float] = field(default_factory=list)  # the same


class Inside:
    """The time and the rows of the forward passes of the case's networks."""

    def __init__(self, case: Case):
        models = [case.reference, *(model for _, model in case.anchors.values())]
        self._modules = {id(m.model.diffusion_model): m.model.diffusion_model for m in models}.values()

    def of(self, run: Run, steps: int) -> tuple[float, float, int]:
        """(seconds of the run, of them outside the network, rows)."""
        run.sample(1)
        self.seconds, self.rows = 0.0, 0
        handles = [m.register_forward_pre_hook(self._before) for m in self._modules]
        handles += [m.register_forward_hook(self._after) for m in self._modules]
        try:
            start = now()
            run.sample(steps)
            total = now() - start
        finally:
            for handle in handles:
                handle.remove()
        return total, total - self.seconds, self.rows

    def _before(self, module: torch.nn.Module, args: Any) -> None:
        self.rows += args[0].shape[0]
        self._start = now()

    def _after(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        self.seconds += now() - self._start


def measure_overhead(case: Case, batch: int) -> list[Overhead]:
    """λ = 0.5: what a run spends outside the network, less what the stock run spends there per row of its own."""
    unit, inside = make_run(case, batch, STOCK, "–", None), Inside(case)
    stock = Overhead(case.kind, batch, STOCK, "–")
    pairs = [
        (make_run(case, batch, method, kind, 0.5), Overhead(case.kind, batch, method, kind))
        for method in (GUIDER, SAMPLER)
        for kind in ANCHORS
    ]
    for _ in range(OVERHEAD_REPEATS):
        before = inside.of(unit, OVERHEAD_STEPS)
        for run, overhead in pairs:
            total, outside, own_rows = inside.of(run, OVERHEAD_STEPS)
            after = inside.of(unit, OVERHEAD_STEPS)
            stock.outside.append(after[1] / after[0])
            per_row = (before[1] + after[1]) / (before[2] + after[2])
            overhead.outside.append(outside / total)
            overhead.beyond.append((outside - per_row * own_rows) / total)
            overhead.milliseconds.append(1000 * (outside - per_row * own_rows))
            before = after
    return [stock, *(overhead for _, overhead in pairs)]
