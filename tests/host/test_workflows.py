"""The shared workflow files and the blueprint: they load, run, look right, and those released stay usable.

frozen/<name>.json is a workflow file as first released. It is never written again: the host must take it as long as
the pack exists, whatever becomes of the current file.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import sys
from pathlib import Path

import pytest
from conftest import PACK
from PIL import Image

from tools.host import run_demo
from tools.host.host_process import Host, HostError
from tools.host.stand_in_files import stand_in_files
from tools.workflows.make_thumbnails import SIZE as CARD
from tools.workflows.thumbnail_cards import CARDS
from tools.workflows.workflow_api import to_api
from tools.workflows.workflow_names import TITLES, workflow_file

CURRENT = sorted((PACK / "workflows").glob("*.json"))
FROZEN = sorted((Path(__file__).parent / "frozen").glob("*.json"))
BLUEPRINTS = sorted((PACK / "subgraphs").glob("*.json"))
LOADERS = ("CheckpointLoaderSimple", "TripleCLIPLoader", "LoadAnchorModel", "CLIPVisionLoader", "RealignRewardModel")
SHOWN = ("MarkdownNote", "Note")
TITLE = 30  # px above a node's position
LARGEST = 60_000  # bytes of a thumbnail
# How many pictures a run of fewer steps and λ gives, in all batches.
PICTURES = {
    "realign_demo": 4,
    "realign_any_sampler": 8,
    "realign_demo_sweep": 4,
    "rescue_over_optimised": 4,
    "lambda_curve": 8,
    "lambda_mask": 8,
    "colourful_hearts": 4,
    "smaller_jpegs": 8,
    "two_rewards": 16,
    "find_lambda": 4,
    "corrected_sweep": 8,
    "my_taste": 16,
}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def name_of(path):
    return path.stem


def needs_models(path):
    return any(node["type"] in LOADERS for node in read(path)["nodes"])


@pytest.fixture(scope="module")
def server():
    with Host(sys.executable, os.environ["REALIGN_HOST"]) as host:
        for folder in (PACK / "workflows", Path(__file__).parent / "frozen"):
            stand_in_files(host.base / "models", folder)
        yield host


@pytest.fixture(scope="module")
def known(server):
    return server.get("/object_info")


def shortened(graph):
    """The graph with few steps and a small sweep."""
    for node in graph.values():
        inputs = node["inputs"]
        if "steps" in inputs:
            inputs["steps"] = 2
        if node["class_type"] == "RealignSweep":
            inputs |= {"values": "list", "listed": "0.3, 1.2", "seeds": 2}
        if node["class_type"] == "RealignSearch":
            inputs |= {"most": 4, "seeds": 1}  # the first round
    return graph


def refused(server, graph):
    """What the host has against nodes of a graph, "" if nothing. It queues the rest where some outputs are wrong."""
    try:
        answer = server.post("/prompt", {"prompt": shortened(graph), "client_id": "workflows"})
        return str(answer["node_errors"] or "")
    except HostError as error:
        return str(error)
    finally:
        server.post("/queue", {"clear": True})


@pytest.mark.parametrize("path", FROZEN, ids=name_of)
def test_the_host_accepts_what_was_released(server, known, path):
    graph = to_api(read(path), known)
    assert set(graph) == {str(node["id"]) for node in read(path)["nodes"] if node["type"] not in SHOWN}
    assert refused(server, graph) == ""


@pytest.mark.parametrize("name", ["realign_demo", "lambda_mask"])
def test_the_host_refuses_what_it_does_not_know(server, known, name):
    """So that the test above can fail; of lambda_mask, the mask's picture alone would be accepted."""
    graph = to_api(read(workflow_file(name)), known)
    for node in graph.values():
        if node["class_type"] == "RealignSampler":
            node["inputs"]["sampler_name"] = "ddpmm"
    assert "ddpmm" in refused(server, graph)


def test_every_workflow_has_a_frozen_copy_and_none_is_lost():
    assert {TITLES[path.stem] for path in FROZEN} == {path.stem for path in CURRENT}


