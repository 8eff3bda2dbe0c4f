"""Runs with particles in λ Report, λ Grid and λ Compare: read strictly, and drawn as it was."""

from __future__ import annotations

import copy
import csv
import io
import json

import pytest
import torch
from compared import cells_of, told_by
from particle_traces import record, trace
from realign.nodes.compare import RealignCompare
from realign.nodes.grid import RealignGrid
from realign.nodes.pictures.facts import facts
from realign.nodes.pictures.labels import caption
from realign.nodes.pictures.panels import all_panels
from realign.nodes.pictures.particle_words import told
from realign.nodes.pictures.plot import _ticks
from realign.nodes.pictures.tables import table_of
from realign.nodes.pictures.traced import TracedParticles, parse_trace
from realign.nodes.report import RealignReport
from realign.realign_core import Sweep, Trace

SHAPES = [(1, 4), (8, 4), (1, 16), (3, 64), (1, 1)]
DEEP = record(2, 4, held_out="other")  # what the cases below are made of: M = 2, N = 4, K = 2, T = 8


def known_of(told_of, anchors=0):
    parsed = parse_trace(json.dumps(trace(told_of, anchors)))
    return facts(parsed.batch, None, parsed)


def changed(way, value):
    out = copy.deepcopy(DEEP)
    at = out
    for key in way[:-1]:
        at = at[key]
    at[way[-1]] = value
    return out


@pytest.mark.parametrize("anchors", [0, 1, 2])
@pytest.mark.parametrize(("groups", "particles"), SHAPES)
def test_a_run_is_read_with_and_without_anchors(groups, particles, anchors):
    told_of = record(groups, particles, held_out="other")
    parsed = parse_trace(json.dumps(trace(told_of, anchors)))
    assert parsed.batch == groups
    assert parsed.mixes == (anchors > 0)
    assert parsed.particles.model_dump() == TracedParticles.model_validate(told_of).model_dump()
    assert parsed.particles.place(groups - 1) == (groups - 1, (groups - 1) % particles)


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("log_z",), [0.0]),
        (("kl",), [0.0] * 3),
        (("kl",), [0.0, None]),
        (("scores",), [1.0]),
        (("weights",), [0.5] * 3),
        (("weights",), [0.5, -0.5]),
        (("held_out_scores",), []),
        (("picked",), [1, 8]),
        (("picked",), [1, -1]),
        (("picked",), [1]),
        (("pick",), "first"),
        (("groups",), 3),
        (("particles",), 3),
        (("particles",), 0),
        (("strength",), 0.0),
        (("steps",), DEEP["steps"][1:]),
        (("steps", 0, "ess"), [1.0]),
        (("steps", 0, "ess"), [1.0, 4.1]),
        (("steps", 0, "ess"), [1.0, 0.9]),
        (("steps", 0, "unique"), [1, 5]),
        (("steps", 0, "unique"), [1, 2.5]),
        (("steps", 0, "tau"), [0.5, 1.1]),
        (("steps", 0, "reward"), [1.0]),
        (("steps", 0, "held_out"), [1.0]),
        (("steps", 0, "reward_drawn"), [1.0] * 3),
        (("steps", 0, "held_out_drawn"), [1.0]),
    ],
)
def test_what_is_not_of_one_run_is_refused_in_a_sentence(way, value):
    with pytest.raises(ValueError, match=r"^This is not a trace: .* is not that of a run\. Connect .*\.$"):
        parse_trace(json.dumps(trace(changed(way, value)) | {"steps": trace(DEEP)["steps"]}))


def test_rounding_is_no_error_and_without_particles_there_must_be_an_anchor():
    parse_trace(json.dumps(trace(changed(("steps", 0, "ess"), [4 + 1e-7, 1 - 1e-7]))))
    for anchors, is_run in ((0, False), (1, True)):
        whole = trace(DEEP, anchors)
        del whole["particles"]
        if is_run:
            assert parse_trace(json.dumps(whole)).particles is None
        else:
            with pytest.raises(ValueError, match="not a trace"):
                parse_trace(json.dumps(whole))


