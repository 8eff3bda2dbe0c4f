"""LAION's aesthetic predictors: a head on the embedding of CLIP ViT-L/14, of how people would rate a picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

from .vision import encoded

LAYER = re.compile(r"(?:layers\.(\d+)\.)?weight")
# Places of the linear layers in the published heads: between them is only dropout, which a trained head has not.
LAYOUTS = {(0,): "sa_0_4_vit_l_14_linear", (0, 2, 4, 6, 7): "sac+logos+ava1-l14-linearMSE"}

Linear = tuple[torch.Tensor, torch.Tensor]  # weight (out, in) and bias (out,), fp32


def is_head(weights: Mapping[str, torch.Tensor]) -> bool:
    return bool(weights) and all(re.fullmatch(r"(layers\.\d+\.)?(weight|bias)", key) for key in weights)


def head_of(weights: Mapping[str, torch.Tensor], name: str) -> tuple[Linear, ...]:
    """The layers of a head's file, in their order. Raises ValueError where it is not one of those that are known."""
    matches = filter(None, map(LAYER.fullmatch, weights))
    found = sorted((int(match[1] or 0), match[0]) for match in matches)
    places = tuple(place for place, _ in found)
    layers = [(weights[key], weights.get(key.replace("weight", "bias"))) for _, key in found]
    fits = all(weight.ndim == 2 and bias is not None and bias.shape == weight.shape[:1] for weight, bias in layers)
    fits = fits and all(one.shape[0] == after.shape[1] for (one, _), (after, _) in pairwise(layers))
    if places not in LAYOUTS or not fits or layers[-1][0].shape[0] != 1:
        raise ValueError(
            f"“{name}” is an aesthetic head of an unknown layout (layers {', '.join(map(str, places))}): use "
            f"{LAYOUTS[(0, 2, 4, 6, 7)]}.pth of LAION's improved aesthetic predictor."
        )
    with torch.inference_mode(False):  # autograd keeps no tensor that was made in it, as files are read
        return tuple((weight.float().clone(), bias.float().clone()) for weight, bias in layers if bias is not None)


@dataclass(frozen=True)
class Aesthetic:
    """About 1 to 10; 5 is an ordinary picture, above 6 a handsome one."""

    name: str
    head: tuple[Linear, ...]
    clip_vision: Any  # the host's CLIP_VISION
    crop: str
    differentiable: bool = True

    def __post_init__(self) -> None:
        wanted, width = self.head[0][0].shape[1], self.clip_vision.config.get("projection_dim")
        if width != wanted:
            raise ValueError(
                f"The aesthetic head “{self.name}” reads embeddings of {wanted} numbers, and “clip_vision” gives "
                f"{width or 'none of its kind'}: load CLIP ViT-L/14, which it was trained on."
            )

    @property
    def models(self) -> tuple[ModelPatcher, ...]:
        return (self.clip_vision.patcher,)

    def score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        x = encoded(self.clip_vision, images, self.crop)
        for weight, bias in self.head:
            x = torch.nn.functional.linear(x, weight.to(x), bias.to(x))
        return x[:, 0]
