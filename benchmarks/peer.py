"""The papers' settings beside diffusers: `make peer`. Minutes on one core.

Two models at λ, by the pack's nodes in the host and by diffusers' own schedulers: on the same weights, σ and noise, and
with what each calls a schedule. Writes peer.md to benchmarks/results; ends with an error where a bar is not met.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from fewer_calls_models import enter_host
from peer_networks import APART, EPS, FLOW, SHARE, Pair, V, demo_pair, random_pair
from peer_runs import (
    GUIDER,
    SAMPLER,
    SEED,
    Ours,
    Theirs,
    by_diffusers,
    by_pack,
    first_sigmas,
    host_start,
    pack_sigmas,
)
from tables import table
from torch import Tensor

PACK = Path(__file__).resolve().parents[1]
STEPS, FLOW_STEPS = 50, 28
CFG, FLOW_CFG, DEMO_CFG = 5.0, 4.5, 1.5
LAMBDAS, FLOW_LAMBDAS = (0.5, 1.5), (0.5, 1.5, 3.0)
DERADIFF, RLG = 0.5, 1.5  # λ of the second table
BAR, FLOW_BAR = 8e-6, 5e-6  # standard deviations

LEADING, LINSPACE = {"timestep_spacing": "leading", "steps_offset": 1}, {"timestep_spacing": "linspace"}
TO_ZERO = {**LEADING, "set_alpha_to_one": True}  # the last step ends at σ = 0, as the host's do
EULER_A, DDPM, DDIM = "EulerAncestralDiscreteScheduler", "DDPMScheduler", "DDIMScheduler"
FLOW_EULER = Theirs("FlowMatchEulerDiscreteScheduler")
LIKE_SDXL, LIKE_SD15 = Ours(SAMPLER, "ddpm", "ddim_uniform"), Ours(SAMPLER, "ddpm", "normal")

SAME_STEPS = (
    (Ours(GUIDER, "euler", None), Theirs("EulerDiscreteScheduler", LEADING)),
    (Ours(GUIDER, "euler_ancestral", None), Theirs(EULER_A, LEADING)),
    (LIKE_SDXL, Theirs(EULER_A, LEADING)),
    (LIKE_SDXL, Theirs(DDPM, LEADING)),
    (Ours(SAMPLER, "ddim", "ddim_uniform"), Theirs(DDIM, TO_ZERO)),
    (Ours(SAMPLER, "ddim", "ddim_uniform", 0.5), Theirs(DDIM, TO_ZERO, {"eta": 0.5})),
)


class Spacing(NamedTuple):
    ours: Ours
    theirs: Theirs
    steps: int = STEPS
    seed: int = SEED  # of diffusers' run
    on_demo: bool = False


SPACINGS = (
    Spacing(LIKE_SDXL, Theirs(EULER_A, LEADING), on_demo=True),
    Spacing(LIKE_SDXL, Theirs(EULER_A, {**LEADING, "steps_offset": 0}), on_demo=True),
    Spacing(LIKE_SD15, Theirs(EULER_A, LINSPACE), on_demo=True),
    Spacing(LIKE_SD15, Theirs(EULER_A, LEADING), on_demo=True),
    Spacing(Ours(SAMPLER, "ddpm", "karras"), Theirs(EULER_A, LEADING), on_demo=True),
    Spacing(LIKE_SDXL, Theirs(DDPM, LEADING)),
    Spacing(LIKE_SD15, Theirs(DDPM, LINSPACE)),
    Spacing(Ours(SAMPLER, "ddim", "ddim_uniform"), Theirs(DDIM, TO_ZERO)),
    Spacing(Ours(SAMPLER, "ddim", "ddim_uniform"), Theirs(DDIM, {**LEADING, "set_alpha_to_one": False})),
    Spacing(LIKE_SDXL, Theirs(EULER_A, LEADING), steps=40),
    Spacing(LIKE_SDXL, Theirs(EULER_A, LEADING), steps=30),
    Spacing(LIKE_SDXL, Theirs(EULER_A, LEADING), seed=SEED + 1, on_demo=True),
)
FLOW_SPACINGS = tuple(Spacing(Ours(GUIDER, "euler", name), FLOW_EULER, FLOW_STEPS) for name in ("normal", "simple"))

HEAD = """# The papers' settings beside diffusers

