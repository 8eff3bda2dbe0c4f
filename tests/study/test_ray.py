"""Studies by Ray, on real processes: a cluster of two nodes here, whose actors start stand-ins for ComfyUIs.

What needs Ray runs in `make test-ray`.
"""

from __future__ import annotations

import importlib.util
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, PATIENCE, alive, gone, parent, realign, records, same, started, table_of, written

with_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not here: make test-ray")
KILLS = 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    """A node of a Ray cluster, as a process with a group of its own."""

    def __init__(self, *arguments):
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats", *arguments]
        environment = {**ENVIRONMENT, "RAY_USAGE_STATS_ENABLED": "0"}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def cluster():
    """The address of a cluster with four CPUs and its ray:// address."""
    # Whoever knows a cluster's address can run programs on it, unless it wants a token.
    ENVIRONMENT.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    port, client = free_port(), free_port()
    ports = [f"--port={port}", f"--ray-client-server-port={client}", "--include-dashboard=false"]
    head = Node("--head", "--num-cpus=4", *ports)
    for each in (port, client):
        end = time.monotonic() + 120
        while time.monotonic() < end:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", each)):
                    break
            assert head.process.poll() is None, head.process.stdout.read()
            time.sleep(0.2)
    yield f"127.0.0.1:{port}", f"ray://127.0.0.1:{client}"
    head.stop()


@pytest.fixture
def by_ray(comfyui, write_plan, cluster):
    """by_ray(*arguments of the stand-in, ray={…}, **changes of the plan): a plan for two actors."""

    def write(*args, ray=None, hosts=None, **changes):
        settings = {"address": cluster[0], "actors": 2, **(ray or {})}
        where = {**comfyui(*args), "patience": 5, "ray": settings, **(hosts or {})}
        return write_plan(back_end="ray", hosts=where, **changes)

    return write


def all_gone(pids):
    return all(gone(pid) for pid in pids)


