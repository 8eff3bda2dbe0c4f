"""The graphs of benchmarks/packs.py: a pack's node is found by its sockets, and stands where it is said to stand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from packs_graphs import (
    ANCHORS,
    BEFORE,
    BEHIND,
    GUIDES,
    SAMPLER,
    SAMPLES,
    Builder,
    Case,
    places,
    realigned,
    stock,
)
from packs_report import Row, Tried, page, read, section, sentence, summary, told


def node(gives, module="custom_nodes.pack", optional=(), **required):
    return {
        "input": {"required": required, "optional": dict(optional)},
        "output": list(gives),
        "python_module": module,
    }


KNOWN = {
    "Patch": node(["MODEL"], model=["MODEL"], strength=["FLOAT", {"default": 0.7}], mode=[["soft", "hard"], {}]),
    "Guide": node(["GUIDER"], model=["MODEL"], positive=["CONDITIONING"], negative=["CONDITIONING"]),
    "Wrap": node(["SAMPLER"], sampler=["SAMPLER"], steps=["INT", {"default": 20}]),
    "Sample": node(
        ["MODEL", "LATENT"], model=["MODEL"], positive=["CONDITIONING"], latent_image=["LATENT"], settings=["SETTINGS"]
    ),
    "Settings": node(["SETTINGS"], value=["INT", {"default": 3}]),
    "Other": node(["UNKNOWN"], module="custom_nodes.other", value=["INT", {"default": 3}]),
    "Needs": node(["MODEL"], model=["MODEL"], what=["UNKNOWN"]),
    "Load": node(["MODEL"], name=[["a"], {}]),
}


@pytest.mark.parametrize(
    ("name", "where"),
    [("Patch", [BEFORE, BEHIND]), ("Guide", [GUIDES]), ("Wrap", [SAMPLER]), ("Sample", [SAMPLES]), ("Load", [])],
)
def test_places(name, where):
    assert places(KNOWN[name]) == where


def test_widgets_at_their_defaults_or_short():
    graph = realigned(Case("Patch", BEFORE, inputs={"mode": "hard"}), KNOWN, "full")
    patched = [one["inputs"] for one in graph.values() if one["class_type"] == "Patch"]
    assert [(one["strength"], one["mode"]) for one in patched] == [(0.7, "hard")] * 2
    wrapped = realigned(Case("Wrap", SAMPLER), KNOWN, "full")
    assert [one["inputs"]["steps"] for one in wrapped.values() if one["class_type"] == "Wrap"] == [5]


def test_what_only_the_pack_gives():
    graph = realigned(Case("Sample", SAMPLES), KNOWN, "full")
    (sample,) = (one["inputs"] for one in graph.values() if one["class_type"] == "Sample")
    assert graph[sample["settings"][0]] == {"class_type": "Settings", "inputs": {"value": 3}}
    assert graph["saved"]["inputs"]["samples"][1] == 1  # the second output is the LATENT
    with pytest.raises(KeyError, match="UNKNOWN"):
        realigned(Case("Needs", BEHIND), KNOWN, "full")


def behind(graph, link):
    """The class types from a link upwards along the models."""
    out = []
    while link:
        found = graph[link[0]]
        out.append(found["class_type"])
        link = found["inputs"].get("model")
    return out


@pytest.mark.parametrize("anchor", ANCHORS)
def test_where_the_node_stands(anchor):
    truth = {
        (place, side): behind(
            graph := stock(Case("Patch", place), KNOWN, anchor, side, 1), graph["saved"]["inputs"]["samples"]
        )
        for place in (BEFORE, BEHIND)
        for side in ("reference", "anchor")
    }
    ends = ["Patch", "CheckpointLoaderSimple"]
    lora = ["LoraLoaderModelOnly"] if anchor == "LoRA" else []
    assert truth[BEFORE, "reference"] == truth[BEHIND, "reference"] == ["KSampler", "ProbeSwap", *ends]
    assert truth[BEFORE, "anchor"] == ["KSampler", "ProbeSwap", *lora, *ends]
    assert truth[BEHIND, "anchor"] == ["KSampler", "ProbeSwap", "Patch", *lora, "CheckpointLoaderSimple"]

    ours = realigned(Case("Patch", BEHIND), KNOWN, anchor)
    assert behind(ours, ours["saved"]["inputs"]["samples"]) == [
        "KSampler",
        "Patch",
        "RealignModel",
        "CheckpointLoaderSimple",
    ]
    ours = realigned(Case("Patch", BEFORE), KNOWN, anchor)
    assert behind(ours, ours["saved"]["inputs"]["samples"]) == ["KSampler", "RealignModel", *ends]
    (anchors,) = (one["inputs"]["model"] for one in ours.values() if one["class_type"] == "RealignAnchorFromModel")
    assert behind(ours, anchors) == [*lora, *ends]


def test_without_a_node():
    graph = stock(Case("", "", "flux"), KNOWN, "full", "anchor", 1)
    assert behind(graph, graph["saved"]["inputs"]["samples"]) == ["KSampler", "ProbeSwap", "CheckpointLoaderSimple"]
    names = [one["inputs"]["ckpt_name"] for one in graph.values() if "ckpt_name" in one["inputs"]]
    assert names == ["flux_anchor.safetensors"]
    assert Builder(Case(""), KNOWN).latent() == ["0", 0]


def test_a_page_is_read_again():
    rows = [Row("Bar|s", BEFORE, ("1e-06", "**0.3**")), Row("Other", BEHIND, ("refused: a | b", "0"))]
    text = section(rows, ["Idle"], {"Broken": "needs X"}, ["Late"])
    assert all(name in text for name in ("Bar\\|s", "Idle", "Broken", "Late", "refused (1) |", "(1) a | b"))
    done = {
        "b-pack": Tried("b-pack", "1 (abc, 2026-01-01)", "0.30.0", summary(rows), text),
        "A-pack": Tried("A-pack", "?", "0.31.0", "not loaded: no | module", ""),
    }
    assert read(page(done, 2e-4)) == done
    assert read("") == {}


def test_errors_fit_a_cell():
    assert sentence("No 'x' in\n 'y' (/home/me/some/where/model.py)") == "No 'x' in 'y' (…/model.py)"
    assert sentence("8 / 2, https://a.org") == "8 / 2, https://a.org"
    assert len(sentence("long " * 1000)) < 500
    assert told(KeyError("UPSCALE_MODEL")) == "needs UPSCALE_MODEL"
