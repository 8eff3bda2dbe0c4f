"""The workflows for public models: which files they load, where those come from, and how they are sampled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tools.workflows.workflow_graph import NODE_BLUE, Graph
from tools.workflows.workflow_layout import Stack
from tools.workflows.workflow_notes import File, files, large, note
from tools.workflows.workflow_parts import finish

UNET = "unet/diffusion_pytorch_model.safetensors"
SD15: File = (
    "v1-5-pruned-emaonly-fp16.safetensors",
    "Comfy-Org/stable-diffusion-v1-5-archive",
    "models/checkpoints",
)
SD15_DPO: File = (
    f"{UNET}, renamed to dpo-sd1.5-text2image-v1.safetensors",
    "mhdang/dpo-sd1.5-text2image-v1",
    "models/diffusion_models",
)
SDXL: File = ("sd_xl_base_1.0.safetensors", "stabilityai/stable-diffusion-xl-base-1.0", "models/checkpoints")
SDXL_DPO: File = (
    f"{UNET}, renamed to dpo-sdxl-text2image-v1.safetensors",
    "mhdang/dpo-sdxl-text2image-v1",
    "models/diffusion_models",
)
SPO: File = (
    "spo_sdxl_10ep_4k-data_lora_diffusers.safetensors",
    "SPO-Diffusion-Models/SPO-SDXL_4k-p_10ep_LoRA",
    "models/loras",
)
SD35_GRPO: tuple[File, ...] = (
    ("sd3.5_medium.safetensors", "stabilityai/stable-diffusion-3.5-medium", "models/checkpoints"),
    ("clip_g.safetensors", "Comfy-Org/stable-diffusion-3.5-fp8", "models/text_encoders"),
    (
        "clip_l.safetensors, t5xxl_fp8_e4m3fn_scaled.safetensors",
        "comfyanonymous/flux_text_encoders",
        "models/text_encoders",
    ),
    (
        "adapter_model.safetensors, renamed to sd3.5m-flowgrpo-pickscore.safetensors",
        "jieliu/SD3.5M-FlowGRPO-PickScore",
        "models/loras",
    ),
)
HOW = large("Start at λ = 0.5 with a fixed seed. 0 is the reference, 1 the anchor; above 1 extrapolates.")
ADAPTER_CONFIG = "Keep the LoRA's adapter_config.json beside it: its scale is there."
CLIPS = ("clip_l.safetensors", "clip_g.safetensors", "t5xxl_fp8_e4m3fn_scaled.safetensors")
DPO_FILE = "diffusion_models/dpo-sdxl-text2image-v1.safetensors"
GRPO_FILE = "loras/sd3.5m-flowgrpo-pickscore.safetensors"
PAPER = "The paper samples with diffusers' Euler ancestral, 50 steps. To rounding that is *ddpm* with this scheduler."
DIVIDES = (
    "Take a number of steps that divides 1000 (20, 25, 40, 50 …): with others the two place their steps otherwise."
)
PROMPT = "a cosy reading nook by a rainy window, warm lamp light, film photo"
NEGATIVE = "blurry, lowres, text, watermark"


@dataclass(frozen=True)
class Recipe:
    """A graph for public models: what is loaded, how it is sampled, and where its files come from."""

    name: str
    checkpoint: str
    anchor: str
    note: str
    note_height: int
    size: int
    beta: float | None
    settings: dict[str, Any]
    prompt: str = PROMPT
    negative: str = NEGATIVE
    clips: tuple[str, str, str] | None = None
    latent: str = "EmptyLatentImage"


def pair(recipe: Recipe, known: dict[str, Any], folder: Path) -> None:
    graph = Graph(known)
    base = graph.add("CheckpointLoaderSimple", title="Reference", ckpt_name=recipe.checkpoint)
    texts, clip = [], (base, 1)
    if recipe.clips:
        names = dict(zip(("clip_name1", "clip_name2", "clip_name3"), recipe.clips))
        texts.append(graph.add("TripleCLIPLoader", **names))
        clip = (texts[0], 0)
    anchor = graph.add(
        "LoadAnchorModel",
        colours=NODE_BLUE,
        model=(base, 0),
        anchor_name=recipe.anchor,
        beta_source="typed" if recipe.beta else "from file",
        **({"beta": recipe.beta} if recipe.beta else {}),
    )
    positive = graph.add("CLIPTextEncode", title="Positive", clip=clip, text=recipe.prompt)
    negative = graph.add("CLIPTextEncode", title="Negative", clip=clip, text=recipe.negative)
    latent = graph.add(recipe.latent, width=recipe.size, height=recipe.size, batch_size=1)
    texts += [positive, negative, latent]
    sampler = graph.add(
        "RealignSampler",
        colours=NODE_BLUE,
        model=(base, 0),
        anchor=(anchor, 0),
        positive=(positive, 0),
        negative=(negative, 0),
        latent_image=(latent, 0),
        seed=7,
        lambda_=0.5,
        **recipe.settings,
    )
    picture = finish(graph, sampler, (base, 2), f"realign_{recipe.name}")
    read = graph.note(recipe.note_height, recipe.note)
    graph.write(
        folder,
        recipe.name,
        Stack(410, read, graph.box("Models", [base, anchor])),
        Stack(320, graph.box("Prompt", texts)),
        Stack(390, graph.box("Turn λ here", [sampler])),
        Stack(430, picture),
    )


RECIPES = (
    Recipe(
        name="sdxl_dpo",
        checkpoint="sd_xl_base_1.0.safetensors",
        anchor=DPO_FILE,
        size=1024,
        beta=5000.0,
        settings=dict(steps=30, cfg=6.0, sampler_name="ddpm", scheduler="karras"),
        note_height=330,
        note=note("SDXL, from base to Diffusion-DPO", files(SDXL, SDXL_DPO), HOW),
    ),
    Recipe(
        name="sd15_dpo",
        checkpoint="v1-5-pruned-emaonly-fp16.safetensors",
        anchor="diffusion_models/dpo-sd1.5-text2image-v1.safetensors",
        size=512,
        beta=2000.0,
        settings=dict(steps=30, cfg=7.0, sampler_name="ddpm", scheduler="normal"),
        note_height=330,
        note=note("SD 1.5, from base to Diffusion-DPO", files(SD15, SD15_DPO), HOW),
    ),
    Recipe(
        name="sdxl_paper",
        checkpoint="sd_xl_base_1.0.safetensors",
        anchor=DPO_FILE,
        size=1024,
        beta=5000.0,
        settings=dict(steps=50, cfg=5.0, sampler_name="ddpm", scheduler="ddim_uniform"),
        negative="",
        note_height=430,
        note=note(
            "SDXL, sampled as in DeRaDiff's paper",
            files(SDXL, SDXL_DPO),
            PAPER,
            "*ddim_uniform* is diffusers' “leading”, which SDXL's own files ask for.",
            DIVIDES,
            HOW,
        ),
    ),
    Recipe(
        name="sd15_paper",
        checkpoint="v1-5-pruned-emaonly-fp16.safetensors",
        anchor="diffusion_models/dpo-sd1.5-text2image-v1.safetensors",
        size=512,
        beta=2000.0,
        settings=dict(steps=50, cfg=7.5, sampler_name="ddpm", scheduler="normal"),
        negative="",
        note_height=430,
        note=note(
            "SD 1.5, sampled as in DeRaDiff's paper",
            files(SD15, SD15_DPO),
            PAPER,
            "*normal* is diffusers' “linspace”, which SD 1.5's files lead to.",
            HOW,
        ),
    ),
    Recipe(
        name="sd35_flow_grpo",
        checkpoint="sd3.5_medium.safetensors",
        anchor=GRPO_FILE,
        size=1024,
        beta=None,
        settings=dict(steps=28, cfg=4.5, sampler_name="ddim", scheduler="simple"),
        clips=CLIPS,
        latent="EmptySD3LatentImage",
        note_height=420,
        note=note(
            "SD 3.5 medium, from base to Flow-GRPO",
            files(*SD35_GRPO),
            ADAPTER_CONFIG,
            HOW,
        ),
    ),
)

ALL = tuple(partial(pair, recipe) for recipe in RECIPES)
