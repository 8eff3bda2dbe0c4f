"""What a sampler looks at behind the guidance (CFG++)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ...realign_core import Prediction
from ..models.options import additions
from .call import Question

POST_CFG = "sampler_post_cfg_function"
SEEN = ("denoised", "cond_denoised", "uncond_denoised")  # what such a function is told, each like x


class Behind:
    """A question of a sampler that looks behind the guidance (CFG++), by functions that it has put there.

    The models are asked without these functions, and answer with what they would have seen side by side along the
    channels. So whatever mixes the answers mixes all of it, and the functions get the mixture of what each model's
    guidance sees. With one model alone that is its own, as in the stock run.
    """

    def __init__(self, question: Question, functions: list[Any]):
        self._question, self._functions = question, functions
        theirs = question.options[POST_CFG]
        own = [function for function in theirs if not any(function is one for one in functions)]
        self.question = replace(question, options={**question.options, POST_CFG: [*own, self._watch]})

    @staticmethod
    def functions(before: dict[str, Any], after: dict[str, Any]) -> list[Any]:
        """What a sampler has added to the model options."""
        return additions(before.get(POST_CFG, []), after.get(POST_CFG, []))

    def _watch(self, args: dict[str, Any]) -> Tensor:
        if args["denoised"].shape != args["input"].shape:
            raise ValueError(
                "A CFG++ sampler looks behind one guidance, but this guider has two: choose another sampler, or "
                "Realign Guider."
            )
        self._args = args
        return torch.cat([args[name] for name in SEEN], 1)

    def seen(self, predicted: Prediction) -> Prediction:
        """The prediction of D itself."""
        denoised = [None if one is None else self._parts(one)[0] for one in predicted.denoised]
        return replace(predicted, denoised=denoised, combined=self._parts(predicted.combined)[0])

    def answer(self, combined: Tensor) -> Tensor:
        """The mixture with the sampler's functions behind it. combined: of all that was seen."""
        asked = self._question
        args = {**self._args, **dict(zip(SEEN, self._parts(combined)))}
        args |= {"input": asked.x, "sigma": asked.timestep, "model_options": asked.options}
        for function in self._functions:
            args["denoised"] = function(args)
        out: Tensor = args["denoised"]
        return out

    def _parts(self, seen: Tensor) -> tuple[Tensor, ...]:
        return tuple(rearrange(seen, "b (part c) ... -> part b c ...", part=len(SEEN)).to(self._question.x.dtype))
