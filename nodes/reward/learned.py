"""A reward that was learned from picks: what somebody likes, as a preference over features knows it by now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from comfy.model_patcher import ModelPatcher

from ...realign_core import Gaussian, Preference
from .features import Features

SCALE = 10.0  # of the reward: a picture that is surely picked beside one that is surely not
LEAST = 1e-12  # of a variance whose root is taken


@dataclass(frozen=True)
class Learned:
    """How well pictures would be liked, from 0 to about 10: `SCALE` · (utility + ½); 5 while nothing is picked.

    boldness: standard deviations of its own uncertainty that are added (UCB: Srinivas et al. 2010): what is not known
    yet is tried, too.
    """

    name: str
    features: Features
    preference: Preference | None
    boldness: float = 0.0
    differentiable: bool = True

    @property
    def models(self) -> tuple[ModelPatcher, ...]:
        return self.features.models

    def told(self, features: torch.Tensor) -> Gaussian | None:
        """How well pictures of these features would be liked: (B, D) -> (B,); None while nothing is picked."""
        if self.preference is None:
            return None
        told = self.preference.utility(features)
        return Gaussian(SCALE * (told.mean + 0.5), SCALE**2 * told.variance)

    def score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        told = self.told(self.features.of(images)) if self.preference is not None else None
        if told is None:
            return 0.5 * SCALE + 0 * images.flatten(1).sum(1)
        return told.mean + self.boldness * (told.variance + LEAST).sqrt() if self.boldness else told.mean
