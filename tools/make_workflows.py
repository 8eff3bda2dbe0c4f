"""Writes workflows/*.json in the page's UI format from short descriptions, so that slots and widgets fit the nodes.

    python tools/make_workflows.py --host FOLDER

The host is asked for its nodes' inputs (/object_info). Released files are a contract: see tests/host/test_contract.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from typing import Any

from host_process import PACK, Host, say
from workflow_api import WIDGETS

HUGGING_FACE = "https://huggingface.co"
NODE_BLUE = ("#223", "#335")


@dataclass
class Graph:
    """A workflow being put together. Nodes get ids in the order they are added; links are made by input names."""

    known: dict[str, Any]
    nodes: list[dict[str, Any]] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        kind: str,
        at: tuple[int, int],
        size: tuple[int, int],
        title: str | None = None,
        colours: tuple[str, str] | None = None,
        **values: Any,
    ) -> int:
        """Add a node: values are widget values, or (node id, output index) for a link. Returns its id."""
        node: dict[str, Any] = {"id": len(self.nodes) + 1, "type": kind, "pos": list(at), "size": list(size)}
        node |= {"flags": {}, "order": len(self.nodes), "mode": 0, "inputs": [], "outputs": []}
        node["properties"] = {"Node name for S&R": kind}
        if title:
            node["title"] = title
        if colours:
            node["color"], node["bgcolor"] = colours
        self.nodes.append(node)
        info = self.known[kind]
        node["outputs"] = [
            {"name": name, "type": type_, "links": []} for name, type_ in zip(info["output_name"], info["output"])
        ]
        node["widgets_values"] = self._inputs(node, info, values)
        if values:
            raise ValueError(f"{kind} has no input {', '.join(values)}")
        return int(node["id"])

    def _inputs(self, node: dict[str, Any], info: dict[str, Any], values: dict[str, Any]) -> list[Any]:
        saved: list[Any] = []
        for group in ("required", "optional"):
            for name in info["input_order"].get(group, []):
                spec = info["input"][group][name]
                kind = spec[0] if isinstance(spec[0], str) else "COMBO"
                settings = spec[1] if len(spec) > 1 else {}
                slot = {"name": name, "type": kind, "link": None}
                if kind in WIDGETS:
                    slot["widget"] = {"name": name}
                    saved.append(values.pop(name, _default(spec)))
                    if settings.get("control_after_generate"):
                        saved.append("fixed")
                    continue
                if group == "optional":
                    slot["shape"] = 7  # a hollow dot
                if name in values:
                    slot["link"] = self._link(values.pop(name), node["id"], len(node["inputs"]), kind)
                node["inputs"].append(slot)
        return saved

    def _link(self, source: tuple[int, int], target: int, slot: int, kind: str) -> int:
        node_id, output = source
        self.links.append([len(self.links) + 1, node_id, output, target, slot, kind])
        self.nodes[node_id - 1]["outputs"][output]["links"].append(len(self.links))
        return len(self.links)

    def note(self, at: tuple[int, int], size: tuple[int, int], text: str) -> None:
        node = {"id": len(self.nodes) + 1, "type": "MarkdownNote", "pos": list(at), "size": list(size), "flags": {}}
        node |= {"order": len(self.nodes), "mode": 0, "inputs": [], "outputs": [], "title": "Read me", "properties": {}}
        node |= {"widgets_values": [text]}
        self.nodes.append(node)

    def group(self, title: str, box: tuple[int, int, int, int]) -> None:
        group = {"id": len(self.groups) + 1, "title": title, "bounding": list(box), "color": "#3f789e"}
        self.groups.append(group | {"font_size": 24, "flags": {}})

    def write(self, name: str) -> None:
        workflow = {"last_node_id": len(self.nodes), "last_link_id": len(self.links), "nodes": self.nodes}
        workflow |= {"links": self.links, "groups": self.groups, "config": {}, "version": 0.4}
        workflow["extra"] = {"ds": {"scale": 0.75, "offset": [60, 120]}}
        path = PACK / "workflows" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(workflow, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        say(f"wrote {path}")


def _default(spec: list[Any]) -> Any:
    settings = spec[1] if len(spec) > 1 else {}
    options = spec[0] if isinstance(spec[0], list) else settings.get("options", [None])
    return settings.get("default", options[0] if options else None)


def finish(graph: Graph, sampler: int, vae: tuple[int, int], x: int, prefix: str, view: int = 0) -> None:
    """Decode, enlarge for viewing where the pictures are small, save, and show the trace."""
    image = (graph.add("VAEDecode", (x, 90), (220, 50), samples=(sampler, 0), vae=vae), 0)
    if view:
        scale = dict(upscale_method="lanczos", width=view, height=view, crop="disabled")
        image = (graph.add("ImageScale", (x, 200), (260, 150), title="Enlarge to look at", image=image, **scale), 0)
    graph.add("SaveImage", (x + 300, 90), (460, 520), images=image, filename_prefix=prefix)
    graph.add("PreviewAny", (x, 410), (260, 200), title="Trace: λ, σ, KL, model calls", source=(sampler, 2))
    graph.group("Picture", (x - 20, 10, 800, 620))


def demo(known: dict[str, Any]) -> None:
    graph = Graph(known)
    models = graph.add("RealignDemoModels", (40, 90), (300, 200), shape="heart", colour="any", background="any")
    latent = graph.add("EmptyLatentImage", (40, 340), (300, 110), width=64, height=64, batch_size=4)
    sampler = graph.add(
        "RealignSampler",
        (400, 90),
        (340, 500),
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
    graph.group("Models that ship with the pack", (20, 10, 340, 620))
    graph.group("Turn λ here", (380, 10, 380, 620))
    finish(graph, sampler, (models, 4), 800, "realign_demo", view=256)
    graph.note(
        (40, 700),
        (700, 290),
        "## Try λ, no download needed\n\n"
        "1. Press **Run**.\n2. Move **λ** on *Realign Sampler* and run again. The seed is fixed, so only λ changes.\n\n"
        "| λ | picture |\n|---|---|\n| 0 | the reference: muted, varied |\n| 0.5 | a safe blend (β doubled) |\n"
        "| 1 | the anchor: trained to be colourful |\n| 1.5 | over-optimised |\n\n"
        "Then open *sdxl_dpo* or *sd15_dpo* and do the same with real models.",
    )
    graph.write("realign_demo")


def any_sampler(known: dict[str, Any]) -> None:
    graph = Graph(known)
    models = graph.add("RealignDemoModels", (40, 90), (300, 200), shape="star", colour="any", background="any")
    latent = graph.add("EmptyLatentImage", (40, 340), (300, 110), width=64, height=64, batch_size=4)
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
    graph.write("realign_any_sampler")


@dataclass(frozen=True)
class Recipe:
    """A graph for public models: what is loaded, how it is sampled, and where its files come from."""

    name: str
    checkpoint: str
    anchor: str
    note: str
    size: int
    beta: float | None
    settings: dict[str, Any]
    prompt: str = "a cosy reading nook by a rainy window, warm lamp light, film photo"
    negative: str = "blurry, lowres, text, watermark"
    clips: tuple[str, str, str] | None = None
    latent: str = "EmptyLatentImage"


def pair(known: dict[str, Any], recipe: Recipe) -> None:
    graph = Graph(known)
    base = graph.add("CheckpointLoaderSimple", (40, 90), (400, 110), title="Reference", ckpt_name=recipe.checkpoint)
    clip = (base, 1)
    if recipe.clips:
        names = dict(zip(("clip_name1", "clip_name2", "clip_name3"), recipe.clips))
        clip = (graph.add("TripleCLIPLoader", (40, 490), (400, 130), **names), 0)
    anchor = graph.add(
        "LoadAnchorModel",
        (40, 250),
        (400, 190),
        colours=NODE_BLUE,
        model=(base, 0),
        anchor_name=recipe.anchor,
        beta_source="typed" if recipe.beta else "from file",
        **({"beta": recipe.beta} if recipe.beta else {}),
    )
    positive = graph.add("CLIPTextEncode", (500, 90), (380, 150), title="Positive", clip=clip, text=recipe.prompt)
    negative = graph.add("CLIPTextEncode", (500, 290), (380, 120), title="Negative", clip=clip, text=recipe.negative)
    latent = graph.add(recipe.latent, (500, 460), (380, 110), width=recipe.size, height=recipe.size, batch_size=1)
    sampler = graph.add(
        "RealignSampler",
        (940, 90),
        (340, 500),
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
    graph.group("Models", (20, 10, 440, 640))
    graph.group("Prompt", (480, 10, 420, 640))
    graph.group("Turn λ here", (920, 10, 380, 640))
    finish(graph, sampler, (base, 2), 1340, f"realign_{recipe.name}")
    graph.note((40, 720), (840, 290), recipe.note)
    graph.write(recipe.name)


def files(*rows: tuple[str, str, str]) -> str:
    table = "| file | from | goes into |\n|---|---|---|\n"
    return table + "\n".join(f"| {name} | [{page}]({HUGGING_FACE}/{page}) | {where} |" for name, page, where in rows)


HOW = "\n\nStart at λ = 0.5 with a fixed seed. 0 is the reference, 1 the anchor; above 1 extrapolates."
UNET = "unet/diffusion_pytorch_model.safetensors"

RECIPES = (
    Recipe(
        name="sdxl_dpo",
        checkpoint="sd_xl_base_1.0.safetensors",
        anchor="diffusion_models/dpo-sdxl-text2image-v1.safetensors",
        size=1024,
        beta=5000.0,
        settings=dict(steps=30, cfg=6.0, sampler_name="ddpm", scheduler="karras"),
        note="## SDXL, from base to Diffusion-DPO\n\n"
        + files(
            ("sd_xl_base_1.0.safetensors", "stabilityai/stable-diffusion-xl-base-1.0", "models/checkpoints"),
            (
                f"{UNET}, renamed to dpo-sdxl-text2image-v1.safetensors",
                "mhdang/dpo-sdxl-text2image-v1",
                "models/diffusion_models",
            ),
        )
        + HOW,
    ),
    Recipe(
        name="sd15_dpo",
        checkpoint="v1-5-pruned-emaonly-fp16.safetensors",
        anchor="diffusion_models/dpo-sd1.5-text2image-v1.safetensors",
        size=512,
        beta=2000.0,
        settings=dict(steps=30, cfg=7.0, sampler_name="ddpm", scheduler="normal"),
        note="## SD 1.5, from base to Diffusion-DPO\n\n"
        + files(
            (
                "v1-5-pruned-emaonly-fp16.safetensors",
                "Comfy-Org/stable-diffusion-v1-5-archive",
                "models/checkpoints",
            ),
            (
                f"{UNET}, renamed to dpo-sd1.5-text2image-v1.safetensors",
                "mhdang/dpo-sd1.5-text2image-v1",
                "models/diffusion_models",
            ),
        )
        + HOW,
    ),
    Recipe(
        name="sd35_flow_grpo",
        checkpoint="sd3.5_medium.safetensors",
        anchor="loras/sd3.5m-flowgrpo-pickscore.safetensors",
        size=1024,
        beta=None,
        settings=dict(steps=28, cfg=4.5, sampler_name="ddim", scheduler="simple"),
        clips=("clip_l.safetensors", "clip_g.safetensors", "t5xxl_fp8_e4m3fn_scaled.safetensors"),
        latent="EmptySD3LatentImage",
        note="## SD 3.5 medium, from base to Flow-GRPO (a LoRA anchor, flow matching)\n\n"
        + files(
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
        + "\n\nKeep the LoRA's adapter_config.json beside it: it holds the LoRA's scale."
        + HOW,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--host", required=True, help="the ComfyUI folder")
    with Host(sys.executable, parser.parse_args().host) as host:
        known = host.get("/object_info")
    demo(known)
    any_sampler(known)
    for recipe in RECIPES:
        pair(known, recipe)


if __name__ == "__main__":
    main()
