"""What no input may be, over HTTP: each gives one sentence that names the input, and the host goes on as before.

Everything is queued at once; the host works through it in seconds, as nothing of it reaches a model.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from pathlib import Path

import pytest
from realign.nodes import NODES
from realign.nodes.checked import range_of

from tools.host.host_process import Host, HostError

NAN, INF = math.nan, math.inf
# Words of Python's and torch's own errors, which say nothing to who reads the node's red box.
BARE = re.compile(
    r"\n|Traceback|has no attribute|object is not|unsupported operand|not implemented for|out of range|size of tensor"
    r"|cannot be multiplied|NoneType|unexpected keyword|positional argument|not subscriptable|Error:"
)
NUMBERS = {
    "nan": NAN,
    "infinity": INF,
    "-infinity": -INF,
    "far above": 1e30,
    "far below": -1e30,
    "below": lambda low, high, step: low - step,
    "above": lambda low, high, step: high + step,
}
LINKS = {
    "MODEL": ["demo", 0],
    "REALIGN_ANCHOR": ["demo", 1],
    "CONDITIONING": ["demo", 2],
    "LATENT": ["latent", 0],
    "IMAGE": ["image", 0],
    "REALIGN_REWARD": ["reward", 0],
    "VAE": ["demo", 4],
    "CLIP_VISION": ["sees", 0],
}
FILES = {"anchor_name": "loras/x.safetensors", "reward_name": "reward_models/x.safetensors"}
NUMERIC, CHOICE = ("INT", "FLOAT"), "COMBO"


def tensor(*shape, dtype="float32", value=0.5):
    return {"tensor": shape, "dtype": dtype, "value": value}


# By the input's type: what comes by a link and is none.
ODD = {
    "INT": ["3", "1_0", "many", 2.5, [3], {}],
    "FLOAT": ["0.5", "1_0", "much", [0.5], {}, tensor(3)],
    CHOICE: ["no such", "", 3, ["range"], {}],
    "STRING": [3, ["x"], {}],
    "BOOLEAN": ["no", 2, []],
    "MASK": [
        tensor(8),
        tensor(),
        tensor(0, 8, 8),
        tensor(1, 8, 8, dtype="uint8", value=1),
        tensor(1, 8, 8, value="nan"),
        tensor(1, 8, 8, value="inf"),
        tensor(1, 8, 8, value=1e30),
        "mask",
        [],
    ],
    "IMAGE": [tensor(8, 8, 3), tensor(0, 8, 8, 3), tensor(1, 8, 8, 3, dtype="uint8"), "image", []],
    "LATENT": [
        {},
        {"samples": None},
        {"samples": "x"},
        {"samples": tensor(0, 4, 8, 8)},
        {"samples": tensor(4)},
        {"samples": tensor(1, 4, 8, 8, dtype="int64")},
        "latent",
        [],
    ],
    "CONDITIONING": ["a cat", [1], [[1]], [[1, 2]], {}],
    "MODEL": ["model", 3, []],
    "GUIDER": ["guider", {}],
    "REALIGN_ANCHOR": ["anchor", [], [3], {}],
    "REALIGN_LAMBDA": ["λ", 0.5, [0, 1], {}],
    "REALIGN_REWARD": ["colourfulness", 1, [], {"name": "x"}],
    "REALIGN_PROMPTS": ["a cat", 1, [], {}],
    "CLIP": ["clip", 1, {}],
    "CLIP_VISION": ["ViT-L", 1, {}],
    "VAE": ["vae", 1, {}],
    "CURVE": [
        {"points": []},
        {"points": [[0, 0, 0], [1, 1, 1]]},
        {"points": [[0, "1_0"]]},
        {"points": [[0, {"number": "nan"}]]},
        {"points": [[0, 1e30]]},
        {"points": 3},
        {},
        "curve",
        7,
    ],
}
STEP = {"sigma": 1, "sigma_next": 0, "model_calls": 2, "lambdas": [[0.5]], "kl_reference": [1.0], "kl_anchors": [[1.0]]}
TRACE = {"steps": [STEP], "kl_reference": [1.0], "kl_anchors": [[1.0]]}
TRACES = {
    "no JSON": "x",
    "nothing": "",
    "a number": "1",
    "nested without end": "[" * 100_000,
    "a number without end": '{"steps": [{"sigma": ' + "9" * 5000 + "}]}",
    "text for numbers": json.dumps({**TRACE, "steps": [{**STEP, "sigma": "1"}]}),
    "NaN": json.dumps({**TRACE, "kl_reference": [NAN]}),
    "a number beyond all": json.dumps(TRACE).replace('"sigma": 1', '"sigma": 1e999'),
    "other anchors": json.dumps({**TRACE, "kl_anchors": [[1.0], [1.0]]}),
    "other batches": json.dumps({**TRACE, "kl_reference": [1.0, 2.0]}),
    "no pictures": json.dumps({**TRACE, "steps": [{**STEP, "lambdas": [[]], "kl_reference": None}]}),
    "a β below 0": json.dumps({**TRACE, "anchors": [{"beta": -1}]}),
    "a seed that is none": json.dumps({**TRACE, "settings": {"seed": "7"}}),
    "a sweep with half a row": json.dumps({**TRACE, "sweep": {"columns": 2, "cells": []}}),
}


def cases():
    """(name, node class, inputs, the words of which the sentence has one)."""
    for node in NODES:
        for item in node.define_schema().inputs:
            words, kind = {item.id, item.display_name or item.id}, item.get_io_type()
            for told, number in NUMBERS.items() if kind in NUMERIC else ():
                step = 1 if kind == "INT" else 0.01
                value = number(*range_of(item), step) if callable(number) else number
                if told in ("nan", "infinity"):  # the host refuses the others itself
                    yield f"{told} typed", node, {item.id: value}, words
                yield f"{told} linked", node, {item.id: odd(value)}, words
            for value in ODD.get(kind, ()):
                yield (
                    f"{json.dumps(value)[:40]}",
                    node,
                    needed(node, item) | {item.id: odd(value)},
                    words | said_of(item),
                )
            if not item.optional:
                yield "none", node, {item.id: odd(None)}, words
            for told, text in TRACES.items() if item.id == "trace" else ():
                if text or not item.optional:
                    yield told, node, {item.id: text}, {"trace"}


def odd(value):
    """A link to a node that gives this."""
    if isinstance(value, float) and not math.isfinite(value):
        value = {"number": str(value)}
    return {"link": json.dumps(value)}


def needed(node, item):
    """What else must be set so that an input is looked at."""
    alone = item.id == "lambda_mask" and node.define_schema().node_id == "RealignParticles"
    return {"particles": 1} if alone else {"shape": "curve"} if item.id == "curve" else {}


def said_of(item):
    """What sentences call an input otherwise."""
    called = {"lambda_mask": "λ mask", "mask": "λ mask", "curve": "λ curve", "anchor_name": "anchor file"}
    called["reward_name"] = "reward model"
    return {called[item.id]} if item.id in called else set()


def default(item):
    if item.get_io_type() in LINKS:
        return LINKS[item.get_io_type()]
    if item.get_io_type() == CHOICE:
        return FILES.get(item.id) or item.options[0]
    return {"steps": 1, "trace": json.dumps(TRACE)}.get(item.id, item.default)


def graph_of(node, inputs):
    """The node with its defaults and these inputs, and what it needs, as a graph in API format."""
    schema = node.define_schema()
    graph = {
        "demo": {"class_type": "RealignDemoModels", "inputs": dict(shape="any", colour="any", background="any")},
        "latent": {"class_type": "EmptyLatentImage", "inputs": dict(width=64, height=64, batch_size=1)},
        "image": {"class_type": "EmptyImage", "inputs": dict(width=64, height=64, batch_size=1, color=0)},
        "reward": {"class_type": "RealignPictureReward", "inputs": dict(reward="brightness")},
        "sees": {"class_type": "Sees", "inputs": {}},
        "node": {
            "class_type": schema.node_id,
            "inputs": {item.id: default(item) for item in schema.inputs if not item.optional},
        },
    }
    for name, value in inputs.items():
        if isinstance(value, dict) and "link" in value:
            graph[f"odd {name}"] = {"class_type": "Odd", "inputs": {"json": value["link"]}}
            value = [f"odd {name}", 0]
        graph["node"]["inputs"][name] = value
    if not schema.is_output_node:
        graph["shown"] = {"class_type": "PreviewAny", "inputs": {"source": ["node", 0]}}
    return graph


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("host")
    (base / "custom_nodes").mkdir()
    for name in (*FILES.values(), "reward_models/hpsv21/model.safetensors"):
        (base / "models" / name).parent.mkdir(parents=True, exist_ok=True)
        (base / "models" / name).touch()
    here = Path(__file__).with_name("odd_nodes.py")
    (base / "custom_nodes" / here.name).write_text(here.read_text(encoding="utf-8"), encoding="utf-8")
    with Host(sys.executable, os.environ["REALIGN_HOST"], base=base) as host:
        yield host


def results_of(server, graphs):
    """What became of each graph: its outputs, or what the host or a node said."""
    queued = []
    for graph in graphs:
        try:
            queued.append(server.queue(graph))
        except HostError as error:
            queued.append(error)
    while server.get("/prompt")["exec_info"]["queue_remaining"]:
        time.sleep(0.05)
    history = server.get("/history")
    return [one if isinstance(one, HostError) else _result(history[one]) for one in queued]


def _result(entry):
    for kind, message in entry["status"]["messages"]:
        if kind == "execution_error":
            return HostError(f"{message['node_type']}: {message['exception_message'].strip()}")
    return entry["outputs"]


def loaded(server):
    return server.run({"count": {"class_type": "Loaded", "inputs": {}}})["count"]["loaded"][0]


def finite_sampler(**inputs):
    from realign.nodes.sampler import RealignSampler

    graph = graph_of(RealignSampler, inputs)
    graph["finite"] = {"class_type": "Finite", "inputs": {"latent": ["node", 0]}}
    return graph


def test_each_is_refused_in_a_sentence_and_leaves_nothing_behind(server):
    every = list(cases())
    results = results_of(server, [graph_of(node, inputs) for _, node, inputs, _ in every])
    wrong = []
    for (told, node, inputs, words), result in zip(every, results):
        text = str(result) if isinstance(result, HostError) else "accepted"
        if BARE.search(text) or len(text) > 600 or not any(word in text for word in words):
            wrong.append(f"{node.__name__}, {told}, {json.dumps(inputs)[:80]}: {text[:200]}")
    assert not wrong, "\n".join(wrong)
    assert loaded(server) == 0, "a model was loaded for what is refused"
    assert server.run(finite_sampler(seed=1))["finite"]["finite"] == [True]  # the host goes on


def test_a_reward_model_that_is_missing_is_said_with_its_folder(server):
    """The host's own sentence would only say that the value is not in a list."""
    from realign.nodes.load_reward import RealignRewardModel

    (result,) = results_of(server, [graph_of(RealignRewardModel, {"reward_name": "reward_models/no such.pt"})])
    assert isinstance(result, HostError)
    for words in ("There is no reward model “reward_models/no such.pt”", "reward_models, press R", "PickScore_v1"):
        assert words in str(result)


TAKEN = {
    "a whole number as a λ": {"lambda_": {"link": "1"}},
    "a λ beyond the slider": {"lambda_": {"link": "4.5"}},
    "a λ below it": {"lambda_": {"link": "-0.5"}},
    "a tensor of one number": {"lambda_": {"link": json.dumps(tensor(1))}},
    "steps as 1.0": {"steps": {"link": "1.0"}},
    "no η, where that may be": {"eta": {"link": "null"}},
    "a mask of yes and no": {"lambda_mask": {"link": json.dumps(tensor(1, 8, 8, dtype="bool", value=1))}},
    "a mask without a batch": {"lambda_mask": {"link": json.dumps(tensor(8, 8))}},
    "a mask that extrapolates": {"lambda_mask": {"link": json.dumps(tensor(1, 8, 8, value=1.5))}},
}


def test_what_is_odd_and_right_is_taken(server):
    graphs = [finite_sampler(seed=2, **inputs) for inputs in TAKEN.values()]
    for told, result in zip(TAKEN, results_of(server, graphs)):
        assert isinstance(result, dict), f"{told}: {result}"
        assert result["finite"]["finite"] == [True], told
