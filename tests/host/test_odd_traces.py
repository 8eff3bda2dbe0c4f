"""Any JSON as a trace: what the nodes say and draw of it can be said and drawn, or it is refused in a sentence."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from realign.nodes.pictures.facts import facts
from realign.nodes.pictures.labels import caption
from realign.nodes.pictures.panels import all_panels
from realign.nodes.pictures.particle_words import told as told_of
from realign.nodes.pictures.plot import drawn
from realign.nodes.pictures.records import as_csv, as_json, page_record
from realign.nodes.pictures.tables import table_of
from realign.nodes.pictures.traced import parse_trace
from realign.realign_core import Sweep, Trace

ODD = {
    "none": None,
    "yes": True,
    "below 0": -1,
    "zero": 0,
    "a fraction": 2.5,
    "nearly all": 1e300,
    "nearly nothing": 1e-300,
    "beyond": 1e308,
    "beyond all": 10**400,
    "a text": "1",
    "a list": [],
    "a list of nothing": [None],
    "a list of lists": [[1.0]],
    "a dict": {},
    "a dict of odd things": {"a": 1},
    "three": [0.5, 0.5, 0.5],
}
TEXTS = {"name", "sampler_name", "scheduler", "reward", "held_out"}


def told(sweep=None, masked=False):
    """A run's trace as JSON has it: two steps, two pictures, one anchor."""
    lambdas = torch.tensor([[[0.5, 1.0]], [[0.5, 1.0]]])
    trace = Trace.of([2.0, 1.0, 0.0], lambdas, before_mask=2 * lambdas if masked else None)
    for step in range(2):
        trace.record(step, torch.tensor([[1.0, 2.0], [0.5, torch.nan]]), 2.0)
    settings = {"seed": 7, "steps": 2, "cfg": 5.0, "sampler_name": "ddpm", "scheduler": "normal", "denoise": 1.0}
    trace.info = {"anchors": [{"name": "a", "beta": 500.0, "share": 1.0}], "etas": [1.0, 0.5], "settings": settings}
    trace.info |= {"sweep": sweep.to_dict()} if sweep else {}
    return json.loads(trace.to_json())


def with_particles(trace):
    """Two groups of two, a picture of each, two steps."""
    step = {"ess": [1.5, 2.0], "unique": [1, 2], "tau": [0.5, 1.0], "reward": [1.0, 2.0], "reward_drawn": [1.0, 2.0]}
    step |= {"held_out": [0.5, 0.25], "held_out_drawn": [None, 0.5]}
    run = {"reward": "colour", "held_out": "other", "strength": 1.0, "corrected": True, "groups": 2, "particles": 2}
    run |= {"pick": "draw", "picked": [1, 2], "log_z": [0.5, 1.0], "kl": [1.0, 2.0], "scores": [1.0, 2.0]}
    run |= {"weights": [0.5, 0.75], "held_out_scores": [0.5, 0.25], "steps": [step, step]}
    return trace | {"particles": run}


def without_anchors(trace):
    steps = [step | {"lambdas": [], "kl_anchors": [], "kl_reference": [0.0, 0.0]} for step in trace["steps"]]
    return trace | {"anchors": [], "kl_anchors": [], "kl_reference": [0.0, 0.0], "etas": [1.0], "steps": steps}


WHOLE = {
    "plain": told(),
    "swept": told(Sweep((0.5, 1.0))),
    "masked": told(masked=True),
    "particles": with_particles(told()),
    "without an anchor": without_anchors(with_particles(told())),
}


def places(tree, way=()):
    """The way to every kind of value in it: of a list the first."""
    yield way
    items = tree.items() if isinstance(tree, dict) else enumerate(tree[:1]) if isinstance(tree, list) else ()
    for key, value in items:
        yield from places(value, (*way, key))


def changed(tree, way, *value):
    """A copy with another value there, or with none at all."""
    if not way:
        return value[0]
    tree = copy.deepcopy(tree)
    at = tree
    for key in way[:-1]:
        at = at[key]
    if value:
        at[way[-1]] = value[0]
    else:
        del at[way[-1]]
    return tree


def refused(text):
    """The sentence that it is refused with; "" where all that the nodes say and draw of it can be said and drawn."""
    try:
        trace = parse_trace(text)
    except ValueError as error:
        return str(error)
    known = facts(trace.batch, None, trace)
    assert json.loads(as_json(known))["pictures"]
    assert as_csv(known).count("\n") > 1
    drawn(all_panels(known), 400, 120, (72, 20, 10, 30))
    assert known.particles is None or all(told_of(known.particles))
    table_of(known, "", None, None)
    assert all(caption(known, i) for i in range(known.count))
    json.dumps(page_record(known, ["a.png"] * known.count, known.seed), allow_nan=False)
    return ""


def is_sentence(text):
    starts = text.startswith(("This is not a trace: ", "The trace holds no step"))
    return starts and text.endswith(".") and "\n" not in text and len(text) < 300


@pytest.mark.parametrize("kind", WHOLE)
def test_every_value_of_a_trace_replaced_by_what_is_none(kind):
    whole = WHOLE[kind]
    assert not refused(json.dumps(whole))
    taken = []
    for way in places(whole):
        texts = {value: json.dumps(changed(whole, way, ODD[value])) for value in ODD}
        if way:
            texts["gone"] = json.dumps(changed(whole, way))
        for value, text in texts.items():
            said = refused(text)
            assert not said or is_sentence(said), (way, value, said)
            taken += [] if said else [(way, value)]
    texts = [way for way, value in taken if value == "a text"]
    assert not [way for way in texts if way[-1] not in TEXTS or way[:2] == ("particles", "steps")], "taken as a number"
    assert not [way for way, value in taken if value in ("beyond", "beyond all")], "a number beyond all was taken"


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "{" * 100_000, "9" * 5000, '{"steps": [' + "[" * 1000, "NaN", '"', "\0", "null", '{"steps": {}}'],
)
def test_text_that_is_no_json_of_a_run(text):
    assert is_sentence(refused(text))


def test_a_number_beyond_what_can_be_drawn_is_refused_in_place():
    for word in ("NaN", "1e999", "-Infinity", "1e301"):
        text = json.dumps(WHOLE["plain"]).replace('"sigma": 2.0', f'"sigma": {word}')
        with pytest.raises(ValueError, match=r"not JSON|“steps\.0\.sigma” in it is not that of a run"):
            parse_trace(text)
