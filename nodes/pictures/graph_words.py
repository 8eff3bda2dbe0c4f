"""What a workflow's graph says of the pictures that reach a node: prompts, model files, seed, and the run behind them.

A graph is in the API format that the host hands to nodes: {node id: {"class_type", "inputs"}}, where an input is a
value or a link [node id, output]. Nothing here imports the host, and no graph, however odd, raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Graph = dict[str, Any]

TEXTS = ("text", "text_g", "text_l", "clip_l", "clip_g", "t5xxl", "prompt", "string", "value")
MODEL_FILES = (".safetensors", ".sft", ".ckpt", ".pt", ".gguf")
DEMO = "RealignDemoModels"
WITHOUT_TEXT = ("ConditioningZeroOut", DEMO)  # what is behind the first is another prompt's
SAMPLERS = ("RealignSampler", "RealignParticles")
RUNS = (*SAMPLERS, "RealignGuider", "RealignModel")  # the nodes that λ is set on
SWEEP, SEARCH, ANCHOR_LAMBDA = "RealignSweep", "RealignSearch", "RealignAnchorLambda"
# Of networkx: by how many links away; each after those it takes something from; each before them, as one reads.
NEAREST, SOURCES_FIRST, AS_READ = "bfs_tree", "dfs_postorder_nodes", "dfs_preorder_nodes"
SEEDS = ("seed", "noise_seed")  # what samplers and noise nodes call it


@dataclass(frozen=True)
class Behind:
    """The Realign run behind some pictures, as its node is connected."""

    sweep: str | None  # see `sweep_above`
    lambda_: float | None  # of all its pictures; None where it is not one number or is not to be read from the graph
    masked: bool  # whether a λ mask reaches it


def prompt_text(graph: Graph | None, node_id: str | None, name: str = "positive") -> str:
    """The prompt of the nearest node above `node_id` that has a linked input `name`; "" where there is none.

    Several texts that are combined to one conditioning are joined by " / ".
    """
    upstream = Upstream(graph)
    source = next(filter(None, (upstream.source(node, name) for node in upstream.walk(NEAREST, node_id))), None)
    return " / ".join(dict.fromkeys(_texts(upstream, source, name)))


def model_files(graph: Graph | None, node_id: str | None) -> list[str]:
    """Names, without folder, of the model files above `node_id`, each once: the reference's before its anchor's.

    The demo models have no file of the user's; they are named with the picture they are asked for.
    """
    names: dict[str, None] = {}
    upstream = Upstream(graph)
    for node in upstream.walk(SOURCES_FIRST, node_id):
        if upstream.kinds[node] == DEMO:
            names[_demo(upstream.inputs[node])] = None
        for key, value in upstream.inputs[node].items():
            if key not in TEXTS and isinstance(value, str) and value.lower().endswith(MODEL_FILES):
                names[re.split(r"[/\\]", value)[-1]] = None
    return list(names)


def run_behind(graph: Graph | None, node_id: str | None) -> Behind | None:
    """The nearest Realign run above a node's images; None where there is none."""
    upstream = Upstream(graph)
    run = upstream.first(upstream.above(node_id, "images"), RUNS)
    if run is None:
        return None
    anchors = [node for node in upstream.above(run, "anchor") if upstream.kinds[node] == ANCHOR_LAMBDA]
    is_set = upstream.source(run, "anchor") is not None
    is_set &= not any(upstream.source(node, "lambda_schedule") for node in (run, *anchors))
    value = upstream.inputs[run].get("lambda_")
    masks = [upstream.source(run, "lambda_mask"), *(upstream.source(node, "mask") for node in anchors)]
    return Behind(
        sweep=sweep_above(graph, run, "lambda_schedule"),
        lambda_=float(value) if is_set and isinstance(value, (int, float)) else None,
        masked=any(masks),
    )


def sweep_above(graph: Graph | None, node_id: str | None, name: str) -> str | None:
    """The nearest λ Sweep or λ Search above an input of a node, otherwise the nearest node there; None where nothing is
    linked. What is above a λ Search is of another run."""
    upstream = Upstream(graph)
    nodes = upstream.above(node_id, name)
    return upstream.first(nodes, (SWEEP, SEARCH)) or next(iter(nodes), None)