Printed by `make peer` (benchmarks/peer.py) in {minutes:.0f} minutes of one core, with diffusers {diffusers},
torch {torch} and ComfyUI {host}.

Two models at λ. The pack's side is its nodes in the host. On the other side each model takes the step of a scheduler of
diffusers from the same x with the same noise, and λ mixes what the two steps give, (1 − λ) · reference + λ · anchor.
Both have the same weights and start noise, and cfg inside each model. Differences are of the final latents, in standard
deviations of diffusers' latent: the largest of all values, and the root mean square.

- random UNets: diffusers' UNet2DConditionModel with random weights, the anchor's {apart:g} of their spread away;
  {share:g} times its answer is added to the best one for data N(0, 1), as ε, v or (flow, shift 3) velocity. cfg
  {cfg:g}, flow {flow_cfg:g}.
- demo models: the trained pair of the pack, a heart, v-prediction, with its own noise schedule. cfg {demo_cfg:g}.

## The same σ, noise and start

{steps} steps (flow: {flow_steps}). Wanted, for the largest difference: at most {bar:.0e}, and {flow_bar:.0e} for flow,
up to λ 1.5; beyond, where the weights |1 − λ| + λ exceed 2, as much more as they do, since they multiply each rounding.
The σ are those of diffusers' “leading” with steps_offset 1. DDIM: with set_alpha_to_one, which ends at σ = 0 as the
host does.

{same}

## Each with its own spacing

Nothing is handed over but weights and seed: σ, timesteps and the scale of the start noise are each side's own.
λ {deradiff:g}, flow {rlg:g}.

{spacing}

## What a pipeline really gets

{scripts}
"""


def difference(ours: Tensor, theirs: Tensor) -> tuple[float, float]:
    """The largest and the root mean square, in standard deviations of theirs."""
    apart = (ours - theirs) / theirs.std()
    return float(apart.abs().max()), float(apart.square().mean().sqrt())


def wanted(kind: str, lam: float) -> float:
    """The bar for the largest difference: what models' answers are rounded by is multiplied by their weights."""
    return (FLOW_BAR if kind == FLOW else BAR) * max(1.0, (abs(1 - lam) + abs(lam)) / 2)


def same_steps(pair: Pair, pairs: Sequence[tuple[Ours, Theirs]], steps: int, lambdas: Sequence[float]) -> list[list]:
    """Rows: what is predicted, ours, theirs, λ, the largest difference, rms."""
    cfg, rows = (FLOW_CFG if pair.kind == FLOW else CFG), []
    for ours, theirs in pairs:
        sigmas = first_sigmas(theirs, ours, pair, steps)
        start = host_start(pair, sigmas[0])
        for lam in lambdas:
            found = by_pack(ours, pair, steps, lam, cfg, sigmas), by_diffusers(theirs, pair, steps, lam, cfg, start)
            rows.append([pair.kind, str(ours), str(theirs), lam, *difference(*found)])
            print(*rows[-1], flush=True)
    return rows


def spacings(pair: Pair, cases: Sequence[Spacing], cfg: float, lam: float) -> list[list]:
    """Rows: models, ours, theirs, steps of each side, rms, the largest difference."""

    @lru_cache
    def ours_of(ours: Ours, steps: int) -> Tensor:
        return by_pack(ours, pair, steps, lam, cfg)

    rows = []
    for case in cases:
        apart, rms = difference(
            ours_of(case.ours, case.steps), by_diffusers(case.theirs, pair, case.steps, lam, cfg, seed=case.seed)
        )
        ran = len(pack_sigmas(case.ours, pair, case.steps)) - 1, len(case.theirs.of(pair, case.steps).timesteps)
        steps = f"{ran[0]}" if ran[0] == ran[1] else f"**{ran[0]}** and {ran[1]}"
        theirs = f"{case.theirs}{', another seed' if case.seed != SEED else ''}"
        rows.append([f"{pair.name}, {pair.kind}", str(case.ours), theirs, steps, f"{rms:.5f}", f"{apart:.5f}"])
        print(*rows[-1], flush=True)
    return rows


