"""Has an anchor's LoRA been reached? A model that answers bit for bit as the reference although it has one, has not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import comfy.lora
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..models.forward_lora import ForwardLora
from ..models.layers import shape_of
from ..models.options import additions
from .shared_weights import NeedsOwnWeights
from .sharing import injected, joined


class Guard:
    """Looks at the first answers of the anchors that are the reference with more patches.

    anchors: their patchers by model. names: theirs. shared: which of them run on the reference's weights.
    """

    def __init__(
        self,
        reference: ModelPatcher,
        anchors: Mapping[int, ModelPatcher],
        names: Mapping[int, str],
        shared: Sequence[int],
    ):
        self._reference, self._names, self._shared = reference, names, shared
        self._waiting = {model: one for model, one in anchors.items() if one.is_clone(reference)}

    def look(self, denoised: Sequence[Tensor | None], x: Tensor) -> None:
        """denoised: the models' answers to one question, which is x. Raises NeedsOwnWeights, or ValueError where it has
        its own."""
        if not self._waiting or denoised[0] is None:
            return
        for model in [model for model in self._waiting if denoised[model] is not None]:
            answer = denoised[model]
            is_alike = answer is not None and torch.equal(answer, denoised[0])
            if is_alike and _tells_nothing(answer, x):
                continue  # the next one will
            anchor = self._waiting.pop(model)
            if not is_alike or not _changes(self._reference, anchor):
                continue
            if model in self._shared:
                raise NeedsOwnWeights("it answered exactly as the reference does")
            raise ValueError(
                f"The anchor “{self._names[model]}” answers exactly as the reference does, although it has a LoRA: a "
                "node (compile …) or too few bits a weight keep it from the model. Load the reference in a higher "
                "precision, or put that node behind the Realign node."
            )


def _tells_nothing(answer: Tensor, x: Tensor) -> bool:
    """Whether an answer shows no model at all: some nodes leave the first steps as they are, or answer with zeros."""
    return torch.equal(answer, x) or bool((answer == answer.flatten()[0]).all())


def _changes(reference: ModelPatcher, anchor: ModelPatcher) -> bool:
    """Whether the anchor's own weight patches make other weights than the reference's."""
    beside = additions(injected(reference), injected(anchor))
    if any(not isinstance(one, ForwardLora) for one in beside):
        return True
    for key, entries in joined([anchor.patches, *(one.patches for one in beside)]).items():
        own = additions(reference.patches.get(key, []), entries)
        if any(keep != 1 for _, _, keep, *_ in own):  # merges, which may as well give the reference back
            if not torch.equal(*(_weight(one.get_key_patches(key)[key], key) for one in (reference, anchor))):
                return True
        elif own and bool(_weight([_none_of(reference, key), *own], key).any()):
            return True
    return False


def _weight(patches: Sequence[Any], key: str) -> Tensor:
    """Of a weight and its patches, as `get_key_patches` has them."""
    zero = torch.zeros(patches[0][0].shape)
    out: Tensor = comfy.lora.calculate_weight([(1.0, list(patches), 1.0, None, None)], zero, key)
    return out


def _none_of(reference: ModelPatcher, key: str) -> tuple[Tensor, Any]:
    zero = torch.zeros(shape_of(reference.model, key))
    return zero, lambda weight, **_: weight