@pytest.mark.parametrize("path", FROZEN, ids=name_of)
def test_the_current_file_has_the_released_nodes(path):
    """A workflow may grow, but its nodes keep their ids and kinds: what is written about it stays true."""
    current = {node["id"]: node["type"] for node in read(workflow_file(path.stem))["nodes"]}
    released = {node["id"]: node["type"] for node in read(path)["nodes"]}
    assert released.items() <= current.items()


@pytest.mark.parametrize("path", CURRENT, ids=name_of)
def test_the_current_file_fits_the_nodes(known, path):
    """Slots and widgets are those of the nodes: run tools/workflows/make_workflows.py after a change to a node."""
    graph, ours = to_api(read(path), known), 0
    for node in read(path)["nodes"]:
        if node["type"] in SHOWN:
            assert all(isinstance(value, str) for value in node["widgets_values"])
            continue
        info = known[node["type"]]
        saved, gives = [output["name"] for output in node["outputs"]], info["output_name"]
        if info["python_module"] == "custom_nodes.realign":
            ours += 1
            assert saved == gives, node["type"]
        # The host's own nodes get more outputs with time: those that not all hosts have must not be in use.
        shared = min(len(saved), len(gives))
        assert saved[:shared] == gives[:shared], node["type"]
        assert not any(output["links"] for output in node["outputs"][shared:]), node["type"]
        names = [name for group in ("required", "optional") for name in info["input_order"].get(group, [])]
        open_slots = {slot["name"] for slot in node["inputs"] if slot["link"] is None}
        assert set(names) - set(graph[str(node["id"])]["inputs"]) <= open_slots, node["type"]
    assert ours


@pytest.mark.parametrize("path", [path for path in CURRENT if needs_models(path)], ids=name_of)
def test_a_workflow_for_public_models_is_accepted(server, known, path):
    assert refused(server, to_api(read(path), known)) == ""


def test_all_others_are_run():
    assert {path.stem for path in CURRENT if not needs_models(path)} == {TITLES[name] for name in PICTURES}


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_a_workflow_without_downloads_runs(server, known, name):
    graph = shortened(to_api(read(workflow_file(name)), known))
    decoders = [node for node, content in graph.items() if content["class_type"] == "VAEDecode"]
    for node in decoders:
        graph[f"seen {node}"] = {"class_type": "PreviewImage", "inputs": {"images": [node, 0]}}
    outputs = server.run(graph)
    assert sum(len(outputs[f"seen {node}"]["images"]) for node in decoders) == PICTURES[name]
    for node, content in graph.items():
        if content["class_type"] in (
            "RealignGrid",
            "RealignReport",
            "RealignRewardReport",
            "RealignScore",
            "SaveImage",
        ):
            assert outputs[node]["images"], content["class_type"]
        if content["class_type"] == "RealignCompare":
            (shown,) = outputs[node]["realign_compare"]
            wanted = [0, 0.5, 1, 1.5] if name == "find_lambda" else [0.3, 1.2]
            assert [column["lambda"] for column in shown["columns"]] == wanted
            assert len(shown["files"]) == 4


def test_the_demo_ends_in_a_clean_picture_whose_own_workflow_makes_it_again(server, known, monkeypatch):
    monkeypatch.setattr(run_demo, "workflow_of", lambda name: with_steps(read(workflow_file(name)), known))
    file = run_demo.run_single(server)
    with Image.open(io.BytesIO(file)) as saved:
        kept, pixels = json.loads(saved.info["workflow"]), saved.tobytes()
        assert saved.size == (256, 256)
        assert json.loads(saved.info["prompt"]) == to_api(kept, known)
    graph = to_api(kept, known)
    assert graph[run_demo.node_of(graph, "RealignSampler")]["inputs"]["lambda_"] == 0.5
    graph[run_demo.node_of(graph, "SaveImage")]["inputs"]["filename_prefix"] = "again"
    (again,) = server.files(server.run(graph)[run_demo.node_of(graph, "SaveImage")])
    with Image.open(io.BytesIO(again)) as repeated:
        assert repeated.tobytes() == pixels


def with_steps(workflow, known, steps=2):
    run_demo.set_widget(workflow, known, "RealignSampler", "steps", steps)
    return workflow


