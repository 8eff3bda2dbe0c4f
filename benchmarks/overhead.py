"""What a realigned step costs beside the model calls: python benchmarks/overhead.py [--before CLONE]

A network whose forward is nearly free is timed inside and subtracted. What is left of a step, in milliseconds, is the
host's own work and the pack's; the rows of the stock host hold no more than the machine's noise between the clones.
The time of a step is the slope between short and long runs, so that what a run does once (loading, planning) is apart
from it. The clones take turns, each time in a new process; medians of the rounds are printed. Nothing else should run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

PACK = Path(__file__).resolve().parents[1]
SIDE, SWEPT = 128, 21  # of the latent; pictures of the sweep: 7 λ, 3 seeds
SHORT, LONG = 5, 25  # steps
CFG, SEED = 7.0, 42


class Clock:
    """Seconds spent in forward passes, and how many there were."""

    seconds, calls = 0.0, 0

    @classmethod
    def reset(cls) -> None:
        cls.seconds, cls.calls = 0.0, 0


class PerPixel(torch.nn.Module):
    """One small layer per pixel: a network that a LoRA fits on and that costs next to nothing."""

    dtype = torch.float32

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 2

    def forward(self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor, **_: Any) -> torch.Tensor:
        start = time.perf_counter()
        out = self.layer(x.movedim(1, -1)).movedim(-1, 1)
        Clock.seconds += time.perf_counter() - start
        Clock.calls += 1
        return out


def enter_host(host: str, clone: Path) -> None:
    """The host on sys.path, and a clone of the pack as the host imports it."""
    sys.path.insert(0, host)
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
    spec = importlib.util.spec_from_file_location(
        "realign", clone / "__init__.py", submodule_search_locations=[str(clone)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["realign"] = module
    spec.loader.exec_module(module)
    import comfy.utils

    comfy.utils.set_progress_bar_enabled(False)


def node(node_id: str) -> Any:
    """Of the clone at hand, wherever its file lies."""
    from realign.nodes import NODES

    return next(one for one in NODES if one.define_schema().node_id == node_id)


def first_option(node_id: str, name: str) -> str:
    return str(next(one for one in node(node_id).define_schema().inputs if one.id == name).options[0])


def models() -> tuple[Any, dict[str, Any]]:
    """The reference, and a MODEL for each kind of anchor."""
    import comfy.latent_formats
    import comfy.model_base
    import comfy.supported_models_base
    from comfy.model_patcher import ModelPatcher
    from comfy.weight_adapter.lora import LoRAAdapter

    def model(seed: int) -> Any:
        config = comfy.supported_models_base.BASE({"disable_unet_model_creation": True, "in_channels": 4})
        config.latent_format = comfy.latent_formats.LatentFormat()
        config.memory_usage_factor = 0.0  # so that what else is in memory does not divide the batches
        base = comfy.model_base.BaseModel(config, comfy.model_base.ModelType.EPS)
        base.diffusion_model = PerPixel(seed)
        return ModelPatcher(base, torch.device("cpu"), torch.device("cpu"))

    reference = model(1)
    generator = torch.Generator().manual_seed(3)
    up, down = (torch.randn(shape, generator=generator) for shape in ((4, 2), (2, 4)))
    lora = reference.clone()
    lora.add_patches({"diffusion_model.layer.weight": LoRAAdapter(set(), (up, down, 2.0, None, None, None))})
    return reference, {"full": model(2), "LoRA": lora}


Sample = Callable[[int], Any]  # steps


def with_guider(guider: Any, latent: dict[str, Any]) -> Sample:
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced

    def sample(steps: int) -> None:
        sampling = guider.model_patcher.get_model_object("model_sampling")
        sigmas = comfy.samplers.calculate_sigmas(sampling, "normal", steps)
        euler = comfy.samplers.sampler_object("euler")
        SamplerCustomAdvanced.execute(Noise_RandomNoise(SEED), guider, euler, sigmas, latent)

    return sample


def cases() -> dict[str, Sample]:
    """Ways to sample, by name. With the sweep every λ is one that needs both models."""
    import comfy.samplers

    reference, others = models()
    conds = [[[torch.full((1, 1, 1), value), {}]] for value in (0.3, -0.1)]
    one = {"samples": torch.zeros(1, 4, SIDE, SIDE)}
    span = first_option("RealignSweep", "values")
    swept, sweep = node("RealignSweep").execute(one, span, 0.2, 0.8, 7, "", 3, "seed", "", batch_size=SWEPT).args
    out: dict[str, Sample] = {}
    for size, latent, schedule in (("1 picture", one, None), (f"{SWEPT} swept", swept, sweep)):
        stock = comfy.samplers.CFGGuider(reference)
        stock.set_conds(*conds)
        stock.set_cfg(CFG)
        out[f"stock, {size}"] = with_guider(stock, latent)
        for kind, other in others.items():
            source = first_option("RealignAnchorFromModel", "beta_source")
            anchor = node("RealignAnchorFromModel").execute(other, source, 1.0).args[0]
            guider = node("RealignGuider").execute(reference, anchor, *conds, CFG, 0.5, lambda_schedule=schedule)
            out[f"guider, {kind}, {size}"] = with_guider(guider.args[0], latent)
            out[f"sampler, {kind}, {size}"] = with_sampler(reference, anchor, conds, latent, schedule)
    return out


def with_sampler(reference: Any, anchor: Any, conds: list[Any], latent: dict[str, Any], schedule: Any) -> Sample:
    def sample(steps: int) -> None:
        node("RealignSampler").execute(
            model=reference,
            anchor=anchor,
            positive=conds[0],
            negative=conds[1],
            latent_image=latent,
            seed=SEED,
            steps=steps,
            cfg=CFG,
            sampler_name="ddim",
            scheduler="normal",
            denoise=1.0,
            lambda_=0.5,
            lambda_schedule=schedule,
        )

    return sample


@torch.inference_mode()
def measured(repeats: int) -> dict[str, tuple[float, float, float]]:
    """By case: ms of a step and of a run's once-only work, both beside the forward passes, and those of a step."""
    out = {}
    for name, sample in cases().items():
        sample(SHORT)
        times: dict[int, list[float]] = {SHORT: [], LONG: []}
        calls: dict[int, int] = {}
        for _ in range(repeats):
            for steps, found in times.items():
                Clock.reset()
                start = time.perf_counter()
                sample(steps)
                found.append(1000 * (time.perf_counter() - start - Clock.seconds))
                calls[steps] = Clock.calls
        short, long = median(times[SHORT]), median(times[LONG])
        step = (long - short) / (LONG - SHORT)
        out[name] = (step, short - SHORT * step, (calls[LONG] - calls[SHORT]) / (LONG - SHORT))
    return out