def test_the_trace_of_one_model_alone_is_read():
    alone = Trace.of([3.0, 2.0, 1.0, 0.0], torch.zeros(3, 0, 2))
    for i in range(3):
        alone.record(i, torch.zeros(1, 2), 1.0)
    alone.info = {"anchors": [], "etas": [1.0], "particles": record(2, 4, 3)}
    parsed = parse_trace(alone.to_json())
    assert (parsed.batch, parsed.mixes, parsed.kl_reference) == (2, False, [0.0, 0.0])
    assert RealignReport.execute(alone.to_json()).args[0].shape[0] == 1


def test_json_and_csv_hold_the_numbers():
    told_of = record(3, 4, shown=[11, 2], held_out="other")
    _, as_json, as_csv = RealignReport.execute(json.dumps(trace(told_of, 1))).args
    report, lines = json.loads(as_json), list(csv.DictReader(io.StringIO(as_csv)))
    assert len(lines) == len(report["steps"]) == 2 * 8
    for k, (group, particle) in enumerate([(3, 4), (1, 3)]):
        own = report["pictures"][k]
        assert (own["group"], own["particle"], own["weight"]) == (group, particle, 0.25)
        assert (own["score"], own["held_out_score"]) == (told_of["scores"][k], told_of["held_out_scores"][k])
        assert (own["group_kl"], own["log_z"]) == (told_of["kl"][group - 1], told_of["log_z"][group - 1])
        for i, line in enumerate(lines[k * 8 : (k + 1) * 8]):
            step = told_of["steps"][i]
            for name in ("ess", "unique", "tau", "reward", "held_out"):
                assert float(line[name]) == report["steps"][k * 8 + i][name] == step[name][group - 1]
            for name in ("reward_drawn", "held_out_drawn"):
                assert float(line[name]) == step[name][k]
            assert (float(line["score"]), int(line["particle"])) == (own["score"], particle)
            assert float(line["step_lambda_1"]) == 0.5
    assert len(report["particles"]["steps"]) == 3 * 8
    assert report["particles"]["steps"][8 + 5]["reward"] == told_of["steps"][5]["reward"][1]
    assert report["particles"]["groups"][2] == {"group": 3, "log_z": 0.5, "kl": 1.0}


def test_what_was_not_asked_is_empty():
    _, as_json, as_csv = RealignReport.execute(json.dumps(trace(record(1, 4, reward=None, corrected=True), 1))).args
    line = next(csv.DictReader(io.StringIO(as_csv)))
    assert (line["score"], line["reward"], line["tau"], line["held_out"]) == ("",) * 4
    assert json.loads(as_json)["particles"]["reward"] is None


@pytest.mark.parametrize("sweep", [None, Sweep((0.5, 1.0))], ids=["plain", "swept"])
def test_without_an_anchor_no_lambda_and_no_kl_is_shown(sweep):
    told_of = record(2, 4, held_out="other")
    text = json.dumps(trace(told_of) | ({"sweep": sweep.to_dict()} if sweep else {}))
    known, images = facts(2, None, parse_trace(text)), torch.rand(2, 64, 64, 3)
    table = table_of(known, "", None, None)
    said = [table.title, table.subtitle, *(note.text for note in table.notes), *caption(known, 1)]
    said += [line for lines in table.below for line in lines] + [panel.name for panel in all_panels(known)]
    assert not [line for line in said if "λ" in line or "KL" in line or "β" in line]
    assert table.below[1] == ["score 64", "held out 0.625"] == caption(known, 1)[-2:]
    note = next(note for note in table.notes if note.name == "Reward")
    assert note.text == "colourfulness · strength 2.5 · held out: other · 2 × 4 particles"
    cells = cells_of(told_by(RealignCompare.execute(images, trace=text)))
    assert [(cell["lambda"], cell["beta"], cell["kl"], cell["name"]) for cell in cells] == [
        (None, None, None, "picture 1"),
        (None, None, None, "picture 2"),
    ]
    assert cells[0]["scores"] == ["score 63", "held out 0.5"]
    assert RealignGrid.execute(images, trace=text).args[0].shape[0] == 1
    report = json.loads(RealignReport.execute(text).args[1])
    assert not [key for key in report["pictures"][0] if key.startswith("kl_")]
    assert report["pictures"][0]["lambda"] is None


