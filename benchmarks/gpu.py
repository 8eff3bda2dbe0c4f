"""Realign on a real GPU: `make bench-gpu`, on any CUDA or MPS machine, in under ten minutes, with nothing to download.

Models in their real sizes with random weights, in bf16 and fp8, 1024², λ 0.5: time, forward passes, synchronisations
and peak memory of the nodes beside a stock run and the host's DualModelGuider. Each time is divided by that of the
stock runs before and after it, in the same process. What there is no time or memory for is left out and named.
`--small` has tiny models instead, on any device, to try the script. Writes benchmarks/results/gpu.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from gpu_cases import FORMATS, GPU_KINDS, LONGER, Clock, Measured, measure_case
from real_sizes import NAMES
from speed_cases import CFG, RESULTS, device_name, enter_host, host_folder, say
from tables import spread, table

MINUTES, STEPS, REPEATS = 9.0, 4, 5


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=host_folder(), help="ComfyUI's folder")
    parser.add_argument("--kinds", nargs="+", choices=GPU_KINDS, default=list(GPU_KINDS))
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"in all, at most (default {MINUTES:g})")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of each sampling run (default {STEPS})")
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"rounds, while time lasts (default {REPEATS})")
    parser.add_argument("--small", action="store_true", help="tiny models, on a CPU too")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of gpu.md")
    return parser.parse_args()


def rows(measured: Measured) -> list[list[str]]:
    out = [["method, λ = 0.5", "anchor", "time", "passes per step", "synchronisations per step", "peak, GiB"]]
    for run in measured.runs:
        if run.error:
            out.append([run.method, run.anchor, run.error, "", "", ""])
            continue
        steps = measured.steps * run.longer
        syncs = "–" if run.synchronisations is None else f"{run.synchronisations / steps:.3g}"
        passes = f"{len(run.rows) / steps:.3g}"
        out.append([run.method, run.anchor, spread(run.ratios), passes, syncs, f"{run.peak / 2**30:.2f}"])
    return out


def report(all_measured: Sequence[Measured], options: argparse.Namespace, seconds: float) -> str:
    import comfyui_version

    size = "small models" if options.small else "real sizes, random weights, 1024²"
    parts = [
        "# On a GPU",
        f"Written by `make bench-gpu` in {seconds / 60:.1f} minutes. {device_name()}, ComfyUI "
        f"{comfyui_version.__version__}, torch {torch.__version__}.",
        f"{size[0].upper()}{size[1:]}; cfg {CFG:g}, {options.steps} steps, with fewer_calls {LONGER} times as many. "
        f"Times are ratios to one stock run of as many steps, before and after: median (quartiles) of up to "
        f"{options.repeats} rounds in which all take turns; the first row is the stock run beside its own neighbours. "
        "Passes: of the diffusion networks. Synchronisations: how often the program waits for the device, as torch "
        "reports it (CUDA). Peak: memory that torch has allocated on the device since all models were off it; on a "
        "CPU, of the process.",
    ]
    for one in all_measured:
        parts += [f"## {NAMES[one.kind]}, {one.number_format}", table(rows(one))]
    return "\n\n".join(parts) + "\n"


@torch.inference_mode()
def main() -> int:
    options = parse()
    enter_host(options.host, "host")
    import comfy.model_management as management

    if not options.small and management.is_device_cpu(management.get_torch_device()):
        say("make bench-gpu needs a CUDA or MPS device, and torch sees none. --small tries the script on a CPU.")
        return 1
    begin, clock = time.monotonic(), Clock(60 * options.minutes)
    wanted = [(kind, number_format) for number_format in options.formats for kind in options.kinds]
    done = []
    for number, (kind, number_format) in enumerate(wanted):
        say(f"{NAMES[kind]}, {number_format} ({time.monotonic() - begin:.0f} s)")
        until = clock.share(len(wanted) - number)
        done.append(measure_case(kind, number_format, options, until))
        say(f"\n{table(rows(done[-1]))}\n")
    text = report(done, options, time.monotonic() - begin)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "gpu.md").write_text(text, encoding="utf-8")
    say(f"Wrote {options.out / 'gpu.md'} in {time.monotonic() - begin:.0f} s.")
    return 1 if any(run.failed for one in done for run in one.runs) else 0


if __name__ == "__main__":
    raise SystemExit(main())
