"""λ Compare: what it tells the page, and which pictures it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import folder_paths
import numpy as np
import pytest
import torch
from compared import cells_of, told_by
from PIL import Image
from realign.nodes import page
from realign.nodes.compare import RealignCompare
from realign.nodes.demo import RealignDemoModels
from realign.nodes.pictures.graph_words import seed_behind
from realign.nodes.pictures.reported import Reported
from realign.realign_core import LambdaSchedule, Sweep

TEMP = Path(folder_paths.get_temp_directory())


def images(count):
    """Grey pictures, each a little lighter than the one before."""
    return torch.linspace(0, 1, count).view(-1, 1, 1, 1).expand(count, 8, 8, 3)


def shown(count, **inputs):
    return told_by(RealignCompare.execute(images(count), **inputs))


def cells(count, **inputs):
    return cells_of(shown(count, **inputs))


def trace(kl, lambdas, **told):
    """A trace of one step, in the form of Trace.to_dict."""
    step = {"sigma": 1.0, "sigma_next": 0.0, "lambdas": [lambdas], "kl_reference": None, "kl_anchors": [None]}
    anchors = [{"name": "a", "beta": 500.0, "share": 1.0}]
    run = {"kl_reference": kl, "kl_anchors": [[None] * len(kl)], "steps": [{**step, "model_calls": 1}]}
    return json.dumps({**run, "anchors": anchors, "settings": {"seed": 40}, **told})


def test_every_picture_is_saved_to_temp_in_the_sweeps_order():
    told = shown(6, sweep=Sweep((0.0, 0.5, 1.0), seeds=2))
    assert (len(told["columns"]), len(told["rows"])) == (3, 2)
    assert (told["swept"], told["unused_sweep"]) == (True, False)
    for i, files in enumerate(zip(told["files"], told["thumbs"])):
        for file in files:
            assert abs(np.asarray(Image.open(TEMP / file)).mean() / 255 - i / 5) < 0.02
    assert [(c["lambda"], c["row"], c["column"], c["seed_offset"]) for c in cells_of(told)] == [
        *((value, 0, i, 0) for i, value in enumerate((0.0, 0.5, 1.0))),
        *((value, 1, i, 1) for i, value in enumerate((0.0, 0.5, 1.0))),
    ]


def test_the_pages_own_gallery_stays_empty():
    assert set(RealignCompare.execute(images(2)).ui) == {"realign_compare"}


@pytest.mark.parametrize(
    ("sweep", "label"),
    [
        (Sweep((0.75,)), "λ 0.75"),
        (Sweep((0.75,), cfgs=(3, 5)), "λ 0.75, cfg 5"),
        (Sweep((0.75,), etas=(0, 0.5)), "λ 0.75, η 0.5"),
        (Sweep((0.75,), seeds=2), "λ 0.75, seed +1"),
        (Sweep((0.75,), images=2), "λ 0.75, image 2"),
        (Sweep((0.75,), images=2, seeds=2, cfgs=(3, 5)), "λ 0.75, cfg 5, seed +1, image 2"),
        (Sweep((0.75,), prompts=("a red heart", "")), "λ 0.75, prompt 2"),
        (Sweep((0.75,), seeds=2, prompts=("a", "b " * 40)), "λ 0.75, b b b b b b b b b b b b b b…, seed +1"),
    ],
)
def test_the_last_pictures_label(sweep, label):
    assert cells(len(sweep.cells()), sweep=sweep)[-1]["label"] == label


def test_without_a_sweep_pictures_are_numbered():
    told = shown(3)
    assert (len(told["columns"]), len(told["rows"]), told["seed"]) == (3, 1, None)
    assert [cell["label"] for cell in cells_of(told)] == ["picture 1", "picture 2", "picture 3"]
    assert all(column["lambda"] is None for column in told["columns"])
    assert (told["swept"], told["unused_sweep"]) == (False, False)


def test_a_schedule_of_a_bypassed_sweep_is_no_sweep():
    assert shown(2, sweep=LambdaSchedule())["columns"][0]["lambda"] is None


def test_trace_brings_kl_beta_and_seed():
    told = shown(3, sweep=Sweep((0.0, 0.5, 1.0)), trace=trace([None, 2.5, 12.5], [0.0, 0.5, 1.0]))
    assert told["kl"] == [None, 2.5, 12.5]
    assert [column["beta"] for column in told["columns"]] == [None, 1000.0, 500.0]
    assert told["seed"] == 40


def test_trace_alone_tells_the_sweep():
    sweep = Sweep((0.0, 1.0), seeds=2)
    told = shown(4, trace=trace([0.0] * 4, [0.0, 1.0] * 2, sweep=sweep.to_dict()))
    assert [(c["lambda"], c["seed_offset"]) for c in cells_of(told)] == [(0.0, 0), (1.0, 0), (0.0, 1), (1.0, 1)]


def test_a_single_picture_is_named_by_its_trace():
    (cell,) = cells(1, trace=trace([3.0], [0.75]))
    assert (cell["label"], cell["lambda"], cell["kl"]) == ("λ 0.75", 0.75, 3.0)
    assert cell["beta"] == pytest.approx(500 / 0.75)


def test_a_schedule_that_is_swept_is_said():
    sweep = Sweep((0.5, 1.0), schedule=LambdaSchedule("linear", 0.0, 1.0))
    assert [cell["name"] for cell in cells(2, sweep=sweep)] == ["λ ×0.5", "λ ×1"]


def test_the_number_of_pictures_must_be_the_sweeps():
    with pytest.raises(ValueError, match="4 images, but the λ sweep has 6 cells"):
        shown(4, sweep=Sweep((0.0, 0.5, 1.0), seeds=2))


@pytest.mark.parametrize("text", ["no JSON", "[1]", "3"])
def test_a_text_that_is_no_trace_is_refused(text):
    with pytest.raises(ValueError, match="not a trace"):
        shown(1, trace=text)


def test_seed_is_that_of_the_nearest_node_before():
    prompt = {
        "9": {"inputs": {"images": ["8", 0], "sweep": ["2", 1]}},
        "8": {"inputs": {"samples": ["7", 0], "vae": ["1", 4]}},
        "7": {"inputs": {"noise": ["6", 0], "latent_image": ["2", 0]}},
        "6": {"inputs": {"noise_seed": 11}},
        "2": {"inputs": {"latent": ["1", 0]}},
        "1": {"inputs": {"seed": 3, "loop": ["1", 0]}},
    }
    assert seed_behind(prompt, "9") == 3  # two nodes away, on the other branch
    del prompt["1"]["inputs"]["seed"]
    assert seed_behind(prompt, "9") == 11
    assert seed_behind(prompt, "10") is None
    prompt["6"]["inputs"]["noise_seed"] = ["4", 0]
    assert seed_behind(prompt, "9") is None


@pytest.mark.parametrize("kind", ["RealignGuider", "RealignModel"])
def test_seed_is_that_of_the_noise_that_lambda_is_sampled_from(kind):
    """Not that of a second sampler, nor that of anything else above the pictures."""
    takes = "guider" if kind == "RealignGuider" else "model"
    prompt = {
        "9": {"class_type": "RealignCompare", "inputs": {"images": ["8", 0]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["7", 0], "vae": ["1", 4]}},
        "7": {"class_type": "KSampler", "inputs": {"model": ["1", 0], "seed": 99, "latent_image": ["5", 0]}},
        "5": {"class_type": "Sampler", "inputs": {takes: ["3", 0], "noise": ["4", 0], "sigmas": ["2", 0]}},
        "4": {"class_type": "RandomNoise", "inputs": {"noise_seed": ["6", 0]}},
        "6": {"class_type": "PrimitiveInt", "inputs": {"value": 11}},
        "3": {"class_type": kind, "inputs": {"model": ["1", 0]}},
        "2": {"class_type": "BasicScheduler", "inputs": {"model": ["3", 0], "steps": 4}},
        "1": {"class_type": "Loader", "inputs": {"seed": 3}},
    }
    assert seed_behind(prompt, "9") == 11
    prompt["5"]["inputs"]["seed"] = 12  # as KSampler has it
    assert seed_behind(prompt, "9") == 12
    del prompt["3"]
    assert seed_behind(prompt, "9") == 99


def test_hidden_inputs_are_used(monkeypatch):
    hidden = SimpleNamespace(
        prompt={"2": {"inputs": {"images": ["1", 0]}}, "1": {"inputs": {"seed": 8}}},
        unique_id="2",
        extra_pnginfo={"workflow": {"nodes": []}},
    )
    monkeypatch.setattr(RealignCompare, "hidden", hidden, raising=False)
    told = shown(1)
    assert (told["seed"], told["node"]) == (8, "2")
    assert "workflow" in Image.open(TEMP / told["files"][0]).info


def test_a_reward_report_marks_the_front_and_tells_the_rewards():
    scores = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    report = Reported.of(["colour", "likeness"], scores, (0, 1), optimised=1, lambdas=[None] * 3)
    told = shown(3, report=report.to_json())
    assert told["front"] == [0, 1]
    assert told["scores"][1] == ["colour 0", "likeness 1"]
    one = Reported.of(["colour"], scores[:, :1], (0,), optimised=1, lambdas=[None] * 3)
    assert shown(3, report=one.to_json())["front"] is None  # which is the best is no front
    with pytest.raises(ValueError, match="The report is of 3 pictures, and 2 arrive here"):
        shown(2, report=report.to_json())
    with pytest.raises(ValueError, match="not a reward report"):
        shown(2, report="{}")


def test_what_the_page_gets_is_json():
    json.dumps(shown(2, sweep=Sweep((0.0, 1.0)), trace=trace([None, 1.0], [0.0, 1.0])), allow_nan=False)


def test_anchors_tell_their_beta():
    assert RealignDemoModels.execute("heart", "any", "any").ui == {"realign_beta": [500.0]}
    assert page.beta_shown(None) == {"realign_beta": [None]}
