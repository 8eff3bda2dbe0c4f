"""Prompts as rows of a λ sweep: what each is conditioned on, and which of them may be sampled in one batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.conds
import comfy.sampler_helpers
import torch
from comfy.model_patcher import ModelPatcher

from ...realign_core import Sweep
from ..types import Conditioning
from .call import POSITIVE

MOST_PROMPTS = 64
POOLED = "pooled_output"
# Further options of a conditioning that act on each element of a batch by itself, where all its prompts have the same.
# What is not here (areas, masks, ControlNets, time ranges, other encoders' outputs …) is sampled with its prompt alone.
SHARED = {"width", "height", "crop_w", "crop_h", "target_width", "target_height", "aesthetic_score", "guidance"}


@dataclass(frozen=True, eq=False)
class Prompts:
    """What λ Prompts gives: texts, "" where a prompt is not known as text, and the conditioning of each."""

    texts: tuple[str, ...]
    conditionings: tuple[Conditioning, ...]


@dataclass(frozen=True)
class PromptSweep(Sweep):
    """A sweep whose rows have prompts of their own. conditionings: of each text in `prompts`."""

    conditionings: tuple[Conditioning, ...] = field(default=(), compare=False, repr=False)

    def only(self, row: int, column: int) -> PromptSweep:
        one, cell = super().only(row, column), self.cells()[(row - 1) * self.columns + column - 1]
        return one if cell.prompt is None else replace(one, conditionings=(self.conditionings[cell.prompt],))


def with_prompts(sweep: Sweep, prompts: Prompts) -> PromptSweep:
    """The sweep with rows for these. Raises ValueError for conditionings that no sweep can take."""
    for place, conditioning in enumerate(prompts.conditionings, 1):
        if comfy.sampler_helpers.cond_has_hooks(conditioning):
            raise ValueError(
                f"Prompt {place} of the λ sweep comes with hooks (a LoRA or schedule on the prompt alone), which the "
                "host sets up for a sampler's own prompts only: take the hooks away, or sample this prompt by itself."
            )
    own = {name: getattr(sweep, name) for name in sweep.__dataclass_fields__}
    return PromptSweep(**own | {"prompts": prompts.texts, "conditionings": prompts.conditionings})


def conditionings_of(sweep: Sweep | None) -> tuple[Conditioning, ...]:
    """Of each prompt of a sweep; none for a sweep whose rows have the run's own."""
    return sweep.conditionings if isinstance(sweep, PromptSweep) else ()


def check_guider(guider: Any) -> None:
    """Raise ValueError for a guider in which a sweep's prompts have no place of their own."""
    others = [key for key in guider.original_conds if key != POSITIVE and "negative" not in key]
    if POSITIVE not in guider.original_conds or others:
        kinds = ", ".join(f"“{key}”" for key in guider.original_conds)
        raise ValueError(
            f"The λ sweep has prompts for its rows, but a {type(guider).__name__} has not one positive prompt that "
            f"they could take the place of (it has {kinds}): take λ Sweep's prompts away, or use another guider."
        )


def batches_of(conditionings: Sequence[Conditioning], patchers: Iterable[ModelPatcher]) -> list[int]:
    """For each prompt a number that is the same for those that may be sampled in one batch. patchers: of all models,
    whose networks are known to act by element."""
    if any(map(_has_text_layers, patchers)):
        return list(range(len(conditionings)))
    firsts: list[Conditioning] = []
    out = []
    for conditioning in conditionings:
        known = next((i for i, first in enumerate(firsts) if _of_one_kind(first, conditioning)), len(firsts))
        firsts += [conditioning] if known == len(firsts) else []
        out.append(known)
    return out


def _has_text_layers(patcher: ModelPatcher) -> bool:
    """Whether a text goes through layers of its own before the run: those of LTX-2 fold its rows in ComfyUI 0.24."""
    return hasattr(patcher.model.diffusion_model, "preprocess_text_embeds")


def stacked(conditionings: Sequence[Conditioning], prompts: Sequence[int]) -> Conditioning:
    """One conditioning for a batch. prompts: of each of its elements; those of one batch, see `batches_of`."""
    if len(set(prompts)) == 1:
        return conditionings[prompts[0]]
    rows = [conditionings[prompt] for prompt in prompts]
    return [[_joined([own for own, _ in entries]), _options(entries)] for entries in zip(*rows)]


def _options(entries: Sequence[Any]) -> dict[str, Any]:
    options: dict[str, Any] = dict(entries[0][1])
    if options.get(POOLED) is not None:
        options[POOLED] = _joined([own[POOLED] for _, own in entries])
    return options


def _joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat(list(tensors))


def _of_one_kind(a: Conditioning, b: Conditioning) -> bool:
    return len(a) == len(b) and all(_alike(*one, *other) for one, other in zip(a, b))


def _alike(own: Any, options: dict[str, Any], other: Any, theirs: dict[str, Any]) -> bool:
    """Whether two entries differ in nothing but what has a row for each element of a batch."""
    if options.keys() != theirs.keys() or options.keys() - SHARED - {POOLED}:
        return False
    pooled = options.get(POOLED), theirs.get(POOLED)
    return (
        _are_rows(own, other)
        and (pooled == (None, None) or _are_rows(*pooled))
        and all(comfy.conds.is_equal(options[key], theirs[key]) for key in options.keys() & SHARED)
    )


def _are_rows(a: Any, b: Any) -> bool:
    """Whether these are a row each, which one tensor can hold."""
    tensors = isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)
    return tensors and a.shape == b.shape and len(a) == 1 and (a.dtype, a.device) == (b.dtype, b.device)
