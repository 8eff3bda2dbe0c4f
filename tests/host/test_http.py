"""A host of its own, over HTTP and websocket: what the page and scripts meet."""

from __future__ import annotations

import asyncio
import io
import json
import os
import struct
import sys
from typing import NamedTuple

import aiohttp
import pytest
from PIL import Image

from tools.host.host_process import Host, HostError
from tools.workflows.workflow_api import to_api
from tools.workflows.workflow_names import TITLES, workflow_file

STEPS = 4
OFF, RGB = "default", "latent2rgb"  # the user's setting for previews, as the page sends it
TEXT, PREVIEW_WITH_METADATA = 3, 4  # server.py, BinaryEventTypes


@pytest.fixture(scope="module")
def server():
    with Host(sys.executable, os.environ["REALIGN_HOST"]) as host:  # with its stock flags: previews are off
        yield host


@pytest.fixture
def graph(server):
    workflow = json.loads(workflow_file("realign_demo").read_text(encoding="utf-8"))
    graph = to_api(workflow, server.get("/object_info"))
    sampler = next(node["inputs"] for node in graph.values() if node["class_type"] == "RealignSampler")
    sampler["steps"] = STEPS
    return graph


def inputs_of(graph, kind):
    return next(node["inputs"] for node in graph.values() if node["class_type"] == kind)


def id_of(graph, kind):
    return next(node_id for node_id, node in graph.items() if node["class_type"] == kind)


def test_every_node_is_registered(server):
    import realign.nodes

    known = server.get("/object_info")
    assert all(node.define_schema().node_id in known for node in realign.nodes.NODES)


def test_templates_list_the_workflows(server):
    listed = set(server.get("/api/workflow_templates")["realign"])
    assert listed == set(TITLES.values())


def test_demo_graph_runs_and_gives_a_trace(server, graph):
    outputs = server.run(graph)
    assert len(outputs[id_of(graph, "SaveImage")]["images"]) >= 1
    trace = json.loads(outputs[id_of(graph, "PreviewAny")]["text"][0])
    assert len(trace["steps"]) == STEPS
    assert trace["model_calls"] == 2 * STEPS
    assert trace["anchors"][0]["beta"] > 0
    assert all(value > 0 for value in trace["kl_reference"])


def test_one_progress_tick_and_one_preview_per_step(server, graph):
    inputs_of(graph, "RealignSampler")["seed"] = 12345  # not from the cache of another test
    seen = asyncio.run(watch(server, graph, id_of(graph, "RealignSampler"), RGB))
    assert seen.ticks == [(i, STEPS) for i in range(1, STEPS + 1)]
    assert len(seen.previews) == STEPS
    assert seen.texts[-1].startswith(f"step {STEPS}/{STEPS} · λ 0.5 (β 1000) · KL ")


def test_a_run_without_a_sweep_keeps_the_users_setting(server, graph):
    inputs_of(graph, "RealignSampler")["seed"] = 12346
    seen = asyncio.run(watch(server, graph, id_of(graph, "RealignSampler"), OFF))
    assert seen.previews == []
    assert_progress(seen.ticks, STEPS)


def test_a_masked_run_says_so(server, graph):
    graph["mask"] = {"class_type": "SolidMask", "inputs": {"value": 0.25, "width": 64, "height": 64}}
    inputs_of(graph, "RealignSampler")["lambda_mask"] = ["mask", 0]
    seen = asyncio.run(watch(server, graph, id_of(graph, "RealignSampler"), OFF))
    assert seen.texts[-1].startswith(f"step {STEPS}/{STEPS} · λ 0.5 (β 1000) · masked · KL ")


@pytest.mark.parametrize("setting", [OFF, RGB])
def test_a_sweep_shows_one_progress_and_the_strip_of_its_pictures(server, graph, setting):
    sweep = {"latent": inputs_of(graph, "RealignSampler")["latent_image"], "values": "list", "listed": "0, 0.5, 1, 2"}
    sweep |= {"start": 0, "end": 1, "count": 2, "seeds": 2, "rows": "seed", "row_values": "", "batch_size": 4}
    graph["sweep"] = {"class_type": "RealignSweep", "inputs": sweep}
    inputs_of(graph, "EmptyLatentImage")["batch_size"] = 1
    inputs_of(graph, "RealignSampler").update(latent_image=["sweep", 0], lambda_schedule=["sweep", 1], seed=31)
    inputs_of(graph, "RealignSampler")["denoise"] = {OFF: 1.0, RGB: 0.99}[setting]  # not from the cache
    seen = asyncio.run(watch(server, graph, id_of(graph, "RealignSampler"), setting))
    assert_progress(seen.ticks, 2 * STEPS)  # two parts of four pictures
    strips = [size for size in seen.previews if size[0] > size[1] + 100]
    assert len(strips) >= 2  # the first step's, and that of the end
    assert len(seen.previews) == len(strips) + (setting == RGB)  # the host's own, of one picture, before the last strip
    assert seen.previews[0] == seen.previews[-1] == strips[-1]
    assert seen.texts[-1].startswith("step 8/8 · 4 λ from 0 to 2 · KL ")
    assert seen.texts[-1].endswith("model calls")


