"""Time, model calls and memory of the Realign nodes beside the host's own, in a real ComfyUI: `make bench`.

All runs are sampling runs of the host's nodes, without VAE and text encoder, on random weights of real architectures
(tests/host/tiny_models.py) and on the demo models. Machines are noisy, so only ratios are reported: the methods take
turns in one process, each time is divided by that of the stock KSampler's runs right before and after it, and the
median of the repeats is given with its quartiles. Memory is measured in a fresh process for each method.

Writes benchmarks/results/speed.md and speed.png.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

PACK = Path(__file__).resolve().parents[1]
sys.path += [str(PACK / "tools"), str(PACK / "tests" / "host")]

from demo_host import default_host, import_host  # noqa: E402

RESULTS = PACK / "benchmarks" / "results"
SEED, CFG, SCHEDULER = 42, 7.0, "normal"
TOLERANCE = 1e-4  # of the latent's standard deviation
LAMBDAS = (0.0, 0.5, 1.0)
ARCHITECTURES = ("sd15", "sdxl", "sd3", "demo")
NAMES = {"sd15": "SD 1.5, small", "sdxl": "SDXL, small", "sd3": "SD3, small", "demo": "demo models"}
NAMES |= {"full_sd15": "SD 1.5, full size", "full_sdxl": "SDXL, full size"}
SIZES = {"sd15": 8, "sdxl": 8, "sd3": 64, "demo": 64, "full_sd15": 64, "full_sdxl": 128}  # latents, per side
FULL_ANCHOR, LORA, LOW_RANK = "full", "LoRA", "low rank"
ANCHORS = (FULL_ANCHOR, LORA, LOW_RANK)
RANK, LORA_RANK = 64, 16
STOCK, SAMPLER, GUIDER, MODEL = "KSampler, one model", "RealignSampler", "RealignGuider", "RealignModel"
DUAL, MERGE = "DualModelGuider", "merged weights"
PACK_METHODS = (SAMPLER, GUIDER, MODEL)
CHECK_STEPS = 3  # of the run that is counted and compared
OVERHEAD_STEPS, OVERHEAD_REPEATS = 10, 3
LIGHT = ("sd3", "demo")  # quick enough to time everything by default
BETWEEN_UNITS = 3  # timed runs between two runs of the unit
MEMORY_KIND = "sdxl"  # 400 MB of weights where it is small
OVERHEAD = (("sdxl", 1), ("demo", 4))  # the network's own time is long enough to compare with; by default the first
TARGET = 0.02


# The host and the pack


def enter_host(path: str | None, device: str) -> None:
    """The host on sys.path, and the pack as the host imports it: a package of its own name, made of its folder."""
    import_host(path)
    from comfy.cli_args import args

    args.cpu = args.cpu or device == "cpu"
    if (os.cpu_count() or 1) <= 2 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)  # two threads on two shared cores wait for each other
    spec = importlib.util.spec_from_file_location(
        "realign", PACK / "__init__.py", submodule_search_locations=[str(PACK)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["realign"] = module
    spec.loader.exec_module(module)
    import comfy.utils

    comfy.utils.set_progress_bar_enabled(False)


def use_folder(folder: Path) -> None:
    """The host's model and user folders, in a scratch folder of this run's own."""
    import folder_paths

    for kind in ("checkpoints", "loras"):
        (folder / kind).mkdir(exist_ok=True)
        _, extensions = folder_paths.folder_names_and_paths[kind]
        folder_paths.folder_names_and_paths[kind] = ([str(folder / kind)], extensions)
    folder_paths.set_user_directory(str(folder))


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def device_name() -> str:
    import comfy.model_management

    device = comfy.model_management.get_torch_device()
    if device.type != "cpu":
        return str(comfy.model_management.get_torch_device_name(device))
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"CPU, {names[0] if names else platform.processor()}, {torch.get_num_threads()} thread(s)"


# Models


@dataclass
class Case:
    """A reference and its anchors, loaded. anchors: kind -> (REALIGN_ANCHOR, the anchor as a MODEL)."""

    kind: str
    reference: Any
    anchors: dict[str, tuple[Any, Any]]
    positive: Any
    negative: Any
    channels: int

    def latent(self, batch: int) -> dict[str, torch.Tensor]:
        return {"samples": torch.zeros(batch, self.channels, SIZES[self.kind], SIZES[self.kind])}


def load_case(kind: str, folder: Path, anchors: Sequence[str] = ANCHORS) -> Case:
    """By the host's and the pack's own loaders, from files that are written on first use."""
    if kind == "demo":
        return load_demo(folder, anchors)
    import comfy.sd
    import tiny_models
    from realign.nodes.load_anchor import LoadAnchorModel

    paths = write_full_size(kind, folder) if kind.startswith("full_") else write_small(kind, folder)
    reference = comfy.sd.load_checkpoint_guess_config(str(paths[0]), output_vae=False, output_clip=False)[0]
    loaded = {}
    for anchor in anchors:
        name = f"loras/{write_lora(kind, reference, folder)}" if anchor == LORA else f"checkpoints/{paths[1].name}"
        low_rank = RANK if anchor == LOW_RANK else 0
        loaded[anchor] = LoadAnchorModel.execute(reference, name, 1.0, "unknown / no KL term", 0.0, low_rank).args
    base = kind.removeprefix("full_")
    conditioning = [tiny_models.conditioning(base, seed) for seed in (1, 2)]
    return Case(kind, reference, loaded, *conditioning, 16 if base == "sd3" else 4)


def load_demo(folder: Path, anchors: Sequence[str]) -> Case:
    from realign.nodes.anchor import Anchor
    from realign.nodes.demo import RealignDemoModels
    from realign.nodes.load_anchor import LoadAnchorModel, low_rank_clone

    reference, anchor, positive, negative, _ = RealignDemoModels.execute("heart", "red", "any").args
    loaded = {}
    for kind in anchors:
        if kind == LORA:
            name = f"loras/{write_lora('demo', reference, folder)}"
            loaded[kind] = LoadAnchorModel.execute(reference, name, 1.0, "unknown / no KL term", 0.0).args
        elif kind == LOW_RANK:
            patcher, _ = low_rank_clone(reference, anchor.patcher, RANK, "demo")
            loaded[kind] = (Anchor(patcher, "demo"), patcher)
        else:
            loaded[kind] = (anchor, anchor.patcher)
    return Case("demo", reference, loaded, positive, negative, 3)


def write_small(kind: str, folder: Path) -> tuple[Path, Path]:
    import tiny_models

    paths = [folder / "checkpoints" / f"{kind}_{which}.safetensors" for which in ("reference", "speed_anchor")]
    if all(path.exists() for path in paths):  # making the weights again would be in the memory that is measured
        return paths[0], paths[1]
    tiny = tiny_models.TinyModels(folder)
    weights = tiny.weights(kind)
    # SD3's table of positions is no trained weight, and no patch can change it.
    moved = {k: weights[k] if k == "pos_embed" else v for k, v in tiny_models.perturbed(weights, 7).items()}
    return tiny.reference(kind), tiny.checkpoint(f"{kind}_speed_anchor", moved)


def write_full_size(kind: str, folder: Path) -> tuple[Path, Path]:
    """Checkpoints of random fp16 weights in the real sizes; the anchor is moved by a tenth of each weight's spread."""
    import comfy.model_management
    from safetensors.torch import save_file

    paths = [folder / "checkpoints" / f"{kind}_{which}.safetensors" for which in ("reference", "anchor")]
    if all(path.exists() for path in paths):
        return paths[0], paths[1]
    device = comfy.model_management.get_torch_device()
    for path, amount in zip(paths, (0.0, 0.1)):
        generator, moving = (torch.Generator(device).manual_seed(seed) for seed in (1, 2))
        weights = {}
        for name, shape in full_size_shapes(kind).items():
            value = torch.randn(shape, generator=generator, device=device)
            if len(shape) > 1:
                value /= shape[1:].numel() ** 0.5
            else:
                value = 0.1 * value + (1.0 if name.endswith("weight") else 0.0)
            if amount:
                value += amount * value.std().nan_to_num(0.1) * torch.randn(shape, generator=moving, device=device)
            weights[f"model.diffusion_model.{name}"] = value.half().cpu()
        save_file(weights, path)
    return paths[0], paths[1]


