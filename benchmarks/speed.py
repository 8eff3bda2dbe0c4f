"""Time, model calls and memory of the Realign nodes beside the host's own, in a real ComfyUI: `make bench`.

All runs are sampling runs of the host's nodes, without VAE and text encoder, on random weights of real architectures
(tests/host/tiny_models.py) and on the demo models. Machines are noisy, so only ratios are reported: the methods take
turns in one process, each time is divided by that of the stock KSampler's runs right before and after it, and the
median of the repeats is given with its quartiles. Memory is measured in a fresh process for each method.

Writes benchmarks/results/speed.md and speed.png; then what a step, a layer with a LoRA and a load cost, as overhead.md
(overhead.py).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import overhead
import torch
from speed_cases import (
    ARCHITECTURES,
    MEMORY_KIND,
    NAMES,
    OVERHEAD,
    RESULTS,
    enter_host,
    host_folder,
    load_case,
    say,
    use_folder,
)
from speed_memory import measure_memory, memory_child
from speed_plot import plot
from speed_report import report, time_table
from speed_runs import Overhead, Result, measure, measure_overhead


def batches_of(kind: str, options: argparse.Namespace) -> list[int]:
    return [1, 4] if options.full or kind == "demo" else [1]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=host_folder(), help="ComfyUI's folder")
    parser.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument(
        "--full", action="store_true", help="time everything, at batch 1 and 4; overhead of the demo models too"
    )
    parser.add_argument("--repeats", type=int, default=4, help="rounds (default 4)")
    parser.add_argument("--steps", type=int, default=4, help="of each sampling run (default 4)")
    parser.add_argument("--device", choices=("host", "cpu"), default="host", help="host: as ComfyUI decides")
    parser.add_argument("--skip", nargs="+", choices=("overhead", "memory"), default=[], help="leave these parts out")
    parser.add_argument("--before", type=Path, help="a clone that overhead and load times are compared with")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of what is written")
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
    kinds, memory_kind = options.architectures, MEMORY_KIND
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
                if "overhead" not in options.skip and (kind, batch) in wanted:
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
    if "overhead" not in options.skip:
        overhead.write(argparse.Namespace(**vars(options), after=overhead.PACK, only="", small=False))
    wrong = [run for result in results for run in result.runs if run.error or "WRONG" in result.verdict(run)]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
