"""The value of REALIGN_ANCHOR: an aligned model, and what is known of its β."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from comfy.model_patcher import ModelPatcher

from ...realign_core import LambdaSchedule
from ..run.adapters import AdapterCache
from .pair import with_own_weights

NO_BETA = "unknown / no KL term"


@dataclass(frozen=True, eq=False)
class Anchor:
    """An aligned model. beta: the KL strength it was trained with; None: unknown, or trained without a KL term.

    share: this anchor's part of λ. schedule: its own λ over the steps, in place of the sampler's. mask: where its λ
    acts, (B, H, W). others: further anchors, for several rewards at once.
    """

    patcher: ModelPatcher
    name: str
    beta: float | None = None
    share: float = 1.0
    schedule: LambdaSchedule | None = None
    mask: torch.Tensor | None = None
    others: tuple[Anchor, ...] = ()
    # Both are made once and kept as long as the host keeps this anchor in its cache: a weight copy, and row adapters.
    _own: list[ModelPatcher] = field(default_factory=list, repr=False)
    adapters: AdapterCache = field(default_factory=AdapterCache, repr=False)

    def all(self) -> list[Anchor]:
        """This anchor and those added to it, in order."""
        return [self, *self.others]

    def beside(self, others: Sequence[ModelPatcher]) -> ModelPatcher:
        """The patcher to load beside `others`: on weights of its own where it would share theirs (the LoRA trap)."""
        if not any(self.patcher.is_clone(other) for other in others):
            return self.patcher
        if not self._own:
            self._own.append(with_own_weights(self.patcher))
        return self._own[0]


def check_mask(mask: torch.Tensor | None) -> torch.Tensor | None:
    """The mask. Raises ValueError for one with NaN or infinity."""
    if mask is not None and not bool(torch.isfinite(mask).all()):
        raise ValueError("The λ mask holds values that are not finite numbers (NaN or infinity).")
    return mask


def typed_beta(source: str, beta: float) -> float | None:
    """β as chosen on a node, or None for “unknown / no KL term”. Raises ValueError for a typed β that is no β."""
    if source == NO_BETA:
        return None
    if not beta > 0:
        raise ValueError(f"β must be above 0, but is {beta:g}. Type the β of the training, or choose “{NO_BETA}”.")
    return float(beta)
