"""The λ sweeps for public models: one anchor, a flow model with RLG, and two anchors at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model_workflows import (
    ADAPTER_CONFIG,
    CLIPS,
    DPO_FILE,
    GRPO_FILE,
    NEGATIVE,
    PROMPT,
    SD35_GRPO,
    SDXL,
    SDXL_DPO,
    SPO,
    files,
)
from workflow_graph import GAP, HEIGHTS, NODE_BLUE, TITLE, Column, Graph, group_all, group_around
from workflow_parts import Source, compare

Known = dict[str, Any]
MODELS, PROMPTS, NOTE = 440, 360, 860  # px, the first two columns, and the note below both
KEPT = 440  # px, the height of the note and the grid


def prompts(left: Column, clip: Source, latent_kind: str, **sweep: Any) -> tuple[Column, dict[str, Source]]:
    """Both prompts, the empty latent image and its sweep: the column, and what samplers call their outputs."""
    column = left.beside(PROMPTS)
    positive = column.add("CLIPTextEncode", 130, title="Positive", clip=clip, text=PROMPT)
    negative = column.add("CLIPTextEncode", 100, title="Negative", clip=clip, text=NEGATIVE)
    latent = column.add(latent_kind, width=1024, height=1024, batch_size=1)
    swept = column.add("RealignSweep", latent=(latent, 0), **sweep)
    names = dict(positive=(positive, 0), negative=(negative, 0), latent_image=(swept, 0), lambda_schedule=(swept, 1))
    return column, names


def dpo_anchor(models: Column, base: int) -> int:
    return models.add(
        "LoadAnchorModel",
        title="Anchor: Diffusion-DPO",
        colours=NODE_BLUE,
        model=(base, 0),
        anchor_name=DPO_FILE,
        beta_source="typed",
        beta=5000.0,
    )


def shown(
    graph: Graph,
    columns: dict[str, Column],
    latent: Source,
    vae: Source,
    sweep: Source,
    trace: Source,
    note: str,
    prefix: str,
) -> None:
    """What lies right of and below the columns {title: column}, whose last is the sampler's: compare, note and grid."""
    sampler = [*columns.values()][-1]
    first, low = next(iter(columns.values())), max(column.end for column in columns.values())
    look = sampler.beside(560)
    images = compare(look, low, latent, vae, sweep, trace)
    group_all({**columns, "Flip through, and use one": look})
    read = Column(graph, first.x, NOTE, low + 140)
    read.note(KEPT, note)
    wide = (look.x + look.width - read.x - NOTE - 2 * 60) // 2
    kept = read.beside(wide)
    grid = (kept.add("RealignGrid", KEPT, images=images, sweep=sweep, trace=trace), 0)
    saved = kept.beside(wide)
    saved.add("SaveImage", KEPT, title="Save the grid", images=grid, filename_prefix=f"realign_{prefix}")
    group_around("All λ in one picture", kept, saved)


def sampled(
    graph: Graph, models: Column, prompt: Column, inputs: dict[str, Any], vae: Source, note: str, prefix: str
) -> None:
    """RealignSampler on a sweep, as wide as its strip needs, and everything behind it."""
    middle = prompt.beside(720)
    settings = dict(seed=7, steps=30, sampler_name="ddpm", scheduler="karras", lambda_=0.5)
    height = max(models.end, prompt.end) - middle.y
    sampler = middle.add("RealignSampler", height, colours=NODE_BLUE, **inputs, **settings)
    columns = {"Models": models, "Prompt and λ": prompt, "All λ at once": middle}
    swept = dict(sweep=inputs["lambda_schedule"], trace=(sampler, 2))
    shown(graph, columns, (sampler, 0), vae, **swept, note=note, prefix=prefix)


def sdxl_dpo(known: Known, folder: Path) -> None:
    graph = Graph(known)
    models = Column(graph, 40, MODELS)
    base = models.add("CheckpointLoaderSimple", title="Reference", ckpt_name="sd_xl_base_1.0.safetensors")
    anchor = dpo_anchor(models, base)
    note = (
        "## SDXL and Diffusion-DPO at five λ\n\n"
        + files(SDXL, SDXL_DPO)
        + "\n\n1. Press **Run**: five pictures from the same noise, as many at once as fit into memory.\n"
        "2. Flip through them on *λ Compare*, and press **Use λ** on the one you like: the next run samples it alone.\n"
        "3. *λ Grid* is saved, with β/λ and the KL of each.\n\n"
        "0 is SDXL, 1 is DPO as trained, 0.5 a model trained at twice its β. Above 1 extrapolates. Choose the λ on "
        "a few prompts and seeds: *seeds* on *λ Sweep*."
    )
    prompt, names = prompts(models, (base, 1), "EmptyLatentImage", values="list", listed="0, 0.25, 0.5, 1, 1.5")
    inputs = dict(model=(base, 0), anchor=(anchor, 0), cfg=6.0, **names)
    sampled(graph, models, prompt, inputs, (base, 2), note, "sdxl_dpo_sweep")
    graph.write(folder, "sdxl_dpo_sweep", fit=True)


