"""What reaches a node is what its schema says: checked before the node does anything, for all nodes alike.

The host checks the range of a number that is typed, not of one that comes by a link, and NaN passes every comparison.
So each node of the pack derives from `Node`, whose `execute` looks at every input by its type in the schema.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..realign_core import LAMBDAS, LambdaSchedule, Sweep
from .models.anchor import Anchor
from .models.latents import streams
from .reward.learned import Learned
from .reward.protocol import is_reward
from .run.prompts import Prompts

MOST_CHOICES = 12  # that a sentence lists
Check = Callable[[io.Input, Any], Any]  # the value, as the node is to have it; raises ValueError
MASK_DIMS = (2, 3, 4)  # as the host takes them


class Node(io.ComfyNode):
    """A node of the pack.

    says_itself: choices of which `execute` says by itself, in a better sentence, that there is none of that name.
    """

    says_itself: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = cls.__dict__.get("execute")
        if own is not None and not hasattr(own.__func__, "__wrapped__"):  # the host makes copies of the class
            cls.execute = classmethod(_checked(own.__func__))


def _checked(execute: Callable[..., io.NodeOutput]) -> Callable[..., io.NodeOutput]:
    """`execute`, which gets its inputs only if each is what the schema says. Raises ValueError, in one sentence."""
    signature = inspect.signature(execute)

    @functools.wraps(execute)
    def with_checks(cls: type[Node], *args: Any, **kwargs: Any) -> io.NodeOutput:
        given = signature.bind(cls, *args, **kwargs)
        schema = cls.define_schema()
        for item in schema.inputs:
            if item.optional and given.arguments.get(item.id) is None:
                given.arguments.pop(item.id, None)
            elif item.id in given.arguments:
                own = _text if item.id in cls.says_itself else None
                value = given.arguments[item.id]
                if schema.is_input_list and value is not None:
                    given.arguments[item.id] = [checked(item, one, own) for one in value]
                else:
                    given.arguments[item.id] = checked(item, value, own)
        return execute(*given.args, **given.kwargs)

    return with_checks


def checked(item: io.Input, value: Any, check: Check | None = None) -> Any:
    """An input's value, as the node is to have it. item: of the schema. check: in place of its type's.

    Raises ValueError, in a sentence that names the input, what it is and what it must be.
    """
    if value is None:
        raise ValueError(f"“{_name(item)}” is empty: the node that is connected to it gave nothing.")
    check = check or CHECKS.get(item.get_io_type())
    return value if check is None else check(item, value)


def range_of(item: io.Input) -> tuple[Any, Any]:
    """The least and the largest number that an input may be. A λ slider shows the useful part of what λ may be."""
    return LAMBDAS if item.id == "lambda_" else (item.min, item.max)


def _number(item: io.Input, value: Any) -> Any:
    (low, high), whole = range_of(item), item.get_io_type() == "INT"
    kind, span = ("a whole number" if whole else "a number"), f"from {told(low)} to {told(high)}"
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = value.item()
    if not isinstance(value, numbers.Real):
        raise _wrong(item, f"{kind} {span}", value)
    if not _is_finite(value):
        raise ValueError(f"“{_name(item)}” is {value}, which is not a finite number: it must be {kind} {span}.")
    if not low <= value <= high or (whole and value != int(value)):
        raise _wrong(item, f"{kind} {span}", value)
    return int(value) if whole else value


def _choice(item: io.Input, value: Any) -> Any:
    options = [str(option) for option in item.options]
    if isinstance(value, str) and value in options:
        return value
    listed = f"one of {', '.join(options)}" if len(options) <= MOST_CHOICES else f"one of its {len(options)} choices"
    raise _wrong(item, listed, value)


def _text(item: io.Input, value: Any) -> Any:
    if not isinstance(value, str):
        raise _wrong(item, "a text", value)
    return value


def _switch(item: io.Input, value: Any) -> Any:
    if not isinstance(value, numbers.Real) or value not in (0, 1):
        raise _wrong(item, "on or off", value)
    return bool(value)


def _mask(item: io.Input, value: Any) -> Any:
    """(M, H, W) or (H, W), floating point; a mask of yes and no is one of 1 and 0. `check_mask` refuses NaN."""
    wanted = "a mask of numbers from 0 to 1 over height and width"
    if not isinstance(value, torch.Tensor) or value.ndim not in MASK_DIMS or not value.numel():
        raise _wrong(item, wanted, value)
    if value.dtype == torch.bool:
        return value.float()
    if not value.is_floating_point():
        raise _wrong(item, wanted, value)
    low, high = (float(end) for end in value.aminmax())
    if math.isfinite(low) and math.isfinite(high) and (low < LAMBDAS[0] or high > LAMBDAS[1]):  # it multiplies λ
        raise ValueError(f"“{_name(item)}” holds numbers from {low:g} to {high:g}, but must be {wanted}.")
    return value


def _image(item: io.Input, value: Any) -> Any:
    """(B, H, W, C), floating point."""
    if not isinstance(value, torch.Tensor) or value.ndim != 4 or not value.numel() or not value.is_floating_point():
        raise _wrong(item, "at least one picture: numbers over batch, height, width and colour", value)
    return value


def _latent(item: io.Input, value: Any) -> Any:
    samples = value.get("samples") if isinstance(value, Mapping) else None
    parts = streams(samples)
    for part in parts:
        if not isinstance(part, torch.Tensor) or part.ndim < 3 or not part.numel() or not part.is_floating_point():
            raise _wrong(item, "a latent image, of at least one picture", value if samples is None else part)
    return value


def _conditioning(item: io.Input, value: Any) -> Any:
    pairs = isinstance(value, (list, tuple)) and all(isinstance(one, (list, tuple)) and len(one) == 2 for one in value)
    if not pairs or not all(isinstance(options, dict) for _, options in value):
        raise _wrong(item, "a conditioning, as a text encoder gives it", value)
    return value


def _of(wanted: str, fits: Callable[[Any], bool]) -> Check:
    def check(item: io.Input, value: Any) -> Any:
        if not fits(value):
            raise _wrong(item, wanted, value)
        return value

    return check


def _is_clip(value: Any) -> bool:
    return hasattr(value, "tokenize") and hasattr(value, "encode_from_tokens_scheduled")


def _is_clip_vision(value: Any) -> bool:
    return isinstance(getattr(value, "patcher", None), ModelPatcher) and hasattr(value, "encode_image")


def _is_vae(value: Any) -> bool:
    return isinstance(getattr(value, "patcher", None), ModelPatcher) and hasattr(value, "first_stage_model")


def _are_anchors(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(one, Anchor) for one in value)


CHECKS: dict[str, Check] = {
    "INT": _number,
    "FLOAT": _number,
    "COMBO": _choice,
    "STRING": _text,
    "BOOLEAN": _switch,
    "MASK": _mask,
    "IMAGE": _image,
    "LATENT": _latent,
    "CONDITIONING": _conditioning,
    "MODEL": _of("a MODEL, as a model loader gives it", lambda value: isinstance(value, ModelPatcher)),
    "GUIDER": _of("a GUIDER", lambda value: isinstance(getattr(value, "model_patcher", None), ModelPatcher)),
    "REALIGN_ANCHOR": _of("an anchor, as Load Anchor Model gives it", _are_anchors),
    "REALIGN_REWARD": _of("a reward, as Picture Reward or Load Reward Model give it", is_reward),
    "REALIGN_PREFERENCE": _of("a preference, as Learned Taste gives it", lambda value: isinstance(value, Learned)),
    "REALIGN_PROMPTS": _of("prompts, as λ Prompts gives them", lambda value: isinstance(value, Prompts)),
    "CLIP": _of("a CLIP, as a checkpoint or Load CLIP gives it", _is_clip),
    "CLIP_VISION": _of("a CLIP vision model, as Load CLIP Vision gives it", _is_clip_vision),
    "VAE": _of("a VAE, as a checkpoint or Load VAE gives it", _is_vae),
    "REALIGN_LAMBDA": _of("a λ Schedule or a λ Sweep", lambda value: isinstance(value, (LambdaSchedule, Sweep))),
}


def _wrong(item: io.Input, wanted: str, value: Any) -> ValueError:
    return ValueError(f"“{_name(item)}” is {told(value)}, but must be {wanted}.")


def _name(item: io.Input) -> str:
    """What the page calls it."""
    return item.display_name or item.id


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number too large for a float
        return True


def told(value: Any) -> str:
    """A value in a few words, for a sentence."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        if isinstance(value, numbers.Integral) and abs(value) < 10**20:
            return f"{int(value):,}"
        try:
            return f"{float(value):,.10g}"
        except OverflowError:
            return "a number of hundreds of digits"
    if isinstance(value, str):
        text = " ".join(value.split())
        return f"the text “{text if len(text) <= 40 else text[:39] + '…'}”"
    if isinstance(value, torch.Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        return f"a tensor of {kind} and the shape {tuple(value.shape)}"
    return f"{value}" if isinstance(value, bool) else f"a {type(value).__name__}"