@pytest.mark.parametrize("path", CURRENT, ids=name_of)
def test_no_run_of_a_template_saves_many_pictures(path):
    """What is saved at every run is a grid, or what a single λ gives; what is only looked at is not saved."""
    graph_nodes = {node["id"]: node for node in read(path)["nodes"]}
    links = {link[0]: link for link in read(path)["links"]}
    for node in graph_nodes.values():
        if node["type"] == "SaveImage":
            _, source, output, *_ = links[node["inputs"][0]["link"]]
            swept = any(one["type"] == "RealignSweep" for one in graph_nodes.values())
            assert (graph_nodes[source]["type"] == "RealignGrid" and output == 0) == swept


@pytest.mark.parametrize("path", CURRENT, ids=name_of)
def test_a_thumbnail_is_a_small_jpeg(path):
    thumbnail = path.with_suffix(".jpg")
    assert thumbnail.stat().st_size < LARGEST
    with Image.open(thumbnail) as picture:
        assert picture.format == "JPEG"
        assert picture.size == CARD


def test_every_workflow_has_a_card_of_pictures_and_no_two_are_alike():
    assert set(CARDS) == set(TITLES)
    thumbnails = [path.with_suffix(".jpg").read_bytes() for path in CURRENT]
    assert len(set(thumbnails)) == len(thumbnails)
    for name, card in CARDS.items():
        assert card.stands_in == needs_models(workflow_file(name)), name


def boxes(nodes):
    return {
        f"{node['id']} {node['type']}": (
            node["pos"][0],
            node["pos"][1] - TITLE,
            node["pos"][0] + node["size"][0],
            node["pos"][1] + node["size"][1],
        )
        for node in nodes
    }


def overlapping(first, second):
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


@pytest.mark.parametrize("path", [*CURRENT, *BLUEPRINTS], ids=name_of)
def test_nodes_do_not_overlap(path):
    workflow = read(path)
    parts = [workflow, *workflow.get("definitions", {}).get("subgraphs", [])]
    for part in parts:
        pairs = itertools.combinations(boxes(part["nodes"]).items(), 2)
        assert [(a, b) for (a, one), (b, other) in pairs if overlapping(one, other)] == []


@pytest.mark.parametrize("path", CURRENT, ids=name_of)
def test_links_say_the_same_at_both_ends(path):
    workflow = read(path)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for link, source, output, target, slot, kind in workflow["links"]:
        assert link in nodes[source]["outputs"][output]["links"]
        assert nodes[target]["inputs"][slot]["link"] == link
        assert kind in (nodes[source]["outputs"][output]["type"], "*")


@pytest.mark.parametrize("path", BLUEPRINTS, ids=name_of)
def test_a_blueprint_is_listed_and_its_nodes_exist(server, known, path):
    listed = server.get("/global_subgraphs")
    (entry,) = [key for key, one in listed.items() if one["name"] == path.stem]
    assert listed[entry]["source"] == "custom_node"
    served = json.loads(server.get(f"/global_subgraphs/{entry}")["data"])
    assert served == read(path)
    (inner,) = served["definitions"]["subgraphs"]
    (outer,) = served["nodes"]
    assert outer["type"] == inner["id"]
    assert all(node["type"] in known for node in inner["nodes"])
    assert_inner_links_hold(inner)


def assert_inner_links_hold(inner):
    nodes = {node["id"]: node for node in inner["nodes"]}
    for link in inner["links"]:
        if link["target_id"] in nodes:
            slot = nodes[link["target_id"]]["inputs"][link["target_slot"]]
            assert (slot["link"], slot["type"]) == (link["id"], link["type"])
        if link["origin_id"] in nodes:
            assert link["id"] in nodes[link["origin_id"]]["outputs"][link["origin_slot"]]["links"]
    ids = sorted(link["id"] for link in inner["links"])
    ends = [number for end in (*inner["inputs"], *inner["outputs"]) for number in end["linkIds"]]
    assert ids == list(range(1, len(ids) + 1))
    assert set(ends) <= set(ids)


def test_the_blueprint_offers_what_it_says():
    (inner,) = read(PACK / "subgraphs" / "Realign.json")["definitions"]["subgraphs"]
    sockets = ["model", "positive", "negative", "latent_image", "lambda_schedule"]
    assert [one["name"] for one in inner["inputs"]] == [*sockets, "anchor_name", "lambda_", "seed", "steps", "cfg"]
    assert [one["name"] for one in inner["outputs"]] == ["latent", "trace"]
