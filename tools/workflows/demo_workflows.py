"""The workflows that need no download: everything on the demo models that ship with the pack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.workflows.workflow_graph import NODE_BLUE, Graph
from tools.workflows.workflow_layout import Stack
from tools.workflows.workflow_names import TITLES
from tools.workflows.workflow_notes import large, note, steps
from tools.workflows.workflow_parts import Sweep, finish

Known = dict[str, Any]
SHIPPED = "Demo models"
PAIR = dict(shape="heart", colour="any", background="any")
SETTINGS = dict(seed=7, steps=30, cfg=1.5, sampler_name="ddpm", scheduler="normal")


def demo_models(graph: Graph, batch_size: int, folded: bool = False, **caption: str) -> tuple[int, int]:
    """The demo models and an empty latent image for them, which may be folded."""
    models = graph.add("RealignDemoModels", **{**PAIR, **caption})
    return models, graph.add("EmptyLatentImage", folded=folded, width=64, height=64, batch_size=batch_size)


def sampler_inputs(models: int) -> dict[str, Any]:
    """RealignSampler's links to the demo models, and the settings that they were trained for."""
    return {name: (models, slot) for slot, name in enumerate(("model", "anchor", "positive", "negative"))} | SETTINGS


def demo(known: Known, folder: Path) -> None:
    graph = Graph(known)
    models, latent = demo_models(graph, 4)
    inputs = sampler_inputs(models)
    sampler = graph.add("RealignSampler", colours=NODE_BLUE, latent_image=(latent, 0), lambda_=0.5, **inputs)
    picture = finish(graph, sampler, (models, 4), "realign_demo", view=256)
    text = note(
        "Try λ, no download needed",
        steps("Press *Run*.", "Move *λ* on *Realign Sampler*, and run again. The seed is fixed: only λ changes."),
        large(
            "λ 0: the reference, muted and varied",
            "λ 0.5: a safe blend (β doubled)",
            "λ 1: the anchor, trained to be colourful",
            "λ 1.5: over-optimised",
        ),
        large(f"Then open *{TITLES['sdxl_dpo']}* or *{TITLES['sd15_dpo']}*, and do the same with real models."),
    )
    read = graph.note(400, text)
    start = Stack(350, read, graph.box(SHIPPED, [models, latent]))
    turn = Stack(390, graph.box("Turn λ here", [sampler]))
    graph.write(folder, "realign_demo", start, turn, Stack(490, picture))


def any_sampler(known: Known, folder: Path) -> None:
    graph = Graph(known)
    models, latent = demo_models(graph, 4, shape="star")
    pair = dict(model=(models, 0), anchor=(models, 1))
    conds = dict(positive=(models, 2), negative=(models, 3))
    guider = graph.add("RealignGuider", colours=NODE_BLUE, **pair, **conds, cfg=1.5, lambda_=1.2)
    noise = graph.add("RandomNoise", noise_seed=7)
    name = graph.add("KSamplerSelect", sampler_name="dpmpp_2m")
    sigmas = graph.add("BasicScheduler", model=(models, 0), scheduler="karras", steps=20, denoise=1.0)
    parts = dict(noise=(noise, 0), guider=(guider, 0), sampler=(name, 0), sigmas=(sigmas, 0))
    sampler = graph.add("SamplerCustomAdvanced", **parts, latent_image=(latent, 0))
    patched = graph.add("RealignModel", colours=NODE_BLUE, **pair, lambda_=0.5)
    how = dict(seed=7, steps=20, cfg=1.5, sampler_name="res_multistep", scheduler="karras")
    stock = graph.add("KSampler", model=(patched, 0), **conds, latent_image=(latent, 0), **how)
    first, second = (
        enlarged(graph, source, models, prefix)
        for source, prefix in ((sampler, "realign_guider"), (stock, "realign_model"))
    )
    text = note(
        "λ with every sampler",
        large(
            "*Realign Guider* and *Realign MODEL* give the same mixture, reference + λ · (anchor − reference), to any "
            "sampler (RLG)."
        ),
        large(
            "Take the guider where you build the sampler from parts (Flux, SD3.5), and *Realign MODEL* in front of "
            "KSampler, detailers and upscalers."
        ),
        large(
            "λ = 0 and λ = 1 are the stock runs of the one and the other model, to the last bit. λ from 1 to 3 "
            "extrapolates beyond the anchor."
        ),
    )
    read = graph.note(400, text)
    guided = [guider, noise, name, sigmas], [sampler, *first]
    graph.write(
        folder,
        "realign_any_sampler",
        Stack(330, read, graph.box(SHIPPED, [models, latent])),
        Stack(660, graph.box("As a GUIDER", *guided)),
        Stack(330, graph.box("As a MODEL", [patched, stock])),
        Stack(330, graph.box("Its picture", second)),
    )


