"""What a sampler adds to the host's model options while it runs: carried over to every model, and CFG++."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from ...realign_core import combine
from .call import Question


def carried_over(base: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """`base` with what a sampler changed in the model options between `before` and `after`."""
    if after is before:
        return base
    out = base.copy()
    for key, value in after.items():
        old = before.get(key)
        if value is old:
            continue
        if isinstance(value, dict):
            out[key] = carried_over(out.get(key) or {}, old or {}, value)
        elif isinstance(value, list):
            more = added(old or [], value)
            if more:
                out[key] = [*(out.get(key) or []), *more]
        else:
            out[key] = value
    return out


def added(before: list[Any], after: list[Any]) -> list[Any]:
    return [value for value in after if not any(value is old for old in before)]


def behind_guidance(before: dict[str, Any], after: dict[str, Any]) -> list[Any]:
    """What a sampler has added behind the guidance (CFG++ looks there)."""
    key = "sampler_post_cfg_function"
    return added(before.get(key, []), after.get(key, []))


def with_functions(
    ask: Callable[[Question], Mapping[int, Tensor]], question: Question, weights: Tensor, functions: list[Any]
) -> tuple[Mapping[int, Tensor], Tensor, Tensor]:
    """(D by model, their mixture, and that with the sampler's functions behind it), for functions of CFG++.

    They get the mixture of what each model's guidance sees. With one model alone they are its own, as in the stock run.
    weights: (K + 1, ...). ask: those models whose weight is not 0 anywhere.
    """
    models = [model for model, weight in enumerate(weights) if bool((weight != 0).any())]
    if len(models) == 1 and bool((weights[models[0]] == 1).all()):
        alone = ask(question)
        return alone, alone[models[0]], alone[models[0]]
    seen: list[dict[str, Any]] = []

    def watch(args: dict[str, Any]) -> Tensor:
        seen.append(args)
        denoised: Tensor = args["denoised"]
        return denoised

    theirs = question.options["sampler_post_cfg_function"]
    own = [function for function in theirs if not any(function is one for one in functions)]
    answers = ask(replace(question, options={**question.options, "sampler_post_cfg_function": [*own, watch]}))
    shares = weights[list(answers)]  # in the order of asking, which is that of `seen`
    mixed = {name: combine([args[name] for args in seen], shares) for name in ("cond_denoised", "uncond_denoised")}
    args = {**seen[0], **mixed, "model_options": question.options}
    combined = combine(list(answers.values()), shares)
    out = combined
    for function in functions:
        out = function({**args, "denoised": out})
    return answers, combined, out
