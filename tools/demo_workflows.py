"""The workflows that need no download: everything on the demo models that ship with the pack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workflow_graph import NODE_BLUE, Column, Graph, group_all, group_around
from workflow_names import TITLES
from workflow_parts import finish, show_sweep

Known = dict[str, Any]


def demo(known: Known, folder: Path) -> None:
    graph = Graph(known)
    models = graph.add("RealignDemoModels", (40, 90), (300, 200), shape="heart", colour="any", background="any")
    latent = graph.add("EmptyLatentImage", (40, 390), (300, 110), width=64, height=64, batch_size=4)
    sampler = graph.add(
        "RealignSampler",
        (400, 90),
        (340, 650),
        colours=NODE_BLUE,
        model=(models, 0),
        anchor=(models, 1),
        positive=(models, 2),
        negative=(models, 3),
        latent_image=(latent, 0),
        seed=7,
        steps=30,
        cfg=1.5,
        sampler_name="ddpm",
        scheduler="normal",
        lambda_=0.5,
    )
    graph.group("Models that ship with the pack", (20, 10, 340, 750))
    graph.group("Turn λ here", (380, 10, 380, 750))
    finish(graph, sampler, (models, 4), 800, "realign_demo", view=256)
    graph.note(
        (40, 830),
        (700, 290),
        "## Try λ, no download needed\n\n"
        "1. Press **Run**.\n2. Move **λ** on *Realign Sampler* and run again. The seed is fixed, so only λ changes.\n\n"
        "| λ | picture |\n|---|---|\n| 0 | the reference: muted, varied |\n| 0.5 | a safe blend (β doubled) |\n"
        "| 1 | the anchor: trained to be colourful |\n| 1.5 | over-optimised |\n\n"
        f"Then open *{TITLES['sdxl_dpo']}* or *{TITLES['sd15_dpo']}* and do the same with real models.",
    )
    graph.write(folder, "realign_demo")


def any_sampler(known: Known, folder: Path) -> None:
    graph = Graph(known)
    models = graph.add("RealignDemoModels", (40, 90), (300, 200), shape="star", colour="any", background="any")
    latent = graph.add("EmptyLatentImage", (40, 390), (300, 110), width=64, height=64, batch_size=4)
    guider = graph.add(
        "RealignGuider",
        (400, 90),
        (320, 330),
        colours=NODE_BLUE,
        model=(models, 0),
        anchor=(models, 1),
        positive=(models, 2),
        negative=(models, 3),
        cfg=1.5,
        lambda_=1.2,
    )
    noise = graph.add("RandomNoise", (780, 90), (260, 90), noise_seed=7)
    name = graph.add("KSamplerSelect", (780, 220), (260, 70), sampler_name="dpmpp_2m")
    sigmas = graph.add(
        "BasicScheduler", (780, 330), (260, 130), model=(models, 0), scheduler="karras", steps=20, denoise=1.0
    )
    sampler = graph.add(
        "SamplerCustomAdvanced",
        (1080, 90),
        (220, 140),
        noise=(noise, 0),
        guider=(guider, 0),
        sampler=(name, 0),
        sigmas=(sigmas, 0),
        latent_image=(latent, 0),
    )
    patched = graph.add(
        "RealignModel", (400, 610), (320, 220), colours=NODE_BLUE, model=(models, 0), anchor=(models, 1), lambda_=0.5
    )
    stock = graph.add(
        "KSampler",
        (780, 610),
        (300, 280),
        model=(patched, 0),
        positive=(models, 2),
        negative=(models, 3),
        latent_image=(latent, 0),
        seed=7,
        steps=20,
        cfg=1.5,
        sampler_name="res_multistep",
        scheduler="karras",
    )
    for source, y, prefix in ((sampler, 90, "realign_guider"), (stock, 610, "realign_model")):
        image = (graph.add("VAEDecode", (1340, y), (220, 50), samples=(source, 0), vae=(models, 4)), 0)
        scale = dict(upscale_method="lanczos", width=256, height=256, crop="disabled")
        image = (graph.add("ImageScale", (1340, y + 110), (260, 150), image=image, **scale), 0)
        graph.add("SaveImage", (1640, y), (420, 400), images=image, filename_prefix=prefix)
    graph.group("Models that ship with the pack", (20, 10, 340, 1020))
    graph.group("A GUIDER, for SamplerCustomAdvanced", (380, 10, 1700, 500))
    graph.group("A MODEL, for KSampler and any other sampler", (380, 530, 1700, 500))
    graph.note(
        (40, 1070),
        (700, 220),
        "## λ with every sampler\n\n"
        "*Realign Guider* and *Realign MODEL* give the same mixture, reference + λ · (anchor − reference), to any "
        "sampler (RLG). λ = 0 and λ = 1 are the stock runs of the one and the other model, to the last bit.\n\n"
        "Take the guider where you build the sampler from parts (Flux, SD3.5), and *Realign MODEL* in front of "
        "KSampler, detailers and upscalers. λ from 1 to 3 extrapolates beyond the anchor.",
    )
    graph.write(folder, "realign_any_sampler")


PAIR = dict(shape="heart", colour="any", background="any")
SETTINGS = dict(seed=7, steps=30, cfg=1.5, sampler_name="ddpm", scheduler="normal")


def sampler_inputs(models: int) -> dict[str, Any]:
    """RealignSampler's links to the demo models, and the settings that they were trained for."""
    return {name: (models, slot) for slot, name in enumerate(("model", "anchor", "positive", "negative"))} | SETTINGS


