"""The λ Grid node: where pictures and labels stand, what the labels say, and what the graph tells the footer."""

from __future__ import annotations

import json
from itertools import pairwise
from types import SimpleNamespace

import folder_paths
import pytest
import torch
from PIL import Image
from realign.nodes.grid import RealignGrid
from realign.nodes.pictures.colours import BACKGROUND
from realign.nodes.pictures.facts import facts, varying
from realign.nodes.pictures.graph_words import model_files, prompt_text
from realign.nodes.pictures.labels import caption, column_label, kl_label, number, row_label
from realign.nodes.pictures.text import drawable, font, wrapped
from realign.nodes.pictures.traced import parse_trace
from realign.realign_core import LambdaSchedule, Sweep, Trace

ANCHOR = {"name": "dpo.safetensors", "beta": 5000.0, "share": 1.0}
SETTINGS = {"seed": 7, "steps": 2, "cfg": 5.0, "sampler_name": "ddpm", "scheduler": "normal", "denoise": 1.0}
GRAPH = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "xl\\base.safetensors"}},
    "2": {"class_type": "LoadAnchorModel", "inputs": {"anchor_name": "sub/dpo.SAFETENSORS", "model": ["1", 0]}},
    "3": {"class_type": "CLIPTextEncodeSDXL", "inputs": {"text_g": "a red fox", "text_l": ["10", 0], "clip": ["1", 1]}},
    "4": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["1", 1]}},
    "5": {
        "class_type": "ControlNetApplyAdvanced",
        "inputs": {"positive": ["3", 0], "negative": ["4", 0], "control_net": ["6", 0]},
    },
    "6": {"class_type": "ControlNetLoader", "inputs": {"control_net_name": "canny.sft"}},
    "7": {
        "class_type": "RealignSampler",
        "inputs": {"anchor": ["2", 0], "positive": ["5", 0], "negative": ["5", 1], "model": ["1", 0], "seed": 7},
    },
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["7", 0], "vae": ["1", 2]}},
    "9": {"class_type": "RealignGrid", "inputs": {"images": ["8", 0], "trace": ["7", 2]}},
    "10": {"class_type": "PrimitiveString", "inputs": {"value": "in the snow"}},
    "11": {"class_type": "CLIPTextEncode", "inputs": {"text": "of another workflow", "clip": ["1", 1]}},
}


def trace_of(count, kl=None, sweep=None, beta=5000.0, lambdas=(0.5, 0.5)):
    """The trace of a run of two steps. kl: each picture's KL to the reference in each step; NaN: not measured."""
    kl = torch.tensor([kl if kl is not None else [1.0] * count, [float("nan")] * count])
    trace = Trace.of(
        [2.0 - i for i in range(len(lambdas) + 1)], torch.tensor(lambdas).reshape(-1, 1, 1).expand(-1, 1, count)
    )
    for step in range(len(lambdas)):
        trace.record(step, kl, 2)
    info = {"anchors": [{**ANCHOR, "beta": beta}], "etas": [1.0, 1.0], "settings": SETTINGS}
    trace.info = info | ({"sweep": sweep.to_dict()} if sweep else {})
    return trace.to_json()


def flat(count, size=(200, 160)):
    """Pictures of one colour each, all different, and no colour of the labels'."""
    colours = torch.stack([torch.tensor([0.5, 0.001 * i, 0.25]) for i in range(count)])
    return colours[:, None, None].expand(count, *size, 3).clone()


def grid_of(images, **inputs):
    return RealignGrid.execute(images, **inputs).args


def boxes(grid, images):
    """(left, top, right, bottom) of each one-coloured picture in the grid."""
    found = []
    for image in images:
        ys, xs = (grid[0] == image[0, 0]).all(-1).nonzero(as_tuple=True)
        found.append((int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1))
        left, top, right, bottom = found[-1]
        assert len(xs) == (right - left) * (bottom - top)
    return found


