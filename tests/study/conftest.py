"""Studies on real processes: the command, and hosts that are a stand-in (fake_comfyui) or, in test_host.py, real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

PACK = Path(__file__).parents[2]
FAKE = Path(__file__).with_name("fake_comfyui")
sys.path.append(str(PACK))
from realign_study.parts import Parts  # noqa: E402
from realign_study.results import ROWS  # noqa: E402

PROMPTS = ["a fox", "a bear", "an owl"]
PLAN = {
    "study": "test",
    "workflow": "Realign SDXL - Diffusion-DPO",
    "prompts": PROMPTS,
    "lambda": [0, 0.5],
    "seeds": [1, 2],
    "hosts": {"row_minutes": 1, "patience": 10},
}


class FakeHost:
    """A stand-in for a ComfyUI, as a process."""

    def __init__(self, mode="good", delay=0.0, log="", elsewhere="", after=""):
        command = [sys.executable, str(FAKE / "main.py"), "--mode", mode, "--delay", str(delay)]
        command += ["--log", str(log), "--elsewhere", elsewhere, "--after", str(after)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def fake():
    """fake(mode, …): a stand-in that is started, and ended with the test."""
    started = []

    def start(*args, **options):
        started.append(FakeHost(*args, **options))
        return started[-1]

    yield start
    for host in started:
        host.stop()


@pytest.fixture
def write_plan(tmp_path):
    """write_plan(**changes): the plan above with changes, as a file."""

    def write(**changes):
        file = tmp_path / "plan.yaml"
        plan = {key.rstrip("_"): value for key, value in {**PLAN, **changes}.items() if value is not None}
        file.write_text(yaml.safe_dump(plan, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return file

    return write


PATIENCE = 900  # seconds until a process that hangs is given up, on a machine that has other work
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PACK), "OMP_NUM_THREADS": "1"}
ENVIRONMENT.pop("COMFYUI_PATH", None)


def started(*arguments, first=lambda: None, **options):
    """The command as a process, which calls first() before it begins."""

    def begin():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell has what runs in its background ignore Ctrl-C
        first()

    command = [sys.executable, "-m", "realign_study", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True}
    return subprocess.Popen(command, env=ENVIRONMENT, preexec_fn=begin, **pipes, **options)


def realign(*arguments, **options):
    """The command, to its end: a CompletedProcess."""
    process = started(*arguments, **options)
    out, err = process.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def table_of(folder):
    """The rows of a study's table, as dicts."""
    return pq.read_table(folder / "table.parquet").to_pylist()


def same(rows):
    """What must be the same whoever made the rows."""
    return [(row["key"], row["prompt"], row["lambda"], row["seed"], row["pixels"], row["error"]) for row in rows]


def records(folder):
    """All that was ever written, by key and error."""
    return [(one["key"], one["error"]) for one in Parts(folder / "rows", ROWS).records()]


def written(folder):
    """The same, of a folder that may not be there yet or in which a run is about to put something away."""
    try:
        return records(folder)
    except FileNotFoundError:
        return []


@pytest.fixture
def right(fake, write_plan, tmp_path):
    """The rows that the plan's study has on a host that does as it should."""
    done = realign("study", write_plan(), "--server", fake().url, "--out", tmp_path / "right")
    assert done.returncode == 0, done.stderr
    return same(table_of(tmp_path / "right"))


@pytest.fixture
def comfyui(tmp_path):
    """hosts of a plan whose ComfyUI is a stand-in, started by the study with these arguments."""
    pids = tmp_path / "pids"
    folder = tmp_path / "comfyui"
    folder.mkdir()
    start = f"import os, runpy\nopen({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
    (folder / "main.py").write_text(start + f"runpy.run_path({str(FAKE / 'main.py')!r}, run_name='__main__')\n")

    def hosts(*args):
        return {"comfyui": str(folder), "python": sys.executable, "args": ["--cpu", *args], "patience": 2}

    hosts.pids = lambda: [int(line) for line in pids.read_text().split()] if pids.exists() else []
    return hosts


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def gone(pid, seconds=15):
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
