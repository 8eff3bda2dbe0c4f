"""Nodes of other packs that need more than their defaults to do something: another architecture, inputs, other nodes;
and why some differ.

All others are found by their sockets (`packs_graphs.places`).
"""

from __future__ import annotations

from packs_graphs import BEFORE, BEHIND, PROMPT, SIZE, Case

MASK = ("SolidMask", {"value": 0.4, "width": SIZE, "height": SIZE})
TILES = {"tile_width": 64, "tile_height": 64, "tile_overlap": 32}
REDRAW = {"tile_width": 64, "tile_height": 64, "denoise": 0.8, "mask_blur": 0}

CASES = (
    # ComfyUI-TeaCache, Comfy-WaveSpeed
    Case("TeaCache", kind="flux", inputs={"rel_l1_thresh": 2.0}),
    Case("CompileModel", inputs={"backend": "eager"}),
    *(Case("ApplyFBCacheOnModel", kind=kind, inputs={"residual_diff_threshold": 0.9}) for kind in ("flux", "sd15")),
    # ComfyUI-TiledDiffusion
    Case("TiledDiffusion", inputs={**TILES, "method": "MultiDiffusion"}),
    # ComfyUI-Advanced-ControlNet
    Case(
        "ACN_AdvancedControlNetApply_v2",
        PROMPT,
        inputs={"control_net": "@net"},
        also={"net": ("ControlNetLoaderAdvanced", {"control_net_name": "sd15_control.safetensors"})},
    ),
    # ComfyUI-AnimateDiff-Evolved: FreeInit samples more than once
    *(
        Case(
            "ADE_UseEvolvedSampling",
            place,
            inputs={"sample_settings": "@settings"},
            also={
                "settings": ("ADE_AnimateDiffSamplingSettings", {"iteration_opts": "@free"}),
                "free": ("ADE_IterationOptsFreeInit", {}),
            },
        )
        for place in (BEFORE, BEHIND)
    ),
    # cgem156-ComfyUI, attention-couple-ComfyUI
    Case(
        "AttentionCouple|cgem156",
        inputs={"cond_1": "@prompt", "mask_1": "@mask"},
        also={"prompt": ("ProbePrompt", {"kind": "sd15", "seed": 61}), "mask": MASK},
    ),
    Case(
        "Attention couple",
        inputs={"positive": "@masked"},
        also={
            "masked": ("ConditioningSetMask", {"conditioning": "@prompt", "mask": "@mask"}),
            "prompt": ("ProbePrompt", {"kind": "sd15", "seed": 61}),
            "mask": MASK,
        },
    ),
    # efficiency-nodes-comfyui, ComfyUI_UltimateSDUpscale
    Case("KSampler (Efficient)", inputs={"vae_decode": "false", "preview_method": "none"}),
    Case("UltimateSDUpscaleNoUpscale", inputs=REDRAW),
    Case("UltimateSDUpscaleCustomSample", inputs={**REDRAW, "upscale_by": 1.0}),
)

# Nodes that are known to differ, and why; a sentence for the page.
WHY = {
    "NormalizedAttentionGuidance": "it computes keys and values of its prompt when the graph runs, with the weights of "
    "the model that it is put on. An anchor with other weights needs a node of its own, before the Realign node.",
}
