"""Every node of the host that takes and gives a MODEL, between loader and Realign, beside two stock runs in lockstep.

Each node is put on the reference, on the anchor and on both, with a full and with a LoRA anchor, and sampled by Realign
Sampler, Guider and MODEL: with its defaults in the cases of DEFAULTS, with its inputs at their ends in cases that take
turns, so that every combination is there over all nodes. The truth: each model has weights of its own and the node put
on it by itself.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import comfy.model_management
import comfyui_version
import networks
import pytest
import torch
from comfy.model_sampling import CONST
from host_nodes import model_nodes
from node_cases import RECIPES, Recipe, stage
from node_exceptions import COUPLES, LIMITS, NOT_FED, ONE_PICTURE, TABLES_OF, WITHOUT_EFFECT
from node_settings import SHOWS, Placed, at_defaults, at_end, changes, picture_of
from realign.nodes.run import by_element
from rounding import distance
from truth import (
    BOUND,
    k_sampled,
    mixture,
    posterior_sampler,
    realign_guider,
    realign_model,
    realign_sampler,
    sampled,
    sigmas_of,
)

LAMBDA = 0.5
NODES = sorted(model_nodes())
FED = [node for node in NODES if node not in NOT_FED]


@dataclass(frozen=True)
class Graph:
    """anchor: full, or a LoRA. on: where the node stands; with a LoRA, “both” is one node before the LoRA's loader, and
    “each” a node on the reference and another behind the loader. by: the node of the pack that samples."""

    anchor: str
    on: str
    by: str

    def __str__(self) -> str:
        return f"{self.anchor} anchor, on {self.on}, {self.by}"


ALL = [
    Graph(anchor, on, by)
    for by in ("guider", "model", "sampler")
    for on in ("both", "each", "reference", "anchor")
    for anchor in ("LoRA", "full")
    if (anchor, on) != ("full", "each")
]
DEFAULTS = [
    Graph("full", "both", "guider"),
    Graph("LoRA", "both", "guider"),
    Graph("LoRA", "reference", "model"),
    Graph("full", "anchor", "sampler"),
]
FEW = [Graph("LoRA", "both", "guider"), Graph("full", "anchor", "model")]


def cases():
    for node in FED:
        recipe, number = RECIPES.get(node, Recipe()), sum(map(ord, node))  # the same cases on every host
        main, *others = recipe.kinds
        for graph in FEW if recipe.few else DEFAULTS:
            yield node, main, "default", graph
        if recipe.few or node in WITHOUT_EFFECT:
            continue
        for turn, end in enumerate(("low", "high")):
            yield node, main, end, ALL[(2 * number + 7 * turn) % len(ALL)]
        for turn, kind in enumerate(others):
            yield node, kind, "default", DEFAULTS[1 + (number + turn) % 3]


@pytest.fixture(scope="module", autouse=True)
def quick_collections():
    """The host collects garbage whenever a clone of a living model is gone: of what these tests make, not of all."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_loaded():
    """The host's list of what is loaded keeps clones that are gone: patches that load all of it again stumble there."""
    comfy.model_management.unload_all_models()


@pytest.fixture(scope="module")
def setting(models_dir):
    """A node's setting on a kind of network, made once; None where an end shows nothing that the default does not."""

    @cache
    def get(node, kind, end):
        return at_defaults(node, stage(kind)) if end == "default" else at_end(node, stage(kind), end == "high")

    return get


def pair(setting, graph, of):
    """What the node gave for reference and anchor: Placed. of: “ours” for a graph as it is built in the host, where a
    LoRA shares the reference's weights and one node serves both, or “true”, where nothing is shared."""
    base, shared = setting.stage, of == "ours"
    reference = anchor = base.model(f"reference {of}")
    on_reference = setting.on(reference) if graph.on != "anchor" else None
    if graph.anchor == "full":
        anchor = base.model(f"anchor {of}")
        on_anchor = setting.on(anchor) if graph.on != "reference" else None
    else:
        loaded = reference if shared else base.model("reference for a LoRA")
        if graph.on == "both":  # the LoRA's loader comes after the node
            loaded = (on_reference if shared else setting.on(loaded)).model
        anchor = networks.with_lora(loaded)
        on_anchor = setting.on(anchor) if graph.on in ("each", "anchor") else None
    further = on_reference or on_anchor
    models = (placed.model if placed else plain for placed, plain in ((on_reference, reference), (on_anchor, anchor)))
    return [Placed(model, further.conds, further.latent) for model in models]