def child(clone: Path, options: argparse.Namespace) -> dict[str, list[float]]:
    command = [sys.executable, "-B", __file__, "--host", options.host, "--repeats", str(options.repeats)]
    done = subprocess.run([*command, "--child", str(clone)], stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def table(rounds: dict[str, list[dict[str, list[float]]]]) -> str:
    """One row per case: step, once and forward passes of every clone, and the ratios of the last to the first."""
    clones = list(rounds)
    head = [f"{what}, {clone}" for what in ("ms per step", "ms per run", "calls per step") for clone in clones]
    ratios = len(clones) > 1
    lines = [["case", *head, *(["step: ratio", "its quartiles"] if ratios else [])]]
    for name in rounds[clones[0]][0]:
        values = {clone: list(zip(*(one[name] for one in rounds[clone]))) for clone in clones}
        row = [name, *(f"{median(values[clone][i]):.2f}" for i in range(3) for clone in clones)]
        if ratios:
            paired = sorted(b / a for a, b in zip(values["before"][0], values["after"][0]))
            row += [f"{median(paired):.2f}", f"{paired[len(paired) // 4]:.2f}–{paired[-1 - len(paired) // 4]:.2f}"]
        lines.append(row)
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=os.environ.get("REALIGN_HOST") or os.environ.get("COMFYUI_PATH"))
    parser.add_argument("--before", type=Path, help="a clone to compare with")
    parser.add_argument("--after", type=Path, default=PACK, help="the clone to measure (default: this one)")
    parser.add_argument("--rounds", type=int, default=5, help="processes per clone (default 5)")
    parser.add_argument("--repeats", type=int, default=5, help="runs per process and case (default 5)")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.host or not (Path(options.host) / "comfy").is_dir():
        parser.error("no ComfyUI: give its folder with --host, as `make -s host` prints it")
    if options.child:
        enter_host(options.host, options.child.resolve())
        print(json.dumps(measured(options.repeats)))
        return
    clones = {"before": options.before, "after": options.after} if options.before else {"after": options.after}
    rounds: dict[str, list[dict[str, list[float]]]] = {name: [] for name in clones}
    for i in range(options.rounds):
        for name in list(clones)[:: 1 if i % 2 else -1]:  # each comes first in turn
            rounds[name].append(child(clones[name], options))
            print(f"round {i + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
    print(table(rounds))


if __name__ == "__main__":
    main()