def scripts() -> list[str]:
    """`EulerAncestralDiscreteScheduler.from_config(pipe.scheduler.config)`, as both models' scheduler files say."""
    import diffusers

    common = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
    common |= dict(steps_offset=1, set_alpha_to_one=False, skip_prk_steps=True, clip_sample=False)
    files = {
        "SD 1.5": ("PNDMScheduler", common),
        "SDXL": ("EulerDiscreteScheduler", {**common, "timestep_spacing": "leading", "interpolation_type": "linear"}),
    }
    told = []
    for model, (name, config) in files.items():
        own = getattr(diffusers, name).from_config(config)
        got = getattr(diffusers, EULER_A).from_config(own.config).config
        told.append(
            f"- {model}: its scheduler file names {name}. `{EULER_A}.from_config(pipe.scheduler.config)`\n"
            f"  makes one with “{got.timestep_spacing}” and steps_offset {got.steps_offset}."
        )
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", type=Path, required=True, help="ComfyUI's folder")
    parser.add_argument("--small", action="store_true", help="few steps, no demo models: only to see that it runs")
    parser.add_argument("--out", type=Path, default=PACK / "benchmarks" / "results", help="a folder")
    options = parser.parse_args()
    enter_host(options.host)
    torch.set_num_threads(1)
    import comfy.utils
    import diffusers
    from comfyui_version import __version__ as host

    comfy.utils.set_progress_bar_enabled(False)
    began = time.process_time()
    steps, flow_steps = (10, 8) if options.small else (STEPS, FLOW_STEPS)
    with torch.inference_mode():
        same = [row for kind in (EPS, V) for row in same_steps(random_pair(kind), SAME_STEPS, steps, LAMBDAS)]
        flow = random_pair(FLOW)
        same += same_steps(flow, [(Ours(GUIDER, "euler", None), FLOW_EULER)], flow_steps, FLOW_LAMBDAS)
        cases = [case._replace(steps=10) for case in SPACINGS[:3]] if options.small else SPACINGS
        apart = spacings(random_pair(EPS), cases, CFG, DERADIFF) + spacings(flow, FLOW_SPACINGS, FLOW_CFG, RLG)
        if not options.small:
            apart += spacings(demo_pair(), [case for case in SPACINGS if case.on_demo], DEMO_CFG, DERADIFF)
    text = HEAD.format(
        minutes=(time.process_time() - began) / 60,
        diffusers=diffusers.__version__,
        torch=torch.__version__,
        host=host,
        apart=APART,
        share=SHARE,
        cfg=CFG,
        flow_cfg=FLOW_CFG,
        demo_cfg=DEMO_CFG,
        steps=steps,
        flow_steps=flow_steps,
        bar=BAR,
        flow_bar=FLOW_BAR,
        same=table(
            [
                ["predicts", "the pack", "diffusers", "λ", "largest difference", "rms"],
                *([*row[:3], f"{row[3]:g}", f"{row[4]:.1e}", f"{row[5]:.1e}"] for row in same),
            ]
        ),
        deradiff=DERADIFF,
        rlg=RLG,
        spacing=table([["models", "the pack", "diffusers", "steps", "rms", "largest difference"], *apart]),
        scripts="\n".join(scripts()),
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "peer.md").write_text(text, encoding="utf-8")
    print(text)
    missed = [row for row in same if not row[4] <= wanted(row[0], row[3])]
    for kind, ours, theirs, lam, largest, _ in missed:
        print(f"not met: {kind}, {ours}, {theirs}, λ {lam:g}: {largest:.1e}", file=sys.stderr)
    return 1 if missed and not options.small else 0  # the bars are of whole runs: few steps are longer ones


if __name__ == "__main__":
    sys.exit(main())
