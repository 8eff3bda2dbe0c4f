"""The workflow for SDXL and the public reward models: two rewards combined, a third held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.workflows.model_workflows import NEGATIVE, PROMPT, SDXL
from tools.workflows.workflow_graph import NODE_BLUE, Graph
from tools.workflows.workflow_layout import Stack
from tools.workflows.workflow_notes import File, files, large, note

WHERE = "models/reward_models"
PICKSCORE: File = ("model.safetensors, renamed to PickScore_v1.safetensors", "yuvalkirstain/PickScore_v1", WHERE)
AESTHETIC: File = ("aesthetic-model.pth", "trl-lib/ddpo-aesthetic-predictor", WHERE)
HPS: File = ("HPS_v2.1_compressed.pt", "xswu/HPSv2", WHERE)
CLIP_VISION: File = (
    "model.safetensors, renamed to clip-vit-large-patch14.safetensors",
    "openai/clip-vit-large-patch14",
    "models/clip_vision",
)


def sdxl_particles(known: dict[str, Any], folder: Path) -> None:
    graph = Graph(known)
    base = graph.add("CheckpointLoaderSimple", title="Model", ckpt_name="sd_xl_base_1.0.safetensors")
    vision = graph.add("CLIPVisionLoader", clip_name="clip-vit-large-patch14.safetensors")
    pick = graph.add("RealignRewardModel", title="PickScore", reward_name="reward_models/PickScore_v1.safetensors")
    aesthetic = graph.add(
        "RealignRewardModel",
        title="Aesthetic score",
        reward_name="reward_models/aesthetic-model.pth",
        clip_vision=(vision, 0),
    )
    hps = graph.add(
        "RealignRewardModel", title="Held out: HPS v2.1", reward_name="reward_models/HPS_v2.1_compressed.pt"
    )
    both = graph.add("RealignCombineRewards", reward=(pick, 0), weight=1.0, add=(aesthetic, 0), add_weight=1.0)
    positive = graph.add("CLIPTextEncode", title="Positive", clip=(base, 1), text=PROMPT)
    negative = graph.add("CLIPTextEncode", title="Negative", folded=True, clip=(base, 1), text=NEGATIVE)
    latent = graph.add("EmptyLatentImage", folded=True, width=1024, height=1024, batch_size=1)
    sampler = graph.add(
        "RealignParticles",
        colours=NODE_BLUE,
        model=(base, 0),
        positive=(positive, 0),
        negative=(negative, 0),
        latent_image=(latent, 0),
        reward=(both, 0),
        held_out=(hps, 0),
        vae=(base, 2),
        seed=7,
        steps=50,
        cfg=5.0,
        scheduler="karras",
        strength=0.02,
        particles=4,
        pictures=1,
        pick="draw",
        prompt=PROMPT,
        decode="half size",
    )
    decoded = graph.add("VAEDecode", folded=True, samples=(sampler, 0), vae=(base, 2))
    saved = graph.add("SaveImage", images=(decoded, 0), filename_prefix="realign_sdxl_particles")
    report = graph.add("RealignReport", trace=(sampler, 4))
    text = note(
        "SDXL towards PickScore, watched by HPS",
        files(SDXL, PICKSCORE, AESTHETIC, CLIP_VISION, HPS),
        large(
            "No anchor, no training: PickScore and the aesthetic score together draw the picture, HPS v2.1 only "
            "watches. *prompt* on *Realign Particles* is what PickScore and HPS compare with."
        ),
        large(
            "Overdone, or HPS falls? Raise *strength*. Little changes? Lower it. Short of memory? Set *decode* to "
            "quarter size."
        ),
    )
    read = graph.note(500, text)
    graph.write(
        folder,
        "sdxl_particles",
        Stack(370, read, graph.box("Model", [base])),
        Stack(310, graph.box("What is good", [vision, pick, aesthetic, both])),
        Stack(300, graph.box("Prompt", [positive, negative, latent]), graph.box("Only watched", [hps])),
        Stack(390, graph.box("", [sampler])),
        Stack(370, graph.box("Picture", [decoded, saved]), graph.box("What the run did", [report])),
    )


ALL = (sdxl_particles,)
