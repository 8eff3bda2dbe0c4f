"""Studies: `make bench-study`. Six minutes on two idle cores; Linux.

Rows a minute on one and two workers of each back end, what a row costs beside its sampling, and how planning, going on
and the table grow from 10² to 10⁵ rows. The ComfyUIs are stand-ins (tests/study/fake_comfyui) that “sample” for a fixed
time: what is measured is the command, not a model. Writes study.md to benchmarks/results.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from tables import table

PACK = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PACK))
from realign_study import running  # noqa: E402
from realign_study.backends import Outcome, backend_of  # noqa: E402
from realign_study.plan import PlanFile  # noqa: E402
from realign_study.results import Folder  # noqa: E402
from realign_study.rows import Study  # noqa: E402
from tools.host.run_ray_tests import interpreter  # noqa: E402

FAKE = PACK / "tests" / "study" / "fake_comfyui"
DELAY = 0.25  # seconds that a stand-in takes for a row
SIZES = (100, 1_000, 10_000, 100_000)
LEFT = 10  # rows that are left to a study that goes on
KINDS = (("this machine", 1), ("servers", 1), ("servers", 2), ("Ray", 1), ("Ray", 2))

HEAD = """# Studies

Written by `make bench-study` (benchmarks/study.py): {cpu}, {cores} cores (load {load:.1f} at the start), Ray {ray}.
Stand-ins for ComfyUIs take {delay:g} s for a row. Medians of {rounds} rounds, which take turns, each of {rows} rows per
worker. Compare within one table: the ratios tell more than the figures.

## Rows a minute

With records and pictures kept; a worker that costs nothing would make {ideal:.0f}. Cost: what a row takes of its worker
beside the {delay:g} s. Start: from the back end's start to the first row; Ray starts a cluster here, most of
it. The back end “this machine” starts one ComfyUI; two of one folder are started by Ray.

{rates}

## 10² to 10⁵ rows

Prompts × 2 λ × 5 seeds of the SDXL workflow, with a sampler that takes no time; each figure is of a process of its own.
Planned: plan read, keys of all rows known. Goes on: all that is done before the first of the last {left} rows is asked
for. Memory is the process's largest. A row kept: its picture and record. Disk: records and table, without pictures.

{scale}
"""


class Times:
    """A watch that notes when rows came."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def start(self, what: str, total: int, done: int) -> None: ...

    def outcome(self, outcome: Outcome) -> None:
        assert not outcome.error, outcome.error
        self.at.append(time.monotonic())


def plan_of(folder: Path, rows: int, **changes: object) -> Path:
    """rows: a multiple of 10."""
    (folder / "prompts.txt").write_text("\n".join(f"prompt number {i}" for i in range(rows // 10)), encoding="utf-8")
    plan = {"study": "bench", "workflow": "Realign SDXL - Diffusion-DPO", "prompts": "prompts.txt"}
    plan |= {"lambda": [0.25, 0.5], "seeds": {"from": 0, "count": 5}, **changes}
    file = folder / "plan.yaml"
    file.write_text(yaml.safe_dump(plan), encoding="utf-8")
    return file


@contextlib.contextmanager
def servers(count: int) -> Iterator[list[str]]:
    command = [sys.executable, str(FAKE / "main.py"), "--delay", str(DELAY)]
    running_ = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    try:
        yield [f"http://127.0.0.1:{int(one.stdout.readline())}" for one in running_ if one.stdout]
    finally:
        for one in running_:
            one.kill()
            one.wait()


def measured(kind: str, workers: int, rows: int) -> tuple[float, float, float]:
    """Rows a minute, seconds of a worker for a row beside its sampling, seconds to the first row."""
    with tempfile.TemporaryDirectory() as at, servers(workers if kind == "servers" else 0) as urls:
        folder = Path(at)
        hosts = {"servers": urls} if urls else {"comfyui": str(FAKE), "args": ["--cpu", "--delay", str(DELAY)]}
        more = {"back_end": "ray"} if kind == "Ray" else {}
        if more:
            hosts["ray"] = {"actors": workers}
        study = Study(PlanFile(plan_of(folder, rows * workers, hosts=hosts, **more)))
        times, began = Times(), time.monotonic()
        with Folder(study.plan_file.folder) as kept, contextlib.closing(backend_of(study.plan_file, print)) as backend:
            running.sample(study, kept, backend, times)
    # All workers are at work from the row after each had one to that before the last of any.
    first, last = workers, len(times.at) - workers
    each = (times.at[last] - times.at[first]) / (last - first)
    return 60 / each, each * workers - DELAY, times.at[0] - began


def rates(rounds: int, rows: int) -> str:
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = {kind: [] for kind in KINDS}
    for number in range(rounds):
        for kind in KINDS:
            found[kind].append(measured(*kind, rows))
            print(f"round {number + 1}: {kind[0]}, {kind[1]}: {found[kind][-1][0]:.0f} rows a minute", flush=True)
    lines = [["back end", "workers", "rows a minute", "of one server's", "cost of a row, ms", "start, s"]]
    alone = statistics.median(one[0] for one in found["servers", 1])
    for (kind, workers), values in found.items():
        rate, cost, start = (statistics.median(column) for column in zip(*values))
        ratio = f"{rate / alone:.2f} ×"
        lines.append([kind, str(workers), f"{rate:.0f}", ratio, f"{cost * 1000:.0f}", f"{start:.1f}"])
    return table(lines)


def staged(plan: Path, stage: str) -> dict[str, float]:
    command = [sys.executable, str(PACK / "benchmarks" / "study_scale.py"), str(plan), stage]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # type: ignore[no-any-return]


def scale(sizes: tuple[int, ...]) -> str:
    lines = [
        ["rows", "planned, s", "planned, MB", "goes on, s", "goes on, MB", "a row kept, ms", "table, s", "disk, MB"]
    ]
    for size in sizes:
        with tempfile.TemporaryDirectory() as at:
            folder = Path(at)
            plan = staged(plan_of(folder, size), "plan")
            made = staged(plan_of(folder, size - LEFT), "run")
            on = staged(plan_of(folder, size), "run")
        figures = [
            plan["planned"],
            plan["memory"],
            on["first"],
            on["memory"],
            made["each"] * 1000,
            on["table"],
            on["disk"],
        ]
        digits = (2, 0, 2, 0, 2, 2, 1)
        lines.append([f"{size:,}", *(f"{value:.{places}f}" for value, places in zip(figures, digits))])
        print(" | ".join(lines[-1]), flush=True)
    return table(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PACK / "benchmarks" / "results")
    parser.add_argument("--small", action="store_true", help="a minute: one round, up to 10⁴ rows")
    options = parser.parse_args()
    try:
        import ray
    except ImportError:  # in an environment with it
        os.execv(interpreter(), [str(interpreter()), *sys.argv])
    os.environ["PYTHONPATH"] = str(PACK)  # of Ray's actors
    rounds, rows, load = (1, 20, os.getloadavg()[0]) if options.small else (3, 24, os.getloadavg()[0])
    text = HEAD.format(
        cpu=platform.processor() or platform.machine(),
        cores=os.cpu_count(),
        load=load,
        ray=ray.__version__,
        delay=DELAY,
        rounds=rounds,
        rows=rows,
        ideal=60 / DELAY,
        left=LEFT,
        rates=rates(rounds, rows),
        scale=scale(SIZES[:-1] if options.small else SIZES),
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "study.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
