"""A reward of latents: what Realign Particles' tilt asks at every step."""

from __future__ import annotations

from collections.abc import Sequence

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..models.machine import check_machine
from .decoded import Decoder
from .protocol import (
    AT_ONCE,
    AT_ONCE_GRADIENT,
    Reward,
    RewardError,
    differentiable,
    models_of,
    scores,
)

REHEARSED = 2  # pictures that a reward is tried on before the run


class Judge:
    """(B, C, ...) latents as the sampler has them -> (B,). Raises RewardError as `scores` does.

    held_out: a reward that is asked for the same pictures, and does not steer.
    """

    def __init__(self, reward: Reward, decoder: Decoder, prompt: str = "", held_out: Reward | None = None):
        self.reward, self.decoder, self.prompt, self.held_out = reward, decoder, prompt, held_out
        self.name, self.differentiable = reward.name, differentiable(reward)
        self._held: list[Tensor] = []

    def __call__(self, latents: Tensor) -> Tensor:
        comfy.model_management.throw_exception_if_processing_interrupted()
        images = self.decoder(latents)
        if self.held_out is not None:
            with torch.no_grad():
                self._held.append(scores(self.held_out, images.detach(), self.prompt, loaded=True).cpu())
        if not self.differentiable:
            images = images.detach()
        return scores(self.reward, images, self.prompt, loaded=True).to(latents.device)

    def watched(self) -> Tensor | None:
        """Of the held-out reward, for all latents since this was called last, (B,); None: for none."""
        held, self._held = self._held, []
        return torch.cat(held) if held else None

    @property
    def models(self) -> tuple[ModelPatcher, ...]:
        """All that must be loaded when it is asked."""
        rewards: Sequence[Reward] = [one for one in (self.reward, self.held_out) if one is not None]
        return (self.decoder.vae.patcher, *models_of(rewards))

    def at_once(self, shape: tuple[int, ...], gradient: bool) -> int:
        """How many latents of this shape, (C, ...), are judged in one call."""
        most = AT_ONCE_GRADIENT if gradient else min(AT_ONCE, getattr(self.reward, "at_once", AT_ONCE))
        return self.decoder.at_once(shape, gradient, most)

    def rehearse(self, shape: tuple[int, ...], gradient: bool) -> None:
        """Judges noise of this shape, (C, ...), so that what cannot be judged is refused before the run.

        Raises RewardError.
        """
        comfy.model_management.load_models_gpu([*self.models])
        generator = torch.Generator().manual_seed(0)
        try:
            size = min(REHEARSED, self.at_once(shape, gradient))
            latents = torch.randn(size, *shape, generator=generator).to(self.decoder.vae.device)
            with torch.inference_mode(False), torch.set_grad_enabled(gradient):
                x = latents.clone().requires_grad_(gradient)
                found = self(x)
                if gradient:
                    torch.autograd.grad(found.sum(), x)
        except RewardError:
            raise
        except Exception as error:
            check_machine(error, "The VAE cannot decode for the reward", RewardError)
            raise RewardError(
                f"The VAE cannot decode latents of the shape {tuple(shape)} ({error}): connect the VAE that belongs to "
                "this model."
            ) from error
        finally:
            self.watched()