def seed_behind(graph: Graph | None, node_id: str | None) -> int | None:
    """The seed of the run that made a node's images: of the node that samples with λ, or of the noise that it gets.

    Where no Realign node lies before the images: of the nearest node that has one.
    """
    upstream = Upstream(graph)
    sampler = _sampling_node(upstream, node_id)
    nodes = [sampler, *upstream.above(sampler, "noise")] if sampler else upstream.above(node_id, "images")
    seeds = (_whole_number(upstream, node, name) for node in nodes for name in SEEDS)
    return next((seed for seed in seeds if seed is not None), None)


class Upstream:
    """A graph, searched from a node to those that its inputs are linked to, “model” before the others."""

    def __init__(self, graph: Graph | None):
        entries = {node: _as_dict(entry) for node, entry in _as_dict(graph).items()}
        self.kinds = {node: entry.get("class_type") for node, entry in entries.items()}
        self.inputs = {node: _as_dict(entry.get("inputs")) for node, entry in entries.items()}

    def source(self, node: str | None, name: str) -> str | None:
        """The node that an input is linked to; None for an input of any other value."""
        value = self.inputs.get(node, {}).get(name)
        is_link = isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[1], int)
        return str(value[0]) if is_link and str(value[0]) in self.inputs else None

    def sources(self, node: str, wanted: Callable[[str], bool] = lambda name: True) -> list[str]:
        """The nodes linked to the inputs whose name is as wanted."""
        names = sorted(filter(wanted, self.inputs[node]), key=lambda name: name != "model")
        return [source for name in names if (source := self.source(node, name))]

    def walk(self, order: str, start: str | None, sources: Callable[[str], list[str]] | None = None) -> list[str]:
        """A node and all above it, each once. order: see NEAREST. sources: of a node; None: all of them."""
        if start not in self.inputs:
            return []
        import networkx  # torch brings it; slow to import, and few runs search a graph

        arrows = {node: (sources or self.sources)(node) for node in self.inputs}
        return [*getattr(networkx, order)(networkx.from_dict_of_lists(arrows, networkx.DiGraph), start)]

    def above(self, node: str | None, name: str) -> list[str]:
        """All that is above an input of a node, the nearest first."""
        return self.walk(NEAREST, self.source(node, name))

    def first(self, nodes: Iterable[str], kinds: tuple[str, ...]) -> str | None:
        """The first node of one of these classes."""
        return next((node for node in nodes if self.kinds[node] in kinds), None)


def _texts(upstream: Upstream, node: str | None, name: str) -> list[str]:
    """The texts of the conditioning that `node` gives: its own, or those of the nodes behind it.

    A node that passes both prompts on (a ControlNet's) is followed through the input of the same name.
    """

    def own(node: str) -> list[str]:
        inputs = {} if upstream.kinds[node] in WITHOUT_TEXT else upstream.inputs[node]
        return [inputs[key] for key in TEXTS if isinstance(inputs.get(key), str)]

    def behind(node: str) -> list[str]:
        if upstream.kinds[node] in WITHOUT_TEXT:
            return []
        sources = upstream.sources(node, lambda key: key in TEXTS)
        if sources or own(node):
            return sources
        sources = upstream.sources(node, lambda key: key == name)
        return sources or upstream.sources(node, lambda key: key.startswith("conditioning")) or upstream.sources(node)

    texts = [text.strip() for one in upstream.walk(AS_READ, node, behind) for text in own(one)]
    return [*filter(None, texts)]


def _sampling_node(upstream: Upstream, node_id: str | None) -> str | None:
    """The nearest node of ours that samples above a node's images, or what takes the Realign Guider or MODEL there.

    Of several that take it, the one furthest from the images: what the others sample is already made by it.
    """
    above = upstream.above(node_id, "images")
    run = upstream.first(above, RUNS)
    if run is None or upstream.kinds[run] in SAMPLERS:
        return run
    samples = [node for node in above if node != run and {*SEEDS, "noise"} & upstream.inputs[node].keys()]
    takes_it = [node for node in samples if any(run in upstream.above(node, name) for name in ("guider", "model"))]
    return takes_it[-1] if takes_it else None


def _whole_number(upstream: Upstream, node: str, name: str) -> int | None:
    """An input's whole number, as typed or as the node that it is linked from has it; None for any other value."""
    source = upstream.source(node, name)
    values = upstream.inputs[source].values() if source else [upstream.inputs[node].get(name)]
    whole = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
    return whole[0] if len(whole) == 1 else None


def _demo(inputs: dict[str, Any]) -> str:
    words = [inputs.get(kind) for kind in ("shape", "colour", "background")]
    chosen = [word for word in words if isinstance(word, str) and word != "any"]
    return f"demo models: {', '.join(chosen)}" if chosen else "demo models"


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