@pytest.mark.parametrize(("node", "kind", "end", "graph"), cases(), ids=str)
def test_node(setting, node, kind, end, graph):
    case = setting(node, kind, end)
    if case is None:
        pytest.skip("the ends of its inputs show nothing that its defaults do not")
    # Where the picture is the stock picture, so is the truth: two threads that compile wait for each other.
    true, ours = pair(replace(case, idle=node in WITHOUT_EFFECT), graph, "true"), pair(case, graph, "ours")
    want, before = _mixed([placed.model for placed in true], true[0], case.recipe, graph), plain_before(case.stage)
    refusal = got = None
    try:
        got = _realigned(*(placed.model for placed in ours), true[0], case.recipe, graph)
    except ValueError as error:
        refusal = str(error)
    assert torch.equal(plain(case.stage), before), "something of the run stays on the reference"
    if refusal is not None:
        known = any(limit.refuses(node, str(graph), refusal) for limit in LIMITS)
        assert known, f"refused, and not in the table of exceptions: {refusal}"
        return
    rounds = case.recipe.rounds and graph.anchor == "LoRA"  # merged weights are rounded where added ones are not
    apart, most = distance(got, want), 2 * changes(case) if rounds else BOUND
    print(f"{node}, {kind}, {end}, {graph}: {apart:.1e} std")
    assert apart <= most, f"{apart:.2e} standard deviations of the true latent, wanted at most {most:g}"


def _mixed(models, placed, recipe, graph):
    sigmas, sampler, own = sigmas_of(models[0], recipe.steps), "euler", None
    if graph.by == "sampler":
        flow = isinstance(models[0].get_model_object("model_sampling"), CONST)
        sampler, own = "ddim", posterior_sampler(flow, 0.0, LAMBDA)
    return mixture(models, LAMBDA, placed.conds, placed.latent, sampler, sigmas, recipe.cfg, own=own)


def _realigned(reference, anchor, placed, recipe, graph):
    conds, latent, steps, cfg = placed.conds, placed.latent, recipe.steps, recipe.cfg
    if graph.by == "guider":
        guider = realign_guider(reference, anchor, conds, LAMBDA, cfg)
        return sampled(guider, latent, "euler", sigmas_of(reference, steps))
    if graph.by == "model":
        return k_sampled(realign_model(reference, anchor, LAMBDA), conds, latent, steps, "euler", cfg)
    return realign_sampler(reference, anchor, conds, latent, LAMBDA, steps, cfg)[0]


def plain(of):
    """One step of the stock run of the plain reference."""
    samples = picture_of(Placed(of.model("reference ours"), of.conds, of.latent), Recipe(steps=1))["samples"]
    return torch.cat([part.flatten() for part in samples.unbind()]) if samples.is_nested else samples


plain_before = cache(plain)


@pytest.mark.parametrize("node", FED)
def test_a_case_shows_something(setting, node):
    moved = changes(setting(node, RECIPES.get(node, Recipe()).kinds[0], "default"))
    if node in WITHOUT_EFFECT:
        assert moved == 0
    else:
        assert moved > SHOWS, f"{node} moves the stock picture by {moved:.1e}: give it inputs in node_cases.py"


@pytest.mark.parametrize("node", FED)
def test_elements_of_a_batch(setting, node):
    """Whether a picture depends on its neighbours is the host's own affair, and known."""
    case = setting(node, RECIPES.get(node, Recipe()).kinds[0], "default")
    placed, seeds = case.on(case.stage.model("reference")), (7, 8, 9)
    if node in ONE_PICTURE:
        with pytest.raises(Exception, match=ONE_PICTURE[node]):
            picture_of(placed, case.recipe, noises=seeds)
        return
    together = picture_of(placed, case.recipe, noises=seeds)["samples"]
    apart = 0.0
    for number, seed in enumerate(seeds):
        alone = picture_of(placed, case.recipe, noises=[seed])
        parts = together.unbind() if together.is_nested else [together]
        one = [part[number : number + 1] for part in parts]
        apart = max(apart, distance({"samples": type(together)(one) if together.is_nested else one[0]}, alone))
    print(f"{node}: a picture in a batch is {apart:.1e} std from itself alone")
    assert (apart > BOUND) == (node in COUPLES)


def test_the_pack_knows_what_acts_by_element():
    """A node that couples the pictures of a batch is not among those whose pictures of a sweep share one."""
    for node in (COUPLES | ONE_PICTURE).keys() & set(NODES):
        cls = model_nodes()[node]
        assert f"{cls.RELATIVE_PYTHON_MODULE}.{cls.__name__}" not in by_element.NODES


def test_tables():
    known = [NOT_FED, WITHOUT_EFFECT, COUPLES, ONE_PICTURE]
    assert all(all(table.values()) for table in known)
    named = set(RECIPES).union(*known, *(limit.nodes for limit in LIMITS))
    if tuple(map(int, comfyui_version.__version__.split(".")[:2])) >= TABLES_OF:  # an older host lacks some nodes
        assert named <= set(NODES)
    assert {graph for _, _, _, graph in cases()} == set(ALL)


def test_readme_has_the_limits():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    section = " ".join(readme.partition("## Limits")[2].partition("\n## ")[0].split())
    assert [limit.line for limit in LIMITS if limit.line not in section] == []
