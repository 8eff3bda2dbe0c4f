"""Labels come from what ran: λ Grid, λ Compare and λ Report say the λ of the run that made the pictures."""

from __future__ import annotations

import csv
import io
import json
from types import SimpleNamespace

import pytest
import torch
import toy_models
from compared import cells_of, told_by
from host_runs import anchors_of, realign, realign_guider, sampled
from realign.nodes.combine_anchors import RealignAnchorLambda
from realign.nodes.compare import RealignCompare
from realign.nodes.grid import RealignGrid
from realign.nodes.guider import RealignModel
from realign.nodes.models.anchor import Anchor
from realign.nodes.pictures.facts import facts
from realign.nodes.pictures.labels import caption, strength_parts
from realign.nodes.pictures.panels import run_panels
from realign.nodes.pictures.traced import parse_trace
from realign.nodes.report import RealignReport
from realign.nodes.sweep import RealignSweep
from realign.nodes.trace import RealignTrace
from realign.realign_core import LambdaSchedule, Sweep

SWEEP = Sweep((0.0, 0.5, 1.0, 1.5))


def link(node):
    return [node, 0]


def graph_of(run="RealignSampler", schedule=None, **inputs):
    """λ Sweep 1 feeds the latent, the grid and, by `schedule`, the run at node 5."""
    own = {"lambda_": 0.5, "anchor": link("4"), **inputs} | ({"lambda_schedule": link(schedule)} if schedule else {})
    return {
        "1": {"class_type": "RealignSweep", "inputs": {"latent": link("2"), "seeds": 1}},
        "2": {"class_type": "EmptyLatentImage", "inputs": {}},
        "3": {"class_type": "RealignSweep", "inputs": {"latent": link("2")}},
        "4": {"class_type": "LoadAnchorModel", "inputs": {}},
        "5": {"class_type": run, "inputs": own},
        "6": {"class_type": "SamplerCustomAdvanced", "inputs": {"latent_image": link("1"), "guider": link("5")}},
        "7": {"class_type": "VAEDecode", "inputs": {"samples": link("6")}},
        "8": {"class_type": "Reroute", "inputs": {"": link("1")}},
        "9": {"class_type": "RealignGrid", "inputs": {"images": link("7"), "sweep": link("1")}},
        "10": {"class_type": "LambdaSchedule", "inputs": {"anchor": link("4")}},
        "11": {"class_type": "RealignAnchorLambda", "inputs": {"anchor": link("4")}},
        "12": {"class_type": "LoadImageMask", "inputs": {}},
    }


def known_of(graph, sweep=SWEEP, trace=None, count=4):
    return facts(count, sweep, trace, graph, "9")


@pytest.mark.parametrize("run", ["RealignSampler", "RealignGuider", "RealignModel"])
@pytest.mark.parametrize(("schedule", "swept"), [(None, False), ("1", True), ("8", True), ("3", False), ("10", False)])
def test_a_sweep_is_what_ran_only_where_the_run_got_it(run, schedule, swept):
    known = known_of(graph_of(run, schedule))
    assert bool(known.cells) == swept
    assert known.unused_sweep != swept
    lambdas = [known.lambda_(i) for i in range(4)]
    assert lambdas == (list(SWEEP.values) if swept else [0.5 if schedule is None else None] * 4)
    words = {True: "λ 1.5", False: "λ 0.5" if schedule is None else "image 4"}[swept]
    assert words in caption(known, 3)


def test_without_a_graph_or_a_realign_run_in_it_the_sweep_is_believed():
    stock = graph_of("KSampler")
    expanded = {key: node for key, node in graph_of().items() if key != "9"}  # a loop's node is not in the graph
    for graph in (None, {}, stock, expanded):
        assert known_of(graph).cells


