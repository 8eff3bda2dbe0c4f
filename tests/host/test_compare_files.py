"""λ Compare's files: each picture with the workflow that makes it alone; and what it hands on of a chosen one."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import folder_paths
import pytest
import torch
from compared import told_by
from PIL import Image
from realign.nodes.compare import RealignCompare
from realign.nodes.pictures.alone import workflow_alone
from realign.realign_core import LambdaSchedule, Sweep

TEMP = Path(folder_paths.get_temp_directory())
SWEEP = Sweep((0.0, 0.5, 1.25), seeds=2)
DEFAULTS = {"values": "range", "start": 0.0, "end": 1.5, "only": ""}
WIDGETS = [*DEFAULTS.items()]
TEN = ["list", 0.0, 1.5, 7, "0, 0.5, 1.25", 2, "seed", "", 0, False]  # λ Sweep's widgets before “draft” and “only”


def pictures(count=6, height=20, width=10):
    return torch.arange(count).view(-1, 1, 1, 1).expand(count, height, width, 3) / count


def graph(sampler="4"):
    return {
        "7:3": {"class_type": "RealignSweep", "inputs": {"latent": ["1", 0], "listed": "0, 0.5, 1.25"}},
        "4": {"class_type": "RealignSampler", "inputs": {"lambda_schedule": ["7:3", 1], "anchor": ["1", 1]}},
        "5": {"class_type": "VAEDecode", "inputs": {"samples": [sampler, 0]}},
        "1": {"class_type": "RealignDemoModels", "inputs": {}},
        "9": {"class_type": "RealignCompare", "inputs": {"images": ["5", 0], "sweep": ["7:3", 1]}},
    }


def workflow():
    inner = {"id": "abc", "nodes": [{"id": 3, "type": "RealignSweep", "widgets_values": list(TEN)}]}
    return {
        "nodes": [{"id": 7, "type": "abc"}, {"id": 9, "type": "RealignCompare"}],
        "definitions": {"subgraphs": [inner]},
    }


@pytest.fixture
def hidden(monkeypatch):
    told = SimpleNamespace(prompt=graph(), unique_id="9", extra_pnginfo={"workflow": workflow()})
    monkeypatch.setattr(RealignCompare, "hidden", told, raising=False)
    return told


def in_file(file, name):
    return json.loads(Image.open(TEMP / file).info[name])


def test_each_file_holds_the_workflow_that_makes_it_alone(hidden):
    told = told_by(RealignCompare.execute(pictures(), sweep=SWEEP))
    for i, file in enumerate(told["files"]):
        cell = f"{i // 3 + 1}, {i % 3 + 1}"
        alone = in_file(file, "prompt")
        assert alone["7:3"]["inputs"]["only"] == cell
        assert alone["7:3"]["inputs"]["draft"] is False
        assert {key: node for key, node in alone.items() if key != "7:3"} == {
            k: v for k, v in graph().items() if k != "7:3"
        }
        (node,) = in_file(file, "workflow")["definitions"]["subgraphs"][0]["nodes"]
        assert node["widgets_values"][:10] == TEN
        assert node["widgets_values"][-1] == cell
    assert hidden.extra_pnginfo["workflow"] == workflow()  # the host's own is as it was
    assert "only" not in hidden.prompt["7:3"]["inputs"]


def test_a_run_without_a_sweep_keeps_its_workflow(hidden):
    hidden.prompt["4"]["inputs"].pop("lambda_schedule")
    (file, *_) = told_by(RealignCompare.execute(pictures(), sweep=SWEEP))["files"]
    assert in_file(file, "workflow") == workflow()
    assert in_file(file, "prompt") == hidden.prompt


@pytest.mark.parametrize("before", [False, True])
def test_a_run_of_another_nodes_sweep_keeps_its_workflow(hidden, before):
    """λ Search's: it has other widgets, and a λ Sweep above it is of the run that it starts from."""
    hidden.prompt["8"] = {"class_type": "RealignSearch", "inputs": {"latent_image": ["7:3", 0]} if before else {}}
    hidden.prompt["4"]["inputs"]["lambda_schedule"] = hidden.prompt["9"]["inputs"]["sweep"] = ["8", 4]
    search = {"id": 8, "type": "RealignSearch", "widgets_values": [*range(18)]}
    hidden.extra_pnginfo["workflow"]["nodes"].append(search)
    for file in told_by(RealignCompare.execute(pictures(), sweep=SWEEP))["files"]:
        assert in_file(file, "workflow") == hidden.extra_pnginfo["workflow"]
        assert in_file(file, "prompt") == hidden.prompt


