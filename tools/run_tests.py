"""`make test`: format, lint, types, then core and host tests, and the browser tests beside them; each stage is named.

A stage that fails ends its lane, and the other lane after the stage it is in.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import NamedTuple

from host_process import PACK

WORKERS = str(min(4, os.cpu_count() or 1))


class Stage(NamedTuple):
    name: str
    command: list[str]
    environment: dict[str, str] = {}


# Two lanes side by side: the page mostly waits for its host, and that for a test.
LANES = (
    (
        Stage("format", ["ruff", "format", "--check", "."]),
        Stage("lint", ["ruff", "check", "."]),
        Stage("types", ["mypy", "realign_core"]),
        Stage("core tests", ["pytest", "tests/core"]),
        # A host in each process: workers take the next test from one another, so that none waits for the slowest file.
        Stage("host tests", ["pytest", "tests/host", "-n", WORKERS, "--dist", "worksteal"]),
        # The instructions of an old CPU: what is equal but for rounding must be so on machines that this one is not.
        Stage(
            "numeric tests on an older CPU",
            ["pytest", "tests/host", "-m", "numeric", "-n", WORKERS, "--dist", "worksteal"],
            {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"},
        ),
    ),
    (Stage("browser tests", ["pytest", "tests/browser"]),),
)


class Run:
    """The lanes, and the time since they began."""

    def __init__(self) -> None:
        self.start, self.failed, self.writing = time.monotonic(), "", threading.Lock()
        self.environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        self.environment.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores; more threads wait

    def lane(self, stages: tuple[Stage, ...]) -> None:
        for stage in stages:
            if self.failed:
                return
            done = subprocess.run(
                [sys.executable, "-m", *stage.command],
                cwd=PACK,
                env={**self.environment, **stage.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            if done.returncode:
                self.failed = stage.name
            with self.writing:
                print(f"\n=== {stage.name} ({time.monotonic() - self.start:.0f} s)", flush=True)
                sys.stdout.buffer.write(done.stdout)
                sys.stdout.buffer.flush()


def main() -> int:
    run = Run()
    lanes = [threading.Thread(target=run.lane, args=(stages,)) for stages in LANES]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    if run.failed:
        print(f"\nmake test: {run.failed} failed", file=sys.stderr)
        return 1
    print(f"\nAll passed in {time.monotonic() - run.start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
