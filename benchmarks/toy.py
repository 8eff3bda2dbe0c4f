"""The whole method in one file, on a plane where the answer is known: `make toy`.

A reference p and a reward r give the model aligned at β in closed form: p · exp(r/β), normalised. The anchor is that of
β = 1. DeRaDiff (arXiv 2601.20198) samples that of β/λ from these two, without training it: each step draws from
p_ref^(1-λ) · p_anchor^λ, the geometric mixture of their reverse posteriors (theorem 1).

Prints how far the samples are from the exact density, beside the floor: as many draws from that density. λ = 0 and 1
are one model's own run; what the others have beyond these is the cost of mixing step by step. Writes docs/toy.png.
"""

from __future__ import annotations

import colorsys
import math
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

PACK = Path(__file__).resolve().parents[1]
sys.path.append(str(PACK))

from realign_core import NoiseLevel, geometric_mixture, realignment_weights, reverse_posterior  # noqa: E402

LAMBDAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
REWARD = torch.tensor([0.0, 1.0])  # r(x) = REWARD · x: the higher a point lies, the better
SIGMAS = torch.linspace(20 ** (1 / 7), 0.02 ** (1 / 7), 150) ** 7  # Karras et al. 2022 (arXiv 2206.00364), eq. 5
LEVELS = [NoiseLevel(1.0, sigma) for sigma in [*SIGMAS.tolist(), 0.0]]  # x_t = x_0 + σ_t ε
SIDE, CELLS, DRAWS = 9.0, 45, 50_000  # compared on a square around the origin: its length, cells per side, samples
PANEL, TITLE, SHOWN = 600, 60, 1200  # px, drawn at twice the picture's size; the samples that are shown
BACKGROUND, INK, GREY = (24, 24, 27), (244, 244, 245), (161, 161, 170)


@dataclass
class Plane:
    """A mixture of K Gaussians: a model of which the density, the denoiser and every aligned version are known."""

    log_weights: Tensor  # (K,)
    means: Tensor  # (K, 2, 1)
    covs: Tensor  # (K, 2, 2)

    def aligned(self, strength: float) -> Plane:
        """p · exp(strength · r), normalised; strength is 1/β. A linear r moves each Gaussian and weighs it anew."""
        moved = strength * self.covs @ REWARD[:, None]
        gained = strength * REWARD @ (self.means + moved / 2)
        return Plane((self.log_weights + gained.flatten()).log_softmax(0), self.means + moved, self.covs)

    def denoise(self, x: Tensor, level: NoiseLevel) -> Tensor:
        """D = E[x_0 | x_t = x], (N, 2): what a network is trained to predict."""
        log_joint, towards = self._components(x, level)
        return (log_joint.softmax(0)[:, None] * (self.means + level.alpha * self.covs @ towards)).sum(0).T

    def log_density(self, x: Tensor) -> Tensor:
        return self._components(x, NoiseLevel(1.0, 0.0))[0].logsumexp(0)

    def _components(self, x: Tensor, level: NoiseLevel) -> tuple[Tensor, Tensor]:
        """Of x_t, in each component: log(weight · density), (K, N), and its distance over the covariance, (K, 2, N)."""
        covs = level.alpha**2 * self.covs + level.sigma**2 * torch.eye(2)
        distance = x.T - level.alpha * self.means
        towards = torch.linalg.inv(covs) @ distance
        log_peaks = self.log_weights - torch.logdet(covs) / 2 - math.log(2 * math.pi)
        return log_peaks[:, None] - (distance * towards).sum(1) / 2, towards

    def mean_reward(self) -> float:
        return float(self.log_weights.exp() @ (self.means[..., 0] @ REWARD))

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        which = torch.multinomial(self.log_weights.exp(), count, replacement=True, generator=generator)
        noise = torch.randn(count, 2, 1, generator=generator)
        return (self.means[which] + torch.linalg.cholesky(self.covs)[which] @ noise)[..., 0]


def pinwheel(petals: int = 9, radius: float = 2.2, lean: float = 0.9) -> Plane:
    around = torch.arange(petals) * 2 * math.pi / petals
    (x, y), (c, s) = ((angle.cos(), angle.sin()) for angle in (around, around + lean))
    axes = torch.stack([c, -s, s, c], -1).reshape(-1, 2, 2) @ torch.tensor([0.75, 0.2]).diag()
    return Plane(torch.zeros(petals).log_softmax(0), radius * torch.stack([x, y], -1)[..., None], axes @ axes.mT)