def changed(a, b):
    """(left, top, right, bottom) of where two grids differ."""
    ys, xs = (a[0] != b[0]).any(-1).nonzero(as_tuple=True)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def test_pictures_stand_in_the_sweeps_order_pixel_for_pixel():
    sweep = Sweep((0.0, 0.5, 1.0), seeds=2)
    images = flat(6)
    grid, *_ = grid_of(images, sweep=sweep)
    places = boxes(grid, images)
    assert all((right - left, bottom - top) == (160, 200) for left, top, right, bottom in places)
    lefts, tops = [place[0] for place in places], [place[1] for place in places]
    assert lefts[:3] == lefts[3:] == sorted(set(lefts))
    assert tops == [tops[0]] * 3 + [tops[3]] * 3
    assert tops[3] > tops[0]
    noise = torch.rand(images.shape)
    grid, labelled, singles = grid_of(noise, sweep=sweep)
    assert torch.equal(singles, noise)
    for (left, top, right, bottom), picture, captioned in zip(places, noise, labelled):
        assert torch.equal(grid[0, top:bottom, left:right], picture)
        assert torch.equal(captioned[:200], picture)
        assert (captioned[200:] != captioned[200, 0]).any()


def test_labels_stand_beside_what_they_are_of():
    """Another value changes the picture there and nowhere else."""
    images = flat(6)

    def grid(values=(0.0, 0.5, 1.0), cfgs=(3.0, 5.0), kl=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)):
        sweep = Sweep(values, cfgs=cfgs)
        return grid_of(images, sweep=sweep, trace=trace_of(6, list(kl), sweep))[0]

    plain = grid()
    places = boxes(plain, images)
    left, top, right, bottom = changed(plain, grid(values=(0.0, 0.6, 1.0)))
    assert places[1][0] <= left < right <= places[1][2]
    assert bottom <= places[1][1]
    assert top > 0
    left, top, right, bottom = changed(plain, grid(cfgs=(3.0, 6.0)))
    assert right <= places[3][0]
    assert places[3][1] <= top < bottom <= places[3][3]
    left, top, right, bottom = changed(plain, grid(kl=(1.0, 2.0, 3.0, 4.0, 5.0, float("nan"))))
    assert places[5][0] <= left < right <= places[5][2]
    assert places[5][3] <= top < bottom <= places[5][3] + 30


FEW, ACROSS, DOWN = Sweep((0.5, 0.6)), Sweep(tuple(i / 8 for i in range(12))), Sweep((0.0, 1.0), seeds=6)
NO_ROOM = [((24, 400), ACROSS), ((400, 24), DOWN)]  # larger than a screen, of pictures smaller than a label


@pytest.mark.parametrize("size", [(64, 64), (1024, 640), (24, 400), (400, 24)])
@pytest.mark.parametrize("sweep", [FEW, ACROSS, DOWN], ids=["few", "across", "down"])
def test_any_size_has_room_for_its_labels(size, sweep):
    images = flat(len(sweep.cells()), size)
    trace = trace_of(len(images), [1234567.0] * len(images), sweep)
    grid, labelled, _ = grid_of(images, sweep=sweep, trace=trace)
    background = torch.tensor(BACKGROUND) / 255
    edge = 6
    for border in (grid[:, :edge], grid[:, -edge:], grid[:, :, :edge], grid[:, :, -edge:]):
        assert (border == background).all()
    scale = 3 if size == (64, 64) else 1
    places = boxes(grid, images)
    assert all(bottom - top == size[0] * scale for _, top, _, bottom in places)
    for left, _, right, bottom in [] if (size, sweep) in NO_ROOM else places:
        ink = (grid[0, bottom : bottom + 150, left:right] != background).any(-1).any(-1).tolist()  # per row of pixels
        first = ink.index(True)
        assert first >= 1
        assert all(ink[first : first + 9])  # whole letters
        assert not all(ink[first:])
    step = min(b[0] - a[0] for a, b in pairwise(places) if a[1] == b[1])
    assert (step >= font(12).getlength("KL 2469134")) == (size != (400, 24) or sweep != DOWN)
    assert labelled.shape[0] == len(images)
    assert labelled.shape[1] > size[0] * scale