def sdxl_two_anchors(known: Known, folder: Path) -> None:
    graph = Graph(known)
    models = Column(graph, 40, MODELS)
    base = models.add("CheckpointLoaderSimple", title="Reference", ckpt_name="sd_xl_base_1.0.safetensors")
    dpo = dpo_anchor(models, base)
    spo = models.add(
        "LoadAnchorModel", title="Anchor: SPO (LoRA)", colours=NODE_BLUE, model=(base, 0), anchor_name=f"loras/{SPO[0]}"
    )
    both = models.add(
        "RealignAddAnchor",
        title="Half of each",
        colours=NODE_BLUE,
        anchor=(dpo, 0),
        add=(spo, 0),
        anchor_share=0.5,
        add_share=0.5,
    )
    prompt, names = prompts(models, (base, 1), "EmptyLatentImage", values="list", listed="0, 0.5, 1, 1.5")
    note = (
        "## Two rewards at once\n\n"
        + files(SDXL, SDXL_DPO, SPO)
        + "\n\nDPO learned what people prefer, SPO what looks good. *Add Anchor* gives each its share of λ: at λ = 1 "
        "each has 0.5.\n\n"
        "Change the shares and run again: 1 and 0 is DPO alone, 0 and 1 SPO alone. Each step costs up to three "
        "models."
    )
    inputs = dict(model=(base, 0), anchor=(both, 0), cfg=5.0, **names)
    sampled(graph, models, prompt, inputs, (base, 2), note, "sdxl_two_anchors")
    graph.write(folder, "sdxl_two_anchors", fit=True)


def sd35_rlg(known: Known, folder: Path) -> None:
    graph = Graph(known)
    models = Column(graph, 40, MODELS)
    base = models.add("CheckpointLoaderSimple", title="Reference", ckpt_name="sd3.5_medium.safetensors")
    clip = models.add("TripleCLIPLoader", **dict(zip(("clip_name1", "clip_name2", "clip_name3"), CLIPS)))
    anchor = models.add(
        "LoadAnchorModel",
        title="Anchor: Flow-GRPO (LoRA)",
        colours=NODE_BLUE,
        model=(base, 0),
        anchor_name=GRPO_FILE,
    )
    note = (
        "## RLG: a flow model beyond its anchor\n\n"
        + files(*SD35_GRPO)
        + ADAPTER_CONFIG
        + "\n\n*Realign Guider* works with every sampler: reference + λ · (anchor − reference) at each step. With "
        "flow models trained by reinforcement, λ from 1 to 3 follows the reward further than the anchor does.\n\n"
        "The LoRA needs no second model in memory. *Realign Trace* tells the grid what the run did."
    )
    prompt, names = prompts(models, (clip, 0), "EmptySD3LatentImage", values="list", listed="0, 1, 1.5, 2, 3")
    latent = names.pop("latent_image")
    parts = prompt.beside(380)
    guider = parts.add(
        "RealignGuider", colours=NODE_BLUE, model=(base, 0), anchor=(anchor, 0), cfg=4.5, lambda_=1.5, **names
    )
    noise = parts.add("RandomNoise", noise_seed=7)
    name = parts.add("KSamplerSelect", sampler_name="dpmpp_2m")
    sigmas = parts.add("BasicScheduler", model=(base, 0), scheduler="simple", steps=28, denoise=1.0)
    middle = parts.beside(640)
    rest = HEIGHTS["RealignTrace"] + TITLE + GAP
    sampler = middle.add(
        "SamplerCustomAdvanced",
        prompt.end - middle.y - rest,
        noise=(noise, 0),
        guider=(guider, 0),
        sampler=(name, 0),
        sigmas=(sigmas, 0),
        latent_image=latent,
    )
    trace = middle.add("RealignTrace", colours=NODE_BLUE, latent=(sampler, 0), guider=(guider, 0))
    columns = {"Models": models, "Prompt and λ": prompt, "The sampler's parts": parts, "All λ at once": middle}
    swept = dict(sweep=names["lambda_schedule"], trace=(trace, 1))
    shown(graph, columns, (trace, 0), (base, 2), **swept, note=note, prefix="sd35_rlg")
    graph.write(folder, "sd35_rlg", fit=True)


ALL = (sdxl_dpo, sd35_rlg, sdxl_two_anchors)
