"""What a study promises whoever fails: every row once, and the same rows in the end. On real processes."""

from __future__ import annotations

import contextlib
import signal
import socket
import time

import pyarrow.parquet as pq
import pytest
from conftest import PATIENCE, realign, records, same, started, table_of

from realign_study.errors import HostTrouble, RowFailed
from realign_study.hosts import Client
from realign_study.parts import Parts
from realign_study.results import SCORES

BAD = ["silent", "stuck", "forgetful", "dies", "noise", "wrong", "deep", "broken", "html", "escapes", "untraced"]


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
    _, told = process.communicate(timeout=PATIENCE)
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
    assert errors["to fail"] == "Fake: it <b>fails</b> \x1b[2J"
    assert "failed: Fake: it <b>fails</b> \ufffd[2J" in done.stderr  # a terminal is told nothing by a host
    assert errors["to refuse"] == "Fake: Value not in list (refuse)"
    count = len(records(tmp_path / "out"))
    assert realign(*arguments).returncode == 1  # they are not tried again unasked
    assert len(records(tmp_path / "out")) == count
    assert realign(*arguments, "--retry-failed").returncode == 1
    assert len(records(tmp_path / "out")) == count + 8
    assert len(table_of(tmp_path / "out")) == 16


@pytest.mark.parametrize("bad", [1, 2])
def test_a_host_that_fails_at_what_others_make_is_dropped(fake, write_plan, tmp_path, right, bad):
    """It fails faster than any other works, so that it would be given nearly all rows."""
    seen = tmp_path / "seen"
    failing = [fake("fails", log=seen) for _ in range(bad)]
    good = fake(after=seen, delay=0.3)
    plan = write_plan(hosts={"servers": [*(one.url for one in failing), good.url], "patience": 10})
    done = realign("study", plan, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert same(table_of(tmp_path / "out")) == right
    told = [line for line in done.stderr.splitlines() if "others then made; the last: Fake: CUDA" in line]
    assert {line.split()[0] for line in told} <= {one.url for one in failing}
    assert told


def test_a_row_that_fails_at_two_hosts_is_to_blame(fake, write_plan, tmp_path):
    log = tmp_path / "log"
    plan = write_plan(prompts=["a fox", "to fail", "an owl"], hosts={"servers": [fake(log=log).url, fake(log=log).url]})
    done = realign("study", plan, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "dropped" not in done.stderr
    assert [bool(row["error"]) for row in table_of(tmp_path / "out")] == [False] * 4 + [True] * 4 + [False] * 4
    assert len(records(tmp_path / "out")) == 12
    assert len(log.read_text().splitlines()) == 16


def test_where_all_fail_alike_it_stops_soon_wherever_that_begins(fake, write_plan, tmp_path):
    """Ten rows where nothing was made, else rows of ten prompts."""
    for prompts, rows in ((["a fox", *(f"to fail {number}" for number in range(30))], 2 + 19), (["to fail"], 10)):
        log = tmp_path / f"log {rows}"
        plan, host = write_plan(prompts=prompts, seeds=[1] if rows > 10 else list(range(25))), fake(log=log)
        done = realign("study", plan, "--server", host.url, "--out", tmp_path / f"out {rows}")
        assert done.returncode == 2
        said = f"rows failed alike, one after the other, at {host.url}, so no more were tried: Fake: it"
        assert said in done.stderr
        assert rows <= len(log.read_text().splitlines()) < rows + 5


def test_a_prompt_that_fails_in_all_its_rows_stops_nothing(fake, write_plan, tmp_path):
    plan = write_plan(prompts=["a fox", "to fail", "an owl"], seeds=list(range(12)))
    done = realign("study", plan, "--server", fake().url, "--out", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    rows = table_of(tmp_path / "out")
    assert sum(not row["error"] for row in rows) == 2 * len([row for row in rows if row["error"]])


def test_a_row_that_one_host_loses_is_made_by_another(fake, write_plan, tmp_path, right):
    """However often the one that loses rows is free for it."""
    seen = tmp_path / "seen"
    forgetful, good = fake("forgetful", log=seen), fake(after=seen, delay=0.7)
    plan = write_plan(hosts={"servers": [forgetful.url, good.url], "row_minutes": 1, "patience": 10})
    done = realign("study", plan, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert same(table_of(tmp_path / "out")) == right


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_study_that_is_stopped_keeps_what_it_has(fake, write_plan, tmp_path, how):
    out = tmp_path / "out"
    process = started("study", write_plan(), "--server", fake(delay=0.3).url, "--out", out)
    while not list((out / "rows").glob("*.jsonl")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(how)
    _, told = process.communicate(timeout=PATIENCE)
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


@pytest.mark.parametrize("bad", ["refuse", "fail"])
def test_one_reward_that_cannot_be_had_takes_no_other_with_it(fake, write_plan, tmp_path, bad):
    """refuse: the host takes the graph all the same, and runs what it can of it."""
    host, out = fake(), tmp_path / "out"
    plan = write_plan(prompts=["a fox"], rewards={"good": {"node": "Good"}, "bad": {"node": "Bad", "reward": bad}})
    arguments = (plan, "--server", host.url, "--out", out)
    assert realign("study", *arguments).returncode == 0
    assert realign("score", *arguments).returncode == 1
    assert all(isinstance(row["score_good"], float) and row["score_bad"] is None for row in table_of(out))
    said = {(one["reward"], one["error"].strip()) for one in Parts(out / "scores", SCORES).records()}
    why = {"refuse": "Fake: Value not in list (refuse)", "fail": "Fake: it <b>fails</b> \x1b[2J"}
    assert said == {("good", ""), ("bad", why[bad])}


def test_a_row_that_takes_too_long_is_taken_out_of_the_hosts_queue(fake, write_plan, tmp_path):
    log = tmp_path / "log"
    plan = write_plan(hosts={"servers": [fake("stuck", log=log).url], "row_minutes": 0.01, "patience": 10})
    done = realign("study", plan, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "did not finish a row in 0.01 minutes" in done.stderr
    assert "delete" in (tmp_path / "log.cancelled").read_text()


def test_a_rows_time_begins_when_it_runs(fake, write_plan, tmp_path):
    hosts = {"servers": [fake("busy", delay=3).url], "row_minutes": 0.01, "patience": 10}
    plan = write_plan(prompts=["a fox"], seeds=[1], hosts=hosts, **{"lambda": [0]})
    done = realign("study", plan, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr


def test_a_host_to_which_no_connection_comes_about_may_come_back():
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # more than its queue takes
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        client = Client(f"http://127.0.0.1:{full.getsockname()[1]}", 0.3)
        with pytest.raises(HostTrouble, match=r"cannot be reached: no connection within 0.3 s") as trouble:
            client.about()
        assert trouble.value.gone


def test_a_graph_of_which_a_host_takes_only_a_part_is_not_taken(fake, tmp_path):
    log = tmp_path / "log"
    client = Client(fake(log=log).url)
    graph = {name: {"class_type": "Show", "inputs": {"text": name}} for name in ("good", "refuse")}
    with pytest.raises(RowFailed, match=r"Fake: Value not in list \(refuse\)"):
        client.queue(graph)
    client.close()
    assert "delete" in (tmp_path / "log.cancelled").read_text()