def test_a_thousand_pictures_in_one_column(server, graph):
    """What the host's loops encode and send has a bound: a JPEG of more than 65,535 px made it end."""
    for node_id in [key for key, node in graph.items() if node["class_type"] in ("SaveImage", "PreviewAny")]:
        del graph[node_id]
    sampler = id_of(graph, "RealignSampler")
    cfgs = ", ".join(map(str, range(1, 17)))
    sweep = {"latent": inputs_of(graph, "RealignSampler")["latent_image"], "values": "list", "listed": "0.5"}
    sweep |= {"start": 0, "end": 1, "count": 2, "seeds": 64, "rows": "cfg", "row_values": cfgs, "batch_size": 0}
    graph["sweep"] = {"class_type": "RealignSweep", "inputs": sweep}
    inputs_of(graph, "EmptyLatentImage").update(width=16, height=16, batch_size=1)
    inputs_of(graph, "RealignSampler").update(steps=1, latent_image=["sweep", 0], lambda_schedule=["sweep", 1])
    shown = {"images": [id_of(graph, "VAEDecode"), 0], "sweep": ["sweep", 1], "trace": [sampler, 2]}
    graph["grid"] = {"class_type": "RealignGrid", "inputs": {**shown, "cell_size": 40, "footer": ""}}
    graph["compare"] = {"class_type": "RealignCompare", "inputs": shown}
    graph["report"] = {"class_type": "RealignReport", "inputs": {"trace": shown["trace"]}}
    seen = asyncio.run(watch(server, graph, sampler))
    assert seen is not None, server.log_tail()  # the host has closed the connection
    assert len(seen.previews) >= 2
    assert all(max(size) <= 2048 for size in seen.previews)
    outputs = server.run(graph)  # from the cache: the host still answers
    told = outputs["compare"]["realign_compare"][0]
    assert (len(told["columns"]), len(told["rows"]), len(told["files"])) == (1, 1024, 1024)
    for node in ("grid", "report"):
        with Image.open(io.BytesIO(server.files(outputs[node])[0])) as picture:
            assert max(picture.size) <= 16384


def assert_progress(ticks, total):
    """The host leaves ticks out as it sees fit; what it sends goes forward, to the end, and counts the whole."""
    assert {of for _, of in ticks} == {total}
    done = [tick for tick, _ in ticks]
    assert done == sorted(done)
    assert done[-1] == total


class Watched(NamedTuple):
    """Of one node: progress as (done, total), the sizes of its previews, and its lines of text."""

    ticks: list
    previews: list
    texts: list


async def watch(server, graph, node_id, previews=OFF):
    """What the host tells of a node until the graph has run. previews: the user's setting for them."""
    seen = Watched([], [], [])
    url = server.url.replace("http", "ws") + "/ws?clientId=watcher"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        await socket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
        asked = {"prompt": graph, "client_id": "watcher", "extra_data": {"preview_method": previews}}
        await asyncio.to_thread(server.post, "/prompt", asked)
        async for message in socket:
            if message.type == aiohttp.WSMsgType.BINARY:
                kind, length = struct.unpack(">II", message.data[:8])
                head, body = message.data[8 : 8 + length], message.data[8 + length :]
                if kind == PREVIEW_WITH_METADATA and json.loads(head)["node_id"] == node_id:
                    seen.previews.append(Image.open(io.BytesIO(body)).size)
                if kind == TEXT and head.decode() == node_id:
                    seen.texts.append(body.decode())
                continue
            event = json.loads(message.data)
            data = event["data"]
            if event["type"] == "progress" and data["node"] == node_id:
                seen.ticks.append((data["value"], data["max"]))
            if event["type"] == "execution_error":
                raise AssertionError(data["exception_message"])
            if event["type"] == "executing" and data["node"] is None:
                return seen


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"denoise": 0.0}, "There is no step to sample"), ({"lambda_": 1.9, "eta": 0.2, "anchor_eta": 0.9}, "largest λ")],
)
def test_a_wrong_input_is_one_sentence_in_the_red_box(server, graph, wrong, message):
    inputs_of(graph, "RealignSampler").update(wrong)
    with pytest.raises(HostError, match=message) as error:
        server.run(graph)
    assert "\n" not in str(error.value)
    assert "Traceback" not in str(error.value)