def test_a_kl_to_the_reference_is_said_to_be_without_the_reward():
    with_reward, corrected = known_of(record(2), 1), known_of(record(2, reward=None, corrected=True), 1)
    for known, is_said in ((with_reward, True), (corrected, False)):
        said = table_of(known, "", None, None).subtitle, all_panels(known)[2].name
        assert [("without the reward" in text) for text in said] == [is_said] * 2
        assert all("KL" in text for text in said)


PANELS = [
    ({}, 0, ["colourfulness", "share of 4 particles", "τ"]),
    ({"held_out": "other"}, 0, ["colourfulness", "held-out other", "share of 4 particles", "τ"]),
    ({}, 1, ["λ", "β/λ", "KL so far", "colourfulness", "share of 4", "τ"]),
    ({"reward": None}, 1, ["λ", "β/λ", "KL so far", "share of 4"]),
    ({"groups": 3}, 0, ["colourfulness", "share of 4 particles, mean of 3 groups", "τ"]),
    ({"particles": 1}, 0, ["colourfulness", "τ"]),
    ({"particles": 1, "reward": None}, 0, ["share of 1 particle"]),
]


@pytest.mark.parametrize(("options", "anchors", "names"), PANELS)
def test_panels_are_those_that_have_data(options, anchors, names):
    panels = all_panels(known_of(record(**options), anchors))
    assert len(panels) == len(names)
    assert all(panel.name.startswith(name) for panel, name in zip(panels, names))


def test_panels_draw_means_over_groups_and_gaps_where_nothing_was_asked():
    told_of = record(3, 4, shown=[11, 2], held_out="other")
    told_of["steps"][4]["reward"][1] = None
    told_of["steps"][5]["held_out"] = None
    reward, held_out, share, tau = all_panels(known_of(told_of))
    steps = told_of["steps"]
    mean, drawn = ([y for _, y in line.points] for line in reward.lines)
    assert [line.label for line in reward.lines] == ["mean of 3 × 4 particles", "the pictures drawn, their ancestors"]
    assert mean == [None if i == 4 else pytest.approx(sum(step["reward"]) / 3) for i, step in enumerate(steps)]
    assert drawn == [pytest.approx(sum(step["reward_drawn"]) / 2) for step in steps]
    assert [y is None for _, y in held_out.lines[0].points] == [i == 5 for i in range(8)]
    for line, name in zip(share.lines, ("ess", "unique")):
        assert [y for _, y in line.points] == [pytest.approx(sum(step[name]) / 3 / 4) for step in steps]
    assert [y for _, y in tau.lines[0].points] == [step["tau"][0] for step in steps]


@pytest.mark.parametrize(("low", "high"), [(5.5, 6.25), (-41.0, -39.5), (63.0, 63.0), (0.0, 0.0), (-1e300, 1e300)])
def test_a_rewards_axis_spans_its_values_wherever_0_is(low, high):
    ticks = _ticks(low, high, log=False, reach=0.0, fits=True)
    assert 2 <= len(ticks) <= 7
    rounding = 1e-8 * (high - low)
    assert ticks[0] <= low + rounding
    assert ticks[-1] >= high - rounding
    assert len({f"{tick:g}" for tick in ticks}) == len(ticks)
    assert ticks[-1] - ticks[0] <= max(3 * (high - low), 1e-2 * abs(high), 1e-5)


@pytest.mark.parametrize("anchors", [0, 1])
@pytest.mark.parametrize(("groups", "particles"), SHAPES)
def test_the_report_is_plots_with_words_below(groups, particles, anchors):
    told_of = record(groups, particles, held_out="other")
    plots = RealignReport.execute(json.dumps(trace(told_of, anchors))).args[0]
    panels = len(all_panels(known_of(told_of, anchors)))
    assert plots.shape[2] == 880
    lines = (plots.shape[1] - 300 * panels - 2 * 18) / 26
    assert lines == int(lines) >= len(told(told_of))
    below = plots[0, 300 * panels :]
    assert (below != below[0, 0]).any(-1).sum() > 200
