"""The λ sweeps for public models: one anchor, a flow model with RLG, and two anchors at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.workflows.model_workflows import (
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
)
from tools.workflows.workflow_graph import NODE_BLUE, Graph
from tools.workflows.workflow_layout import Stack
from tools.workflows.workflow_notes import files, large, note, steps
from tools.workflows.workflow_parts import Source, Sweep

Known = dict[str, Any]


class Prompt:
    """Both prompts, and the empty latent image with its sweep."""

    def __init__(self, graph: Graph, clip: Source, latent_kind: str, fold: bool = False, **sweep: Any):
        self.positive = graph.add("CLIPTextEncode", title="Positive", clip=clip, text=PROMPT)
        self.negative = graph.add("CLIPTextEncode", title="Negative", folded=fold, clip=clip, text=NEGATIVE)
        self.latent = graph.add(latent_kind, folded=True, width=1024, height=1024, batch_size=1)
        self.sweep = graph.add("RealignSweep", latent=(self.latent, 0), values="list", **sweep)
        self.texts, self.values = [self.positive, self.negative], [self.latent, self.sweep]

    @property
    def links(self) -> dict[str, Source]:
        """What RealignSampler calls them."""
        conds = dict(positive=(self.positive, 0), negative=(self.negative, 0))
        return conds | dict(latent_image=(self.sweep, 0), lambda_schedule=(self.sweep, 1))


def dpo_anchor(graph: Graph, base: int) -> int:
    return graph.add(
        "LoadAnchorModel",
        title="Anchor: Diffusion-DPO",
        colours=NODE_BLUE,
        model=(base, 0),
        anchor_name=DPO_FILE,
        beta_source="typed",
        beta=5000.0,
    )


def sampled(graph: Graph, **inputs: Any) -> int:
    settings = dict(seed=7, steps=30, sampler_name="ddpm", scheduler="karras", lambda_=0.5)
    return graph.add("RealignSampler", colours=NODE_BLUE, **inputs, **settings)


def sdxl_dpo(known: Known, folder: Path) -> None:
    graph = Graph(known)
    base = graph.add("CheckpointLoaderSimple", title="Reference", ckpt_name="sd_xl_base_1.0.safetensors")
    anchor = dpo_anchor(graph, base)
    prompt = Prompt(graph, (base, 1), "EmptyLatentImage", listed="0, 0.25, 0.5, 1, 1.5")
    sampler = sampled(graph, model=(base, 0), anchor=(anchor, 0), cfg=6.0, **prompt.links)
    sweep = Sweep(graph, (sampler, 0), (base, 2), (prompt.sweep, 1), (sampler, 2))
    compare = sweep.compare()
    text = note(
        "SDXL and Diffusion-DPO at five λ",
        files(SDXL, SDXL_DPO),
        steps(
            "Press *Run*: five pictures from the same noise.",
            "Look at them on *λ Compare*. *Use λ*: the next run makes the one you like alone. *Keep* saves it.",
        ),
        large(
            "0 is SDXL, 1 is DPO as trained, 0.5 a model trained at twice its β. Above 1 extrapolates. Choose the λ on "
            "a few prompts and seeds: *seeds* on *λ Sweep*."
        ),
    )
    read = graph.note(460, text)
    graph.write(
        folder,
        "sdxl_dpo_sweep",
        Stack(360, read, graph.box("Models", [base, anchor])),
        Stack(300, graph.box("Prompt", prompt.texts), graph.box("Values of λ", prompt.values)),
        Stack(350, graph.box("All λ at once", [sampler, sweep.decoded])),
        Stack(380, compare),
        Stack(350, sweep.keep("realign_sdxl_dpo_sweep")),
    )


def sdxl_two_anchors(known: Known, folder: Path) -> None:
    graph = Graph(known)
    base = graph.add("CheckpointLoaderSimple", title="Reference", ckpt_name="sd_xl_base_1.0.safetensors")
    dpo = dpo_anchor(graph, base)
    spo = graph.add(
        "LoadAnchorModel", title="Anchor: SPO (LoRA)", colours=NODE_BLUE, model=(base, 0), anchor_name=f"loras/{SPO[0]}"
    )
    shares = dict(anchor_share=0.5, add_share=0.5)
    both = graph.add(
        "RealignAddAnchor", title="Half of each", colours=NODE_BLUE, anchor=(dpo, 0), add=(spo, 0), **shares
    )
    prompt = Prompt(graph, (base, 1), "EmptyLatentImage", fold=True, listed="0, 0.5, 1, 1.5")
    sampler = sampled(graph, model=(base, 0), anchor=(both, 0), cfg=5.0, **prompt.links)
    sweep = Sweep(graph, (sampler, 0), (base, 2), (prompt.sweep, 1), (sampler, 2))
    compare = sweep.compare()
    text = note(
        "Two rewards at once",
        files(SDXL, SDXL_DPO, SPO),
        large("*Half of each* gives each anchor its share of λ: at λ = 1 each has 0.5."),
        "DPO learned what people prefer, SPO what looks good. Shares of 1 and 0 are DPO alone, 0 and 1 SPO alone. Each "
        "step costs up to three models.",
    )
    read = graph.note(366, text)
    graph.write(
        folder,
        "sdxl_two_anchors",
        Stack(380, read, graph.box("Reference and λ", [base, *prompt.values])),
        Stack(300, graph.box("Two anchors", [dpo, spo, both]), graph.box("Prompt", prompt.texts)),
        Stack(350, graph.box("All λ at once", [sampler, sweep.decoded])),
        Stack(370, compare),
        Stack(340, sweep.keep("realign_sdxl_two_anchors")),
    )


def sd35_rlg(known: Known, folder: Path) -> None:
    graph = Graph(known)
    base = graph.add("CheckpointLoaderSimple", title="Reference", ckpt_name="sd3.5_medium.safetensors")
    clip = graph.add("TripleCLIPLoader", **dict(zip(("clip_name1", "clip_name2", "clip_name3"), CLIPS)))
    anchor = graph.add(
        "LoadAnchorModel",
        title="Anchor: Flow-GRPO (LoRA)",
        colours=NODE_BLUE,
        model=(base, 0),
        anchor_name=GRPO_FILE,
    )
    prompt = Prompt(graph, (clip, 0), "EmptySD3LatentImage", listed="0, 1, 1.5, 2, 3")
    links = prompt.links
    latent = links.pop("latent_image")
    models = dict(model=(base, 0), anchor=(anchor, 0))
    guider = graph.add("RealignGuider", colours=NODE_BLUE, **models, cfg=4.5, lambda_=1.5, **links)
    noise = graph.add("RandomNoise", noise_seed=7)
    name = graph.add("KSamplerSelect", sampler_name="dpmpp_2m")
    sigmas = graph.add("BasicScheduler", model=(base, 0), scheduler="simple", steps=28, denoise=1.0)
    parts = dict(noise=(noise, 0), guider=(guider, 0), sampler=(name, 0), sigmas=(sigmas, 0))
    sampler = graph.add("SamplerCustomAdvanced", **parts, latent_image=latent)
    trace = graph.add("RealignTrace", colours=NODE_BLUE, folded=True, latent=(sampler, 0), guider=(guider, 0))
    sweep = Sweep(graph, (trace, 0), (base, 2), (prompt.sweep, 1), (trace, 1))
    compare = sweep.compare(sweep.decoded)
    text = note(
        "RLG: a flow model beyond its anchor",
        files(*SD35_GRPO),
        ADAPTER_CONFIG,
        large(
            "With flow models trained by reinforcement, λ from 1 to 3 follows the reward further than the anchor does."
        ),
        "*Realign Guider* works with every sampler. The LoRA needs no second model in memory.",
    )
    read = graph.note(510, text)
    graph.write(
        folder,
        "sd35_rlg",
        Stack(350, read, graph.box("Models", [base, anchor])),
        Stack(300, graph.box("Prompt", [clip, *prompt.texts]), graph.box("Values of λ", prompt.values)),
        Stack(320, graph.box("The sampler's parts", [guider, noise, name, sigmas])),
        Stack(370, graph.box("All λ at once", [sampler, trace]), sweep.keep("realign_sd35_rlg")),
        Stack(390, compare),
    )


ALL = (sdxl_dpo, sd35_rlg, sdxl_two_anchors)
