"""Nodes for the hosts of `make evidence`: networks of learned_networks.py as MODELs with their captions, and several
pictures in what a study takes for one.

The host is started with REALIGN_EVIDENCE, the folder of their files. The pack itself needs none of this.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch
from einops import rearrange
from safetensors.torch import load_file

BENCHMARKS = Path(__file__).resolve().parents[2]
sys.path.append(str(BENCHMARKS))

from evidence.learned_networks import NETWORKS, REFERENCE, Trained  # noqa: E402
from tools.train.demo_host import demo_model  # noqa: E402


class EvidenceModels:
    """A reference, the MODEL that is called `anchor`, and the conditioning of a caption."""

    RETURN_TYPES = ("MODEL", "MODEL", "CONDITIONING", "VAE")
    RETURN_NAMES = ("model", "anchor model", "positive", "vae")
    FUNCTION, CATEGORY = "load", "evidence"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        words = {kind: (list(known),) for kind, known in demo_model().CAPTION.items()}
        return {"required": {"network": (list(NETWORKS),), "anchor": ("STRING", {}), **words}}

    def load(self, network: str, anchor: str, **words: str) -> tuple[Any, ...]:
        import nodes

        reference = Trained(REFERENCE, network=NETWORKS[network]).name
        if not _loaded.get((network, anchor)):
            _loaded.clear()  # those of one anchor at a time
            _loaded[network, anchor] = [_model(network, name) for name in (reference, anchor)]
        (model, tokens), (aligned, _) = _loaded[network, anchor]
        positive = [[tokens[demo_model().caption_ids(**words)][None], {}]]
        return model, aligned, positive, nodes.VAELoader().load_vae("pixel_space")[0]


class EvidenceSeeds:
    """The first noise of a group of `count`, and how many there are."""

    RETURN_TYPES = ("INT", "INT")
    RETURN_NAMES = ("seed", "count")
    FUNCTION, CATEGORY = "numbers", "evidence"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        number = ("INT", {"default": 0, "min": 0, "max": 2**31})
        return {"required": {"group": number, "count": number}}

    def numbers(self, group: int, count: int) -> tuple[int, int]:
        return group * count, count


class EvidenceStrip:
    """A batch side by side, as one picture."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION, CATEGORY = "side_by_side", "evidence"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"images": ("IMAGE",)}}

    def side_by_side(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        return (rearrange(images, "b h w c -> 1 h (b w) c"),)


class EvidenceMeanTrace:
    """A sweep's trace as if it were of one picture: its KL is the mean."""

    RETURN_TYPES = ("STRING",)
    FUNCTION, CATEGORY = "mean", "evidence"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"trace": ("STRING", {"forceInput": True})}}

    def mean(self, trace: str) -> tuple[str]:
        told = json.loads(trace)
        every = told["kl_reference"]
        return (json.dumps({**told, "kl_reference": [None if None in every else fmean(every)]}),)


_loaded: dict[tuple[str, str], list[tuple[Any, torch.Tensor]]] = {}


def _model(network: str, name: str) -> tuple[Any, torch.Tensor]:
    """Its MODEL, and (VOCABULARY, TOKEN_DIM) what each word is to it."""
    weights = load_file(Path(os.environ["REALIGN_EVIDENCE"]) / f"{name}.safetensors")
    home = comfy.model_management.unet_offload_device()
    model = demo_model().build_model(home, **NETWORKS[network].unet)
    unet = {key.removeprefix("unet."): value for key, value in weights.items() if key.startswith("unet.")}
    model.diffusion_model.load_state_dict(unet)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(model, device, home), weights["tokens.weight"]


NODES = (EvidenceModels, EvidenceSeeds, EvidenceStrip, EvidenceMeanTrace)
NODE_CLASS_MAPPINGS = {node.__name__: node for node in NODES}
