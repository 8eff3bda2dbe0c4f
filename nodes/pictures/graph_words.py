"""What a workflow's graph says of the pictures that reach a node: prompts, model files, seed, and the run behind them.

A graph is in the API format that the host hands to nodes: {node id: {"class_type", "inputs"}}, where an input is a
value or a link [node id, output]. Nothing here imports the host, and no graph, however odd, raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Graph = dict[str, Any]

TEXTS = ("text", "text_g", "text_l", "clip_l", "clip_g", "t5xxl", "prompt", "string", "value")
MODEL_FILES = (".safetensors", ".sft", ".ckpt", ".pt", ".gguf")
DEMO = "RealignDemoModels"
WITHOUT_TEXT = ("ConditioningZeroOut", DEMO)  # what is behind the first is another prompt's
RUNS = ("RealignSampler", "RealignGuider", "RealignModel")  # the nodes that λ is set on
SWEEP, ANCHOR_LAMBDA = "RealignSweep", "RealignAnchorLambda"
SEEDS = ("seed", "noise_seed")  # what samplers and noise nodes call it


@dataclass(frozen=True)
class Behind:
    """The Realign run behind some pictures, as its node is connected.

    sweep: see `sweep_above`. lambda_: λ of all its pictures; None where it is not one number or is not
    to be read from the graph. masked: whether a λ mask reaches it.
    """

    sweep: str | None
    lambda_: float | None
    masked: bool


def prompt_text(graph: Graph | None, node_id: str | None, name: str = "positive") -> str:
    """The prompt of the nearest node above `node_id` that has a linked input `name`; "" where there is none.

    Several texts that are combined to one conditioning are joined by " / ".
    """
    for node in nearest_first(graph, node_id):
        source = _link(graph, inputs_of(graph, node).get(name))
        if source is not None:
            return " / ".join(dict.fromkeys(_texts(graph, source, name)))
    return ""


def model_files(graph: Graph | None, node_id: str | None) -> list[str]:
    """Names, without folder, of the model files above `node_id`, each once: the reference's before its anchor's.

    The demo models have no file of the user's; they are named with the picture they are asked for.
    """
    names: dict[str, None] = {}
    for node in _sources_first(graph, node_id):
        if _class(graph, node) == DEMO:
            names[_demo(inputs_of(graph, node))] = None
        for key, value in inputs_of(graph, node).items():
            if key not in TEXTS and isinstance(value, str) and value.lower().endswith(MODEL_FILES):
                names[re.split(r"[/\\]", value)[-1]] = None
    return list(names)


def run_behind(graph: Graph | None, node_id: str | None) -> Behind | None:
    """The nearest Realign run above a node's images; None where there is none."""
    run = next((node for node in nearest_first(graph, node_id, "images") if _class(graph, node) in RUNS), None)
    if run is None:
        return None
    inputs = inputs_of(graph, run)
    own = [
        inputs_of(graph, node) for node in nearest_first(graph, run, "anchor") if _class(graph, node) == ANCHOR_LAMBDA
    ]
    is_set = not any(_link(graph, one.get("lambda_schedule")) for one in (inputs, *own))
    masks = [inputs.get("lambda_mask"), *(one.get("mask") for one in own)]
    value = inputs.get("lambda_")
    return Behind(
        sweep=sweep_above(graph, run, "lambda_schedule"),
        lambda_=float(value) if is_set and isinstance(value, (int, float)) else None,
        masked=any(_link(graph, mask) for mask in masks),
    )


def sweep_above(graph: Graph | None, node_id: str | None, name: str) -> str | None:
    """The nearest λ Sweep above an input of a node, otherwise the nearest node there; None where nothing is linked."""
    nodes = [*nearest_first(graph, node_id, name)]
    return next((node for node in nodes if _class(graph, node) == SWEEP), next(iter(nodes), None))


def seed_behind(graph: Graph | None, node_id: str | None) -> int | None:
    """The seed of the run that made a node's images: of the node that samples with λ, or of the noise that it gets.

    Where no Realign node lies before the images: of the nearest node that has one.
    """
    sampler = _sampling_node(graph, node_id)
    nodes = [sampler, *nearest_first(graph, sampler, "noise")] if sampler else nearest_first(graph, node_id, "images")
    for node in nodes:
        for name in SEEDS:
            seed = _typed_number(graph, inputs_of(graph, node).get(name))
            if seed is not None:
                return seed
    return None


