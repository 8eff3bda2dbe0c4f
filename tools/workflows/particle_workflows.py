"""The workflows with particles: a reward instead of an anchor, one without a gradient, two at once, and the corrected
mixture.

These need no download; the one for SDXL and its reward models is in reward_workflows.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.workflows.demo_workflows import SETTINGS, Known, demo_models, sampler_inputs
from tools.workflows.workflow_graph import NODE_BLUE, Graph
from tools.workflows.workflow_layout import Box, Stack
from tools.workflows.workflow_notes import large, note, steps
from tools.workflows.workflow_parts import Source, Sweep


def particle_inputs(models: int, latent: int, rewards: tuple[int, int]) -> dict[str, Any]:
    """RealignParticles' links to the demo models, without their anchor. rewards: what is wanted, and the held-out."""
    links = {name: (models, slot) for name, slot in (("model", 0), ("positive", 2), ("negative", 3), ("vae", 4))}
    links |= dict(latent_image=(latent, 0), reward=(rewards[0], 0), held_out=(rewards[1], 0))
    return links | {name: value for name, value in SETTINGS.items() if name != "sampler_name"}


def scored(graph: Graph, sampler: int, models: int, reward: int, prefix: str = "") -> list[int]:
    """Decode and score. prefix: to save the pictures."""
    decoded = graph.add("VAEDecode", folded=True, samples=(sampler, 0), vae=(models, 4))
    nodes = [decoded, graph.add("RealignScore", reward=(reward, 0), images=(decoded, 0))]
    if prefix:
        saved = dict(images=(decoded, 0), filename_prefix=prefix)
        nodes.append(graph.add("SaveImage", title="Save the pictures", folded=True, **saved))
    return nodes


def rewards_of(graph: Graph, wanted: str) -> tuple[int, int]:
    """A reward of pictures, and sharpness, which is watched."""
    first = graph.add("RealignPictureReward", title="What is good", reward=wanted)
    return first, graph.add("RealignPictureReward", title="Held out: only watched", reward="sharpness")


def report(graph: Graph, trace: Source) -> Box:
    return graph.box("What the run did", [graph.add("RealignReport", trace=trace)])


def hearts(known: Known, folder: Path) -> None:
    graph = Graph(known)
    text = note(
        "Colourful hearts, without an anchor",
        steps(
            "Press *Run*. Four particles for each of four pictures are drawn towards the reward and re-drawn by it.",
            "Move *strength*: smaller = stronger. 1 overdoes it, 20 is gentle.",
        ),
        large(
            "The model alone gives about 22 here: *colourfulness* 0 is grey, 33 moderate, 109 extreme. No model was "
            "trained for it."
        ),
        large(
            "*held_out* only watches: where it falls while the reward rises, the reward is being exploited.",
        ),
    )
    read = graph.note(350, text)
    models, latent = demo_models(graph, 1, folded=True)
    rewards = rewards_of(graph, "colourfulness")
    asked = dict(strength=5.0, particles=4, pictures=4, pick="draw")
    sampler = graph.add("RealignParticles", colours=NODE_BLUE, **particle_inputs(models, latent, rewards), **asked)
    graph.write(
        folder,
        "colourful_hearts",
        Stack(370, read, graph.box("Demo models and rewards", [models, latent, *rewards])),
        Stack(400, graph.box("", [sampler])),
        Stack(460, graph.box("Pictures", scored(graph, sampler, models, rewards[0], "realign_hearts"))),
        Stack(400, report(graph, (sampler, 4))),
    )


def smaller(known: Known, folder: Path) -> None:
    graph = Graph(known)
    text = note(
        "Smaller JPEGs: a reward that is a black box",
        large(
            "A JPEG's size has no gradient. Particles need none: the better ones are kept and go on in several ways.",
        ),
        steps(
            "Press *Run*, and compare: on the left with the reward, on the right the same seed without. The score is "
            "the size in kB, as a minus.",
            "More *particles* reach further, and cost as many model calls.",
        ),
        large("Small files are soft pictures: the held-out sharpness falls."),
    )
    read = graph.note(350, text)
    models, latent = demo_models(graph, 4, folded=True)
    rewards = rewards_of(graph, "JPEG compressibility")
    asked = dict(strength=0.05, particles=8, pictures=1, pick="draw")
    sampler = graph.add("RealignParticles", colours=NODE_BLUE, **particle_inputs(models, latent, rewards), **asked)
    links = dict(model=(models, 0), positive=(models, 2), negative=(models, 3), latent_image=(latent, 0))
    plain = graph.add("KSampler", title="Plain run", folded=True, **links, **SETTINGS)
    graph.write(
        folder,
        "smaller_jpegs",
        Stack(370, read, graph.box("Demo models and rewards", [models, latent, *rewards])),
        Stack(400, graph.box("", [sampler])),
        Stack(
            430, graph.box("With the reward", scored(graph, sampler, models, rewards[0])), report(graph, (sampler, 4))
        ),
        Stack(430, graph.box("Without", [plain, *scored(graph, plain, models, rewards[0])])),
    )


