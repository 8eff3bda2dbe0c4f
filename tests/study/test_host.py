"""Studies of the demo models on a real ComfyUI: one that runs, and one that the study starts."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from pathlib import Path

import pytest
from conftest import PACK, PATIENCE, realign, same, started, table_of
from PIL import Image

from realign_study import hosts
from realign_study.hosts import Client
from realign_study.plan import PlanFile
from realign_study.rows import Study
from realign_study.scoring import score_task
from tools.host.host_process import Host
from tools.host.stand_in_files import stand_in_files
from tools.workflows.study_workflows import api_forms

COLOURFUL = {"node": "RealignPictureReward", "reward": "colourfulness"}
DEMO = {
    "workflow": "Realign Demo 2 - lambda slider",
    "prompts": [{"prompt": "a heart", "shape": "heart"}, {"prompt": "a blue star", "shape": "star", "colour": "blue"}],
    "lambda": [0, 1.2],
    "seeds": [3],
    "settings": [{"steps": 4}],
    "rewards": {
        "colourfulness": COLOURFUL,
        "dull": {"node": "RealignCombineRewards", "reward": COLOURFUL, "weight": -1},
    },
    "hosts": None,
}


@pytest.fixture(scope="module")
def host():
    folder = os.environ.get("REALIGN_HOST") or os.environ.get("COMFYUI_PATH")
    if not folder:
        raise pytest.UsageError("tests/study need a ComfyUI: run `make test`, or set REALIGN_HOST to its folder")
    with Host(sys.executable, folder) as host:
        stand_in_files(host.base / "models", PACK / "workflows")
        yield host


def at_rest(host) -> set[str]:
    """The prompts of the host's history, once it has nothing to do."""
    end = time.monotonic() + PATIENCE
    while any(host.get("/queue").values()):
        assert time.monotonic() < end, "the host is not left in peace"
        time.sleep(0.05)
    return set(host.get("/history"))


@pytest.fixture
def demo(write_plan):
    """demo(**changes): a small plan on the demo models."""
    return lambda **changes: write_plan(**{**DEMO, **changes})


def test_the_workflows_that_ship_are_what_their_generator_writes(host):
    written = {
        file.stem: json.loads(file.read_text(encoding="utf-8"))
        for file in (PACK / "realign_study" / "workflows").glob("*.json")
    }
    assert written == api_forms(host.get("/object_info"))


@pytest.mark.parametrize("name", ["example", "demo", "paper-sdxl", "paper-sd15"])
def test_a_host_takes_the_graphs_and_the_rewards_of_the_plans_that_ship(host, tmp_path, name):
    """It has stand-ins for the models: it checks every input, and would fail only where they are loaded."""
    file = tmp_path / "plan.yaml"
    file.write_text((PACK / "realign_study" / "plans" / f"{name}.yaml").read_text("utf-8"), encoding="utf-8")
    (tmp_path / "prompts.txt").write_text("\n".join(f"prompt {i}" for i in range(500)), encoding="utf-8")
    study, client = Study(PlanFile(file)), Client(host.url)
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    (tmp_path / "picture.png").write_bytes(picture.getvalue())
    scoring = score_task("0" * 32, tmp_path / "picture.png", "a fox", study.reward_graphs)
    client.upload(f"{'0' * 32}.png", scoring.uploads[f"{'0' * 32}.png"])
    for graph in (study.task(study.rows[0]).graph, study.task(study.rows[-1]).graph, scoring.graph):
        client.cancel(client.queue(graph))  # which raises where any of its outputs cannot be had
    client.close()


