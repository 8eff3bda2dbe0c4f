"""What was asked: which anchors, at which λ, where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import comfy.sampler_helpers
import comfy.utils
import torch
from einops import rearrange
from torch import Tensor

from ...realign_core import LambdaSchedule, MixedSteps, Sweep, element_mean
from ..models.anchor import Anchor, Anchors, check_mask
from ..types import Conditioning
from .fewer_calls import DRAFT, DRAFT_CALLS, FewerCalls
from .particles import Steering


@dataclass(frozen=True, eq=False)
class Realignment:
    """The inputs of a node, as one value. `Realignment.of` makes it."""

    anchors: Anchors
    schedule: LambdaSchedule  # of the anchors that have none of their own
    sweep: Sweep | None = None  # one λ per batch element, which multiplies that schedule
    mask: Tensor | None = None  # (M, H, W): where λ acts, at a picture's size
    anchor_cfg: float | None = None  # the anchors' own; None: the reference's
    anchor_conds: tuple[Conditioning | None, Conditioning | None] = (None, None)  # positive, negative; likewise
    fewer_calls: FewerCalls = field(default_factory=FewerCalls)
    # Of a run that is a part of another (start and end step): σ of the whole, and its first step in it.
    whole: tuple[Sequence[float], int] | None = None
    steering: Steering | None = None  # groups of particles in the place of single pictures

    @classmethod
    def of(
        cls,
        anchors: Anchors,
        lambda_: float,
        connected: LambdaSchedule | Sweep | None,
        *,
        mask: Tensor | None = None,
        anchor_cfg: float = -1.0,
        **others: Any,
    ) -> Realignment:
        """connected: to the λ schedule, in place of the slider's lambda_. anchor_cfg: below 0 for the reference's."""
        sweep = connected if isinstance(connected, Sweep) else None
        schedule = sweep.schedule or LambdaSchedule(start=1.0) if sweep else connected
        return cls(
            anchors,
            schedule or LambdaSchedule(start=lambda_),
            sweep,
            check_mask(mask),
            None if anchor_cfg < 0 else anchor_cfg,
            **others,
        )

    @property
    def measure_ends(self) -> bool:
        """Whether all models are asked for all elements, so that every KL is known; not where calls are saved."""
        return self.sweep is not None and self.sweep.measure_ends and not self.saving.saves

    @property
    def saving(self) -> FewerCalls:
        """The sampler's own wish for fewer calls, else a draft's."""
        wants_draft = self.sweep is not None and self.sweep.draft
        return FewerCalls(DRAFT, DRAFT_CALLS) if wants_draft and not self.fewer_calls.saves else self.fewer_calls

    @property
    def particles(self) -> int:
        """Elements that are sampled for each picture."""
        return 1 if self.steering is None else self.steering.particles

    def by_itself(self, picture: int) -> tuple[int, int]:
        """As what a picture of the batch would be sampled without a sweep: what is added to the seed, and its place."""
        return self._cells[picture] if self.sweep else (0, picture)

    @cached_property
    def _cells(self) -> list[tuple[int, int]]:
        assert self.sweep is not None
        return [(cell.seed, cell.image) for cell in self.sweep.cells()]

    @property
    def is_masked(self) -> bool:
        return self.mask is not None or any(anchor.mask is not None for anchor in self.anchors)

    def lambdas(self, sigmas: Sequence[float], values: Sequence[float]) -> Tensor:
        """(T, K, B), fp64, on the CPU: λ[i, k, b] = share_k · schedule_k(i) · value_b, without masks.

        sigmas: T + 1. values: λ of each element's cell, 1 without a sweep; an anchor with a schedule of its own keeps
        that.
        """
        whole, first = self.whole or (sigmas, 0)
        steps = slice(first, first + len(sigmas) - 1)
        columns, one = [], torch.ones(len(values), dtype=torch.float64)
        if not self.anchors:
            return torch.zeros(len(sigmas) - 1, 0, len(values), dtype=torch.float64)
        for anchor in self.anchors:
            over = (anchor.schedule or self.schedule).over(list(whole))[steps]
            along = torch.tensor(over, dtype=torch.float64).reshape(-1)
            across = one if anchor.schedule or self.sweep is None else torch.tensor(values, dtype=torch.float64)
            columns.append(anchor.share * torch.outer(along, across))
        return rearrange(columns, "anchor step element -> step anchor element")

    def masks(self, latent_shapes: Sequence[Sequence[int]]) -> tuple[Tensor | None, ...]:
        """Per anchor, what multiplies its λ: at the latent's size, on the CPU. latent_shapes: of each stream.

        Raises ValueError where there is none: a latent of several streams has grown.
        """
        if self.is_masked and not latent_shapes:
            raise ValueError(
                "The λ mask cannot follow this sampler, which changes the size of a latent of several streams: take "
                "the mask away, or choose another sampler."
            )
        return tuple(_resized(self._masks(anchor), latent_shapes) for anchor in self.anchors)

    def _masks(self, anchor: Anchor) -> list[Tensor]:
        return [mask for mask in (self.mask, anchor.mask) if mask is not None]

    def describe(self) -> dict[str, Any]:
        """For a trace."""
        anchors = [
            {"name": one.name, "beta": one.beta, "share": one.share} | ({"masked": True} if self._masks(one) else {})
            for one in self.anchors
        ]
        return {"anchors": anchors} | ({"sweep": self.sweep.to_dict()} if self.sweep else {})


@dataclass(frozen=True, eq=False)
class Lambdas:
    """λ of one run: the table, and the masks that multiply it. Nothing else knows λ of a step."""

    table: Tensor  # (T, K, B), fp64, on the CPU
    masks: tuple[Tensor | None, ...]  # per anchor, as it broadcasts against x

    def at(self, step: int, dims: int) -> list[Tensor]:
        """λ per anchor: one for all elements as a number on the CPU, which no device has to wait for; else one per
        element or per pixel, with the dims of x."""
        out = []
        for values, mask in zip(self.table[step].float(), self.masks):
            alike = bool((values == values[0]).all())
            value = values[0] if alike else values.reshape(-1, *[1] * (dims - 1))
            out.append(value if mask is None else mask * (value if alike else value.to(mask.device)))
        return out

    def to(self, device: torch.device) -> Lambdas:
        return Lambdas(self.table, tuple(None if mask is None else mask.to(device) for mask in self.masks))

    def take(self, index: Tensor) -> Lambdas:
        """Of a batch whose element i is what element index[i] was."""
        masks = [m if m is None or m.shape[0] == 1 else m[index.to(m.device)] for m in self.masks]
        return Lambdas(self.table[..., index.cpu()], tuple(masks))

    @property
    def is_masked(self) -> bool:
        return any(mask is not None for mask in self.masks)

    def is_constant(self, steps: MixedSteps | None) -> bool:
        """Whether each picture has the same weights at all steps. steps: of a sampler that has weights of its own."""
        if self.is_masked or not bool((self.table == self.table[:1]).all()):
            return False
        weights = [step.weights for step in steps or ()]
        return all(torch.equal(one, weights[0]) for one in weights)

    def used(self) -> list[int]:
        """The anchors whose λ is not 0 throughout."""
        return [k for k in range(self.table.shape[1]) if bool((self.table[:, k] != 0).any())]

    def means(self) -> Tensor:
        """(T, K, B): with each mask's mean over the pixels."""
        size = self.table.shape[-1]
        means = [torch.ones(size) if mask is None else element_mean(mask.double(), size) for mask in self.masks]
        return self.table * torch.stack(means) if means else self.table


def _resized(masks: list[Tensor], latent_shapes: Sequence[Sequence[int]]) -> Tensor | None:
    """The product of the masks at the latent's size, as the host resizes noise masks; 1 on further streams."""
    total = None
    for mask in masks:
        parts = [comfy.sampler_helpers.prepare_mask(mask, latent_shapes[0], torch.device("cpu")).float()]
        parts += [torch.ones(tuple(shape)) for shape in latent_shapes[1:]]
        packed = comfy.utils.pack_latents(parts)[0] if len(parts) > 1 else parts[0]
        total = packed if total is None else total * packed
    return total
