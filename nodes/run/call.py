"""What the host asks of a run: to sample (`Call`), and while it samples, to predict (`Question`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.sampler_helpers
import comfy.samplers
from torch import Tensor

from ..models.options import copied
from ..types import Conditioning
from .rows import asked_for

KEY = "realign"  # of everything that this pack puts on the host's objects
POSITIVE = "positive"  # of a guider's conditionings, the one that a sweep's prompts take the place of


def first_wrapper(kind: str, wrapper: Any, options: dict[str, Any]) -> None:
    """Put a wrapper of ours around all others of its kind. options: model options."""
    wrappers = options.setdefault("transformer_options", {}).setdefault("wrappers", {})
    theirs = dict(wrappers.pop(kind, {}))
    wrappers[kind] = {KEY: [wrapper, *theirs.pop(KEY, [])], **theirs}


@dataclass(frozen=True, eq=False)
class Call:
    """What the host hands to CFGGuider.outer_sample."""

    noise: Tensor  # (B, …), latents of several streams packed into one
    latent_image: Tensor  # like noise
    sampler: comfy.samplers.Sampler
    sigmas: Tensor  # (T + 1,)
    denoise_mask: Tensor | None = None  # (B or 1, …), at the latent's size
    callback: Any = None  # the host's: (step, x0, x, total steps)
    disable_pbar: Any = False
    seed: Any = None
    kwargs: dict[str, Any] = field(default_factory=dict)  # what the host has added since

    @property
    def args(self) -> tuple[Any, ...]:
        return (
            self.noise,
            self.latent_image,
            self.sampler,
            self.sigmas,
            self.denoise_mask,
            self.callback,
            self.disable_pbar,
            self.seed,
        )

    @property
    def latent_shapes(self) -> list[Sequence[int]]:
        """Of each stream."""
        return self.kwargs.get("latent_shapes") or [self.noise.shape]

    def of(self, elements: Sequence[int], **changes: Any) -> Call:
        """The same for some elements of the batch, in this order."""
        where, mask, kwargs = list(elements), self.denoise_mask, dict(self.kwargs)
        if kwargs.get("latent_shapes") is not None:
            kwargs["latent_shapes"] = [[len(where), *shape[1:]] for shape in kwargs["latent_shapes"]]
        part = replace(
            self,
            noise=self.noise[where],
            latent_image=self.latent_image[where],
            denoise_mask=mask[where] if mask is not None and mask.shape[0] > 1 else mask,
            kwargs=kwargs,
        )
        return replace(part, **changes)

    def on(self, executor: Any) -> Any:
        """The host's outer_sample, called so."""
        return executor(*self.args, **self.kwargs)


@dataclass(frozen=True, eq=False)
class Question:
    """What the host asks PREDICT_NOISE."""

    x: Tensor  # (B, …)
    timestep: Tensor  # (B,), σ
    options: dict[str, Any]  # the sampler's model options
    seed: Any
    reference: Any  # (x, timestep, options, seed) -> D: the host's own answer, which is the reference's
    elements: Tensor | None = None  # which of the batch these are; None: all of it

    def of(self, index: Tensor | slice) -> Question:
        """The same for some elements of the batch."""
        if isinstance(index, slice):
            return self
        elements = index if self.elements is None else self.elements[index]
        return replace(self, x=self.x[index], timestep=self.timestep[index], elements=elements)

    def to(self, guider: Any) -> Tensor:
        """D of a guider, for these elements."""
        with asked_for(getattr(guider, "class_obj", guider), self.elements):  # the reference is the host's executor
            denoised: Tensor = guider(self.x, self.timestep, self.options, self.seed)
        return denoised


@contextmanager
def untouched(guider: Any) -> Iterator[Any]:
    """Yields `again(positive)`, which makes the guider fit for another run of its outer_sample, with this in the place
    of its own positive, None for its own; at the end it is as before. The host changes its conditionings and options
    while it samples."""
    conds, options, cfg = guider.conds, guider.model_options, getattr(guider, "cfg", None)
    original = guider.original_conds

    def again(positive: Conditioning | None) -> None:
        guider.conds, guider.model_options, guider.original_conds = dict(conds), copied(options), original
        if positive is not None:
            own = comfy.sampler_helpers.convert_cond(positive)
            guider.original_conds = {**original, POSITIVE: own}
            guider.conds[POSITIVE] = [dict(one) for one in own]

    try:
        yield again
    finally:
        guider.conds, guider.model_options, guider.original_conds = conds, options, original
        if cfg is not None:
            guider.cfg = cfg
