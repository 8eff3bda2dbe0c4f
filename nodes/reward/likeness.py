"""Likeness to a picture: the cosine between the two in the numbers of an image encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

from .protocol import checked_pictures
from .vision import check_encoder, encoded


@dataclass(frozen=True)
class Likeness:
    """100 · cosine, the mean over `pictures`. Raises RewardError for those that are none, or not finite."""

    clip_vision: Any  # the host's CLIP_VISION
    pictures: torch.Tensor  # (N, H, W, 3), [0, 1]; with one or four channels they are made so
    crop: str
    name: str = "likeness"
    differentiable: bool = True
    kept: dict[str, torch.Tensor] = field(default_factory=dict)  # their embeddings, (N, C), once they are known

    def __post_init__(self) -> None:
        check_encoder(self.clip_vision)
        object.__setattr__(self, "pictures", checked_pictures(self, self.pictures, "measure likeness to"))

    @property
    def models(self) -> tuple[ModelPatcher, ...]:
        return (self.clip_vision.patcher,)

    def score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        if "embeds" not in self.kept:
            with torch.inference_mode(False), torch.no_grad():
                self.kept["embeds"] = encoded(self.clip_vision, self.pictures.clone(), self.crop)
        ours = encoded(self.clip_vision, images, self.crop)
        return 100 * (ours @ self.kept["embeds"].to(ours).T).mean(1)