def demo_models(column: Column, batch_size: int, **caption: str) -> tuple[int, int]:
    """The demo models and an empty latent image for them."""
    models = column.add("RealignDemoModels", **{**PAIR, **caption})
    return models, column.add("EmptyLatentImage", width=64, height=64, batch_size=batch_size)


def demo_sweep(known: Known, folder: Path) -> None:
    graph = Graph(known)
    start = Column(graph, 40, 310)
    start.note(
        270,
        "## Find your λ, no download needed\n\n"
        "1. Press **Run**: 7 λ × 3 seeds. They take shape on *Realign Sampler*, from the same noise.\n"
        "2. On *λ Compare* move the slider, or press ← →. ▲ ▼ change the seed.\n"
        "3. Press **Use λ**: the next run samples this picture alone.\n"
        "4. **Sweep again** goes back to all of them.\n"
        "5. *λ Grid* shows what each λ stands for (β/λ), and is saved.\n"
        f"6. Your own models: take *{TITLES['sdxl_dpo_sweep']}*.",
    )
    models, latent = demo_models(start, 1)
    sweep = start.add("RealignSweep", latent=(latent, 0), start=0.0, end=1.5, count=7, seeds=3, measure_ends=True)
    middle = start.beside(640)
    swept = dict(latent_image=(sweep, 0), lambda_schedule=(sweep, 1))
    sampler = middle.add(
        "RealignSampler", start.end - middle.y, colours=NODE_BLUE, lambda_=0.5, **sampler_inputs(models), **swept
    )
    look, keep = show_sweep(
        middle, (sampler, 0), (models, 4), sweep=(sweep, 1), trace=(sampler, 2), prefix="realign_demo_sweep"
    )
    group_all({"Models and λ": start, "All λ at once": middle, "Flip through, and use one": look, "Keep": keep})
    graph.write(folder, "realign_demo_sweep", fit=True)


def rescue(known: Known, folder: Path) -> None:
    graph = Graph(known)
    start = Column(graph, 40, 320)
    start.note(
        300,
        "## Rescue an over-optimised anchor\n\n"
        "Some aligned models went too far: everything glows, every picture is the same. λ below 1 takes that back "
        "without training, as if β had been larger.\n\n"
        "Here the demo anchor is overdone on purpose: twice its difference to the reference, by stock merge nodes. "
        "λ = 1 is that model; λ = 0.5 is back near the demo anchor as it was trained.\n\n"
        "With your own: *Load Anchor Model* in place of the merge.",
    )
    models, latent = demo_models(start, 1)
    made = start.beside(320)
    difference = made.add(
        "ModelMergeSubtract", title="2 × (anchor − reference)", model1=(models, 5), model2=(models, 0), multiplier=2.0
    )
    overdone = made.add("ModelMergeAdd", title="reference + that", model1=(models, 0), model2=(difference, 0))
    anchor = made.add("RealignAnchorFromModel", title="The over-optimised anchor", model=(overdone, 0))
    sweep = made.add("RealignSweep", latent=(latent, 0), start=0.0, end=1.0, count=5, seeds=3, measure_ends=True)
    middle = made.beside(680)
    inputs = {**sampler_inputs(models), "anchor": (anchor, 0)}
    inputs |= dict(latent_image=(sweep, 0), lambda_schedule=(sweep, 1))
    sampler = middle.add("RealignSampler", 1030, colours=NODE_BLUE, lambda_=0.5, **inputs)
    look, keep = show_sweep(
        middle, (sampler, 0), (models, 4), sweep=(sweep, 1), trace=(sampler, 2), prefix="realign_rescue"
    )
    group_all(
        {
            "Models that ship with the pack": start,
            "An overdone anchor, and λ": made,
            "λ up to 1": middle,
            "Flip through, and use one": look,
            "Keep": keep,
        }
    )
    graph.write(folder, "rescue_over_optimised", fit=True)