def test_cell_size_is_the_longer_side():
    images = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])[:, None, None].repeat(1, 300, 150, 1)
    left, top, right, bottom = boxes(grid_of(images, cell_size=100)[0], images)[0]
    assert (right - left, bottom - top) == (50, 100)


def test_one_picture_is_passed_on_as_it_is():
    """After “Use λ” the picture that is saved behind the grid is clean; its caption is for the other output."""
    image = torch.rand(1, 200, 160, 3)
    for inputs in ({}, {"sweep": Sweep((0.5,))}, {"trace": trace_of(1), "cell_size": 64, "footer": "text"}):
        grid, labelled, singles = grid_of(image, **inputs)
        assert torch.equal(grid, image)
        assert torch.equal(singles, image)
        assert labelled.shape[1] > labelled.shape[2]
    shown = RealignGrid.execute(image, trace=trace_of(1)).ui.as_dict()["images"]
    with Image.open(f"{folder_paths.get_temp_directory()}/{shown[0]['filename']}") as preview:
        assert preview.size[1] > 200  # with its caption


def test_footer_wraps_inside_the_margins():
    images = flat(2)
    heights = []
    for footer in ("short", "many words " * 40, "w" * 300, "一只狐狸" * 50):
        grid, *_ = grid_of(images, sweep=Sweep((0.5,), seeds=2), footer=footer)
        assert (grid[:, :, -6:] == torch.tensor(BACKGROUND) / 255).all()
        heights.append(grid.shape[1])
    assert heights[1] > heights[0] + 100
    assert heights[2] > heights[0] + 100
    lines = wrapped("many words " * 400, font(13), 200, 5)
    assert len(lines) == 5
    assert lines[-1].endswith("…")
    assert max(font(13).getlength(line) for line in lines) <= 200


def test_what_the_font_lacks_is_said():
    assert drawable("λ β η σ – · … × ∞ “é”") == "λ β η σ – · … × ∞ “é”"
    assert drawable("狐狸，a fox 🦊 в снегу") == "[…], a fox […]"
    assert drawable("ấm áp\u200b\ud800") == "am áp[…]"


def test_labels():
    cells = Sweep((0.0, 0.5), seeds=2, cfgs=(3.0, 5.5)).cells()
    assert column_label(0.5, 10000.0) == ("λ 0.5", "β 10000")
    assert column_label(1 / 3) == ("λ 0.3333", "")
    assert column_label(0.0) == ("λ 0", "reference")
    assert column_label(0.5, None, scheduled=True) == ("λ ×0.5", "")
    assert row_label(cells[-1], varying(cells)) == ["cfg 5.5", "seed +1"]
    assert row_label(cells[-1], varying(cells), 7) == ["cfg 5.5", "seed 8"]
    assert row_label(cells[-1], varying(cells[-1:])) == []
    assert [kl_label(value) for value in (None, 0.0, 12.345, 1052.3)] == ["KL –", "KL 0", "KL 12.3", "KL 1052"]
    assert [number(v) for v in (1e-9, 0.00012, 99999.9, 2e9, -0.5)] == ["1e-9", "0.00012", "100000", "2e9", "-0.5"]


def test_beta_is_only_shown_where_it_is_one_number():
    def captions(**known):
        return caption(facts(1, None, parse_trace(trace_of(1, [1.5], **known))), 0)

    assert captions() == ["λ 0.5", "β 10000", "KL 3"]
    assert captions(beta=None) == ["λ 0.5", "KL 3"]
    assert captions(lambdas=(0.0, 1.0)) == ["λ 0 – 1", "KL 3"]
    scheduled = Sweep((0.5,), schedule=LambdaSchedule(shape="linear"))
    assert captions(sweep=Sweep((0.5,))) == ["λ 0.5", "β 10000", "seed 7", "KL 3"]
    assert captions(sweep=scheduled) == ["λ ×0.5", "seed 7", "KL 3"]