def corrected(known: Known, folder: Path) -> None:
    graph = Graph(known)
    text = note(
        "λ, and λ corrected",
        large(
            "*correct* weighs four particles by what mixing step by step leaves over: with some anchors nearer to "
            "retraining, with others not (README).",
        ),
        large(
            "Above: as usual. Below: corrected, at four times the calls. At λ 0 and 1 nothing is left over.",
        ),
    )
    read = graph.note(228, text)
    models, latent = demo_models(graph, 1, folded=True)
    swept = graph.add(
        "RealignSweep", latent=(latent, 0), values="list", listed="0, 0.25, 0.5, 0.75, 1", seeds=2, measure_ends=True
    )
    inputs = sampler_inputs(models) | dict(latent_image=(swept, 0), lambda_schedule=(swept, 1), lambda_=0.5)
    plain = graph.add("RealignSampler", title="As usual", colours=NODE_BLUE, folded=True, **inputs)
    inputs |= dict(correct=True, particles=4)
    better = graph.add("RealignSampler", title="Corrected", colours=NODE_BLUE, **inputs)
    sweeps = [Sweep(graph, (one, 0), (models, 4), (swept, 1), (one, 2)) for one in (plain, better)]
    graph.write(
        folder,
        "corrected_sweep",
        Stack(405, read, graph.box("Models and λ", [models, latent, swept])),
        Stack(400, graph.box("All λ at once", [plain, better])),
        Stack(500, *(grid(graph, one, title) for one, title in zip(sweeps, ("As usual", "Corrected")))),
        Stack(400, report(graph, (better, 2))),
    )


def grid(graph: Graph, sweep: Sweep, title: str) -> Box:
    return graph.box(title, [sweep.decoded, graph.add("RealignGrid", **sweep.facts)])


def front(known: Known, folder: Path) -> None:
    graph = Graph(known)
    text = note(
        "Two rewards at once, and the front",
        steps(
            "Press *Run*: eight hearts that are to be colourful and light, and eight plain ones to compare with.",
            "*Reward Report* says what was won, and whether the sharpness that nobody asked for was lost.",
            "Turn the weights on *Combine Rewards*, and run again.",
        ),
        large("Framed: the front, the pictures that no other beats in both. Among them it is a matter of taste."),
    )
    read = graph.note(420, text)
    models, latent = demo_models(graph, 8, folded=True)
    colour = graph.add("RealignPictureReward", title="Colourful", reward="colourfulness")
    light = graph.add("RealignPictureReward", title="Light", reward="brightness")
    both = graph.add("RealignCombineRewards", reward=(colour, 0), weight=1.0, add=(light, 0), add_weight=0.5)
    watched = graph.add("RealignPictureReward", title="Held out: only watched", reward="sharpness")
    asked = dict(strength=5.0, particles=4, pictures=1, pick="draw")
    inputs = particle_inputs(models, latent, (both, watched))
    sampler = graph.add("RealignParticles", colours=NODE_BLUE, **inputs, **asked)
    links = dict(model=(models, 0), positive=(models, 2), negative=(models, 3), latent_image=(latent, 0))
    plain = graph.add("KSampler", title="Plain run", folded=True, **links, **SETTINGS)
    pictures, others = (
        graph.add("VAEDecode", folded=True, samples=(source, 0), vae=(models, 4)) for source in (sampler, plain)
    )
    rewards = dict(reward=(colour, 0), reward_2=(light, 0), reward_3=(watched, 0))
    how = dict(optimised=2, reference=(others, 0), front_of="optimised rewards")
    told = graph.add("RealignRewardReport", images=(pictures, 0), **rewards, **how)
    sheet = graph.add(
        "SaveImage", title="The pictures, the front framed", images=(told, 2), filename_prefix="realign_front"
    )
    table = graph.add("PreviewAny", title="The table", source=(told, 0))
    graph.write(
        folder,
        "two_rewards",
        Stack(330, read, graph.box("Demo models", [models, latent])),
        Stack(270, graph.box("What is good", [colour, light, both]), graph.box("Only watched", [watched])),
        Stack(360, graph.box("", [sampler])),
        Stack(420, graph.box("What was won", [pictures, plain, others, told])),
        Stack(340, graph.box("The front", [sheet, table])),
    )


def search(known: Known, folder: Path) -> None:
    graph = Graph(known)
    text = note(
        "Find the λ, no download needed",
        steps(
            "Press *Run*: it makes a few pictures, looks where the best λ must be, and makes more there.",
            "*λ Search* says the λ and how sure it is; the curve shows what it knows.",
            "Change *may_fall* or *kl_budget*, and run again: with a *name* it takes the pictures that are there.",
        ),
        large("Wanted: the most colourful hearts whose brightness falls by no more than 25."),
    )
    read = graph.note(310, text)
    models, latent = demo_models(graph, 1, folded=True)
    colour = graph.add("RealignPictureReward", title="To be largest", reward="colourfulness")
    light = graph.add("RealignPictureReward", title="Must not fall much", reward="brightness")
    inputs = {name: (models, slot) for slot, name in enumerate(("model", "anchor", "positive", "negative"))} | SETTINGS
    inputs |= dict(latent_image=(latent, 0), vae=(models, 4), reward=(colour, 0), second=(light, 0), steps=20)
    found = graph.add("RealignSearch", colours=NODE_BLUE, **inputs, may_fall=25.0)
    curve = graph.add("SaveImage", title="The curve", images=(found, 5), filename_prefix="realign_search")
    sweep = Sweep(graph, (found, 2), (models, 4), (found, 3), (found, 4))
    graph.write(
        folder,
        "find_lambda",
        Stack(330, read, graph.box("Demo models", [models, latent]), graph.box("What is good", [colour, light])),
        Stack(400, graph.box("", [found])),
        Stack(520, sweep.compare(sweep.decoded)),
        Stack(400, graph.box("What is known", [curve])),
    )


ALL = (hearts, smaller, front, corrected, search)
