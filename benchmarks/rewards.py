"""More of a reward, and what it costs, on the demo models: `make rewards`. Ten minutes on one core.

Every method gets the same model calls: unguided pictures, the best of them, Feynman-Kac steering, Realign Particles, λ
of an anchor that was trained for colour, and λ with a reward. Writes benchmarks/results/rewards.md, docs/rewards.png.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from fewer_calls_models import enter_host
from PIL import Image
from rewards_plot import Row, draw
from rewards_report import HEAD, findings, table
from rewards_runs import CELLS, CFG, REWARDS, STUDENT, Bench, Drawn, Measured, methods

PACK = Path(__file__).resolve().parents[1]


def measured(bench: Bench, seeds: int, small: bool) -> tuple[dict[str, list[Row]], dict[str, Drawn]]:
    """Of each reward, the methods with their figures over the seeds; and what the first seed drew."""
    tables: dict[str, list[Row]] = defaultdict(list)
    first: dict[str, Drawn] = {}
    for method in methods(small):
        drawn = [method.draw(bench, seed) for seed in range(1, seeds + 1)]
        for reward in REWARDS:
            if reward not in method.rewards:
                continue
            figures = [bench.figures(reward, one) for one in drawn]
            found = {name: Measured.of([one[name] for one in figures]) for name in figures[0]}
            tables[reward].append((method, found))
            first[f"{reward}: {method.name}"] = drawn[0]
            told = ", ".join(f"{name} {value.text(2)}" for name, value in found.items())
            print(f"{reward}: {method.name}: {told}", flush=True)
    return tables, first


def sheet(drawn: dict[str, Drawn], path: Path, side: int = 96, label: int = 420) -> None:
    """The first four pictures of each method, a row for each."""
    from realign.nodes.pictures.text import Text, drawn_labels

    labels = [(Text([name], 14), 8, side * row + side / 2 - 10, "l") for row, name in enumerate(drawn)]
    image = drawn_labels((label + 4 * side, side * len(drawn)), labels)
    for row, one in enumerate(drawn.values()):
        for column, picture in enumerate(one.pictures[:4]):
            pixels: Any = (picture * 255).round().byte().numpy()
            cell = Image.fromarray(pixels).resize((side - 2, side - 2), Image.Resampling.BICUBIC)
            image.paste(cell, (label + side * column, side * row))
    image.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", type=Path, required=True, help="ComfyUI's folder")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5, help=f"{min(STUDENT)} to {max(STUDENT)} (default 5)")
    parser.add_argument("--small", action="store_true", help="a few steps of few methods: only to see that it runs")
    parser.add_argument("--out", type=Path, help="for rewards.md and rewards.png, instead of their places in the clone")
    parser.add_argument("--sheet", type=Path, help="a file for the pictures of the first seed")
    options = parser.parse_args()
    if options.small:
        options.steps, options.seeds = 3, 2
    if options.seeds not in STUDENT:
        parser.error(f"--seeds is {min(STUDENT)} to {max(STUDENT)}")
    enter_host(options.host)
    torch.set_num_threads(1)
    began = time.process_time()
    with torch.inference_mode():
        tables, first = measured(Bench(options.steps, {}), options.seeds, options.small)
        if options.sheet:
            sheet(first, options.sheet)
    minutes = (time.process_time() - began) / 60
    text = HEAD.format(minutes=minutes, steps=options.steps, seeds=options.seeds, cells=CELLS, cfg=CFG)
    for reward, rows in tables.items():
        said = "\n".join(f"- {sentence}" for sentence in findings(reward, rows))
        text += f"\n## {reward}\n\n{table(reward, rows)}\n\n{said}\n"
    results, pictures = (options.out,) * 2 if options.out else (PACK / "benchmarks" / "results", PACK / "docs")
    results.mkdir(parents=True, exist_ok=True)
    (results / "rewards.md").write_text(text, encoding="utf-8")
    draw(tables, pictures / "rewards.png")
    print(text)


if __name__ == "__main__":
    main()
