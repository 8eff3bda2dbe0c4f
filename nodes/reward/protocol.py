"""What a reward is, and the one way to ask it: what goes in and what comes out is checked for all of them alike.

Another pack's reward needs nothing of this one: any object with a `name` and a `score`, given out as REALIGN_REWARD.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from einops import repeat

from ..models.files import said
from ..models.machine import check_machine

AT_ONCE = 16  # pictures that a reward scores in one call, unless it says otherwise
AT_ONCE_GRADIENT = 4  # where what their gradients need is kept, too


@runtime_checkable
class Reward(Protocol):
    """How good pictures are. These two are all that it must have; the rest, with what it is where it is missing:

    differentiable: bool = False              whether autograd gives the scores' gradient with respect to the pictures
    needs_prompt: bool = False                whether it must be told what the pictures should show
    models: Sequence[ModelPatcher] = ()       the host's models that must be loaded when `score` is called
    at_once: int = 16                         how many pictures it may get in one call
    """

    name: str  # for labels and errors

    def score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        """images: (B, H, W, 3) in [0, 1], fp32 or fp64; prompts: B texts. -> (B,), higher is better.

        Each picture by itself. It is called in inference mode, or under autograd where a gradient is wanted.
        """
        ...


class RewardError(ValueError):
    """A whole sentence, which names the reward."""


def is_reward(value: Any) -> bool:
    return isinstance(value, Reward) and isinstance(value.name, str) and callable(value.score)


def differentiable(reward: Reward) -> bool:
    return bool(getattr(reward, "differentiable", False))


def needs_prompt(reward: Reward) -> bool:
    return bool(getattr(reward, "needs_prompt", False))


def models_of(rewards: Iterable[Reward]) -> tuple[ModelPatcher, ...]:
    """The models that these must have loaded, each once."""
    found = {id(patcher): patcher for reward in rewards for patcher in getattr(reward, "models", ())}
    return tuple(found.values())


def load(reward: Reward) -> None:
    """Has the host load what the reward needs, which the host frees when it needs the room, as any MODEL."""
    models = models_of([reward])
    if models:
        comfy.model_management.load_models_gpu(list(models))


def scores(
    reward: Reward, images: torch.Tensor, prompts: str | Sequence[str] = "", loaded: bool = False
) -> torch.Tensor:
    """A reward's scores, (B,) in the images' number format (fp32 for half) and on their device.

    images: (B, H, W, C) in [0, 1]. prompts: one for all, or one a picture. loaded: whether its models are in place.
    Where autograd is on and the images want a gradient, the scores have one; that needs torch.inference_mode(False).
    Raises RewardError for what cannot be scored, and for a reward that fails or gives something else than (B,) numbers.
    """
    images = checked_pictures(reward, images)
    texts = _texts(reward, prompts, len(images))
    wanted = torch.is_grad_enabled() and images.requires_grad
    if wanted and not differentiable(reward):
        raise RewardError(f"The reward “{reward.name}” has no gradient with respect to the pictures.")
    if not loaded:
        load(reward)
    if wanted:
        return _asked(reward, images, texts)
    with torch.no_grad():
        parts, size = [], getattr(reward, "at_once", AT_ONCE)
        for start in range(0, len(images), size):
            comfy.model_management.throw_exception_if_processing_interrupted()
            piece = slice(start, start + size)
            parts.append(_asked(reward, images[piece], texts[piece], start))
        return torch.cat(parts)


def gradient(
    reward: Reward, images: torch.Tensor, prompts: str | Sequence[str] = ""
) -> tuple[torch.Tensor, torch.Tensor]:
    """The scores (B,), and the gradient of each with respect to its picture, (B, H, W, C).

    Nodes run in inference mode, in which there are no gradients: this leaves it, and works on copies.
    Raises RewardError as `scores` does, and for a gradient that is not finite.
    """
    given = [prompts] * len(images) if isinstance(prompts, str) else list(prompts)
    values, gradients = [], []
    load(reward)
    for start in range(0, len(images), AT_ONCE_GRADIENT):
        piece = slice(start, start + AT_ONCE_GRADIENT)
        with torch.inference_mode(False), torch.enable_grad():
            x = images[piece].detach().clone().requires_grad_()
            value = scores(reward, x, given[piece], loaded=True)
            (slope,) = torch.autograd.grad(value.sum(), x)
        if not torch.isfinite(slope).all():
            raise RewardError(f"The reward “{reward.name}” has a gradient that is not finite (NaN or infinity).")
        values.append(value.detach())
        gradients.append(slope)
    return torch.cat(values), torch.cat(gradients)


def checked_pictures(reward: Reward, images: torch.Tensor, does: str = "score") -> torch.Tensor:
    """(B, H, W, 3), fp32 or fp64. does: what the reward does with them, for the sentence. Raises RewardError."""
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or not images.numel() or images.shape[-1] == 2:
        shape = tuple(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        raise RewardError(
            f"The reward “{reward.name}” can only {does} pictures (batch, height, width, colour), not {shape}."
        )
    finite = torch.isfinite(images.detach()).flatten(1).all(1)
    if not finite.all():
        listed = _listed(~finite)
        raise RewardError(f"The reward “{reward.name}” cannot {does} {listed}: not finite (NaN or infinity).")
    images = images[..., :3] if images.shape[-1] > 3 else images
    images = repeat(images, "b h w 1 -> b h w c", c=3) if images.shape[-1] == 1 else images
    return images if images.dtype in (torch.float32, torch.float64) else images.float()


def _texts(reward: Reward, prompts: str | Sequence[str], count: int) -> list[str]:
    texts = [prompts] * count if isinstance(prompts, str) else list(prompts)
    texts = texts * count if len(texts) == 1 else texts
    if len(texts) != count:
        raise RewardError(f"The reward “{reward.name}” got {len(texts)} prompts for {count} pictures: one for each.")
    if needs_prompt(reward) and not all(text.strip() for text in texts):
        raise RewardError(
            f"The reward “{reward.name}” compares pictures with a text, and there is none: type what they should show "
            "into “prompt”."
        )
    return texts


def _asked(reward: Reward, images: torch.Tensor, prompts: Sequence[str], first: int = 0) -> torch.Tensor:
    """One call, and its check. first: the number of pictures before these."""
    try:
        out = reward.score(images, prompts)
    except RewardError:
        raise
    except Exception as error:  # another pack's code
        check_machine(error, f"The reward “{reward.name}” failed", RewardError)
        raise RewardError(f"The reward “{reward.name}” failed: {said(error).rstrip('.')}.") from error
    wanted = f"one number a picture, a tensor of the shape ({len(images)},)"
    if not isinstance(out, torch.Tensor) or out.dtype == torch.bool or out.is_complex():
        raise RewardError(f"The reward “{reward.name}” gave a {type(out).__name__}, but must give {wanted}.")
    if out.shape != (len(images),):
        raise RewardError(f"The reward “{reward.name}” gave the shape {tuple(out.shape)}, but must give {wanted}.")
    out = out.to(images)
    finite = torch.isfinite(out.detach())
    if not finite.all():
        raise RewardError(
            f"The reward “{reward.name}” gave no finite number (NaN or infinity) for {_listed(~finite, first)}."
        )
    if torch.is_grad_enabled() and images.requires_grad and not out.requires_grad:
        raise RewardError(
            f"The reward “{reward.name}” says that it is differentiable, but its scores have no gradient with respect "
            "to the pictures."
        )
    return out


def _listed(which: torch.Tensor, first: int = 0) -> str:
    numbers = [first + i + 1 for i in which.nonzero().flatten().tolist()]
    return f"picture {numbers[0]}" if len(numbers) == 1 else f"pictures {', '.join(map(str, numbers[:12]))}"