# Without Ray: what is refused, and what a plan may say


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is here")
def test_without_ray_it_is_said_how_it_is_had(comfyui, write_plan, tmp_path):
    done = realign("study", write_plan(back_end="ray", hosts=comfyui()), "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "Ray is not installed: pip install 'realign[ray]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("changes", "arguments", "said"),
    [
        ({"back_end": "ray", "hosts": {"servers": ["http://a"]}}, (), "plan.yaml, line 14: with back_end: ray each"),
        ({"hosts": {"ray": {"actors": 2}}}, (), "plan.yaml, line 14: this has an effect only with back_end: ray"),
        ({"hosts": {"ray": {"actors": 0}}}, (), "plan.yaml, line 15: hosts.ray.actors: "),
        ({"hosts": {"ray": {"gpus": 1}}}, (), "plan.yaml, line 15: hosts.ray.gpus is not known here."),
        (
            {"hosts": {"ray": {"address": "http://a:1"}}},
            (),
            "plan.yaml, line 15: hosts.ray.address: an address is such as ray://head:10001",
        ),
        ({"back_end": "ray", "hosts": {"comfyui": "c"}}, ("--server", "http://a"), "take back_end: ray and hosts.ray"),
        ({}, ("--server", "http://a", "--ray"), "leave --ray out"),
        ({"hosts": None}, ("--ray",), "Ray's actors start a ComfyUI each: name its folder"),
        ({"hosts": None}, ("--ray", "nowhere", "--comfyui", "c"), "--server, --comfyui, --ray: "),
    ],
)
def test_what_would_have_no_effect_or_cannot_be_is_refused(write_plan, tmp_path, changes, arguments, said):
    done = realign("study", write_plan(**changes), "--out", tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_tells_where_without_ray(write_plan):
    hosts = {"comfyui": "~/c", "ray": {"address": "ray://head:10001", "actors": 8}}
    done = realign("study", write_plan(back_end="ray", hosts=hosts), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "where: 8 ComfyUIs started by Ray (ray://head:10001) from ~/c" in done.stdout


# With Ray


@with_ray
@pytest.mark.parametrize("address", [0, 1], ids=["cluster", "ray://"])
def test_a_clusters_rows_are_the_same_and_its_hosts_end(by_ray, comfyui, cluster, tmp_path, right, address):
    plan = by_ray("--delay", "0.2", ray={"address": cluster[address]})
    done = realign("study", plan, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    rows = table_of(tmp_path / "out")
    assert same(rows) == right
    assert {row["worker"].split(" on ")[0] for row in rows} == {"actor 1", "actor 2"}
    assert len(comfyui.pids()) == 2
    assert all_gone(comfyui.pids())


@with_ray
def test_on_this_machine_alone(by_ray, comfyui, tmp_path, right):
    done = realign("study", by_ray(ray={"address": "local", "actors": 1}), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert same(table_of(tmp_path / "out")) == right
    assert all_gone(comfyui.pids())


@with_ray
def test_scores_have_actors_of_their_own(by_ray, comfyui, tmp_path):
    reward = {"node": "RealignPictureReward", "reward": "colourfulness"}
    plan = by_ray(rewards={"a": reward}, ray={"scoring": {"actors": 1, "num_cpus": 0.5}})
    assert realign("study", plan, "--out", tmp_path / "out").returncode == 0
    before = len(comfyui.pids())
    done = realign("score", plan, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert len(comfyui.pids()) == before + 1
    assert all(isinstance(row["score_a"], float) for row in table_of(tmp_path / "out"))


@with_ray
@pytest.mark.parametrize("mode", ["silent", "stuck", "noise", "wrong", "broken", "html", "escapes", "untraced"])
def test_beside_an_actor_whose_host_fails_the_rows_are_the_same(by_ray, comfyui, tmp_path, right, mode):
    """The first host that starts is bad; all that start later are good."""
    plan = by_ray("--delay", "0.3", "--mode", mode, hosts={"row_minutes": 0.1, "patience": 3})
    main = Path(comfyui()["comfyui"]) / "main.py"
    once = "import sys\nif len(open({0!r}).read().split()) > 1: sys.argv += ['--mode', 'good']\n"
    start, run = main.read_text().split("\n", 2)[:2], main.read_text().split("\n", 2)[2]
    main.write_text("\n".join(start) + "\n" + once.format(str(tmp_path / "pids")) + run)
    done = realign("study", plan, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert same(table_of(tmp_path / "out")) == right
    told = [line for line in done.stderr.splitlines() if "It is given up, and what it was at goes to another." in line]
    assert len(told) == 1
    assert told[0].startswith("actor ")
    assert all_gone(comfyui.pids())


@with_ray
def test_a_host_that_dies_is_started_again(by_ray, comfyui, tmp_path, right):
    done = realign("study", by_ray("--mode", "dies"), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert same(table_of(tmp_path / "out")) == right
    assert len(comfyui.pids()) >= 6


@with_ray
def test_an_actor_that_is_killed_is_started_again(by_ray, comfyui, tmp_path, right):
    """Its process is the parent of its host's keeper."""
    process = started("study", by_ray("--delay", "0.4", ray={"actors": 1}), "--out", tmp_path / "out")
    while not written(tmp_path / "out"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    (pid,) = comfyui.pids()
    os.kill(parent(parent(pid)), signal.SIGKILL)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    assert same(table_of(tmp_path / "out")) == right
    assert len(comfyui.pids()) == 2
    assert all_gone(comfyui.pids())


@with_ray
def test_a_node_that_is_lost_gives_its_rows_to_another(by_ray, comfyui, cluster, tmp_path, right):
    """With no other node of its kind its actor never has a place again."""
    node = Node(f"--address={cluster[0]}", "--num-cpus=1", '--resources={"lost": 1}')
    try:
        plan = by_ray("--delay", "0.4", ray={"actors": 1, "resources": {"lost": 1}, "place_minutes": 0.25})
        process = started("study", plan, "--out", tmp_path / "out")
        while not written(tmp_path / "out"):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        os.killpg(node.process.pid, signal.SIGKILL)
        _, told = process.communicate(timeout=PATIENCE)
        assert process.returncode == 2, told
        assert "No host is left. actor 1 " in told
        assert "Traceback" not in told
    finally:
        node.stop(signal.SIGKILL)
    kept = len(records(tmp_path / "out"))
    assert kept > 0
    done = realign("study", by_ray(), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert same(table_of(tmp_path / "out")) == right
    assert len(records(tmp_path / "out")) == 12
    assert all_gone(comfyui.pids())


@with_ray
def test_rows_that_fail_are_recorded_and_the_rest_goes_on(by_ray, comfyui, tmp_path):
    plan = by_ray(prompts=["a fox", "to fail", "poison", "an owl"], seeds=[1], lambda_=[0])
    done = realign("study", plan, "--out", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    errors = [row["error"] for row in table_of(tmp_path / "out")]
    assert errors[0] == errors[3] == ""
    assert errors[1] == "Fake: it <b>fails</b> \x1b[2J"
    assert errors[2].startswith("Hosts ended or fell silent whenever they made this row. actor ")
    assert len(comfyui.pids()) <= 2 * 2 + 2  # Ray tries a row twice on each actor


@with_ray
def test_an_actor_that_has_no_place_is_given_up(by_ray, comfyui, tmp_path, right):
    done = realign("study", by_ray(ray={"num_gpus": 1, "place_minutes": 0.05}), "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "No host is left. actor 2 found no place in 0.05 minutes: it needs 1 CPU, 1 GPU, and" in done.stderr
    assert not comfyui.pids()
    done = realign("study", by_ray(ray={"num_cpus": 3, "place_minutes": 60}), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr  # one has a place: nobody waits for the other
    assert same(table_of(tmp_path / "out")) == right


@with_ray
def test_this_machine_says_at_once_what_it_has_not(by_ray, comfyui, tmp_path):
    plan = by_ray(ray={"address": "local", "num_gpus": 99})
    done = realign("study", plan, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "hosts.ray wants 2 actors with 1 CPU, 99 GPU each, and this machine has" in done.stderr


@with_ray
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_is_not_there_is_said_in_a_sentence(by_ray, tmp_path, scheme):
    plan = by_ray(ray={"address": f"{scheme}127.0.0.1:{free_port()}"})
    done = realign("study", plan, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith(f"No Ray cluster answers at {scheme}127.0.0.1:")
    assert "Traceback" not in done.stderr


@with_ray
def test_a_folder_that_is_no_comfyui_is_said(by_ray, tmp_path):
    done = realign("study", by_ray(hosts={"comfyui": str(tmp_path)}), "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "is no ComfyUI" in done.stderr
    assert "No host is left" in done.stderr


@with_ray
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_study_that_is_stopped_leaves_no_host(by_ray, comfyui, tmp_path, how):
    process = started("study", by_ray("--delay", "0.3"), "--out", tmp_path / "out")
    while not written(tmp_path / "out"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(how)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, told
    assert "Stopped. What was finished is kept" in told
    assert not any(map(alive, comfyui.pids()))


@with_ray
def test_killed_twenty_times_no_row_is_lost_or_doubled_and_no_host_stays(by_ray, comfyui, tmp_path):
    log, out = tmp_path / "log", tmp_path / "out"
    plan = by_ray("--delay", "0.05", "--log", str(log), seeds=list(range(20)))
    dice, before, killed = random.Random(0), [], 0
    for kill in range(KILLS):
        process = started("study", plan, "--out", out)
        if kill % 2:  # while rows are being made; else at any moment since its start
            while process.poll() is None and len(written(out)) <= len(before):
                time.sleep(0.01)
        time.sleep(dice.uniform(0, 0.3 if kill % 2 else 6.0))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        now = written(out)
        assert now[: len(before)] == before
        assert len(set(now)) == len(now)
        before = now
    assert killed > KILLS // 2 <= len(before)
    done = realign("study", plan, "--out", out)
    assert done.returncode == 0, done.stderr
    rows = table_of(out)
    assert len(rows) == len({row["key"] for row in rows}) == len(records(out)) == 120
    assert len(log.read_text().splitlines()) <= 120 + 2 * KILLS  # two actors, a row of each was lost with a kill
    assert all_gone(comfyui.pids())


@with_ray
def test_a_search_keeps_its_actors_for_all_its_rounds(by_ray, comfyui, tmp_path):
    reward = {"good": {"node": "Good"}}
    wanted = {"reward": "good", "to": 1.0, "most": 24, "precision": 0.01}
    done = realign("search", by_ray(rewards=reward, search=wanted), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert len(comfyui.pids()) == 2
    assert all_gone(comfyui.pids())
