"""`make matrix`: the host tests on every ComfyUI that can be had, a line for each.

    python -m tools.host.matrix [--only 0.24.1 …] [--host FOLDER …] [--workers N] [-- pytest's options]

Those that can be had are the releases of tools/cache.py; --host adds a ComfyUI of your own. Each gets a layer of its
own over the environment of `make test`, in the cache. One that is older than the least has to say so in its log, and
that is its line. The table goes to standard output; progress and the names of failed tests to standard error.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tools.cache import CACHE, HOST, HOSTS, PACK, SetupError, say
from tools.host.bootstrap import bring, is_host
from tools.host.environment import make_environment, make_layer
from tools.host.host_process import Host, HostError
from tools.host.run_tests import WORKERS

COLUMNS = ("ComfyUI", "passed", "failed", "skipped", "seconds", "")
RUN = CACHE / "matrix"


class Row(NamedTuple):
    """What became of one host."""

    version: str
    passed: int | None = None  # None: no tests were run
    failed: int | None = None
    skipped: int | None = None
    seconds: float = 0.0
    note: str = ""

    def __str__(self) -> str:
        counts = ["–" if count is None else str(count) for count in (self.passed, self.failed, self.skipped)]
        return f"| {' | '.join([self.version, *counts, f'{self.seconds:.0f}', self.note])} |"


def least() -> str:
    """The oldest ComfyUI that the pack takes, by its own word."""
    return re.findall(r'^LEAST_HOST = "([\d.]+)"', (PACK / "__init__.py").read_text("utf-8"), re.MULTILINE)[0]


def version_of(host: Path) -> str:
    """ "?" of a ComfyUI that does not say."""
    file = host / "comfyui_version.py"
    found = re.search(r'__version__ = "(.+)"', file.read_text("utf-8")) if file.is_file() else None
    return found[1] if found else "?"


def is_older(version: str, other: str) -> bool:
    """False for what has no numbers."""
    numbers = [[int(part) for part in re.findall(r"\d+", text)] for text in (version, other)]
    return bool(numbers[0]) and numbers[0] < numbers[1]


def row_of(host: Path, below: Path, options: argparse.Namespace) -> Row:
    """One host's line. Raises SetupError or HostError, with the reason, where it could not be run."""
    version, start = version_of(host), time.monotonic()
    say(f"ComfyUI {version} in {host}")
    python = make_layer(host, below)
    if is_older(version, least()):
        row = refusal_of(host, python)
    else:
        row = results_of(RUN / f"{version}.xml", run_tests(host, python, version, options))
    return row._replace(version=version, seconds=time.monotonic() - start)


def run_tests(host: Path, python: Path, version: str, options: argparse.Namespace) -> Path:
    """Run tests/host, with a report in RUN. Returns the log."""
    RUN.mkdir(parents=True, exist_ok=True)
    log, report = RUN / f"{version}.log", RUN / f"{version}.xml"
    report.unlink(missing_ok=True)
    command = [str(python), "-m", "pytest", "tests/host", "--junitxml", str(report), "-p", "no:cacheprovider"]
    if options.workers > 1:
        command += ["-n", str(options.workers), "--dist", "worksteal"]
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "REALIGN_HOST": str(host), "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as out:
        subprocess.run(
            [*command, *options.pytest],
            cwd=PACK,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    return log


def results_of(report: Path, log: Path) -> Row:
    if not report.is_file():
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])
        raise HostError(f"the tests did not run to their end. The end of {log}:\n{tail}")
    cases = list(ElementTree.parse(report).iter("testcase"))
    skipped = sum(case.find("skipped") is not None for case in cases)
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    for case in failed:
        say(f"    failed: {case.get('classname')}::{case.get('name')}")
    note = f"see {log}" if failed else ""
    return Row("", len(cases) - skipped - len(failed), len(failed), skipped, note=note)


def refusal_of(host: Path, python: Path) -> Row:
    """Started with the pack, a host that is too old has to go on, and to have the pack's sentence in its log."""
    with Host(python, host) as running:
        log = running.log_path.read_text(encoding="utf-8", errors="replace")
    said = re.findall(r"Realign needs ComfyUI .*", log)
    if not said:
        return Row("", failed=1, note="too old, but its log does not say so")
    return Row("", note=f"too old, and says: {said[-1]}")


def hosts(options: argparse.Namespace) -> Iterator[tuple[str, Path | SetupError]]:
    """(version, its folder, or why it cannot be had)."""
    for release in HOSTS:
        if options.only is not None and release.host not in options.only:
            continue
        try:
            yield release.host, bring(release)
        except SetupError as error:
            yield release.host, error
    for name in options.host:
        folder = Path(name).expanduser().resolve()
        yield version_of(folder), folder if is_host(folder) else SetupError(f"{name} holds no ComfyUI")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="*", metavar="VERSION", help="of the releases, these alone, or none")
    parser.add_argument("--host", nargs="+", default=[], metavar="FOLDER", help="a ComfyUI of your own, too")
    parser.add_argument("--workers", type=int, default=int(WORKERS), help="processes for the tests")
    parser.add_argument("pytest", nargs="*", help="after --: options of pytest")
    options = parser.parse_args()
    try:
        below = make_environment(bring(HOST))
    except SetupError as error:
        say(f"make matrix: {error}")
        return 1
    rows = []
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for version, host in hosts(options):
        try:
            if isinstance(host, SetupError):
                raise host
            rows.append(row_of(host, below, options))
        except SetupError as error:
            say(str(error))
            rows.append(Row(version, note=f"not to be had: {str(error).splitlines()[0]}"))
        except HostError as error:
            say(str(error))
            rows.append(Row(version, failed=1, note=str(error).splitlines()[0]))
        print(rows[-1], flush=True)
    tested = [row for row in rows if row.passed]
    say(f"Tested on {len(tested)} of {len(rows)}: {', '.join(row.version for row in tested)}")
    return int(not tested or any(row.failed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
