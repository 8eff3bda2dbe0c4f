"""What a study promises whoever fails: every row once, and the same rows in the end. On real processes."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import FAKE, realign, same, started, table_of

from realign_study.parts import Parts
from realign_study.results import ROWS

KILLS = 20
BAD = ["silent", "stuck", "forgetful", "dies", "noise", "wrong", "deep", "broken", "html", "escapes", "untraced"]


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


def test_killed_twenty_times_no_row_is_lost_or_doubled(fake, write_plan, tmp_path):
    log, out = tmp_path / "log", tmp_path / "out"
    host = fake(delay=0.02, log=log)
    plan = write_plan(seeds=list(range(20)))
    arguments = ("study", plan, "--server", host.url, "--out", out)
    dice, before = random.Random(0), []
    for kill in range(KILLS):
        process = started(*arguments)
        if kill % 2:  # while rows are being made; else at any moment since its start
            while process.poll() is None and len(written(out)) <= len(before):
                time.sleep(0.01)
        time.sleep(dice.uniform(0, 0.3 if kill % 2 else 1.0))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        now = written(out)
        assert now[: len(before)] == before
        assert len(set(now)) == len(now)
        before = now
    assert len(before) >= KILLS // 2
    done = realign(*arguments)
    assert done.returncode == 0, done.stderr
    rows = table_of(out)
    assert len(rows) == len({row["key"] for row in rows}) == len(records(out)) == 120
    # A row is made again only where the kill came between the host's taking it and its record.
    assert len(log.read_text().splitlines()) <= 120 + KILLS
    assert all((out / row["picture"]).stat().st_size == row["bytes"] for row in rows)


@pytest.mark.parametrize("mode", [*BAD, "endless"])
def test_beside_a_host_that_fails_the_rows_are_the_same(fake, write_plan, tmp_path, right, mode):
    seen = tmp_path / "seen"
    good, bad = fake(after=seen), fake(mode, log=seen)  # the good one gives nothing until the other has had a row
    servers = {"servers": [bad.url, good.url], "row_minutes": 0.1, "patience": 3}
    done = realign("study", write_plan(hosts=servers), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert same(table_of(tmp_path / "out")) == right
    told = [line for line in done.stderr.splitlines() if "It is dropped, its row goes to another" in line]
    # One that has lost a row may go on; by then the other has done all that there was.
    assert [line.split()[0] for line in told] == [bad.url] * (mode != "forgetful")
    assert not [path for path in tmp_path.rglob("*") if "escaped" in path.name]
    assert not (tmp_path.parent / "escaped.png").exists()


def test_a_host_that_points_elsewhere_is_not_followed(fake, write_plan, tmp_path):
    log = tmp_path / "log"
    elsewhere = fake(log=log)
    pointing = fake("redirects", elsewhere=elsewhere.url)
    hosts = {"servers": [pointing.url], "patience": 1}
    done = realign("study", write_plan(hosts=hosts), "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "answered with status 302" in done.stderr
    assert not log.exists()


def test_a_worker_killed_in_the_middle_gives_its_rows_to_another(fake, write_plan, tmp_path, right):
    first, second = fake(delay=0.1), fake(delay=0.1)
    plan = write_plan(hosts={"servers": [first.url, second.url], "patience": 3})
    process = started("study", plan, "--out", tmp_path / "out")
    while not list((tmp_path / "out" / "rows").glob("*.jsonl")):
        assert process.poll() is None
        time.sleep(0.01)
    first.process.kill()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert same(table_of(tmp_path / "out")) == right
    assert told.startswith(f"{first.url} ")
    assert "It is dropped, its row goes to another" in told


def test_where_no_host_is_left_it_says_so_and_goes_on_later(fake, write_plan, tmp_path, right):
    host = fake("dies")
    plan = write_plan(hosts={"servers": [host.url], "patience": 3})
    done = realign("study", plan, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "No host is left" in done.stderr
    assert len(records(tmp_path / "out")) == 2
    done = realign("study", plan, "--server", fake().url, "--out", tmp_path / "out")
    assert done.returncode == 0
    assert same(table_of(tmp_path / "out")) == right


def test_a_row_that_fails_is_recorded_and_the_rest_goes_on(fake, write_plan, tmp_path):
    host = fake()
    plan = write_plan(prompts=["a fox", "to fail", "to refuse", "an owl"])
    arguments = ("study", plan, "--server", host.url, "--out", tmp_path / "out")
    done = realign(*arguments)
    assert done.returncode == 1
    assert done.stdout.startswith("8 of 16 rows are there, 8 failed")
    errors = {row["prompt"]: row["error"] for row in table_of(tmp_path / "out")}
    assert errors["a fox"] == errors["an owl"] == ""
    assert errors["to fail"] == "Fake: it <b>fails</b>"
    assert errors["to refuse"] == "Fake: Value not in list (refuse)"
    count = len(records(tmp_path / "out"))
    assert realign(*arguments).returncode == 1  # they are not tried again unasked
    assert len(records(tmp_path / "out")) == count
    assert realign(*arguments, "--retry-failed").returncode == 1
    assert len(records(tmp_path / "out")) == count + 8
    assert len(table_of(tmp_path / "out")) == 16


def test_where_all_fail_alike_it_stops_soon(fake, write_plan, tmp_path):
    log = tmp_path / "log"
    plan = write_plan(prompts=["to fail"], seeds=list(range(50)))
    done = realign("study", plan, "--server", fake(log=log).url, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "The first 10 rows failed alike" in done.stderr
    assert len(log.read_text().splitlines()) < 15


# This machine: a host that the study starts itself.


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


def test_this_machines_host_gives_the_same_rows_and_ends_with_the_study(comfyui, write_plan, tmp_path, right):
    done = realign("study", write_plan(hosts=comfyui()), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert same(table_of(tmp_path / "out")) == right
    (pid,) = comfyui.pids()
    assert gone(pid)


def test_a_host_that_dies_is_started_again(comfyui, write_plan, tmp_path, right):
    """It ends at every third graph, and that row is the next one's first."""
    done = realign("study", write_plan(hosts=comfyui("--mode", "dies")), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert same(table_of(tmp_path / "out")) == right
    assert len(comfyui.pids()) == 6


def test_a_row_that_ends_every_host_is_recorded_and_the_rest_goes_on(comfyui, write_plan, tmp_path):
    plan = write_plan(hosts=comfyui(), prompts=["a fox", "poison", "an owl"], seeds=[1], **{"lambda": [0]})
    done = realign("study", plan, "--out", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    errors = [row["error"] for row in table_of(tmp_path / "out")]
    assert errors[0] == errors[2] == ""
    assert errors[1].startswith("3 hosts ended or fell silent while they made this row; the last: this machine's")
    assert len(comfyui.pids()) == 4


def test_a_row_that_one_host_loses_is_made_by_another(fake, write_plan, tmp_path, right):
    """However often the one that loses rows is free for it."""
    seen = tmp_path / "seen"
    forgetful, good = fake("forgetful", log=seen), fake(after=seen, delay=0.7)
    plan = write_plan(hosts={"servers": [forgetful.url, good.url], "row_minutes": 1, "patience": 10})
    done = realign("study", plan, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert same(table_of(tmp_path / "out")) == right


def test_a_killed_study_leaves_no_host_behind(comfyui, write_plan, tmp_path):
    process = started("study", write_plan(hosts=comfyui("--delay", "0.2")), "--out", tmp_path / "out")
    while not list((tmp_path / "out" / "rows").glob("*.jsonl")):
        assert process.poll() is None
        time.sleep(0.02)
    (pid,) = comfyui.pids()
    assert alive(pid)
    process.kill()
    process.communicate()
    assert gone(pid)


def test_a_folder_that_is_no_comfyui_is_refused(write_plan, tmp_path):
    done = realign("study", write_plan(hosts={"comfyui": str(tmp_path)}), "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "is no ComfyUI" in done.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_study_that_is_stopped_keeps_what_it_has(fake, write_plan, tmp_path, how):
    out = tmp_path / "out"
    process = started("study", write_plan(), "--server", fake(delay=0.3).url, "--out", out)
    while not list((out / "rows").glob("*.jsonl")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(how)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Stopped. What was finished is kept" in told
    assert len(pq.read_table(out / "table.parquet")) >= 1
    assert not list(out.rglob("*.tmp"))


def test_scores_are_a_stage_of_their_own(fake, write_plan, tmp_path):
    log, out = tmp_path / "log", tmp_path / "out"
    host = fake(log=log)
    assert realign("study", write_plan(), "--server", host.url, "--out", out).returncode == 0
    reward = {"node": "RealignPictureReward", "reward": "colourfulness"}
    plan = write_plan(rewards={"a": reward})
    arguments = ("score", plan, "--server", host.url, "--out", out)
    assert realign(*arguments).returncode == 0
    made = len(log.read_text().splitlines())
    assert made == 24  # twelve pictures, twelve scores
    scores = [row["score_a"] for row in table_of(out)]
    assert all(isinstance(score, float) for score in scores)
    assert realign(*arguments).returncode == 0  # asked once
    write_plan(rewards={"renamed": reward, "b": {**reward, "reward": "sharpness"}})
    assert realign(*arguments).returncode == 0
    assert len(log.read_text().splitlines()) == made + 12
    assert [row["score_renamed"] for row in table_of(out)] == scores
