"""The λ Report node: its numbers are the trace's, and its plots draw what was measured and nothing else."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from realign.nodes.pictures.colours import AMBER, BLUE, ramp
from realign.nodes.pictures.facts import facts
from realign.nodes.pictures.panels import run_panels, running_total, step_ticks, sweep_panels
from realign.nodes.pictures.plot import Line, Panel, draw_panel
from realign.nodes.pictures.traced import parse_trace
from realign.nodes.report import RealignReport
from realign.realign_core import Sweep, Trace

NAN = math.nan


def trace_of(sweep=None, batch=2, beta=500.0, anchors=1, lambdas=(0.5, 0.5, 0.5), measured=True):
    """Every step's and picture's numbers differ. λ = 1 has no KL to the reference, λ = 0 none to the anchors."""
    values = torch.tensor([cell.value for cell in sweep.cells()] if sweep else [1.0] * batch)
    scale = torch.tensor([1.0] * 3 if sweep else lambdas)
    table = (scale[:, None, None] * values).expand(-1, anchors, -1)
    trace = Trace.of([3.0 - i for i in range(len(scale) + 1)], table)
    for i, (each, *_) in enumerate(table):
        kl = torch.arange(len(values)) * 0.125 + i + 1
        rows = [torch.where(each == 1, NAN, kl), *[torch.where(each == 0, NAN, kl * 2)] * anchors]
        trace.record(i, torch.stack(rows) if measured else torch.full((anchors + 1, len(values)), NAN), 1.5)
    info = {
        "anchors": [{"name": f"anchor {k}", "beta": beta, "share": 1.0} for k in range(anchors)],
        "etas": [1.0, 1.0],
        "settings": {"seed": 7, "steps": 3, "cfg": 5.0, "sampler_name": "ddpm", "scheduler": "normal", "denoise": 1.0},
    }
    trace.info = info | ({"sweep": sweep.to_dict()} if sweep else {})
    return trace.to_json()


def known(trace):
    parsed = parse_trace(trace)
    return facts(parsed.batch, None, parsed)


def has_colour(pixels, colour):
    return bool((np.abs(np.asarray(pixels, dtype=int) - colour).sum(-1) < 12).any())


SWEEP = Sweep((0.0, 0.5, 1.0), seeds=2, cfgs=(3.0, 6.0))


def test_csv_and_json_hold_the_traces_numbers():
    trace = json.loads(trace_of(SWEEP))
    _, as_json, as_csv = RealignReport.execute(json.dumps(trace)).args
    lines = list(csv.DictReader(io.StringIO(as_csv)))
    report = json.loads(as_json)
    assert len(lines) == len(report["steps"]) == 12 * 3
    assert len(report["pictures"]) == 12
    cells = SWEEP.cells()
    for line, record in zip(lines, report["steps"]):
        picture, step = int(line["picture"]) - 1, trace["steps"][int(line["step"]) - 1]
        cell = cells[picture]
        own = report["pictures"][picture]
        assert (int(line["row"]), int(line["column"])) == (picture // 3 + 1, picture % 3 + 1)
        assert (float(line["lambda"]), int(line["seed"]), float(line["cfg"])) == (cell.value, 7 + cell.seed, cell.cfg)
        assert line["beta"] == ("" if cell.value == 0 else str(500 / cell.value)) == str(own["beta"] or "")
        assert (float(line["sigma"]), float(line["sigma_next"])) == (step["sigma"], step["sigma_next"])
        assert float(line["step_lambda_1"]) == step["lambdas"][0][picture]
        assert float(line["model_calls"]) == 1.5
        for name, values in (("kl_reference", step["kl_reference"]), ("kl_anchor_1", step["kl_anchors"][0])):
            assert line[name] == ("" if values[picture] is None else str(values[picture]))
            assert record[name] == values[picture]
        assert own["kl_reference"] == trace["kl_reference"][picture]
    assert {line["kl_reference"] for line in lines if line["lambda"] == "1.0"} == {""}


def test_a_run_without_a_sweep_is_told_too():
    _, as_json, as_csv = RealignReport.execute(trace_of(batch=2, anchors=2, lambdas=(0.0, 0.5, 1.0))).args
    pictures = json.loads(as_json)["pictures"]
    assert [(p["lambda"], p["beta"], p["seed"], p["image"], p["cfg"]) for p in pictures] == [
        (None, None, 7, 1, 5.0),
        (None, None, 7, 2, 5.0),
    ]
    lines = list(csv.DictReader(io.StringIO(as_csv)))
    assert [line["step_lambda_2"] for line in lines] == ["0.0", "0.5", "1.0"] * 2
    assert json.loads(RealignReport.execute(trace_of()).args[1])["pictures"][0]["beta"] == 1000


def test_sweep_plots_are_of_kl_over_lambda_and_over_steps():
    trace = json.loads(trace_of(SWEEP))
    reference, anchor, steps = sweep_panels(known(json.dumps(trace)))
    assert [line.label for line in reference.lines] == [f"cfg {c}, seed {s}" for c in (3, 6) for s in (7, 8)]
    for row, line in enumerate(reference.lines):
        assert list(line.points) == [(v, trace["kl_reference"][row * 3 + i]) for i, v in enumerate((0.0, 0.5, 1.0))]
    assert [y is None for _, y in anchor.lines[0].points] == [True, False, False]
    assert [line.label for line in steps.lines] == ["λ 0", "λ 0.5", "λ 1"]
    mean = sum(trace["steps"][2]["kl_reference"][row * 3 + 1] for row in range(4)) / 4
    assert steps.lines[1].points[2] == (2, pytest.approx(mean))
    assert {y for _, y in steps.lines[2].points} == {None}
    assert len(set(ramp(7))) == 7
    trace["steps"][0]["kl_reference"][1] = None
    assert sweep_panels(known(json.dumps(trace)))[2].lines[1].points[0] == (0, None)


def test_run_plots_are_of_lambda_beta_and_kl_so_far():
    names = [panel.name for panel in run_panels(known(trace_of()))]
    assert names == ["λ", "β/λ", "KL so far, nats"]
    assert [panel.name for panel in run_panels(known(trace_of(beta=None)))] == ["λ", "KL so far, nats"]
    lines = run_panels(known(trace_of(batch=2)))[-1].lines
    assert [[y for _, y in line.points] for line in lines[:2]] == [[1, 3, 6], [1.125, 3.25, 6.375]]
    assert running_total([1.0, None, 1.0]) == [1.0, None, None]


def test_what_is_not_known_is_a_gap():
    box = (60, 40, 360, 140)

    def pixels(values):
        image = Image.new("RGB", (400, 200))
        draw_panel(ImageDraw.Draw(image), box, Panel("KL", [Line([*enumerate(values)], BLUE)], "step"))
        return np.asarray(image)

    whole, gap = (pixels(values) for values in ([1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 1.0, None, 1.0, 1.0]))
    between = slice(60 + 75 + 10, 60 + 225 - 10)
    assert has_colour(whole[:, between], BLUE)
    assert not has_colour(gap[:, between], BLUE)
    assert has_colour(gap[:, 70:130], BLUE)
    assert has_colour(gap[:, 290:350], BLUE)


def test_nothing_measured_is_said_in_the_picture():
    plots = RealignReport.execute(trace_of(beta=None, measured=False)).args[0]
    below = (plots[0, plots.shape[1] // 2 :] * 255).round().numpy()
    assert not has_colour(below, BLUE)
    assert not has_colour(below, AMBER)
    assert "not measured" in run_panels(known(trace_of(measured=False)))[-1].empty
    assert (below != below[0, 0]).any()


def test_it_is_shown_on_the_node_and_refuses_other_texts():
    shown = RealignReport.execute(trace_of(SWEEP))
    assert shown.ui.as_dict()["images"]
    assert shown.args[0].shape[1] == 3 * 300
    for text in ("", "{}", "[1]", '{"steps": [{"lambdas": []}]}'):
        with pytest.raises(ValueError, match="not a trace"):
            RealignReport.execute(text)


def test_steps_are_counted_from_one():
    assert [text for _, text in step_ticks(3)] == ["1", "2", "3"]
    assert step_ticks(30)[:2] == [(0.0, "1"), (4.0, "5")]
    assert step_ticks(1) == [(0.0, "1")]