CURVE = {"points": [[0.0, 0.0], [0.2, 0.15], [0.45, 1.0], [0.7, 1.0], [1.0, 0.1]], "interpolation": "monotone_cubic"}


def curve(known: Known, folder: Path) -> None:
    graph = Graph(known)
    start = Column(graph, 40, 320)
    start.note(
        320,
        "## λ by a curve\n\n"
        "*λ Schedule* holds a curve: λ for each moment of the run, from the first step to the last, times *scale*. "
        "The plot on the node follows it, and *preset…* has others.\n\n"
        "Above: the curve. The first steps, which settle the layout, are the reference's; the middle ones, which "
        "settle colour and form, get λ up to 1.5.\n\n"
        "Below: the same seed with a plain λ. Compare the pictures, and *λ Report*: the KL is spent where λ is.\n\n"
        "Draw the curve with the new node renderer (Settings → Nodes 2.0); it runs in both.",
    )
    models, latent = demo_models(start, 4)
    drawn = start.beside(360)
    schedule = drawn.add(
        "LambdaSchedule", 900, colours=NODE_BLUE, shape="curve", curve=CURVE, scale=1.5, steps=30, anchor=(models, 1)
    )
    runs = two_runs(
        drawn,
        models,
        latent,
        ("λ by the curve", dict(lambda_schedule=(schedule, 0), lambda_=0.8)),
        ("λ = 0.8 throughout", dict(lambda_=0.8)),
        report=560,
        pictures=640,
    )
    low = max(column.end for columns in runs.values() for column in columns) + 20
    group_all({"Models that ship with the pack": start, "λ over the run": drawn}, low)
    for title, columns in runs.items():
        group_around(title, *columns)
    graph.write(folder, "lambda_curve", fit=True)


def mask(known: Known, folder: Path) -> None:
    graph = Graph(known)
    start = Column(graph, 40, 320)
    start.note(
        260,
        "## Align the subject, keep the background\n\n"
        "A mask says where λ acts: 1 fully, 0 not at all. Here a soft square in the middle, by stock nodes; any "
        "MASK will do, e.g. one painted on *Load Image*.\n\n"
        "Above: λ = 1.2 within the mask; the background stays the reference's. Below: the same seed with λ = 1.2 "
        "everywhere.\n\n"
        "Several anchors with a mask each: *Anchor λ*.",
    )
    models, latent = demo_models(start, 4)
    drawn = start.beside(300)
    ground = drawn.add("SolidMask", title="Background: 0", value=0.0, width=64, height=64)
    square = drawn.add("SolidMask", title="Subject: 1", value=1.0, width=46, height=46)
    soft = drawn.add("FeatherMask", title="Soft edges", mask=(square, 0), left=8, top=8, right=8, bottom=8)
    both = drawn.add("MaskComposite", destination=(ground, 0), source=(soft, 0), x=9, y=9, operation="add")
    drawn.add("MaskPreview", 280, title="Where λ acts", mask=(both, 0))
    runs = two_runs(
        drawn,
        models,
        latent,
        ("λ = 1.2 within the mask", dict(lambda_=1.2, lambda_mask=(both, 0))),
        ("λ = 1.2 everywhere", dict(lambda_=1.2)),
        pictures=900,
    )
    low = max(column.end for columns in runs.values() for column in columns) + 20
    group_all({"Models that ship with the pack": start, "Where λ acts": drawn}, low)
    for title, columns in runs.items():
        group_around(title, *columns)
    graph.write(folder, "lambda_mask", fit=True)


def two_runs(
    left: Column,
    models: int,
    latent: int,
    first: tuple[str, dict[str, Any]],
    second: tuple[str, dict[str, Any]],
    pictures: int,
    report: int = 0,
) -> dict[str, tuple[Column, ...]]:
    """Two samplers of the same seed, one below the other, each with its pictures. {title: columns}, for groups.

    pictures, report: widths in px; 0: no report.
    """
    runs: dict[str, tuple[Column, ...]] = {}
    for row, (title, inputs) in enumerate((first, second)):
        run = left.beside(380)
        if row:
            run.first = run.y = max(column.end for column in runs[first[0]]) + 140
        sampler = run.add(
            "RealignSampler", 790, colours=NODE_BLUE, latent_image=(latent, 0), **sampler_inputs(models), **inputs
        )
        look = run.beside(pictures)
        images = (look.add("VAEDecode", samples=(sampler, 0), vae=(models, 4)), 0)
        look.add("RealignGrid", run.end - look.y, images=images, trace=(sampler, 2))
        runs[title] = (run, look)
        if report:
            plots = look.beside(report)
            plots.add("RealignReport", run.end - plots.y, trace=(sampler, 2))
            runs[title] += (plots,)
    return runs


ALL = (demo, any_sampler, demo_sweep, rescue, curve, mask)
