"""Rewards made of others: weighted sums, of which a negation is one, and "keep at least"."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from comfy.model_patcher import ModelPatcher

from . import protocol
from .protocol import Reward, models_of, scores


class Combined(ABC):
    """A reward of `parts`, and of the numbers that these give.

    It is differentiable where a part is: its gradient is then that of these parts, and says nothing of the others.
    """

    name: str
    parts: tuple[Reward, ...]
    at_once: ClassVar[int] = 2**31  # its parts say how many they take

    @abstractmethod
    def combine(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        """values: (B,) for each part -> (B,)."""

    @property
    def differentiable(self) -> bool:
        return any(map(protocol.differentiable, self.parts))

    @property
    def needs_prompt(self) -> bool:
        return any(map(protocol.needs_prompt, self.parts))

    @property
    def models(self) -> tuple[ModelPatcher, ...]:
        return models_of(self.parts)

    def score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return self.combine([_scored(part, images, prompts) for part in self.parts])


@dataclass(frozen=True)
class WeightedSum(Combined):
    """Σ weight · reward."""

    parts: tuple[Reward, ...]
    weights: tuple[float, ...]

    @property
    def name(self) -> str:
        named = [(weight, _in_brackets(part)) for weight, part in zip(self.weights, self.parts)]
        terms = [name if abs(weight) == 1 else f"{abs(weight):g} × {name}" for weight, name in named]
        signs = ["−" if weight < 0 else "+" for weight in self.weights]
        out = "".join(f" {sign} {term}" for sign, term in zip(signs, terms)).strip()
        return out.removeprefix("+ ")

    def combine(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack([weight * value for weight, value in zip(self.weights, values)]).sum(0)


@dataclass(frozen=True)
class KeepAtLeast(Combined):
    """min(reward − least, 0): what a picture falls short of `least`; more than that is not rewarded."""

    parts: tuple[Reward, ...]
    least: float

    @property
    def name(self) -> str:
        return f"{_in_brackets(self.parts[0])} ≥ {self.least:g}"

    def combine(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        return (values[0] - self.least).clamp(max=0)


def _in_brackets(part: Reward) -> str:
    return f"({part.name})" if isinstance(part, Combined) else part.name


def _scored(part: Reward, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
    """Of a part, whose models are loaded. One without a gradient is asked without."""
    return scores(part, images if protocol.differentiable(part) else images.detach(), prompts, loaded=True)


def scored(
    reward: Reward, images: torch.Tensor, prompts: str | Sequence[str] = ""
) -> tuple[torch.Tensor, list[tuple[str, torch.Tensor]]]:
    """The scores (B,), and those of each reward that is in it, by its name; none where it is not a combined one."""
    found: dict[int, tuple[str, torch.Tensor]] = {}

    def value(of: Reward) -> torch.Tensor:
        if isinstance(of, Combined):
            return of.combine([value(part) for part in of.parts])
        if id(of) not in found:
            found[id(of)] = of.name, scores(of, images, prompts, loaded=True)
        return found[id(of)][1]

    protocol.load(reward)
    total = value(reward)
    return total, list(found.values()) if isinstance(reward, Combined) else []
