"""As fewer_calls.py, for models in a real ComfyUI: python benchmarks/fewer_calls_models.py --host <ComfyUI's folder>

The demo models (their difference kept whole, as an adapter on the reference), and small random SD 1.5, SDXL and SD3
checkpoints with a LoRA (random weights: a run of theirs is chaotic, so only its calls and times mean something).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

import torch
from fewer_calls import ETAS, LAMBDAS, Row, compare, table

from realign_core import NoiseLevel, Prediction

ROOT = Path(__file__).parents[1]
SAMPLING = {  # scheduler, steps, cfg: as in the workflows that ship with the pack
    "demo": ("normal", 30, 1.5),
    "sd15": ("normal", 30, 7.0),
    "sdxl": ("karras", 30, 6.0),
    "sd3": ("simple", 28, 4.5),
}


def enter_host(host: Path) -> None:
    """The host and the pack in this process, as the tests import them."""
    import os

    os.environ["REALIGN_HOST"] = str(host)
    sys.path.append(str(ROOT / "tests" / "host"))
    import conftest  # noqa: F401


PROMPTS = ("heart", "ball", "square", "star", "moon")  # the demo models'
SEEDS = 5


def models_of(kind: str, folder: Path, prompt: str = PROMPTS[0]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
    """Reference MODEL, anchor MODEL (an adapter on the reference's weights), positive, negative, latent."""
    import comfy.lora
    import tiny_models
    from realign.nodes.demo import RealignDemoModels
    from realign.nodes.models.formats import adapter_clone
    from realign.nodes.models.low_rank import factorise

    if kind == "demo":
        reference, anchor, positive, negative, *_ = RealignDemoModels.execute(prompt, "any", "any").args
        difference, _ = factorise(reference, anchor[0].patcher, 4096)  # more than any layer has: kept whole
        latent = {"samples": torch.zeros(SEEDS, 3, 64, 64)}
        return reference, adapter_clone(reference, difference, 1.0, "demo")[0], positive, negative, latent
    tiny = tiny_models.TinyModels(folder)
    reference = tiny.load(tiny.reference(kind))
    weights = {}
    for name, (up, down) in tiny.lora_weights(kind, strength=0.3).items():
        weights |= {f"diffusion_model.{name}.lora_up.weight": up, f"diffusion_model.{name}.lora_down.weight": down}
    anchor = reference.clone()
    anchor.add_patches(comfy.lora.load_lora(weights, comfy.lora.model_lora_keys_unet(reference.model, {})))
    conds = (tiny_models.conditioning(kind, seed) for seed in (1, 2))
    return reference, anchor, *conds, tiny_models.latent(kind, 2)


class Asked:
    """An evaluator that asks a run's models what it is told to: (called, merged), and keeps their answers."""

    question: tuple[Any, ...]

    def __call__(self, ask: Any, x: torch.Tensor, level: NoiseLevel, weights: torch.Tensor) -> Prediction:
        self.answers = ask(x, level, *self.question)
        known = next(iter(self.answers.values()))
        return Prediction([None] * len(weights), self.question[0] & False, known, 1)


def measure(kind: str, folder: Path, lam: float, eta: float, **options: Any) -> list[Row]:
    """`compare` for each prompt, the elements of all of them together."""
    prompts = PROMPTS if kind == "demo" else PROMPTS[:1]
    tables = [_measured(kind, folder, prompt, lam, eta, **options) for prompt in prompts]
    return [
        Row(rows[0].method, fmean(r.calls for r in rows), tuple(d for r in rows for d in r.distances))
        for rows in zip(*tables)
    ]


def _measured(kind: str, folder: Path, prompt: str, lam: float, eta: float, **options: Any) -> list[Row]:
    """`compare` inside a run of the host's: what it calls are the models that RealignSampler would."""
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced
    from realign.nodes.models.anchor import Anchor
    from realign.nodes.models.pair import noise_levels
    from realign.nodes.run.attach import attach
    from realign.nodes.run.realignment import Realignment

    reference, anchor, positive, negative, latent = models_of(kind, folder, prompt)
    scheduler, steps, cfg = SAMPLING[kind]
    realignment = Realignment.of((Anchor(anchor, kind),), lam, None)
    guider = comfy.samplers.CFGGuider(attach(reference, realignment))
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    sampling = reference.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, scheduler, steps)
    rows: list[Row] = []

    def sample(model: Any, x: torch.Tensor, sigmas: torch.Tensor, extra_args: Any, **_: Any) -> torch.Tensor:
        levels, asked = noise_levels(reference, sigmas), Asked()
        extra_args["model_options"]["realign"].evaluate = asked
        sigma_of = {level: sigma * x.new_ones(len(x)) for level, sigma in zip(levels, sigmas)}

        def ask(x: torch.Tensor, level: NoiseLevel, *question: Any) -> dict[int, torch.Tensor]:
            asked.question = question
            model(x, sigma_of[level], **extra_args)
            return asked.answers

        rows.extend(compare(ask, x, levels, [[lam]] * (len(levels) - 1), eta=eta, can_merge=True, **options))
        return x

    SamplerCustomAdvanced.execute(Noise_RandomNoise(3), guider, comfy.samplers.KSAMPLER(sample), sigmas, latent)
    return rows