def full_size_shapes(kind: str) -> dict[str, torch.Size]:
    import comfy.ops
    import tiny_models
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    if kind == "full_sd15":
        module = tiny_models.full_sd15()
    else:
        sdxl = tiny_models.UNET["sdxl"] | {
            "channel_mult": [1, 2, 4],
            "transformer_depth": [0, 0, 2, 2, 10, 10],
            "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
            "transformer_depth_middle": 10,
        }
        common = dict(image_size=32, in_channels=4, out_channels=4, use_spatial_transformer=True, legacy=False)
        module = UNetModel(**common, **sdxl, device="meta", operations=comfy.ops.disable_weight_init)
    return {name: value.shape for name, value in module.state_dict().items()}


def write_lora(kind: str, reference: Any, folder: Path) -> str:
    """A LoRA on every attention and feed-forward matrix; its file's name."""
    from safetensors.torch import save_file

    path = folder / "loras" / f"{kind}_lora.safetensors"
    if path.exists():
        return path.name
    generator, out = torch.Generator().manual_seed(5), {}
    for name, value in reference.model.diffusion_model.state_dict().items():
        layer = name.removesuffix(".weight")
        if layer != name and value.ndim == 2 and any(part in name for part in ("attn", ".ff.", "mlp")):
            up = 0.3 * torch.randn(value.shape[0], LORA_RANK, generator=generator)
            down = torch.randn(LORA_RANK, value.shape[1], generator=generator) / (value.shape[1] * LORA_RANK) ** 0.5
            out[f"diffusion_model.{layer}.lora_up.weight"] = up.to(value.dtype)
            out[f"diffusion_model.{layer}.lora_down.weight"] = down.to(value.dtype)
    save_file(out, path)
    return path.name


