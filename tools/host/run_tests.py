"""`make test`: format, lint, types, then the tests, each stage named; ends at the first failure."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import NamedTuple

from tools.cache import PACK

WORKERS = str(min(4, os.cpu_count() or 1))
SHARED = ["-n", WORKERS, "--dist", "worksteal"]


class Stage(NamedTuple):
    name: str
    command: list[str]
    environment: dict[str, str] = {}


STAGES = (
    Stage("format", ["ruff", "format", "--check", "."]),
    Stage("lint", ["ruff", "check", "."]),
    Stage("types", ["mypy", "realign_core", "realign_study"]),
    Stage("core tests", ["pytest", "tests/core"]),
    # A host for one of its files, which therefore stays with one worker.
    Stage("study tests", ["pytest", "tests/study", "-n", WORKERS, "--dist", "loadfile"]),
    # A host in each process: workers take the next test from one another, so that none waits for the slowest file.
    Stage("host tests", ["pytest", "tests/host", "-m", "not thorough", *SHARED]),
    # The instructions of an old CPU: what is equal but for rounding must be so on machines that this one is not.
    Stage(
        "numeric tests on an older CPU",
        ["pytest", "tests/host", "-m", "numeric and not thorough", *SHARED],
        {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"},
    ),
    # A page waits for a host and a host for a page: two of each keep the cores at work. What failed is done again, on a
    # new page, and named: on a busy machine a page may lose a click.
    Stage("browser tests", ["pytest", "tests/browser", "-n", WORKERS, "--reruns", "2", "-rR"]),
)


def main() -> int:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    environment.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores; more threads wait for each other
    start = time.monotonic()
    for stage in STAGES:
        print(f"\n=== {stage.name} ({time.monotonic() - start:.0f} s)", flush=True)
        code = subprocess.run(
            [sys.executable, "-m", *stage.command],
            cwd=PACK,
            env={**environment, **stage.environment},
            stdin=subprocess.DEVNULL,
        ).returncode
        if code:
            print(f"\nmake test: {stage.name} failed", file=sys.stderr)
            return code
    print(f"\nAll passed in {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