def test_labels_are_those_of_the_run_that_the_host_has_just_done(server, graph):
    """λ Sweep feeds the latent and λ Compare, and the sampler only in the first run; no trace is connected."""
    sweep = {"latent": inputs_of(graph, "RealignSampler")["latent_image"], "values": "list", "listed": "0, 1, 1.5"}
    sweep |= {"start": 0, "end": 1, "count": 2, "seeds": 1, "rows": "seed", "row_values": "", "batch_size": 0}
    graph["sweep"] = {"class_type": "RealignSweep", "inputs": sweep}
    shown = {"images": [id_of(graph, "VAEDecode"), 0], "sweep": ["sweep", 1]}
    graph["compare"] = {"class_type": "RealignCompare", "inputs": shown}
    inputs_of(graph, "EmptyLatentImage").update(batch_size=1)
    inputs_of(graph, "RealignSampler").update(steps=1, latent_image=["sweep", 0], seed=5)
    for inputs, lambdas, name in (
        ({"lambda_schedule": ["sweep", 1]}, [0.0, 1.0, 1.5], "λ 1.5"),
        ({"lambda_": 0.25}, [0.25] * 3, "picture 3 · λ 0.25"),
    ):
        inputs_of(graph, "RealignSampler").pop("lambda_schedule", None)
        inputs_of(graph, "RealignSampler").update(inputs)
        told = server.run(graph)["compare"]["realign_compare"][0]
        assert [column["lambda"] for column in told["columns"]] == lambdas
        assert told["columns"][2]["name"] == name
        assert (told["swept"], told["unused_sweep"], told["seed"]) == (lambdas[0] == 0, lambdas[0] != 0, 5)


def test_a_huge_sweep_is_refused_in_a_sentence(server, graph):
    """What comes by a link is not held to the input's range by the host."""
    sweep = {"latent": inputs_of(graph, "RealignSampler")["latent_image"], "values": "range", "listed": "0.5"}
    sweep |= {"start": 0, "end": 1, "count": 2, "seeds": 1, "rows": "seed", "row_values": "", "batch_size": 0}
    graph["sweep"] = {"class_type": "RealignSweep", "inputs": sweep}
    graph["huge"] = {"class_type": "PrimitiveInt", "inputs": {"value": 10**9}}
    inputs_of(graph, "RealignSampler").update(latent_image=["sweep", 0], lambda_schedule=["sweep", 1])
    for name in ("count", "seeds"):
        graph["sweep"]["inputs"] = {**sweep, name: 10**9}
        with pytest.raises(HostError, match=f"bigger than max.*{name}"):
            server.run(graph)
        graph["sweep"]["inputs"] = {**sweep, name: ["huge", 0]}
        with pytest.raises(HostError, match=r"RealignSweep: .*[18],000,000,000") as error:
            server.run(graph)
        assert "\n" not in str(error.value)


def test_a_stock_ksampler_gives_the_same_picture_after_a_failure(server, graph):
    """The host goes on as if nothing had been."""
    sampler = inputs_of(graph, "RealignSampler")
    names = (
        "model",
        "seed",
        "steps",
        "cfg",
        "sampler_name",
        "scheduler",
        "positive",
        "negative",
        "latent_image",
        "denoise",
    )
    stock = {name: sampler[name] for name in names} | {"seed": 777, "denoise": 1.0}
    graph["stock"] = {"class_type": "KSampler", "inputs": stock}
    decode = inputs_of(graph, "VAEDecode")
    before = picture(server, {**graph, id_of(graph, "VAEDecode"): decoded(decode)})
    sampler.update(denoise=0.0)
    failing = {k: v for k, v in graph.items() if k != "stock"}
    with pytest.raises(HostError):
        server.run(failing)
    graph["stock"]["inputs"] = {**stock, "steps": stock["steps"]}
    server.post("/free", {"free_memory": True})  # nothing from the cache
    assert picture(server, {**graph, id_of(graph, "VAEDecode"): decoded(decode)}) == before


def decoded(decode):
    return {"class_type": "VAEDecode", "inputs": {**decode, "samples": ["stock", 0]}}


def picture(server, graph):
    """The bytes of the first picture's pixels."""
    graph = {k: v for k, v in graph.items() if v["class_type"] not in ("RealignSampler", "PreviewAny")}
    return server.pictures(server.run(graph)[id_of(graph, "SaveImage")])[0].tobytes()


def test_every_sampler_graph_runs(server):
    """RealignGuider in SamplerCustomAdvanced and RealignModel in KSampler: previews, progress and pictures of both."""
    workflow = json.loads(workflow_file("realign_any_sampler").read_text(encoding="utf-8"))
    graph = to_api(workflow, server.get("/object_info"))
    inputs_of(graph, "BasicScheduler")["steps"] = inputs_of(graph, "KSampler")["steps"] = STEPS
    for kind in ("SamplerCustomAdvanced", "KSampler"):
        inputs_of(graph, "RandomNoise")["noise_seed"] = inputs_of(graph, "KSampler")["seed"] = len(kind)
        seen = asyncio.run(watch(server, graph, id_of(graph, kind), RGB))
        assert [done for done, total in seen.ticks if total == STEPS][-STEPS:] == list(range(1, STEPS + 1))
        assert len(seen.previews) == STEPS
        assert seen.texts[-1].startswith(f"step {STEPS}/{STEPS} · λ ")
    outputs = server.run(graph)
    saved = [output["images"] for output in outputs.values() if output and "images" in output]
    assert [len(images) for images in saved] == [4, 4]
