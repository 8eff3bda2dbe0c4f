"""`make test`: format, lint, types, then core, host and browser tests, each stage named; ends at the first failure."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from host_process import PACK

STAGES = {
    "format": ["-m", "ruff", "format", "--check", "."],
    "lint": ["-m", "ruff", "check", "."],
    "types": ["-m", "mypy", "realign_core"],
    "core tests": ["-m", "pytest", "tests/core"],
    # A host in each process: workers take the next test from one another, so that none waits for the slowest file.
    "host tests": ["-m", "pytest", "tests/host", "-n", str(min(4, os.cpu_count() or 1)), "--dist", "worksteal"],
    "browser tests": ["-m", "pytest", "tests/browser"],
}


def main() -> int:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    environment.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores; more threads wait for each other
    start = time.monotonic()
    for name, command in STAGES.items():
        print(f"\n=== {name} ({time.monotonic() - start:.0f} s)", flush=True)
        code = subprocess.run(
            [sys.executable, *command], cwd=PACK, env=environment, stdin=subprocess.DEVNULL
        ).returncode
        if code:
            print(f"\nmake test: {name} failed", file=sys.stderr)
            return code
    print(f"\nAll passed in {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