def sample(reference: Plane, anchor: Plane, lambda_: float, count: int) -> Tensor:
    """DeRaDiff, algorithm 1. `realign_core.realigned_sample` is the same for networks and any number of anchors."""
    generator = torch.Generator().manual_seed(1)
    x = LEVELS[0].sigma * torch.randn(count, 2, generator=generator)
    for now, then in pairwise(LEVELS):
        posteriors = [reverse_posterior(x, model.denoise(x, now), now, then) for model in (reference, anchor)]
        mean, variance = geometric_mixture(posteriors, realignment_weights(lambda_))
        x = mean + variance.sqrt() * torch.randn(x.shape, generator=generator)
    return x


def grid(side: int) -> Tensor:
    """The centres of side² cells, (side², 2): rows from the top, each from the left."""
    at = ((torch.arange(side) + 0.5) / side - 0.5) * SIDE
    return torch.cartesian_prod(-at, at).flip(1)


def total_variation(x: Tensor, exact: Plane, fine: int = 4) -> float:
    """½ Σ |share of the samples - probability| over the cells: 0 to 1."""
    p = exact.log_density(grid(CELLS * fine)).exp().reshape(CELLS, fine, CELLS, fine).mean((1, 3)) * (SIDE / CELLS) ** 2
    column, row = ((x * torch.tensor([1, -1]) / SIDE + 0.5) * CELLS).long().clamp(0, CELLS - 1).T
    shares = torch.bincount(row * CELLS + column, minlength=CELLS**2).reshape(CELLS, CELLS) / len(x)
    return float((shares - p).abs().sum() / 2)


def drawn(exact: Plane, x: Tensor, colour: np.ndarray) -> Image.Image:
    """Samples over the contours that hold 95, 75, 50 and 25 % of the exact density."""
    log_p = exact.log_density(grid(PANEL)).reshape(PANEL, PANEL).numpy()
    falling = np.sort(log_p.flatten())[::-1]
    held, picture = np.exp(falling).cumsum() * (SIDE / PANEL) ** 2, np.full((PANEL, PANEL, 3), BACKGROUND, float)
    for share in (0.95, 0.75, 0.5, 0.25):
        inwards = (log_p - falling[np.searchsorted(held, share)]) / np.hypot(*np.gradient(log_p))  # px from the contour
        cover = 0.2 * np.clip(inwards + 0.5, 0, 1) + 0.5 * np.clip(1.8 - abs(inwards), 0, 1)
        picture += cover[..., None] * (colour - picture)
    image = Image.fromarray(picture.round().astype(np.uint8))
    for across, up in (x[:SHOWN] / SIDE).tolist():
        ImageDraw.Draw(image).circle(((0.5 + across) * PANEL, (0.5 - up) * PANEL), 1.3, fill=INK)
    return image


def main() -> None:
    reference, anchor = pinwheel(), pinwheel().aligned(1.0)
    sheet = Image.new("RGB", (4 * PANEL, 2 * (PANEL + TITLE)), BACKGROUND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.truetype(PACK / "assets" / "RealignSans.ttf", 34)
    curve = [reference.aligned(i / 40).mean_reward() for i in range(61)]
    pen.line([(3 * PANEL + 60 + 8 * i, 1240 - 190 * reward) for i, reward in enumerate(curve)], GREY, 4)
    print("λ     that of        total variation   floor   mean reward   exact")
    for i, lambda_ in enumerate(LAMBDAS):
        x, exact = sample(reference, anchor, lambda_, DRAWS), reference.aligned(lambda_)
        floor = total_variation(exact.draw(DRAWS, torch.Generator().manual_seed(2)), exact)
        distance, reward = total_variation(x, exact), float((x @ REWARD).mean())
        name = {0.0: "reference", 1.0: "anchor, β 1"}.get(lambda_, f"β {1 / (lambda_ or 1):.3g}")
        print(f"{lambda_:4.2f}  {name:11} {distance:12.3f} {floor:11.3f} {reward:11.3f} {exact.mean_reward():9.3f}")
        colour = 255 * np.array(colorsys.hsv_to_rgb((0.6 + 0.32 * lambda_) % 1, 0.75, 1.0))
        left, top = i % 4 * PANEL, i // 4 * (PANEL + TITLE)
        sheet.paste(drawn(exact, x, colour), (left, top + TITLE))
        pen.text((left + 32, top + 44), f"λ {lambda_:g}", INK, font, "ls")
        pen.text((left + 170, top + 44), name, GREY, font, "ls")
        pen.circle((3 * PANEL + 60 + 320 * lambda_, 1240 - 190 * reward), 11, tuple(colour.astype(int)))
    pen.text((3 * PANEL + 32, PANEL + TITLE + 44), "mean reward over λ, line: exact", INK, font, "ls")
    sheet.reduce(2).save(PACK / "docs" / "toy.png", optimize=True)


if __name__ == "__main__":
    main()