def test_the_traces_sweep_is_taken_where_none_is_connected():
    sweep = Sweep((0.0, 0.5), seeds=2)
    images, trace = flat(4), trace_of(4, sweep=sweep)
    assert torch.equal(grid_of(images, trace=trace)[0], grid_of(images, trace=trace, sweep=sweep)[0])
    assert not torch.equal(grid_of(images)[0], grid_of(images, sweep=sweep)[0])


@pytest.mark.parametrize(
    ("count", "inputs", "match"),
    [
        (5, {"sweep": Sweep((0.0, 1.0), seeds=2)}, "5 images.* 4 cells.*connect"),
        (2, {"trace": trace_of(3)}, "2 images.* 3"),
        (2, {"trace": trace_of(2, sweep=Sweep((0.0, 1.0))), "sweep": Sweep((0.0, 0.5))}, "another sweep"),
        (2, {"trace": "not { json"}, "not a trace.*not JSON"),
        (2, {"trace": '{"steps": []}'}, "not a trace"),
        (2, {"trace": json.dumps(json.loads(trace_of(2)) | {"kl_reference": [1]})}, "not a trace"),
        (2, {"trace": json.dumps(json.loads(trace_of(2)) | {"kl_reference": ["1 nat", 2]})}, "not a trace"),
        (2, {"trace": trace_of(2, sweep=Sweep((0.0, 1.0))).replace('"columns": 2', '"columns": 3')}, "not a trace"),
    ],
)
def test_what_does_not_belong_together_is_refused(count, inputs, match):
    with pytest.raises(ValueError, match=match):
        grid_of(flat(count), **inputs)


def test_a_bypassed_sweep_that_hands_on_its_schedule_is_no_sweep():
    assert torch.equal(grid_of(flat(2), sweep=LambdaSchedule())[0], grid_of(flat(2))[0])


def test_the_footer_says_prompt_and_models_of_the_graph(monkeypatch):
    images = flat(2, (300, 900))

    def grid(graph):
        monkeypatch.setattr(RealignGrid, "hidden", SimpleNamespace(prompt=graph, unique_id="9", extra_pnginfo=None))
        return RealignGrid.execute(images)

    plain, said = grid(None), grid(GRAPH)
    picture = boxes(plain.args[0], images)[0]
    height = plain.args[0].shape[1]
    assert said.args[0].shape[1] > height + 30
    assert torch.equal(said.args[0][:, : picture[3]], plain.args[0][:, : picture[3]])
    shown = said.ui.as_dict()["images"][0]
    with Image.open(f"{folder_paths.get_temp_directory()}/{shown['filename']}") as preview:
        assert preview.size == (said.args[0].shape[2], said.args[0].shape[1])


def test_prompts_and_models_are_found_upstream():
    assert prompt_text(GRAPH, "9") == "a red fox / in the snow"
    assert prompt_text(GRAPH, "9", "negative") == "blurry"
    assert model_files(GRAPH, "9") == ["base.safetensors", "dpo.SAFETENSORS", "canny.sft"]
    zeroed = GRAPH | {"12": {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["3", 0]}}}
    zeroed["7"] = {"class_type": "KSampler", "inputs": {"positive": ["3", 0], "negative": ["12", 0]}}
    assert prompt_text(zeroed, "9", "negative") == ""
    demo = {"1": {"class_type": "RealignDemoModels", "inputs": {"shape": "heart", "colour": "any"}}}
    demo["2"] = {"class_type": "RealignSampler", "inputs": {"model": ["1", 0], "positive": ["1", 2]}}
    assert (prompt_text(demo, "2"), model_files(demo, "2")) == ("", ["demo models: heart"])


@pytest.mark.parametrize(
    "graph",
    [
        None,
        {},
        {"9": None},
        {"9": {"class_type": "A", "inputs": {"positive": ["9", 0], "model": ["404", 0]}}},
        {"9": {"inputs": {"positive": ["8", 0]}}, "8": {"inputs": {"conditioning": ["9", 0], "text": [3, "x"]}}},
    ],
)
def test_odd_graphs_say_nothing(graph):
    assert prompt_text(graph, "9") == ""
    assert model_files(graph, "9") == []
