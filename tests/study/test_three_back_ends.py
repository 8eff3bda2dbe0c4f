"""The shipped demo plan on each back end, killed once and resumed, ends in the same table. On real ComfyUIs.

REALIGN_WHOLE_DEMO=1 makes all of the plan's rows; else its prompts and seeds are cut to what takes seconds.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time

import pytest
import yaml
from conftest import PACK, PATIENCE, realign, records, started, table_of, written

from tools.host.host_process import Host

WHOLE = bool(os.environ.get("REALIGN_WHOLE_DEMO"))


@pytest.fixture(scope="module")
def host():
    folder = os.environ.get("REALIGN_HOST") or os.environ.get("COMFYUI_PATH")
    if not folder:
        raise pytest.UsageError("tests/study need a ComfyUI: run `make test`, or set REALIGN_HOST to its folder")
    with Host(sys.executable, folder) as host:
        yield host


def demo_plan(tmp_path, **changes):
    plan = yaml.safe_load((PACK / "realign_study" / "plans" / "demo.yaml").read_text("utf-8"))
    if not WHOLE:
        plan |= {"prompts": plan["prompts"][:2], "seeds": [3], "settings": [{"steps": 4}]}
    file = tmp_path / "demo.yaml"
    file.write_text(yaml.safe_dump(plan | changes, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file


def killed_and_resumed(tmp_path, name, plan, *arguments):
    """The rows of a study that is killed after its second row, and run again."""
    out = tmp_path / name
    began = time.monotonic()
    process = started("study", plan, "--out", out, *arguments)
    while len(written(out)) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    there = len(written(out))
    process = started("study", plan, "--out", out, *arguments)
    _, told = process.communicate(timeout=8 * PATIENCE if WHOLE else PATIENCE)
    assert process.returncode == 0, told
    rows = table_of(out)
    assert there < len(rows) == len(records(out))
    print(f"{name}: killed at {there} of {len(rows)} rows, {time.monotonic() - began:.0f} s in all")
    return rows


def told(rows):
    names = ("key", "prompt", "lambda", "seed", "beta_anchor", "beta", "kl", "model_calls", "pixels", "error")
    return [tuple(row[name] for name in names) for row in rows]


def test_the_demo_plan_is_the_same_table_on_each_back_end(host, tmp_path):
    hosts = {"comfyui": str(host.host_dir), "python": sys.executable, "args": ["--base-directory", str(host.base)]}
    here = killed_and_resumed(tmp_path, "this machine", demo_plan(tmp_path, hosts=hosts))
    with Host(sys.executable, host.host_dir) as second:
        both = {"servers": [host.url, second.url]}
        servers = killed_and_resumed(tmp_path, "servers", demo_plan(tmp_path, hosts=both))
    assert told(servers) == told(here)
    assert {row["worker"] for row in servers} == {host.url, second.url}
    if importlib.util.find_spec("ray") is not None:  # make test-ray
        actors = {**hosts, "ray": {"actors": 2}}
        by_ray = killed_and_resumed(tmp_path, "Ray", demo_plan(tmp_path, hosts=actors, back_end="ray"))
        assert told(by_ray) == told(here)
    assert len({row["pixels"] for row in here}) == len(here)
    assert [row["kl"] == 0 for row in here] == [row["lambda"] == 0 for row in here]  # never null
    steps = 30 if WHOLE else 4
    assert [row["model_calls"] for row in here] == [steps * (1 if row["lambda"] == 0 else 2) for row in here]


def test_kl_at_the_anchor_costs_its_calls_and_changes_no_picture(host, tmp_path):
    tables = {}
    for measured in (True, False):
        plan = demo_plan(tmp_path, **{"lambda": [0.99, 1], "settings": [{"steps": 4}], "measure_ends": measured})
        done = realign("study", plan, "--server", host.url, "--out", tmp_path / str(measured))
        assert done.returncode == 0, done.stderr
        tables[measured] = table_of(tmp_path / str(measured))
    for near, at, plain in zip(tables[True][0::2], tables[True][1::2], tables[False][1::2]):
        assert at["kl"] == pytest.approx(near["kl"], rel=0.1)
        assert (at["model_calls"], plain["model_calls"], plain["kl"]) == (8, 4, None)
        assert (at["key"], at["pixels"]) == (plain["key"], plain["pixels"])