def _sampling_node(graph: Graph | None, node_id: str | None) -> str | None:
    """The nearest Realign Sampler above a node's images, or what takes the Realign Guider or MODEL there.

    Of several that take it, the one furthest from the images: what the others sample is already made by it.
    """
    above = [*nearest_first(graph, node_id, "images")]
    run = next((node for node in above if _class(graph, node) in RUNS), None)
    if run is None or _class(graph, run) == "RealignSampler":
        return run
    samples = [node for node in above if {*SEEDS, "noise"} & inputs_of(graph, node).keys()]
    takes_it = [
        node
        for node in samples
        if any(run in nearest_first(graph, node, name) for name in ("guider", "model")) and node != run
    ]
    return takes_it[-1] if takes_it else None


def _typed_number(graph: Graph | None, value: Any) -> int | None:
    """A whole number, as it is typed or as the node that it is linked from has it; None for any other value."""
    source = _link(graph, value)
    if source is not None:
        numbers = [one for one in inputs_of(graph, source).values() if _is_whole(one)]
        value = numbers[0] if len(numbers) == 1 else None
    return value if _is_whole(value) else None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def nearest_first(graph: Graph | None, node_id: str | None, name: str | None = None) -> Iterator[str]:
    """`node_id` and all nodes above it, each once, by how many links away they are.

    name: only what is above this input of the node, without the node itself.
    """
    queue = [node_id] if node_id is not None and _known(graph, node_id) else []
    if queue and name is not None:
        queue = _links(graph, queue[0], lambda key: key == name)
    seen = set(queue)
    for node in queue:
        yield node
        for source in _sources(graph, node):
            if source not in seen:
                seen.add(source)
                queue.append(source)


def inputs_of(graph: Graph | None, node: str) -> dict[str, Any]:
    entry = (graph or {}).get(node)
    inputs = entry.get("inputs") if isinstance(entry, dict) else None
    return inputs if isinstance(inputs, dict) else {}


def _sources_first(graph: Graph | None, node_id: str | None) -> list[str]:
    """All nodes above `node_id` and itself, each after those it takes something from; a MODEL input's come first."""
    done: dict[str, None] = {}
    stack = [(node_id, False)] if node_id is not None and _known(graph, node_id) else []
    opened = set()
    while stack:
        node, left = stack.pop()
        if left:
            done[node] = None
        elif node not in opened:
            opened.add(node)
            stack.append((node, True))
            stack += [(source, False) for source in reversed(_sources(graph, node))]
    return list(done)


def _sources(graph: Graph | None, node: str) -> list[str]:
    """The nodes linked to this one's inputs, “model” before the others."""
    return _links(graph, node, lambda name: name == "model") + _links(graph, node, lambda name: name != "model")


def _links(graph: Graph | None, node: str, named: Callable[[str], bool]) -> list[str]:
    """The nodes linked to the inputs whose name is as wanted, in the inputs' order."""
    links = [_link(graph, value) for name, value in inputs_of(graph, node).items() if named(name)]
    return [link for link in links if link is not None]


def _texts(graph: Graph | None, node: str, name: str) -> list[str]:
    """The texts of the conditioning that `node` gives: its own, or those of the nodes behind it.

    A node that passes both prompts on (a ControlNet's) is followed through the input of the same name.
    """
    texts: list[str] = []
    stack, seen = [node], set()
    while stack:
        node = stack.pop()
        if node in seen or _class(graph, node) in WITHOUT_TEXT:
            continue
        seen.add(node)
        inputs = inputs_of(graph, node)
        own = [inputs[key] for key in TEXTS if isinstance(inputs.get(key), str)]
        texts += [text.strip() for text in own if text.strip()]
        behind = _links(graph, node, lambda key: key in TEXTS)
        if not own and not behind:
            behind = _links(graph, node, lambda key: key == name)
            behind = behind or _links(graph, node, lambda key: key.startswith("conditioning")) or _sources(graph, node)
        stack += reversed(behind)
    return texts


def _demo(inputs: dict[str, Any]) -> str:
    words = [inputs.get(kind) for kind in ("shape", "colour", "background")]
    chosen = [word for word in words if isinstance(word, str) and word != "any"]
    return f"demo models: {', '.join(chosen)}" if chosen else "demo models"


def _class(graph: Graph | None, node: str) -> Any:
    entry = (graph or {}).get(node)
    return entry.get("class_type") if isinstance(entry, dict) else None


def _known(graph: Graph | None, node: str) -> bool:
    return isinstance(graph, dict) and node in graph


def _link(graph: Graph | None, value: Any) -> str | None:
    """The node that a link [node id, output] comes from; None for any other value."""
    if (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and isinstance(value[1], int)
        and _known(graph, str(value[0]))
    ):
        return str(value[0])
    return None