def timed(kind: str, folder: Path, lam: float, repeats: int) -> str:
    """Markdown: time of whole runs as ratios to the stock run of the reference, taking turns; median (quartiles)."""
    from comfy.samplers import CFGGuider, calculate_sigmas, sampler_object
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced
    from realign.nodes.demo import RealignDemoModels
    from realign.nodes.guider import RealignGuider
    from realign.nodes.models.anchor import Anchor
    from realign.nodes.run.fewer_calls import CONTROL, OFF, REUSE

    reference, anchor, positive, negative, latent = models_of(kind, folder)
    scheduler, steps, cfg = SAMPLING[kind]
    sigmas = calculate_sigmas(reference.get_model_object("model_sampling"), scheduler, steps)
    stock = CFGGuider(reference)
    stock.set_conds(positive, negative)
    stock.set_cfg(cfg)
    guiders = {"stock, one model": stock}
    if kind == "demo":  # as it ships: as an adapter it is as large as the model, and each of its rows costs two
        anchor = RealignDemoModels.execute(PROMPTS[0], "any", "any").args[1][0].patcher
    for method in (OFF, REUSE, CONTROL):
        node = RealignGuider.execute(
            reference, (Anchor(anchor, kind),), positive, negative, cfg, lam, fewer_calls=method, calls_per_step=1.2
        )
        guiders["exact" if method == OFF else method] = node.args[0]
    times: dict[str, list[float]] = {name: [] for name in guiders}
    for _ in range(repeats + 1):  # the first run loads
        for name, guider in guiders.items():
            start = time.perf_counter()
            SamplerCustomAdvanced.execute(Noise_RandomNoise(3), guider, sampler_object("euler"), sigmas, latent)
            times[name].append(time.perf_counter() - start)
    lines = ["| run | time |", "| --- | --- |"]
    for name, taken in times.items():
        ratios = [mine / one for mine, one in zip(taken[1:], times["stock, one model"][1:])]
        low, middle, high = quantiles(ratios, n=4)
        lines.append(f"| {name} | {middle:.2f} ({low:.2f} … {high:.2f}) |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", type=Path, required=True)
    parser.add_argument("--models", choices=list(SAMPLING), nargs="+", default=["demo"])
    parser.add_argument("--extra", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--repeats", type=int, default=5, help="of the timed runs; 0 leaves them out")
    parser.add_argument("--time-only", action="store_true")
    options = parser.parse_args()
    enter_host(options.host)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for kind in options.models:
            base = Path(folder) / kind
            for name in ("checkpoints", "loras", "controlnet"):
                (base / name).mkdir(parents=True)
            if options.repeats:
                print(f"\n{kind}, {SAMPLING[kind][1]} steps of euler at λ 0.5, 1.2 calls per step asked for\n")
                print(timed(kind, base, 0.5, options.repeats), flush=True)
            if options.time_only:
                continue
            columns = {
                (eta, lam): measure(kind, base, lam, eta, extra=options.extra, adaptive=((5, 0.4),))
                for eta in ETAS
                for lam in LAMBDAS
            }
            print(f"\n{kind}, {SAMPLING[kind][1]} steps: distance of the final latent to the exact run\n")
            print(table(columns), flush=True)


if __name__ == "__main__":
    main()