def enlarged(graph: Graph, source: int, models: int, prefix: str) -> tuple[int, ...]:
    """Decode, enlarge and save."""
    decoded = graph.add("VAEDecode", folded=True, samples=(source, 0), vae=(models, 4))
    scale = dict(upscale_method="lanczos", width=256, height=256, crop="disabled")
    large = graph.add("ImageScale", folded=True, image=(decoded, 0), **scale)
    return decoded, large, graph.add("SaveImage", images=(large, 0), filename_prefix=prefix)


def demo_sweep(known: Known, folder: Path) -> None:
    graph = Graph(known)
    text = note(
        "Find your λ, no download needed",
        steps(
            "Press *Run*: 7 λ × 3 seeds, from the same noise.",
            "On *λ Compare* press a picture, or ← → ↑ ↓. Hover wipes against λ 0, F magnifies.",
            "*Use λ*: the next run makes this one alone. *Keep* saves it, *Finer* sweeps around it.",
        ),
        "*λ Grid* shows what each λ stands for (β/λ), and is saved. "
        f"Your own models: take *{TITLES['sdxl_dpo_sweep']}*.",
    )
    read = graph.note(228, text)
    models, latent = demo_models(graph, 1, folded=True)
    swept = graph.add("RealignSweep", latent=(latent, 0), start=0.0, end=1.5, count=7, seeds=3, measure_ends=True)
    links = dict(latent_image=(swept, 0), lambda_schedule=(swept, 1))
    sampler = graph.add("RealignSampler", colours=NODE_BLUE, lambda_=0.5, **sampler_inputs(models), **links)
    sweep = Sweep(graph, (sampler, 0), (models, 4), (swept, 1), (sampler, 2))
    graph.write(
        folder,
        "realign_demo_sweep",
        Stack(400, read, graph.box("Models and λ", [models, latent, swept])),
        Stack(420, graph.box("All λ at once", [sampler, sweep.decoded])),
        Stack(460, sweep.compare()),
        Stack(440, sweep.keep("realign_demo_sweep")),
    )


def rescue(known: Known, folder: Path) -> None:
    graph = Graph(known)
    text = note(
        "Rescue an over-optimised anchor",
        large(
            "Some aligned models went too far: everything glows, every picture is the same. λ below 1 takes that back "
            "without training, as if β had been larger."
        ),
        large("λ = 1 is the overdone model. λ = 0.5 is back near the demo anchor as it was trained."),
        large(
            "Here the demo anchor is overdone on purpose: twice its difference to the reference, by stock merge nodes. "
            "With your own, *Load Anchor Model* takes their place."
        ),
    )
    read = graph.note(400, text)
    models, latent = demo_models(graph, 1)
    difference = graph.add(
        "ModelMergeSubtract", title="2 × (anchor − reference)", model1=(models, 5), model2=(models, 0), multiplier=2.0
    )
    overdone = graph.add("ModelMergeAdd", title="reference + that", model1=(models, 0), model2=(difference, 0))
    anchor = graph.add("RealignAnchorFromModel", title="The over-optimised anchor", model=(overdone, 0))
    swept = graph.add("RealignSweep", latent=(latent, 0), start=0.0, end=1.0, count=5, seeds=3, measure_ends=True)
    inputs = {**sampler_inputs(models), "anchor": (anchor, 0)}
    inputs |= dict(latent_image=(swept, 0), lambda_schedule=(swept, 1))
    sampler = graph.add("RealignSampler", colours=NODE_BLUE, lambda_=0.5, **inputs)
    sweep = Sweep(graph, (sampler, 0), (models, 4), (swept, 1), (sampler, 2))
    made = graph.box("An overdone anchor", [difference, overdone, anchor]), graph.box("λ up to 1", [swept])
    graph.write(
        folder,
        "rescue_over_optimised",
        Stack(310, read, graph.box(SHIPPED, [models, latent])),
        Stack(310, *made),
        Stack(360, graph.box("All λ at once", [sampler, sweep.decoded])),
        Stack(390, sweep.compare()),
        Stack(370, sweep.keep("realign_rescue")),
    )