# Runs


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


def with_guider(case: Case, batch: int, guider: Any) -> Callable[[int], torch.Tensor]:
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced

    sampling = case.reference.get_model_object("model_sampling")

    def sample(steps: int) -> torch.Tensor:
        sigmas = comfy.samplers.calculate_sigmas(sampling, SCHEDULER, steps)
        sampler, noise = comfy.samplers.sampler_object("euler"), Noise_RandomNoise(SEED)
        return SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, case.latent(batch)).args[0]["samples"]

    return sample


def make_run(case: Case, batch: int, method: str, kind: str, lam: float | None) -> Run:
    """What a workflow does once is done here: the host keeps the outputs of nodes whose inputs do not change."""
    from realign.nodes.guider import RealignGuider, RealignModel
    from realign.nodes.sampler import RealignSampler

    if method == STOCK:
        return Run(method, "–", None, ksampler(case, batch, case.reference))
    anchor, anchor_model = case.anchors[kind]
    if method == GUIDER:
        guider = RealignGuider.execute(case.reference, anchor, case.positive, case.negative, CFG, lam).args[0]
        return Run(method, kind, lam, with_guider(case, batch, guider))
    if method == MODEL:
        model = RealignModel.execute(case.reference, anchor, lam).args[0]
        return Run(method, kind, lam, ksampler(case, batch, model))
    if method == DUAL:
        from comfy_extras.nodes_custom_sampler import DualModelGuider

        guider = DualModelGuider.execute(case.reference, case.positive, CFG, anchor_model, case.negative).args[0]
        return Run(method, kind, lam, with_guider(case, batch, guider))
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


# Memory


def memory_child(method: str, anchor: str, kind: str, folder: Path) -> dict[str, float]:
    """In a fresh process: bytes of the loaded models as the host counts them, and the peak while sampling."""
    import comfy.model_management

    base = peak_memory()
    anchors = [] if method == STOCK else [anchor]
    case = load_case(kind, folder, anchors)
    run = make_run(case, 1, method, anchor, None if method in (STOCK, DUAL) else 0.5)
    loading = peak_memory() - base
    give_back_freed()
    seen: list[int] = []

    def look(module: torch.nn.Module, args: Any) -> None:
        if type(module) is type(case.reference.model.diffusion_model):
            models = [loaded for loaded in comfy.model_management.current_loaded_models if loaded.model is not None]
            seen.append(sum(loaded.model_memory() for loaded in models))

    reset_peak()
    handle = torch.nn.modules.module.register_module_forward_pre_hook(look)
    run.sample(2)
    handle.remove()
    return {"host": float(max(seen)), "peak": peak_memory() - base, "loading": loading, "calls": len(seen) / 2}


