"""What the stages of a training minimise: denoising score matching, and Diffusion-DPO."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from .demo_data import colourfulness
from .denoiser import Denoiser
from .stage import Run

REWARD_SCALE = 20.0  # Bradley–Terry: log-odds of winning per unit of colourfulness (its spread is 0.09)

Draw = Callable[[int], tuple[Tensor, Tensor]]  # how many -> captions (B, 3), pictures (B, 3, H, W)


def fit(run: Run, draw: Draw) -> None:
    """Denoising score matching on the pictures that `draw` gives, to the run's last step."""
    while run.step < run.steps:
        captions, pictures = draw(run.settings.batch)
        noise = torch.randn(pictures.shape, generator=run.random, device=pictures.device)
        timestep = run.model.noise_levels(len(pictures), run.random)
        run.update(run.model.errors(pictures, noise, timestep, run.model.context(captions, run.random)).mean())


def drawn(run: Run) -> Draw:
    """Pictures as they are drawn, each only once."""

    def draw(count: int) -> tuple[Tensor, Tensor]:
        captions = run.painter.captions(count)
        return captions, run.painter.draw(captions)

    return draw


def keep_ends(model: Denoiser) -> None:
    """Freeze the tokens, as both models share one conditioning, and the layers next to the pixels, whose drift would
    show as a pattern of the patches."""
    for frozen in (model.tokens, model.unet.input_blocks[0], model.unet.out):
        frozen.requires_grad_(False)


def prefer(run: Run, reference: Denoiser, beta: float) -> None:
    """Diffusion-DPO from the reference, to the run's last step.

    Loss: -log σ(-β/2 · ω ((e_w - e_w_ref) - (e_l - e_l_ref))), e the mean squared errors of winner and loser at the
    same noise, t uniform; the constant factor T is inside β, as in the paper's code. ω(λ_t) is free: σ² (of
    α² + σ² = 1) makes e the error of x_0. Weighing all noise alike, the model learned to spoil the losers' last
    steps with a pixel pattern instead of colouring the winners.
    """
    reference.requires_grad_(False)
    while run.step < run.steps:
        run.update(preference_loss(run, reference, beta))


def preference_loss(run: Run, reference: Denoiser, beta: float) -> Tensor:
    """Of a batch of pairs that the run draws."""
    model, pairs, random = run.model, run.settings.batch // 2, run.random
    captions = run.painter.captions(pairs).repeat(2, 1)
    pictures = order_by_reward(run.painter.draw(captions), random)
    noise = torch.randn(pairs, *pictures.shape[1:], generator=random, device=pictures.device).repeat(2, 1, 1, 1)
    timestep = torch.randint(len(model.sigmas), (pairs,), generator=random, device=pictures.device).repeat(2)
    context = model.context(captions[:pairs], random).repeat(2, 1, 1)
    with torch.no_grad():
        baseline = reference.errors(pictures, noise, timestep, context)
    weight = model.sigmas[timestep] ** 2 / (1 + model.sigmas[timestep] ** 2)
    winners, losers = (weight * (model.errors(pictures, noise, timestep, context) - baseline)).chunk(2)
    return -functional.logsigmoid(-0.5 * beta * (winners - losers)).mean()


def order_by_reward(pictures: Tensor, random: torch.Generator) -> Tensor:
    """pictures: (2N, …), pair k being k and N + k -> the same with each pair's Bradley–Terry winner first."""
    first, second = pictures.chunk(2)
    odds = REWARD_SCALE * (colourfulness(first) - colourfulness(second))
    wins = torch.rand(len(first), generator=random, device=pictures.device) < torch.sigmoid(odds)
    wins = wins[:, None, None, None]
    return torch.cat([torch.where(wins, first, second), torch.where(wins, second, first)])