def test_lambda_is_only_said_where_the_graph_has_it():
    assert known_of(graph_of(lambda_=1), sweep=None).lambda_(2) == 1.0
    assert known_of(graph_of(lambda_=link("2")), sweep=None).lambda_(2) is None
    assert known_of(graph_of(schedule="10"), sweep=None).lambda_(2) is None
    own = graph_of(anchor=link("11"))
    assert known_of(own).lambda_(0) == 0.5
    own["11"]["inputs"]["lambda_schedule"] = link("10")
    assert known_of(own).lambda_(0) is None
    own["11"]["inputs"] = {"anchor": link("4"), "mask": link("12")}
    assert strength_parts(known_of(own), 0) == ["λ 0.5", "masked"]
    assert strength_parts(known_of(graph_of(lambda_mask=link("12"))), 0) == ["λ 0.5", "masked"]
    assert strength_parts(known_of(graph_of(lambda_=0.0, lambda_mask=link("12"))), 0) == ["λ 0"]
    assert "masked" in caption(known_of(graph_of(schedule="1", lambda_mask=link("12"))), 1)


@pytest.fixture(scope="module")
def pair():
    return [toy_models.toy_model(seed=seed) for seed in (1, 2)]


def swept_latent(values="0, 0.5, 1, 1.5"):
    settings = dict(values="list", start=0.0, end=1.0, count=2, seeds=1, rows="seed", row_values="")
    return RealignSweep.execute(toy_models.latent(), listed=values, **settings).args


def test_the_trace_decides_where_there_is_one(pair, monkeypatch):
    """λ Sweep unplugged from the sampler alone: its latent and labels are still connected, but λ was the slider's."""
    latent, sweep = swept_latent()
    text = realign(pair, *toy_models.CONDS, latent, 0.5)[2]
    swept = realign(pair, *toy_models.CONDS, latent, 0.5, lambda_schedule=sweep)[2]
    unplugged, plugged = graph_of(schedule=None), graph_of(schedule="1")
    images = torch.rand(4, 32, 32, 3)
    for graph in (unplugged, plugged, None):
        hidden = SimpleNamespace(prompt=graph, unique_id="9", extra_pnginfo=None)
        for node in (RealignGrid, RealignCompare):
            monkeypatch.setattr(node, "hidden", hidden, raising=False)
        told = told_by(RealignCompare.execute(images, sweep=sweep, trace=text))
        assert (told["swept"], told["unused_sweep"], len(told["columns"])) == (False, True, 4)
        assert [cell["lambda"] for cell in cells_of(told)] == [0.5] * 4  # the slider's, which ran
        assert [cell["label"] for cell in cells_of(told)] == [f"picture {i} · λ 0.5" for i in (1, 2, 3, 4)]
        right = RealignGrid.execute(images, trace=text).args
        wrong = RealignGrid.execute(images, sweep=sweep, trace=swept).args
        got = RealignGrid.execute(images, sweep=sweep, trace=text).args
        assert torch.equal(got[1], right[1])
        assert not torch.equal(got[0], right[0])  # it says that the sweep did not run
        assert got[1].shape != wrong[1].shape or not torch.equal(got[1], wrong[1])
    told = told_by(RealignCompare.execute(images, sweep=sweep, trace=swept))
    assert told["swept"]
    assert [cell["lambda"] for cell in cells_of(told)] == list(SWEEP.values)


def test_without_a_trace_the_page_is_not_offered_a_lambda_that_did_not_run(monkeypatch):
    images = torch.rand(4, 32, 32, 3)
    for schedule, offered in ((None, [0.5] * 4), ("1", list(SWEEP.values))):
        hidden = SimpleNamespace(prompt=graph_of(schedule=schedule), unique_id="9", extra_pnginfo=None)
        monkeypatch.setattr(RealignCompare, "hidden", hidden, raising=False)
        told = told_by(RealignCompare.execute(images, sweep=SWEEP))
        assert [cell["lambda"] for cell in cells_of(told)] == offered
    assert told["swept"]


