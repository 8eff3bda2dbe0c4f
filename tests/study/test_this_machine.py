"""Studies on this machine: a ComfyUI (a stand-in here) that the study starts, starts again and ends."""

from __future__ import annotations

import os
import signal
import time

import pytest
from conftest import ENVIRONMENT, PATIENCE, alive, gone, parent, realign, same, started, table_of, written


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where studies put what is to be gone after them."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setitem(ENVIRONMENT, "TMPDIR", str(folder))
    return folder


def test_its_temp_folder_is_emptied_after_each_row(comfyui, write_plan, tmp_path, scratch):
    left = tmp_path / "left"
    hosts = comfyui("--left", str(left))
    done = realign("study", write_plan(hosts=hosts), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert left.read_text().split() == ["0"] * 12
    assert not list(scratch.iterdir())
    again = realign("study", write_plan(hosts=hosts), "--out", tmp_path / "out")  # nothing is left to do
    assert again.returncode == 0, again.stderr
    assert not list(scratch.iterdir())


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


def test_a_killed_study_leaves_no_host_and_no_file_of_it_behind(comfyui, write_plan, tmp_path, scratch):
    process = started("study", write_plan(hosts=comfyui("--delay", "0.2")), "--out", tmp_path / "out")
    while not list((tmp_path / "out" / "rows").glob("*.jsonl")):
        assert process.poll() is None
        time.sleep(0.02)
    (pid,) = comfyui.pids()
    assert alive(pid)
    keeper = parent(pid)
    process.kill()
    process.communicate()
    assert gone(pid)
    assert gone(keeper)
    assert not list(scratch.iterdir())


def test_a_host_whose_keeper_is_killed_ends_and_is_started_again(comfyui, write_plan, tmp_path, right):
    process = started("study", write_plan(hosts=comfyui("--delay", "0.2")), "--out", tmp_path / "out")
    while not written(tmp_path / "out"):
        assert process.poll() is None
        time.sleep(0.02)
    (pid,) = comfyui.pids()
    os.kill(parent(pid), signal.SIGKILL)
    assert gone(pid)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    assert same(table_of(tmp_path / "out")) == right
    assert len(comfyui.pids()) == 2


def test_a_folder_that_is_no_comfyui_is_refused(write_plan, tmp_path):
    done = realign("study", write_plan(hosts={"comfyui": str(tmp_path)}), "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "is no ComfyUI" in done.stderr