def test_a_study_of_a_running_host_is_scored_and_the_same_on_one_that_it_starts(host, demo, tmp_path):
    plan, left = demo(), at_rest(host)
    done = realign("study", plan, "--server", host.url, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    rows = table_of(tmp_path / "out")
    assert [(row["prompt"], row["lambda"]) for row in rows] == [
        (prompt["prompt"], value) for prompt in DEMO["prompts"] for value in DEMO["lambda"]
    ]
    assert [row["model_calls"] for row in rows] == [4, 8, 4, 8]
    assert all(row["kl"] > 0 for row in rows[1::2])
    assert all(row["beta"] == pytest.approx(row["beta_anchor"] / 1.2) for row in rows[1::2])
    assert all(row["seconds"] > 0 and row["host"].startswith("ComfyUI ") for row in rows)
    assert all(row["host_realign"] == row["realign"] for row in rows)
    assert len({row["pixels"] for row in rows}) == 4
    with Image.open(tmp_path / "out" / rows[3]["picture"]) as picture:
        kept = json.loads(picture.info["prompt"])  # dropped onto the page it opens
    assert kept["3"]["inputs"]["lambda_"] == 1.2
    assert kept["1"]["inputs"]["colour"] == "blue"

    done = realign("score", plan, "--server", host.url, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    scored = table_of(tmp_path / "out")
    assert same(scored) == same(rows)
    for row in scored:
        assert row["score_dull"] == pytest.approx(-row["score_colourfulness"])
    assert scored[1]["score_colourfulness"] > scored[0]["score_colourfulness"]
    assert at_rest(host) == left  # nothing of ours is there

    here = {"comfyui": str(host.host_dir), "python": sys.executable, "args": ["--base-directory", str(host.base)]}
    done = realign("study", demo(hosts=here), "--out", tmp_path / "local")
    assert done.returncode == 0, done.stderr
    assert same(table_of(tmp_path / "local")) == same(rows)


def test_what_the_host_refuses_is_recorded_in_its_words(host, demo, tmp_path):
    plan = demo(settings=[{"steps": 4}, {"steps": 4, "sampler_name": "euler"}])
    done = realign("study", plan, "--server", host.url, "--out", tmp_path / "out")
    assert done.returncode == 1
    rows = table_of(tmp_path / "out")
    assert [bool(row["error"]) for row in rows] == [False] * 4 + [True] * 4
    assert "Value not in list" in rows[-1]["error"]
    assert "sampler_name" in rows[-1]["error"]


def test_a_study_that_is_stopped_ends_what_runs_on_the_host(host, demo, tmp_path):
    process = started("study", demo(settings=[{"steps": 5000}]), "--server", host.url, "--out", tmp_path / "out")
    while not host.get("/queue")["queue_running"]:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    at_rest(host)


def test_a_prompt_that_is_cancelled_leaves_nothing_on_the_host(host, demo, monkeypatch):
    """At whatever moment: as it waits, as the host takes it, as it runs."""
    monkeypatch.setattr(hosts, "SECONDS_TO_END", PATIENCE)
    study, client, left = Study(PlanFile(demo(settings=[{"steps": 5000}]))), Client(host.url), at_rest(host)
    graph = study.task(study.rows[-1]).graph
    for pause in (0, 0, 0, 0.02, 0.1, 0.5):
        queued = [client.queue(graph), client.queue(graph)]
        time.sleep(pause)
        for prompt in reversed(queued):
            client.cancel(prompt)
            assert client.place(prompt) is None
    client.close()
    assert at_rest(host) == left


def test_a_workflow_of_ones_own_is_marked_in_its_titles(host, demo, tmp_path):
    """As the page exports it, with a number node for λ; the guider, and Realign Trace."""
    pair = {"model": ["1", 0], "anchor": ["1", 1], "positive": ["1", 2], "negative": ["1", 3]}
    nodes = {
        "1": ("RealignDemoModels", {"shape": "heart", "colour": "any", "background": "any"}, "Models [study: shape]"),
        "2": ("PrimitiveFloat", {"value": 0.5}, "strength [study: lambda]"),
        "3": ("RealignGuider", {**pair, "cfg": 1.5, "lambda_": ["2", 0]}, "Realign Guider"),
        "4": ("RandomNoise", {"noise_seed": 1}, "Noise"),
        "5": ("KSamplerSelect", {"sampler_name": "euler"}, "Sampler"),
        "6": ("BasicScheduler", {"model": ["1", 0], "scheduler": "normal", "steps": 4, "denoise": 1.0}, "Steps"),
        "7": ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 4}, "Latent"),
        "8": (
            "SamplerCustomAdvanced",
            {"noise": ["4", 0], "guider": ["3", 0], "sampler": ["5", 0], "sigmas": ["6", 0], "latent_image": ["7", 0]},
            "Sample",
        ),
        "9": ("RealignTrace", {"latent": ["8", 0], "guider": ["3", 0]}, "Trace"),
        "10": ("VAEDecode", {"samples": ["9", 0], "vae": ["1", 4]}, "Decode"),
        "11": ("PreviewImage", {"images": ["10", 0]}, "Look"),
    }
    graph = {
        name: {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}
        for name, (kind, inputs, title) in nodes.items()
    }
    (tmp_path / "own.json").write_text(json.dumps(graph), encoding="utf-8")
    plan = demo(workflow="own.json", prompts=[{"prompt": "a moon", "shape": "moon"}])
    study = Study(PlanFile(plan))
    filled = study.graph(study.rows[1])
    assert filled["2"]["inputs"] == {"value": 1.2}
    assert filled["4"]["inputs"] == {"noise_seed": 3}
    assert filled["1"]["inputs"]["shape"] == "moon"
    assert filled["7"]["inputs"]["batch_size"] == 1
    done = realign("study", plan, "--server", host.url, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    rows = table_of(tmp_path / "out")
    assert [row["lambda"] for row in rows] == [0, 1.2]
    assert rows[1]["kl"] > 0
    assert (rows[0]["width"], rows[0]["height"]) == (64, 64)
    assert Path(tmp_path / "out" / rows[0]["picture"]).is_file()