def give_back_freed() -> None:
    """What loading has freed, to the system where the C library can, so that it is not counted as used."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def reset_peak() -> None:
    """Forget the peak so far, where the system can: CUDA, and Linux (proc(5), clear_refs)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> float:
    """Bytes: of the GPU where there is one, else of the process."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    if status.is_file():  # as ru_maxrss, but `reset_peak` resets it
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def measure_memory(kind: str, folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The unit first. Files and the cached low-rank difference are there before."""
    wanted = [(STOCK, "–")]
    wanted += [(method, a) for method in (PACK_METHODS if options.full else (GUIDER,)) for a in ANCHORS]
    wanted += [(MERGE, kind) for kind in ((FULL_ANCHOR, LORA, LOW_RANK) if options.full else (FULL_ANCHOR, LORA))]
    wanted += [(DUAL, FULL_ANCHOR)] if has_dual() else []
    out = []
    for method, anchor in wanted:
        command = [sys.executable, __file__, "--host", options.host, "--device", options.device]
        command += ["--memory-child", method, anchor, kind, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            say(f"  {method}, {anchor}: failed\n{done.stderr[-2000:]}")
            continue
        out.append({"method": method, "anchor": anchor, **json.loads(done.stdout.splitlines()[-1])})
    return out


# Report


def say(text: str) -> None:
    print(text, flush=True)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, first and third quartile."""
    if len(values) < 2:
        return (values[0],) * 3 if values else (float("nan"),) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, low, high


def spread(values: Sequence[float], percent: bool = False) -> str:
    middle, low, high = (v * (100 if percent else 1) for v in quartiles(values))
    digits, sign = (1, " %") if percent else (2, "")
    return f"{middle:.{digits}f}{sign} ({low:.{digits}f} … {high:.{digits}f})"


def table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


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


# Plot

BACKGROUND, AXIS, GRID, INK = (24, 24, 27), (161, 161, 170), (52, 52, 58), (244, 244, 245)
COLOURS = [(96, 165, 250), (251, 191, 36), (74, 222, 128), (244, 114, 182), (167, 139, 250), (248, 113, 113)]
SCALE, BAR, LABEL, PANEL, GAP, TOP = 2, 7, 190, 420, 40, 64  # px, before SCALE


def plot(results: Sequence[Result], memory: Sequence[dict[str, Any]], path: Path) -> None:
    """Bars per method and anchor: time at λ = 0.5, one bar per architecture, and beside them the memory."""
    from PIL import Image, ImageDraw, ImageFont

    rows = [(STOCK, "–"), *dict.fromkeys((run.method, run.anchor) for result in results for run in result.runs)]
    height = len(results) * BAR + 8
    size = (LABEL + PANEL + GAP + PANEL // 2 + 40, TOP + height * len(rows) + 18 * ((len(results) + 1) // 2) + 34)
    image = Image.new("RGB", (size[0] * SCALE, size[1] * SCALE), BACKGROUND)
    draw = ImageDraw.Draw(image)
    font, small = (ImageFont.truetype(PACK / "assets" / "RealignSans.ttf", px * SCALE) for px in (14, 11))

    def text(x: float, y: float, words: str, fill: Any = INK, face: Any = small, anchor: str = "lm") -> None:
        draw.text((x * SCALE, y * SCALE), words, fill=fill, font=face, anchor=anchor)

    def box(x0: float, y0: float, x1: float, y1: float, **look: Any) -> None:
        draw.rectangle([v * SCALE for v in (x0, y0, x1, y1)], **look)

    def axis(left: float, width: float, top: float, title: str) -> Callable[[float], float]:
        text(left, 18, title, face=font)
        for tick in range(int(top) + 1):
            x, bottom = left + tick / top * width, TOP + height * len(rows)
            box(x, TOP - 8, x, bottom, fill=AXIS if tick in (0, 1) else GRID)
            text(x, TOP - 18, str(tick), AXIS, anchor="mm")
        return lambda value: left + min(value, top) / top * width

    def ratios(result: Result, method: str, anchor: str) -> list[float]:
        if method == STOCK:
            return result.unit.ratios
        run = result.find(method, anchor, 0.5) or result.find(method, anchor, None)
        return run.ratios if run else []

    found = [quartiles(r)[2] for result in results for row in rows if (r := ratios(result, *row))]
    time_x = axis(LABEL, PANEL, max(3.0, int(max(found)) + 1.0), "time, one model = 1, λ = 0.5")
    most = max([2.0, *(one[key] / memory[0][key] for one in memory for key in ("host", "peak"))])
    memory_x = axis(LABEL + PANEL + GAP, PANEL / 2, int(most) + 1.0, "memory, one model = 1")
    for i, (method, anchor) in enumerate(rows):
        y = TOP + i * height
        text(LABEL - 10, y + height / 2 - 4, method if method == STOCK else f"{method}, {anchor}", anchor="rm")
        for j, result in enumerate(results):
            values = ratios(result, method, anchor)
            if values:
                middle, low, high = quartiles(values)
                centre = y + j * BAR + BAR / 2
                box(time_x(0), y + j * BAR, time_x(middle), y + (j + 1) * BAR - 2, fill=COLOURS[j % len(COLOURS)])
                box(time_x(low), centre - 1.2, time_x(high), centre - 0.6, fill=INK)
                for end in (low, high):
                    box(time_x(end), centre - 2.5, time_x(end) + 0.5, centre + 1, fill=INK)
        for one in memory:
            if (one["method"], one["anchor"]) == (method, anchor):
                middle = y + (height - 8) / 2
                box(memory_x(0), y, memory_x(one["host"] / memory[0]["host"]), middle - 1, fill=COLOURS[0])
                box(memory_x(0), middle + 1, memory_x(one["peak"] / memory[0]["peak"]), y + height - 9, fill=AXIS)
    y = TOP + height * len(rows) + 20
    for j, result in enumerate(results):
        x, line = LABEL + j % 2 * PANEL / 2, y + j // 2 * 18
        box(x, line - 5, x + 10, line + 5, fill=COLOURS[j % len(COLOURS)])
        text(x + 15, line, f"{NAMES[result.kind]}, batch {result.batch}")
    for j, (colour, name) in enumerate(((COLOURS[0], "loaded models"), (AXIS, "peak while sampling"))):
        x, line = LABEL + PANEL + GAP, y + j * 18
        box(x, line - 5, x + 10, line + 5, fill=colour)
        text(x + 15, line, name)
    image.save(path, optimize=True)


# The command


def batches_of(kind: str, options: argparse.Namespace) -> list[int]:
    return [1, 4] if options.full or kind == "demo" else [1]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=default_host(), help="ComfyUI's folder")
    parser.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument(
        "--full", action="store_true", help="time everything, at batch 1 and 4; overhead of the demo models too"
    )
    parser.add_argument("--repeats", type=int, default=4, help="rounds (default 4)")
    parser.add_argument("--steps", type=int, default=4, help="of each sampling run (default 4)")
    parser.add_argument("--device", choices=("host", "cpu"), default="host", help="host: as ComfyUI decides")
    parser.add_argument("--full-size", nargs="+", choices=("sd15", "sdxl"), default=[], help="needs a CUDA GPU")
    parser.add_argument("--skip", nargs="+", choices=("overhead", "memory"), default=[], help="leave these parts out")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of speed.md and speed.png")
    parser.add_argument("--memory-child", nargs=4, help=argparse.SUPPRESS)
    return parser.parse_args()


@torch.inference_mode()
def main() -> int:
    options = parse()
    enter_host(options.host, options.device)
    if options.memory_child:
        method, anchor, kind, folder = options.memory_child
        use_folder(Path(folder))
        say(json.dumps(memory_child(method, anchor, kind, Path(folder))))
        return 0
    if options.full_size and (options.device == "cpu" or not torch.cuda.is_available()):
        say("--full-size needs a CUDA GPU, and torch sees none: one run would take hours. Leave it out.")
        return 1
    kinds = [f"full_{kind}" for kind in options.full_size] or options.architectures
    memory_kind = kinds[0] if options.full_size else MEMORY_KIND
    results: list[Result] = []
    overheads: list[Overhead] = []
    memory: list[dict[str, Any]] = []
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="realign-speed-") as scratch:
        folder = Path(scratch)
        use_folder(folder)
        for kind in kinds:
            say(f"{NAMES[kind]} ({time.monotonic() - begin:.0f} s)")
            case = load_case(kind, folder)
            for batch in batches_of(kind, options):
                results.append(measure(case, batch, options.steps, options.repeats, options.full))
                say(f"\n{time_table(results[-1])}\n\n({time.monotonic() - begin:.0f} s)")
                wanted = OVERHEAD if options.full else OVERHEAD[:1]
                if "overhead" not in options.skip and ((kind, batch) in wanted or options.full_size):
                    overheads += measure_overhead(case, batch)
        if "memory" not in options.skip:
            say(f"memory ({time.monotonic() - begin:.0f} s)")
            if memory_kind not in kinds:
                load_case(memory_kind, folder)
            memory = measure_memory(memory_kind, folder, options)
    text = report(results, overheads, memory, memory_kind, options)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "speed.md").write_text(text, encoding="utf-8")
    plot(results, memory, options.out / "speed.png")
    say(f"\n{text}\nWrote {options.out / 'speed.md'} and speed.png in {time.monotonic() - begin:.0f} s.")
    wrong = [run for result in results for run in result.runs if run.error or "WRONG" in result.verdict(run)]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
