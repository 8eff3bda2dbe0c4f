"""A λ sweep beside what it replaces and what it could cost: `benchmarks/sweep.py --host FOLDER`.

For each kind of models, paired and repeated in one process: the sweep as one batch, the same λ as single runs one after
the other, the sweep in pieces of two, and the sweep without the strip of previews. The previews go through the host's
progress hook and are encoded there, as its server does. Prints a markdown table of medians with quartiles, as ratios
to the sweep with its previews; writes benchmarks/results/sweep.md.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speed_cases import (
    CFG,
    FULL_ANCHOR,
    LORA,
    NAMES,
    RESULTS,
    SCHEDULER,
    SEED,
    Case,
    device_name,
    enter_host,
    host_folder,
    load_case,
    now,
    say,
    use_folder,
)

VALUES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
SWEEP, SINGLE, PIECES, NO_PREVIEW = "sweep, with previews", "7 single runs", "in pieces of 2", "without previews"
METHODS = (SWEEP, SINGLE, PIECES, NO_PREVIEW)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=host_folder(), help="ComfyUI's folder")
    parser.add_argument("--kinds", nargs="+", default=["demo", "sd15", "sd3"], help="of speed_cases.ARCHITECTURES")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def methods_of(case: Case, anchor: Any, steps: int) -> dict[str, Callable[[], Any]]:
    import latent_preview
    from realign.nodes.sampler import RealignSampler
    from realign.nodes.sweep import RealignSweep

    def run(latent: Any, lambda_: float, sweep: Any) -> Any:
        sampling = (SEED, steps, CFG, "ddpm", SCHEDULER, 1.0, lambda_)
        conds = case.positive, case.negative
        return RealignSampler.execute(case.reference, anchor, *conds, latent, *sampling, lambda_schedule=sweep)

    def sweep(previews: str, batch_size: int) -> None:
        latent_preview.set_preview_method(previews)
        listed = ", ".join(f"{value:g}" for value in VALUES)
        latent, values = RealignSweep.execute(
            case.latent(1), "list", 0.0, 1.0, 2, listed, 1, "seed", "", batch_size=batch_size
        ).args
        run(latent, 0.5, values)

    def singles() -> None:
        latent_preview.set_preview_method("latent2rgb")
        for value in VALUES:
            run(case.latent(1), value, None)

    return {
        SWEEP: lambda: sweep("latent2rgb", 0),
        SINGLE: singles,
        PIECES: lambda: sweep("latent2rgb", 2),
        NO_PREVIEW: lambda: sweep("none", 0),
    }


def encode_previews() -> list[int]:
    """A progress hook that encodes previews; the list it returns counts them."""
    import comfy.utils

    sizes: list[int] = []

    def hook(value: float, total: float, preview: Any, node_id: Any = None) -> None:
        if preview is not None:
            target = io.BytesIO()
            preview[1].save(target, format=preview[0], quality=95)
            sizes.append(target.tell())

    comfy.utils.set_progress_bar_global_hook(hook)
    return sizes


def measure(case: Case, anchor: Any, options: argparse.Namespace) -> dict[str, list[float]]:
    methods = methods_of(case, anchor, options.steps)
    for run in methods.values():
        run()
    ratios: dict[str, list[float]] = {name: [] for name in METHODS}
    for _ in range(options.repeats):
        times = {}
        for name, run in methods.items():
            begin = now()
            run()
            times[name] = now() - begin
        begin = now()
        methods[SWEEP]()
        unit = (times[SWEEP] + now() - begin) / 2  # before and after the others
        for name, value in times.items():
            ratios[name].append(value / unit)
    return ratios


def main() -> None:
    options = parse()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        enter_host(options.host, "host")
        use_folder(Path(name))
        sizes = encode_previews()
        for kind in options.kinds:
            for anchor in (FULL_ANCHOR, LORA):
                case = load_case(kind, Path(name), [anchor])
                before = len(sizes)
                ratios = measure(case, case.anchors[anchor][0], options)
                cells = [_cell(ratios[method]) for method in METHODS]
                rows.append(f"| {NAMES[kind]}, {anchor} | " + " | ".join(cells) + " |")
                say(f"{rows[-1]}  ({len(sizes) - before} previews)")
    head = f"| models, anchor | {' | '.join(METHODS)} |\n|---|" + "---|" * len(METHODS)
    text = (
        f"# A sweep of {len(VALUES)} λ\n\n{device_name()}; {options.steps} steps, {options.repeats} repeats, medians "
        "and quartiles, times as ratios to the sweep with previews. Written by `benchmarks/sweep.py`.\n\n"
        f"{head}\n" + "\n".join(rows) + "\n"
    )
    (options.out / "sweep.md").write_text(text, encoding="utf-8")
    say(text)


def _cell(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


if __name__ == "__main__":
    main()
