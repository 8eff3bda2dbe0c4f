"""What a realigned step costs beside the model calls: python benchmarks/overhead.py [--before CLONE]

A network whose forward is nearly free is timed inside and subtracted. What is left of a step, in milliseconds, is the
host's own work and the pack's; the rows of the stock host say how much of a ratio is the machine's noise. The time of a
step is the slope between a short and a long run, so that what a run does once (loading, planning) is apart from it. On
a CPU it is the process's own time, which other work on the machine disturbs less. Each clone has a process of its own;
they take turns run by run, in several rounds of new processes. Medians are printed.
"""

from __future__ import annotations

import argparse
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
from speed_cases import import_pack

PACK = Path(__file__).resolve().parents[1]
SIDE, SWEPT = 128, 21  # of the latent; pictures of the sweep: 7 λ, 3 seeds
SHORT, LONG = 4, 14  # steps
CFG, SEED = 7.0, 42


def now() -> float:
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


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
        start = now()
        out = self.layer(x.movedim(1, -1)).movedim(-1, 1)
        Clock.seconds += now() - start
        Clock.calls += 1
        return out


def enter_host(host: str, clone: Path) -> None:
    """The host on sys.path, and a clone of the pack as the host imports it."""
    sys.path.insert(0, host)
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
    import_pack(clone)


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
def answer() -> None:
    """As a child: names its cases, then measures each that it is asked for, a line each way."""
    ways, warm = cases(), set()
    say(list(ways))
    for line in sys.stdin:
        name = line.strip()
        if name not in warm:
            ways[name](SHORT)
            warm.add(name)
        say([outside(ways[name], steps) for steps in (SHORT, LONG)])


def say(what: Any) -> None:
    print(json.dumps(what), flush=True)


def outside(sample: Sample, steps: int) -> tuple[float, int]:
    """Milliseconds of a run beside its forward passes, and how many of these it had."""
    Clock.reset()
    start = now()
    sample(steps)
    return 1000 * (now() - start - Clock.seconds), Clock.calls


class Child:
    """A clone in a process of its own."""

    def __init__(self, clone: Path, host: str) -> None:
        command = [sys.executable, "-B", __file__, "--host", host, "--child", str(clone)]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.process = subprocess.Popen(command, **pipes, text=True, env=one_thread)
        self.cases: list[str] = self._heard()

    def _heard(self) -> Any:
        for line in self.process.stdout:
            if line.startswith("["):
                return json.loads(line)
        raise SystemExit("a clone failed: run it with --child CLONE to see how")

    def measure(self, case: str) -> tuple[float, float, float]:
        """Of a step and of what a run does once: milliseconds beside the forward passes; forward passes of a step."""
        self.process.stdin.write(f"{case}\n")
        self.process.stdin.flush()
        (short, few), (long, many) = self._heard()
        step = (long - short) / (LONG - SHORT)
        return step, short - SHORT * step, (many - few) / (LONG - SHORT)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


Measured = dict[str, dict[str, list[tuple[float, float, float]]]]  # case -> clone -> its measurements


def measured(clones: dict[str, Path], options: argparse.Namespace) -> Measured:
    out: Measured = {}
    for i in range(options.rounds):
        children = {name: Child(clone, options.host) for name, clone in clones.items()}
        for repeat in range(options.repeats):
            for case in (one for one in next(iter(children.values())).cases if options.only in one):
                for name in list(children)[:: 1 if repeat % 2 else -1]:  # each comes first in turn
                    out.setdefault(case, {}).setdefault(name, []).append(children[name].measure(case))
        for child in children.values():
            child.close()
        print(f"round {i + 1} of {options.rounds}", file=sys.stderr, flush=True)
    return out


def table(found: Measured, clones: list[str]) -> str:
    columns = [f"{what}, {clone}" for what in ("ms per step", "ms per run", "calls per step") for clone in clones]
    lines = [["case", *columns, *(["ms per step: ratio", "quartiles"] if len(clones) > 1 else [])]]
    lines.append(["---"] * len(lines[0]))
    for case, of in found.items():
        row = [case, *(f"{median(one[i] for one in of[clone]):.2f}" for i in range(3) for clone in clones)]
        if len(clones) > 1:
            ratios = sorted(b[0] / a[0] for a, b in zip(of["before"], of["after"]))
            row += [f"{median(ratios):.2f}", f"{ratios[len(ratios) // 4]:.2f}–{ratios[-1 - len(ratios) // 4]:.2f}"]
        lines.append(row)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=os.environ.get("REALIGN_HOST") or os.environ.get("COMFYUI_PATH"))
    parser.add_argument("--before", type=Path, help="a clone to compare with")
    parser.add_argument("--after", type=Path, default=PACK, help="the clone to measure (default: this one)")
    parser.add_argument("--rounds", type=int, default=3, help="processes per clone (default 3)")
    parser.add_argument("--repeats", type=int, default=5, help="runs per process and case (default 5)")
    parser.add_argument("--only", default="", help="cases whose name holds this, e.g. “swept”")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.host or not (Path(options.host) / "comfy").is_dir():
        parser.error("no ComfyUI: give its folder with --host, as `make -s host` prints it")
    if options.child:
        enter_host(options.host, options.child.resolve())
        answer()
        return
    clones = {"before": options.before, "after": options.after} if options.before else {"after": options.after}
    print(table(measured(clones, options), list(clones)))


if __name__ == "__main__":
    main()