def half(size=8):
    mask = torch.zeros(1, size, size)
    mask[..., : size // 2] = 1
    return mask


def masked_traces(pair, lam, **options):
    """Of the same masked run, by Realign Sampler, and by Realign Guider with the mask on the anchor."""
    latent = toy_models.latent(2)
    yield realign(pair, *toy_models.CONDS, latent, lam, lambda_mask=half(), sampler="ddim", **options)[2]
    anchor = RealignAnchorLambda.execute((Anchor(pair[1], "anchor", beta=500.0),), mask=half()).args[0]
    guider = realign_guider((pair[0], anchor), *toy_models.CONDS, lam, **options)
    yield RealignTrace.execute(sampled(guider, latent), guider=guider).args[1]


def test_a_masked_run_is_labelled_with_the_lambda_that_was_set(pair):
    by_sampler, by_guider = masked_traces(pair, 0.8)
    for text in (by_sampler, by_guider):
        trace = json.loads(text)
        assert [step["lambdas"][0] for step in trace["steps"]] == [pytest.approx([0.4, 0.4])] * 4  # the mean, as ever
        assert [step["lambdas_before_mask"][0] for step in trace["steps"]] == [pytest.approx([0.8, 0.8])] * 4
        assert trace["anchors"][0]["masked"] is True
        known = facts(2, None, parse_trace(text))
        assert known.lambda_(1) == 0.8
        assert caption(known, 1)[0] == "λ 0.8"
        assert "masked" in caption(known, 1)
        told = cells_of(told_by(RealignCompare.execute(torch.rand(2, 8, 8, 3), trace=text)))[1]
        assert (told["name"], told["masked"]) == ("picture 2 · λ 0.8", True)
    known = facts(2, None, parse_trace(by_guider))
    assert caption(known, 0)[:3] == ["λ 0.8", "β 625", "masked"]
    assert "mask" in run_panels(known)[0].axis
    _, report, table = RealignReport.execute(by_guider).args
    picture, line = json.loads(report)["pictures"][0], next(csv.DictReader(io.StringIO(table)))
    assert (picture["lambda"], picture["masked"]) == (0.8, True)
    assert [float(line[name]) for name in ("step_lambda_1", "mean_lambda_1")] == pytest.approx([0.8, 0.4])


def test_a_masked_sweep(pair):
    latent, sweep = swept_latent()
    for size in (0, 1):
        _, sweep = swept_latent()
        sweep = Sweep(sweep.values, batch_size=size)
        text = realign(pair, *toy_models.CONDS, latent, 0.5, lambda_schedule=sweep, lambda_mask=half())[2]
        step = json.loads(text)["steps"][0]
        assert step["lambdas_before_mask"] == [pytest.approx(list(SWEEP.values))]
        assert step["lambdas"] == [pytest.approx([value / 2 for value in SWEEP.values])]
        known = facts(4, sweep, parse_trace(text))
        assert [known.masked(i) for i in range(4)] == [False, True, True, True]
        assert caption(known, 3)[:2] == ["λ 1.5", "masked"]


def test_a_schedule_under_a_mask(pair):
    ramp = LambdaSchedule("linear", 0.0, 1.0)
    for text in masked_traces(pair, 0.5, lambda_schedule=ramp):
        assert strength_parts(facts(2, None, parse_trace(text)), 0) == ["λ 0 – 1", "masked"]


def test_an_unmasked_run_says_nothing_of_masks(pair):
    trace = json.loads(realign(pair, *toy_models.CONDS, toy_models.latent(), 0.5)[2])
    assert "masked" not in trace["anchors"][0]
    assert all("lambdas_before_mask" not in step for step in trace["steps"])
    cell = cells_of(told_by(RealignCompare.execute(torch.rand(1, 8, 8, 3), trace=json.dumps(trace))))[0]
    assert (cell["label"], cell["masked"]) == ("λ 0.5", False)


def test_a_trace_without_a_step_says_why():
    pair = [toy_models.toy_model(seed=seed) for seed in (1, 2)]
    never = RealignModel.execute(pair[0], anchors_of(pair[1]), 0.5).args[0]
    text = RealignTrace.execute({"samples": torch.zeros(1, 4, 8, 8)}, model=never).args[1]
    for node, inputs in ((RealignGrid, {"images": torch.rand(1, 8, 8, 3)}), (RealignReport, {})):
        with pytest.raises(ValueError, match=r"holds no step.*Connect Realign Trace"):
            node.execute(**inputs, trace=text)
