"""An aligned model, what is known of its β, and the value of REALIGN_ANCHOR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

from ...realign_core import LambdaSchedule
from .pair import with_own_weights
from .put_on import fit

NO_BETA = "unknown / no KL term"


@dataclass(frozen=True, eq=False)
class Anchor:
    """An aligned model."""

    patcher: ModelPatcher
    name: str
    beta: float | None = None  # the KL strength it was trained with; None: unknown, or trained without a KL term
    share: float = 1.0  # this anchor's part of λ
    schedule: LambdaSchedule | None = None  # its own λ over the steps, in place of the sampler's
    mask: torch.Tensor | None = None  # (M, H, W): where its λ acts
    # What runs make of it once, kept as long as the host keeps this anchor in its cache: a weight copy, its adapters.
    kept: dict[str, Any] = field(default_factory=dict, repr=False)

    def beside(self, others: Sequence[ModelPatcher]) -> ModelPatcher:
        """The patcher to load beside `others`: on weights of its own where it would share theirs (the LoRA trap).

        Raises ValueError for a node that holds on to the weights it was put on.
        """
        if not any(self.patcher.is_clone(other) for other in others):
            return self.patcher
        if "weights" not in self.kept:
            self.kept["weights"] = fit(with_own_weights(self.patcher), self.patcher.model, self.name)
        patcher: ModelPatcher = self.kept["weights"]
        return patcher


Anchors = tuple[Anchor, ...]  # the value of REALIGN_ANCHOR: one, or several for several rewards at once


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
