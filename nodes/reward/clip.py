"""How well a picture fits a text: PickScore, HPS and every other CLIP, on the host's own layers.

The host casts and moves these layers as it does those of its text encoders, so a reward takes no more room than it has.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import comfy.clip_model
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd1_clip
import torch
from comfy.model_patcher import ModelPatcher

from ..models.gradients import called
from .vision import CLIP_MEAN, CLIP_STD, prepared, unit

Config = Mapping[str, Any]


class ClipNetwork(comfy.clip_model.CLIPVisionModelProjection):
    """Both towers, with the names that the weights have in a CLIPModel of transformers but for "text." before one."""

    def __init__(self, vision: Config, text: Config, dtype: torch.dtype, device: torch.device):
        super().__init__(vision, dtype, device, comfy.ops.manual_cast)
        self.text = comfy.clip_model.CLIPTextModel(text, dtype, device, comfy.ops.manual_cast)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, C)."""
        return super().forward(pixel_values=pixel_values)[2]

    def of_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, length) -> (B, C)."""
        return self.text(tokens)[2]


def network(vision: Config, text: Config) -> ModelPatcher:
    """A network without weights, as the host's text encoders are kept: where, and in what number format."""
    device, home = comfy.model_management.text_encoder_device(), comfy.model_management.text_encoder_offload_device()
    model = ClipNetwork(vision, text, comfy.model_management.text_encoder_dtype(device), home)
    model.eval().requires_grad_(False)
    return comfy.model_patcher.CoreModelPatcher(model, load_device=device, offload_device=home)


@dataclass(frozen=True)
class TextReward:
    """scale · the cosine between picture and text."""

    name: str
    patcher: ModelPatcher
    scale: float  # exp(logit_scale): 100 for those that are known
    size: int  # px
    length: int  # tokens
    crop: str
    prompt: str = ""  # in place of the prompts that `score` gets, where it is not empty
    differentiable: bool = True
    kept: dict[str, torch.Tensor] = field(default_factory=dict)  # embeddings of prompts, (C,)

    @property
    def needs_prompt(self) -> bool:
        return not self.prompt.strip()

    @property
    def models(self) -> tuple[ModelPatcher, ...]:
        return (self.patcher,)

    def score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        texts = prompts if self.needs_prompt else [self.prompt] * len(images)
        x = prepared(images.to(self.patcher.load_device), self.size, self.crop, CLIP_MEAN, CLIP_STD)
        ours = unit(called(self.patcher, x))
        return (self.scale * (ours * self._of_texts(texts).to(ours)).sum(-1)).to(images.device)

    def _of_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """(B, C) of length 1; each text is read once."""
        for text in dict.fromkeys(texts):
            if text not in self.kept:
                with torch.inference_mode(False), torch.no_grad():
                    tokens = torch.tensor([self._tokens(text)], device=self.patcher.load_device)
                    self.kept[text] = unit(self.patcher.model.of_text(tokens))[0]
        return torch.stack([self.kept[text] for text in texts])

    def _tokens(self, text: str) -> list[int]:
        tokens = tokenizer()(text)["input_ids"]
        if len(tokens) > self.length:
            logging.warning("Realign reward “%s”: only the first %d tokens of the prompt count", self.name, self.length)
            tokens = [*tokens[: self.length - 1], tokens[-1]]
        return tokens + tokens[-1:] * (self.length - len(tokens))


@cache
def tokenizer() -> Any:
    """The one of every CLIP, as the host ships it."""
    return comfy.sd1_clip.SDTokenizer().tokenizer
