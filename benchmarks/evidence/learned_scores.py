"""What the pictures of `make evidence` score: the reward that training saw, and two things that it never did.

- mean chroma: the reward, `colourfulness` of tools/train/demo_data.py;
- caption: the chance, in the eyes of a classifier of drawn pictures, of the shape and the colour that were asked for,
  the stand-in for a CLIP score;
- diversity: how far a picture is from those of the same caption and other seeds, in the classifier's features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from realign_study.report.statistics import Array
from tools.train.demo_data import HUES, SHAPES, Painter, colourfulness

from .kept import Kept
from .learned_cases import MERGED, Asked, Extent
from .learned_studies import captions, pictures_of, rows_of

REWARD, CAPTION, DIVERSITY = "mean chroma", "caption", "diversity"
SCORES = (REWARD, CAPTION, DIVERSITY)
LESSON, RATE = 64, 2e-3  # of the classifier: pictures of a step, learning rate
FEATURES = 64


@dataclass(frozen=True)
class Scored:
    """Pictures of one network, or of λ: each array (captions × seeds,), caption by caption. nats: (captions,), mean
    KL(it ‖ reference) of its runs, by the sampler's trace; nan: not known."""

    scores: dict[str, Array]
    nats: Array


class Classifier(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1] -> features (B, FEATURES); `shape` and `colour` of them: logits (B, 8)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, FEATURES)
        layers = [
            layer
            for wide, wider in pairwise(widths)
            for layer in (nn.Conv2d(wide, wider, 3, 2, 1), nn.BatchNorm2d(wider), nn.ReLU())
        ]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * FEATURES, FEATURES))
        self.shape, self.colour = (nn.Linear(FEATURES, len(words)) for words in (SHAPES, HUES))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.body(pictures)

    def chance(self, features: Tensor, wanted: Tensor) -> Tensor:
        """(B,) of the shape and the colour both. wanted: (B, 2), their places."""
        log = [functional.log_softmax(head(features), -1) for head in (self.shape, self.colour)]
        return sum(one.gather(1, wanted[:, place : place + 1])[:, 0] for place, one in enumerate(log)).exp()


def taught(kept: Kept, size: int, lessons: int) -> tuple[Classifier, float]:
    """A classifier of drawn pictures, size px, and the share of fresh ones of which it tells both shape and colour."""
    torch.manual_seed(5)
    model, painter = Classifier(), Painter(size, 4242)

    def teach() -> dict[str, Tensor]:
        optimiser = torch.optim.AdamW(model.parameters(), RATE)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=lessons)
        for _ in range(lessons):
            asked = painter.captions(LESSON)
            features = model(painter.draw(asked))
            heads = (model.shape(features), model.colour(features))
            loss = sum(functional.cross_entropy(one, asked[:, place]) for place, one in enumerate(heads))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
        return model.state_dict()

    model.load_state_dict(kept.tensors(f"classifier of {size} px, {lessons} steps", teach))
    model.eval()
    fresh = Painter(size, 999)
    asked = fresh.captions(4096)
    with torch.no_grad():
        features = model(fresh.draw(asked))
    told = torch.stack([head(features).argmax(-1) for head in (model.shape, model.colour)], 1)
    return model, float((told == asked[:, :2]).all(1).float().mean())


class Judge:
    """Scores the pictures of an extent's studies."""

    def __init__(self, extent: Extent, kept: Kept) -> None:
        self.extent = extent
        self.classifier, self.told = taught(kept, extent.network.size, extent.lessons)
        asked = captions(extent.every)
        places = [[list(SHAPES).index(one["shape"]), list(HUES).index(one["colour"])] for one in asked]
        self.wanted = torch.tensor(places).repeat_interleave(extent.seeds, 0)
        self.order = {" ".join(one.values()): place for place, one in enumerate(asked)}

    def scored(self, asked: Asked, folder: Path) -> dict[float, Scored]:
        """By λ, all pictures of a study. Raises SystemExit where some are missing."""
        found = {}
        for value in asked.lambdas:
            own = rows_of(folder, value)
            if len(own) != len(self.order):
                raise SystemExit(f"{folder}: {len(own)} of {len(self.order)} captions of λ {value:g}.")
            own.sort(key=lambda row: self.order[row["prompt"]])
            # Merged weights are a model of their own to the sampler: its KL is not that to the reference.
            known = [np.nan if row["kl"] is None or asked.method == MERGED else row["kl"] for row in own]
            found[value] = Scored(self.of([folder / row["picture"] for row in own]), np.array(known, float))
        return found

    def of(self, files: Sequence[Path]) -> dict[str, Array]:
        """Of rows' pictures, caption by caption."""
        pictures = np.concatenate([pictures_of(file, self.extent.seeds) for file in files])
        x = rearrange(torch.from_numpy(pictures).float() / 127.5 - 1, "b h w c -> b c h w")
        with torch.no_grad():
            features = self.classifier(x)
            chance = self.classifier.chance(features, self.wanted)
        grouped = rearrange(features, "(caption seed) f -> caption seed f", seed=self.extent.seeds)
        apart = torch.cdist(grouped, grouped).sum(-1) / (self.extent.seeds - 1)
        values = {REWARD: colourfulness(x), CAPTION: chance, DIVERSITY: apart.flatten()}
        return {name: value.double().numpy() for name, value in values.items()}
