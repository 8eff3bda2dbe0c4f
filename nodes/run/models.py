"""The MODELs of one run: a guider's own and those it holds beside it, and what becomes of each for every model."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from comfy.model_patcher import ModelPatcher

from ...realign_core import MERGED
from ..models.anchor import Anchor
from ..models.options import alike, same_function
from ..models.pair import pair_notes
from ..models.put_on import PutOn, fit, of_other_weights
from ..models.reach import node_name, reached
from .call import KEY
from .guiders import Swap, held_by
from .prompts import conditionings_of
from .realignment import Realignment
from .state import State

MASK_FUNCTION = "denoise_mask_function"  # of model options, asked by the host's samplers
# Of a guider's attributes, those that are walked elsewhere or made anew for each model.
NO_OBJECTS = ("model_patcher", "model_options", "inner_model", "loaded_models", "conds", "original_conds")


class Models:
    """Of models 0 … K. attached: what was on the reference when it was realigned."""

    def __init__(self, realignment: Realignment, attached: PutOn):
        self._anchors, self._anchor_conds, self._attached = realignment.anchors, realignment.anchor_conds, attached
        self._merges, self._rows = realignment.saving.merges, conditionings_of(realignment.sweep)
        # What became of an anchor's patcher for one of the reference's, so that the next run finds it loaded.
        self._made: weakref.WeakKeyDictionary[ModelPatcher, dict[int, tuple[ModelPatcher, ModelPatcher]]]
        self._made = weakref.WeakKeyDictionary()

    def check(self, guider: Any) -> None:
        """Raise ValueError for a guider whose further models cannot be served."""
        reference = guider.model_patcher
        ours = reference.get_attachment(KEY)
        for held in held_by(guider):
            theirs = held.get_attachment(KEY)
            if theirs is not None and theirs is not ours:
                raise ValueError(
                    f"Realign: this {type(guider).__name__} holds two MODELs that are realigned apart, whose λ cannot "
                    "both act in one run: give it the same realigned MODEL twice, or one without a Realign node."
                )
            if theirs is not None and held.is_clone(reference) and not _same_weights(held, reference):
                raise ValueError(
                    f"Realign: this {type(guider).__name__} holds the realigned MODEL with and without a LoRA, and the "
                    "host would use one of them for both, as they share their weights: load one of them by itself."
                )

    def notes(self, reference: ModelPatcher, anchors: Iterable[int]) -> list[str]:
        """What is to be known of the pairs that a run mixes. anchors: 0 … K - 1."""
        pairs = ((self.swap(k + 1)(reference), self._anchors[k].name) for k in anchors)
        return [note for anchor, name in pairs for note in pair_notes(reference, anchor, name)]

    def check_mask(self, guider: Any, anchors: Iterable[int]) -> None:
        """Raise ValueError where nodes change the noise mask over the steps (Differential Diffusion), and not in the
        same way for all models: the sampler blends their mixture by one mask. anchors: 0 … K - 1."""
        reference = guider.model_patcher
        ours = reference.model_options.get(MASK_FUNCTION)
        for k in anchors:
            theirs = self.swap(k + 1)(reference).model_options.get(MASK_FUNCTION)
            if not same_function(ours, theirs):
                raise ValueError(
                    f"Realign: “{node_name(ours or theirs)}” changes the noise mask, and the anchor "
                    f"“{self._anchors[k].name}” and the reference have it otherwise, while a step has one mask for "
                    "both: put this node on each of them, with the same inputs."
                )

    def swap(self, model: int, weights: ModelPatcher | None = None) -> Swap:
        """Of a guider's MODELs: the realigned one becomes the anchor, with all that nodes have put on it since.

        weights: the anchor's patcher, where it is not the one that was connected.
        """
        anchor = self._anchors[model - 1]
        return partial(self._swapped, anchor, weights or anchor.patcher)

    def _swapped(self, anchor: Anchor, weights: ModelPatcher, patcher: ModelPatcher) -> ModelPatcher:
        """Raises ValueError for a node that can act on the reference alone."""
        if patcher.get_attachment(KEY) is None:
            return patcher
        now = PutOn.of(patcher)
        if not self._attached.changed(now):
            return weights
        made = self._made.setdefault(patcher, {})
        if made.get(id(weights), (None,))[0] is not weights:
            if anchor.patcher.model is not patcher.model and (node := self._attached.made_of_weights(now)):
                raise of_other_weights(node, anchor.name)
            made[id(weights)] = weights, fit(self._attached.change(weights, now), patcher.model, anchor.name)
        return made[id(weights)][1]

    def state(self, guider: Any) -> State:
        """Before the run, of the reference's guider."""
        patchers = {0: guider.model_patcher}
        patchers |= {k: self.swap(k)(guider.model_patcher) for k in range(1, len(self._anchors) + 1)}
        lasting = {k: reached([one.model_options, one.wrappers, one.callbacks]) for k, one in patchers.items()}
        if self._merges:
            lasting[MERGED] = lasting[0]
        state = State(lasting, guider.model_patcher.load_device)
        conds = [c for cond in (*guider.original_conds.values(), *self._own_conds()) for c in cond]
        objects = [c[kind] for c in conds for kind in ("control", "hooks") if c.get(kind) is not None]
        objects += [value for name, value in vars(guider).items() if name not in NO_OBJECTS]
        state.share_too([guider.model_options], objects=objects)
        return state

    def _own_conds(self) -> list[list[dict[str, Any]]]:
        own = [cond for cond in (*self._anchor_conds, *self._rows) if cond is not None]
        return [[options for _, options, *_ in cond] for cond in own]

    @contextmanager
    def remembering(self, state: State) -> Iterator[Callable[[], None]]:
        """Around one run. Yields what is to be called before each of its parts: each model begins there with what it
        had at the end of its last run. At the end it keeps what it has then."""
        kept = {k: anchor.kept.get("state", {}) for k, anchor in enumerate(self._anchors, 1)}
        try:
            yield partial(state.begin, kept)
        finally:
            for k, anchor in enumerate(self._anchors, 1):
                anchor.kept["state"] = state.lasting(k)


def _same_weights(one: ModelPatcher, other: ModelPatcher) -> bool:
    return alike(one.patches, other.patches) and alike(one.injections, other.injections)