CURVE = {"points": [[0.0, 0.0], [0.2, 0.15], [0.45, 1.0], [0.7, 1.0], [1.0, 0.1]], "interpolation": "monotone_cubic"}


def curve(known: Known, folder: Path) -> None:
    graph = Graph(known)
    text = note(
        "λ by a curve",
        large(
            "*λ Schedule* holds a curve: λ for each moment of the run, from the first step to the last, times *scale*. "
            "*preset…* has others."
        ),
        large(
            "Here the first steps, which settle the layout, are the reference's. The middle ones, which settle colour "
            "and form, get λ up to 1.5."
        ),
        large("λ = 0.8 throughout is the same seed with a plain λ: its sampler is folded. The KL is spent where λ is."),
        large("Draw the curve with the new node renderer (Settings → Nodes 2.0); it runs in both."),
    )
    read = graph.note(560, text)
    models, latent = demo_models(graph, 4)
    drawn = dict(shape="curve", curve=CURVE, scale=1.5, steps=30, anchor=(models, 1))
    schedule = graph.add("LambdaSchedule", colours=NODE_BLUE, **drawn)
    first = Run(graph, models, latent, "λ by the curve", report=True, lambda_schedule=(schedule, 0), lambda_=0.8)
    second = Run(graph, models, latent, "λ = 0.8 throughout", report=True, folded=True, lambda_=0.8)
    graph.write(
        folder,
        "lambda_curve",
        Stack(310, read, graph.box(SHIPPED, [models, latent])),
        Stack(340, graph.box("λ over the run", [schedule])),
        Stack(360, graph.box("Two runs of one seed", [first.sampler, second.sampler])),
        Stack(390, *(graph.box(run.title, run.shown) for run in (first, second))),
        Stack(330, graph.box("Where the KL is spent", [*first.reports, *second.reports])),
    )


def mask(known: Known, folder: Path) -> None:
    graph = Graph(known)
    text = note(
        "Align the subject, keep the background",
        large(
            "A mask says where λ acts: 1 fully, 0 not at all. Here a soft square in the middle, by stock nodes; any "
            "MASK will do, e.g. one painted on *Load Image*."
        ),
        large(
            "Above: λ = 1.2 within the mask; the background stays the reference's.",
            "Below: the same seed with λ = 1.2 everywhere, by the sampler that is folded.",
        ),
        large("Several anchors with a mask each: *Anchor λ*."),
    )
    read = graph.note(560, text)
    models, latent = demo_models(graph, 4)
    ground = graph.add("SolidMask", title="Background: 0", value=0.0, width=64, height=64)
    square = graph.add("SolidMask", title="Subject: 1", value=1.0, width=46, height=46)
    soft = graph.add("FeatherMask", title="Soft edges", mask=(square, 0), left=8, top=8, right=8, bottom=8)
    both = graph.add("MaskComposite", destination=(ground, 0), source=(soft, 0), x=9, y=9, operation="add")
    seen = graph.add("MaskPreview", title="Where λ acts", mask=(both, 0))
    first = Run(graph, models, latent, "λ = 1.2 within the mask", lambda_=1.2, lambda_mask=(both, 0))
    second = Run(graph, models, latent, "λ = 1.2 everywhere", folded=True, lambda_=1.2)
    graph.write(
        folder,
        "lambda_mask",
        Stack(330, read, graph.box(SHIPPED, [models, latent])),
        Stack(310, graph.box("Where λ acts", [ground, square, soft, both, seen])),
        Stack(370, graph.box("Two runs of one seed", [first.sampler, second.sampler])),
        Stack(440, *(graph.box(run.title, run.shown) for run in (first, second))),
    )


class Run:
    """One of two runs of the same seed: its sampler, and what is shown of it."""

    def __init__(self, graph: Graph, models: int, latent: int, title: str, report: bool = False, **inputs: Any):
        links = sampler_inputs(models) | dict(latent_image=(latent, 0))
        self.title = title
        self.sampler = graph.add("RealignSampler", title=title, colours=NODE_BLUE, **links, **inputs)
        decoded = graph.add("VAEDecode", folded=True, samples=(self.sampler, 0), vae=(models, 4))
        self.shown = [decoded, graph.add("RealignGrid", images=(decoded, 0), trace=(self.sampler, 2))]
        self.reports = [graph.add("RealignReport", title=title, trace=(self.sampler, 2))] if report else []


ALL = (demo, any_sampler, demo_sweep, rescue, curve, mask)
