"""What Realign costs beside the model calls: steps, layers with a LoRA, and loading; a line before and a line after.

    benchmarks/overhead.py --host FOLDER [--before ANOTHER_CLONE]

Steps and layers are timed on networks whose forward is nearly free. The time of a step is the slope between a short and
a long run, so that what a run does once (planning, preparing) is apart from it; the rows of the stock host say how much
is the host's own work and the machine's noise. On a CPU all times are the process's own on one thread, which other work
on the machine disturbs less than the clock's. Each clone has a process of its own; they take turns measurement by
measurement. Writes benchmarks/results/overhead.md. Without --before the lines “before” that are there are kept, with
what they were measured on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from speed_cases import RESULTS, device_name, host_folder, import_host, import_pack, say, use_folder
from tables import spread, table

PACK = Path(__file__).resolve().parents[1]
BEFORE, AFTER = "before", "after"
LEAST = 0.7  # s that a measurement goes on; short ones are repeated
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Table:
    """columns: of each measurement. compared: the column whose ratio is given."""

    title: str
    text: str
    columns: tuple[str, ...]
    compared: int = 0


TABLES = {
    "steps": Table(
        "Per step",
        "Beside the forward passes, λ = 0.5, cfg 7, on a network that is nearly free; one latent of 1×4×128×128, or a "
        "sweep of 21 such. The stock rows are one model's run by the host's own guider: the rest of a row is for two "
        "models.",
        ("ms per step", "ms per run", "calls per step"),
    ),
    "layers": Table(
        "Per layer with a LoRA",
        "Per adapted layer and call, rank 4, fp32: what a LoRA anchor adds in the anchor's call, and in the "
        "reference's while it is in place; what the host's own bypass mode adds for the same LoRA; the layer alone.",
        ("µs, anchor's call", "µs, reference's call", "µs, host's bypass", "µs, the layer alone"),
    ),
    "loads": Table(
        "Loading",
        "Load Anchor Model beside the host's loader of the same file (LoraLoaderModelOnly, and its checkpoint loader) "
        "before and after it: a LoRA of rank 4 on every layer of SDXL in its real size (fp16, no values in the model's "
        "weights), and the second load of a full anchor with `low_rank` 8. Files are in the system's cache.",
        ("ms", "ms, host's loader", "ratio"),
    ),
}


# As a child: one clone


@torch.inference_mode()
def answer(options: argparse.Namespace) -> None:
    """Says what it is and names its cases, then measures each that it is asked for, a line each way."""
    import_host(options.host)
    use_folder(options.folder)
    import_pack(options.child.resolve())
    import load
    import overhead_cases

    cases = {
        "steps": overhead_cases.steps(options.small),
        "layers": overhead_cases.layers(options.small),
        "loads": load.loads(options.small, options.folder),
    }
    say(json.dumps([made_with(options.child), {name: list(of) for name, of in cases.items()}]))
    for line in sys.stdin:
        name, case = json.loads(line)
        say(json.dumps(overhead_cases.steadied(cases[name][case], 0 if options.small else LEAST)))


def made_with(clone: Path) -> str:
    import comfyui_version

    on = f"ComfyUI {comfyui_version.__version__}, torch {torch.__version__}, {device_name()}"
    if hasattr(os, "getloadavg"):
        on += f" (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)"
    return f"{commit(clone)}, {on}"


def commit(clone: Path) -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(clone), *words], capture_output=True, text=True)
        return done.stdout.strip()

    found = git("rev-parse", "--short", "HEAD") or "unknown"
    return f"commit {found}{' with changes' if git('status', '--porcelain', '--', 'nodes', 'realign_core') else ''}"


class Child:
    """A clone in a process of its own."""

    def __init__(self, clone: Path, options: argparse.Namespace, folder: Path) -> None:
        command = [sys.executable, "-B", __file__, "--host", options.host, "--child", str(clone)]
        command += ["--folder", str(folder), *(["--small"] if options.small else [])]
        self._errors = (folder / "errors.txt").open("w+")
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors)
        self.process = subprocess.Popen(command, **pipes, text=True, env={**os.environ, **ONE_THREAD})
        self.made_with, self.cases = self._heard()

    def _heard(self) -> Any:
        for line in self.process.stdout:
            if line.startswith("["):
                return json.loads(line)
        self._errors.seek(0)
        raise SystemExit(f"A clone failed:\n{self._errors.read()[-3000:]}")

    def measure(self, name: str, case: str) -> list[float]:
        self.process.stdin.write(json.dumps([name, case]) + "\n")
        self.process.stdin.flush()
        answer: list[float] = self._heard()
        return answer

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self._errors.close()


# As a parent: clones in turns


@dataclass
class Measured:
    """made_with: of each clone. values: (table, case) -> clone -> its measurements."""

    made_with: dict[str, str]
    values: dict[tuple[str, str], dict[str, list[list[float]]]]


def measured(clones: dict[str, Path], options: argparse.Namespace) -> Measured:
    out = Measured({}, {})
    with tempfile.TemporaryDirectory(prefix="realign-overhead-") as scratch:
        children = {}
        for name, clone in clones.items():
            folder = Path(scratch) / name
            folder.mkdir()
            children[name] = Child(clone, options, folder)
            out.made_with[name] = children[name].made_with
        cases = next(iter(children.values())).cases
        for repeat in range(options.repeats + 1):  # the first is not counted: it fills caches
            for key in ((name, case) for name, of in cases.items() for case in of if options.only in f"{name}: {case}"):
                for name in list(children)[:: 1 if repeat % 2 else -1]:  # each comes first in turn
                    values = children[name].measure(*key)
                    if repeat:
                        out.values.setdefault(key, {}).setdefault(name, []).append(values)
            print(f"overhead: round {repeat} of {options.repeats}", file=sys.stderr, flush=True)
        for child in children.values():
            child.close()
    return out


def number(value: float) -> str:
    return f"{value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"


def report(found: Measured, options: argparse.Namespace, committed: str) -> str:
    """committed: the last report, whose lines “before” are kept where this run has none."""
    kept = {} if BEFORE in found.made_with or options.small else lines_before(committed)
    parts = [
        "# Overhead and load times",
        f"Written by `make bench` (`benchmarks/overhead.py`). Medians of {options.repeats} measurements on one thread, "
        f"each of at least {LEAST} s; “after / before” is the median (quartiles) of the ratios of those that were "
        "taken right after one another. Compare ms and µs only within one run on one machine: the ratios, and the rows "
        "of the host's own, tell more.",
    ]
    if BEFORE in found.made_with:
        parts += [
            f"Before: {found.made_with[BEFORE]}; in turns with “after” of {found.made_with[AFTER].split(',')[0]}."
        ]
    elif kept:
        parts += [kept[PROVENANCE].removesuffix(KEPT) + KEPT]
    parts += [f"After: {found.made_with[AFTER]}."]
    for name, one in TABLES.items():
        head = ["case", "clone", *one.columns, "after / before"]
        rows = [head]
        for case in (case for of, case in found.values if of == name):
            by_clone = found.values[name, case]
            if BEFORE not in by_clone and (one.title, case) in kept:
                cells = kept[one.title, case]
                rows += [cells] if len(cells) == len(head) else []
            for clone, values in by_clone.items():
                compared = "–"
                if clone == AFTER and BEFORE in by_clone:
                    pairs = zip(by_clone[BEFORE], values)
                    compared = spread([after[one.compared] / before[one.compared] for before, after in pairs])
                rows.append([case, clone, *(number(median(column)) for column in zip(*values)), compared])
        if len(rows) > 1:
            parts += [f"## {one.title}", one.text, table(rows)]
    return "\n\n".join(parts) + "\n"


PROVENANCE = "provenance"
KEPT = " Kept from then: not measured together with the lines “after” below."


def lines_before(committed: str) -> dict[Any, Any]:
    """Of a report: the cells of each line “before” by section and case, and what they were measured on. None of them
    where that is not said."""
    out: dict[Any, Any] = {}
    section = ""
    for line in committed.splitlines():
        if line.startswith("Before: "):
            out[PROVENANCE] = line
        elif line.startswith("## "):
            section = line.removeprefix("## ")
        elif line.startswith("| "):
            cells = line.removeprefix("| ").removesuffix(" |").split(" | ")
            if cells[1] == BEFORE:
                out[section, cells[0]] = cells
    return out if PROVENANCE in out else {}


def write(options: argparse.Namespace) -> None:
    """options: host, before, after, repeats, only, small, out."""
    clones = {BEFORE: options.before} if options.before else {}
    found = measured(clones | {AFTER: options.after}, options)
    last = RESULTS / "overhead.md"
    text = report(found, options, last.read_text(encoding="utf-8") if last.is_file() else "")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "overhead.md").write_text(text, encoding="utf-8")
    say(f"\n{text}\nWrote {options.out / 'overhead.md'}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=host_folder(), help="ComfyUI's folder")
    parser.add_argument("--before", type=Path, help="a clone to compare with")
    parser.add_argument("--after", type=Path, default=PACK, help="the clone to measure (default: this one)")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each case (default 5)")
    parser.add_argument("--only", default="", help="cases whose “table: case” holds this, e.g. “loads” or “swept”")
    parser.add_argument("--small", action="store_true", help="small models and short runs: only to see that it runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of overhead.md")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for clone in filter(None, (options.before, options.after)):
        if not (clone / "__init__.py").is_file():
            parser.error(f"{clone} is no clone of this pack")
    if options.child:
        answer(options)
    elif not options.host:
        parser.error("no ComfyUI: give its folder with --host, as `make -s host` prints it")
    else:
        write(options)


if __name__ == "__main__":
    main()
