"""The workflow of rounds: pictures are starred on Pick, and the next run is drawn towards them. No download."""

from __future__ import annotations

from pathlib import Path

from tools.workflows.demo_workflows import SETTINGS, Known, demo_models
from tools.workflows.workflow_graph import NODE_BLUE, Graph
from tools.workflows.workflow_layout import Stack
from tools.workflows.workflow_notes import large, note, steps


def taste(known: Known, folder: Path) -> None:
    graph = Graph(known)
    text = note(
        "Your own taste as a reward",
        steps(
            "Press *Run*: sixteen pictures, as the model makes them.",
            "On *Pick*, press a picture and star it with S: the three or four that you like best.",
            "Press *Run* again. The next sixteen move towards them. Three or four rounds are plenty.",
        ),
        large(
            "*Learned Taste* keeps what it knows under *name*, for tomorrow: another name starts anew. Nothing "
            "leaves your machine.",
        ),
        large("Too much alike? Raise *strength*, or set *judge* to try new things too."),
    )
    read = graph.note(400, text)
    models, latent = demo_models(graph, 1, folded=True)
    learned = graph.add("RealignLearnedTaste", name="my taste")
    links = {name: (models, slot) for name, slot in (("model", 0), ("positive", 2), ("negative", 3), ("vae", 4))}
    links |= dict(latent_image=(latent, 0), reward=(learned, 0))
    settings = {name: value for name, value in SETTINGS.items() if name not in ("sampler_name", "steps")}
    asked = dict(strength=0.7, particles=4, pictures=16, pick="best", steps=20)
    asked |= dict(seed_then="randomize")  # each round shows others
    sampler = graph.add("RealignParticles", colours=NODE_BLUE, **links, **settings, **asked)
    decoded = graph.add("VAEDecode", folded=True, samples=(sampler, 0), vae=(models, 4))
    picked = graph.add("RealignPick", images=(decoded, 0), preference=(learned, 1), trace=(sampler, 4))
    graph.write(
        folder,
        "my_taste",
        Stack(370, read, graph.box("Demo models", [models, latent]), graph.box("What you like", [learned])),
        Stack(400, graph.box("", [sampler])),
        Stack(560, graph.box("Star the better ones", [decoded, picked])),
    )


ALL = (taste,)
