"""The model of mixed weights θ_ref + Σ λ_k (θ_k - θ_ref) on weights of its own, for anchors that are no adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP, WrappersMP
from einops import rearrange
from torch import Tensor

from ...realign_core import MERGED, MixedSteps
from ..models.anchor import Anchor
from ..models.memory import MEMORY_MARGIN, free_memory
from ..models.pair import with_own_weights
from ..models.put_on import fit
from .call import KEY, Call, Question
from .own_weights import OwnWeights
from .realignment import Lambdas, Realignment
from .state import State


class MergedWeights(OwnWeights):
    """Answers as `MERGED`, at the λ of the whole run. anchors: by model; patchers: of all that is loaded beside it.

    Raises ValueError for a λ that changes, over steps, elements or pixels, and where there is no room for the copy.
    """

    def __init__(
        self,
        anchors: Mapping[int, Anchor],
        patchers: Mapping[int, ModelPatcher],
        guider: Any,
        call: Call,
        realignment: Realignment,
        lambdas: Lambdas,
        steps: MixedSteps | None,
        state: State,
    ):
        reference = guider.model_patcher
        _check_room(call, [reference, *patchers.values()])
        strengths = {model: lambda_ for model, lambda_ in _constant(lambdas, steps).items() if model in anchors}
        kept = next(iter(anchors.values())).kept
        merged = _merged(kept, reference, patchers, strengths)
        super().__init__(MERGED, merged, guider, call, realignment, state, lambda patcher: patcher)

    def ask(self, question: Question, called: Tensor, merged: Sequence[Tensor] | None) -> dict[int, Tensor]:
        return {} if merged is None else {MERGED: self.answer(question)}


def _constant(lambdas: Lambdas, steps: MixedSteps | None) -> dict[int, float]:
    """λ by model; with steps, the weights that an η of each model's own gives."""
    table = lambdas.table
    if steps is not None and not lambdas.is_masked:
        every = [rearrange(step.weights[1:], "model ... -> model (...)") for step in steps]
        table = torch.stack([weights.expand(-1, table.shape[2]) for weights in every])
    if lambdas.is_masked or not bool((table == table[:1, :, :1]).all()):
        raise ValueError(
            "The control variate merges the weights of a full anchor once, so that λ must be one number for the whole "
            "run: take the λ schedule or mask and the anchor's own eta away, load the anchor with low_rank, or choose "
            "“difference reuse”."
        )
    return {k: float(value) for k, value in enumerate(table[0, :, 0], 1)}


def _check_room(call: Call, patchers: Sequence[ModelPatcher]) -> None:
    reference = patchers[0]
    room = free_memory(patchers) - reference.model_size()
    need = reference.memory_required(call.noise.shape) * MEMORY_MARGIN
    if need > room:
        raise ValueError(
            "The control variate needs a third, merged copy of the model for a full anchor, and it does not fit "
            f"({(need - room) / 2**30:.1f} GiB are missing): load the anchor with low_rank, or choose “difference "
            "reuse”."
        )


def _merged(
    kept: dict[str, Any], reference: ModelPatcher, patchers: Mapping[int, ModelPatcher], strengths: Mapping[int, float]
) -> ModelPatcher:
    """As the host's ModelMergeSimple, onto a copy of the reference, with what nodes have put on the reference by now.

    kept: where the weights are found again. They are the last ones where uuids and λ are, and then stay loaded.
    """
    known = reference.patches_uuid, {m: one.patches_uuid for m, one in patchers.items()}, dict(strengths)
    if kept.get("merged", (None,))[0] is not reference.model:
        kept["merged"] = reference.model, with_own_weights(reference), None, None
    _, copy, was, last = kept["merged"]
    merged = reference.clone(model_override=copy.get_clone_model_override())
    merged.parent = copy  # whom the host takes for the loaded one when this run's is gone: one with the same weights
    merged.hook_backup = copy.hook_backup
    merged.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, KEY)
    merged.remove_callbacks_with_key(CallbacksMP.ON_PRE_RUN, KEY)
    merged.remove_attachments(KEY)
    if was == known:
        merged.patches, merged.patches_uuid = last
    else:
        left = 1 - sum(strengths.values())
        for model, strength in strengths.items():
            merged.add_patches(patchers[model].get_key_patches("diffusion_model."), strength, left)
            left = 1.0
    kept["merged"] = reference.model, copy, known, (merged.patches, merged.patches_uuid)
    return fit(merged, reference.model, "the merged weights")
