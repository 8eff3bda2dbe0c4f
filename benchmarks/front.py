"""Two rewards at once, on the demo models: `make front`. Minutes on one core.

How far pictures can be colourful and like a given picture at once: by Realign Particles with a weighted sum of both, by
λ of two anchors, and by unguided pictures, at equal model calls. Writes front.md and front.png to benchmarks/results.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from fewer_calls_models import enter_host
from front_plot import draw
from front_runs import ANCHORS, COLOURFUL, FAMILIES, LIKE, OURS, STRENGTH, UNGUIDED, PairBench, settings
from rewards_runs import BUDGET, CFG
from tables import table
from torch import Tensor

from realign_core import hypervolume, on_front

PACK = Path(__file__).resolve().parents[1]
LEAST = -2.0  # of both rewards, in spreads above the mean of unguided pictures: where volumes begin
RESAMPLES = 20_000

Scores = Mapping[tuple[str, str], Sequence[Tensor]]  # by family and setting: of each seed (B, 2), in spreads

HEAD = """# Two rewards at once on the demo models

Printed by `make front` (benchmarks/front.py) in {minutes:.0f} minutes of one core: {seeds} seeds. Hearts of any colour,
64 × 64 pixels, T = {steps} steps of ddpm, cfg {cfg:g}. Every run costs {budget}·T model calls, and every method has
{runs} runs of each seed.

- {colourful}: Hasler and Süsstrunk, as Picture Reward has it. {like}: minus the root mean square difference of colours
  in 16 × 16 cells to one picture that the reference drew, the same for all. Both are counted in the spread (standard
  deviation) of unguided pictures above their mean: {means}.
- {unguided}: {count} pictures of the reference, of which the front is the best that choosing alone can do.
- {ours}: with weight · {colourful} + (1 − weight) · {like}, strength {strength:g}, 4 pictures of 4 particles each.
- {anchors}: the demo pair has one anchor, trained by Diffusion-DPO to prefer colourful pictures. The second is that one
  turned round, reference + (reference − anchor), as a merge of MODELs. Neither knows the picture to be like: λ cannot
  ask for that, so this line says what λ does to likeness, not how well two anchors trained for both would do. The first
  λ is the anchor's, the second the turned one's; the fewer pictures, the more models a step asks.
- Volume: what the front of a seed's pictures covers, from {least:g} spreads in both up (hypervolume). Intervals are
  95 %, by {resamples} bootstrap resamples of the seeds; of so few seeds they are somewhat too narrow. Two methods are
  compared seed by seed.
"""


def measured(bench: PairBench, seeds: int, small: bool) -> Scores:
    found: dict[tuple[str, str], list[Tensor]] = defaultdict(list)
    for seed in range(1, seeds + 1):
        for one in settings(small):
            began = time.process_time()
            scores = bench.counted(bench.scored(one.draw(bench, seed)))
            found[one.family, one.name].append(scores)
            told = ", ".join(f"{value:.2f}" for value in scores.mean(0).tolist())
            print(f"seed {seed}: {one.family}, {one.name}: {told}; {time.process_time() - began:.1f} s", flush=True)
    return found


def interval(values: Tensor) -> tuple[float, float, float]:
    """values: (seeds,) -> their mean, and its 95 % interval by the bootstrap."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(values), (RESAMPLES, len(values)), generator=generator)
    low, high = values[drawn].mean(1).quantile(torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return float(values.mean()), low, high


def said(values: Tensor) -> str:
    mean, low, high = interval(values)
    return f"{mean:.2f} ({low:.2f} … {high:.2f})"


def of_family(scores: Scores, family: str) -> list[Tensor]:
    """Of each seed all its pictures, (B, 2)."""
    runs = [seeds for (name, _), seeds in scores.items() if name == family]
    return [torch.cat(parts) for parts in zip(*runs)]


def volumes(scores: Scores) -> dict[str, Tensor]:
    """Of each family, (seeds,)."""
    least = torch.full((2,), LEAST, dtype=torch.float64)
    return {
        family: torch.tensor([hypervolume(one, least) for one in of_family(scores, family)], dtype=torch.float64)
        for family in FAMILIES
    }


def volume_table(scores: Scores, covered: Mapping[str, Tensor]) -> str:
    rows = [["method", "pictures of a seed", "on its front", "volume", f"more than {UNGUIDED}"]]
    for family in FAMILIES:
        seeds = of_family(scores, family)
        front = sum(int(on_front(one).sum()) for one in seeds) / len(seeds)
        more = "–" if family == UNGUIDED else said(covered[family] - covered[UNGUIDED])
        rows.append([family, f"{len(seeds[0])}", f"{front:.1f}", said(covered[family]), more])
    return table(rows)


def settings_table(scores: Scores) -> str:
    rows = [["method", "run", f"mean {COLOURFUL}", f"mean {LIKE}", f"best {COLOURFUL}", f"best {LIKE}"]]
    for (family, name), seeds in scores.items():
        means = torch.stack([one.mean(0) for one in seeds])
        best = torch.stack([one.amax(0) for one in seeds])
        rows.append([family, name, *(said(part[:, reward]) for part in (means, best) for reward in (0, 1))])
    return table(rows)


def findings(covered: Mapping[str, Tensor]) -> list[str]:
    """Sentences from the figures alone."""
    told = []
    for one, other in ((OURS, UNGUIDED), (OURS, ANCHORS), (ANCHORS, UNGUIDED)):
        mean, low, high = interval(covered[one] - covered[other])
        how = "more than" if low > 0 else "less than" if high < 0 else "within the interval as much as"
        told.append(f"{one} covers {how} {other}; the difference is {mean:.2f} ({low:.2f} … {high:.2f}).")
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", type=Path, required=True, help="ComfyUI's folder")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=6, help="2 to 99 (default 6)")
    parser.add_argument("--small", action="store_true", help="a few steps of few runs: only to see that it runs")
    parser.add_argument("--out", type=Path, default=PACK / "benchmarks" / "results", help="a folder")
    options = parser.parse_args()
    if options.small:
        options.steps, options.seeds = 3, 2
    if not 2 <= options.seeds <= 99:  # those above are taken
        parser.error("--seeds is 2 to 99")
    enter_host(options.host)
    torch.set_num_threads(1)
    began = time.process_time()
    with torch.inference_mode():
        bench = PairBench(options.steps, {})
        scores = measured(bench, options.seeds, options.small)
    covered = volumes(scores)
    units = zip((COLOURFUL, LIKE), bench.mean.tolist(), bench.spread.tolist())
    told = dict(colourful=COLOURFUL, like=LIKE, unguided=UNGUIDED, ours=OURS, anchors=ANCHORS, least=LEAST)
    text = HEAD.format(
        minutes=(time.process_time() - began) / 60,
        seeds=options.seeds,
        steps=options.steps,
        cfg=CFG,
        budget=BUDGET,
        runs=len(scores) // len(FAMILIES),
        means=", ".join(f"{name} {mean:.1f}, spread {spread:.1f}" for name, mean, spread in units),
        count=len(of_family(scores, UNGUIDED)[0]),
        strength=STRENGTH,
        resamples=f"{RESAMPLES:,}",
        **told,
    )
    sentences = "\n".join(f"- {sentence}" for sentence in findings(covered))
    text += f"\n## Fronts\n\n{volume_table(scores, covered)}\n\n{sentences}\n\n![Fronts](front.png)\n"
    text += f"\n## Runs\n\n{settings_table(scores)}\n"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "front.md").write_text(text, encoding="utf-8")
    draw(scores, options.out / "front.png")
    print(text)


if __name__ == "__main__":
    main()