def test_a_single_cell_stays_what_it_is(hidden):
    """Its place is one in the whole table, which nobody here knows."""
    hidden.prompt["7:3"]["inputs"]["only"] = "2, 3"
    (file,) = told_by(RealignCompare.execute(pictures(1), sweep=Sweep((1.25,))))["files"]
    assert in_file(file, "prompt")["7:3"]["inputs"]["only"] == "2, 3"


@pytest.mark.parametrize(
    "odd", [None, [], {"nodes": 3}, {"nodes": [None, {"id": 7}]}, {"nodes": [{"id": 7, "type": []}]}]
)
def test_an_odd_workflow_stays_what_it_is(odd):
    assert workflow_alone(odd, "7:3", {"only": "1, 1"}, WIDGETS) == odd


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        (["list"], ["list", DEFAULTS["start"], DEFAULTS["end"], "1, 2"]),
        (["list", 0.1, 0.2, "2, 2"], ["list", 0.1, 0.2, "1, 2"]),
        ({"values": "list"}, {"values": "list", "only": "1, 2"}),
        (None, None),
    ],
)
def test_a_file_from_before_an_input_was_added(own, wanted):
    workflow = {"nodes": [{"id": 2}, {"id": 3, "widgets_values": own}]}
    before = copy.deepcopy(workflow)
    out = workflow_alone(workflow, "3", {"only": "1, 2"}, WIDGETS)
    assert out["nodes"][1]["widgets_values"] == wanted
    assert workflow == before


def test_thumbnails_are_small_and_of_the_same_shape():
    told = told_by(RealignCompare.execute(torch.rand(1, 1024, 512, 3)))
    with Image.open(TEMP / told["thumbs"][0]) as small:
        assert (small.format, small.size) == ("JPEG", (128, 256))
    with Image.open(TEMP / told["files"][0]) as whole:
        assert whole.size == (512, 1024)


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_pictures_have_thumbnails(channels):
    images = torch.rand(2, 16, 16, channels)
    if channels == 1:
        images = images.expand(-1, -1, -1, 3)
    told = told_by(RealignCompare.execute(images))
    assert all(Image.open(TEMP / file).mode == "RGB" for file in told["thumbs"])


def test_the_same_pictures_are_the_same_run():
    first, again, other, divided = (
        told_by(RealignCompare.execute(images, sweep=sweep))
        for images, sweep in (
            (pictures(), SWEEP),
            (pictures(), SWEEP),
            (1 - pictures(), SWEEP),
            (pictures(), Sweep((0.0, 0.5), seeds=3)),
        )
    )
    assert first["run"] == again["run"]
    assert first["files"] != again["files"]
    assert len({one["run"] for one in (first, other, divided)}) == 3


@pytest.mark.parametrize(
    ("picked", "place", "lam"),
    [
        ("λ 0.5, row 2", 4, 0.5),
        ("λ 1.25", 2, 1.25),
        (" λ 0, row 1 ", 0, 0.0),
    ],
)
def test_chosen_is_the_picked_picture(picked, place, lam):
    images = pictures()
    chosen, value = RealignCompare.execute(images, sweep=SWEEP, picked=picked).args
    assert torch.equal(chosen, images[place : place + 1])
    assert value == lam


@pytest.mark.parametrize("picked", ["", "λ 0.75, row 2", "λ 0.5, row 3"])
def test_all_go_on_where_none_of_them_is_chosen(hidden, picked):
    images = pictures()
    chosen, value = RealignCompare.execute(images, sweep=SWEEP, picked=picked).args
    assert torch.equal(chosen, images)
    assert value == 0.0  # a swept run has no slider's: the first picture's


def test_a_single_picture_goes_on_with_the_sliders_lambda(hidden):
    hidden.prompt["4"]["inputs"].update(lambda_=0.3, lambda_schedule=None)
    chosen, value = RealignCompare.execute(pictures(1), sweep=LambdaSchedule(), picked="λ 0.5, row 2").args
    assert len(chosen) == 1
    assert value == 0.3


@pytest.mark.parametrize(
    "picked", ["0.5", "λ", "λ nan", "λ 0.5, row 0", "λ 0.5 row 2", "λ 0.5, row 99999", "../x", "λ ٣"]
)
def test_a_text_that_names_no_picture_is_refused(picked):
    with pytest.raises(ValueError, match=r"must be like “λ 0\.75, row 2”"):
        RealignCompare.execute(pictures(), sweep=SWEEP, picked=picked)
