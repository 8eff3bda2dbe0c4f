"""A picture as a few numbers, by which a preference is learned: what an image encoder sees, or colours and shapes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from comfy.model_patcher import ModelPatcher
from einops import rearrange

from .picture import LUMA, root
from .vision import check_encoder, encoded

SIDE = 64  # px: what colours and shapes are read from
CELLS = 4  # a side of the raster of means
# Luminance, red against green, yellow against blue: Hasler and Süsstrunk's opponents, of (r, g, b).
OPPONENTS = (LUMA, (1.0, -1.0, 0.0), (0.5, 0.5, -1.0))
SAMPLED, OF_LAYERS = 64, 16  # values of an encoder's layer, and layers, by which it is known again


class Features(Protocol):
    """name: by which a saved preference knows which numbers it was learned from."""

    name: str

    @property
    def models(self) -> tuple[ModelPatcher, ...]:
        """The host's models that must be loaded when `of` is called."""
        ...

    def of(self, images: torch.Tensor) -> torch.Tensor:
        """images: (B, H, W, 3) in [0, 1] -> (B, D), on their device, with gradients."""
        ...


@dataclass(frozen=True)
class ColoursAndShapes:
    """D = 57: mean and spread of three opponent colours, saturation, edges, and a 4 × 4 raster of the colours.

    All in [−1, 1]. No model: what is learned from it is taste in colour, light and composition, not in what is shown.
    """

    name: ClassVar[str] = "colours and shapes"
    models: ClassVar[tuple[ModelPatcher, ...]] = ()

    def of(self, images: torch.Tensor) -> torch.Tensor:
        x = rearrange(images, "b h w c -> b c h w")
        if max(x.shape[-2:]) > SIDE:
            x = torch.nn.functional.interpolate(x, size=(SIDE, SIDE), mode="bilinear", antialias=True)
        turned = torch.einsum("oc,bchw->bohw", torch.tensor(OPPONENTS, dtype=x.dtype, device=x.device), x)
        pixels = rearrange(turned, "b o h w -> b o (h w)")
        chroma = root(turned[:, 1:].square().sum(1)).mean((1, 2))
        steps = [turned[:, 0].diff(dim=axis).abs() for axis in (1, 2)]
        edges = torch.stack([one.sum((1, 2)) / max(1, one[0].numel()) for one in steps]).sum(0) / 2
        cells = torch.nn.functional.adaptive_avg_pool2d(turned, CELLS)
        spread = root(pixels.var(-1, unbiased=False))
        whole = [pixels.mean(-1), spread, rearrange([chroma, edges, x.amax(1).mean((1, 2))], "n b -> b n")]
        return torch.cat([*whole, rearrange(cells, "b o y x -> b (o y x)")], 1)


@dataclass(frozen=True)
class Encoded:
    """The embedding of a CLIP vision model of the host's, of length 1."""

    clip_vision: Any
    crop: str
    name: str

    @classmethod
    def by(cls, clip_vision: Any, crop: str) -> Encoded:
        """Raises ValueError for an encoder whose pictures are none of pixels."""
        check_encoder(clip_vision)
        kind = str(getattr(clip_vision, "model_type", None) or type(clip_vision.model).__name__)
        return cls(clip_vision, crop, f"{kind}, {_fingerprint(clip_vision.model.named_parameters())}, {crop}")

    @property
    def models(self) -> tuple[ModelPatcher, ...]:
        return (self.clip_vision.patcher,)

    def of(self, images: torch.Tensor) -> torch.Tensor:
        return encoded(self.clip_vision, images, self.crop)


def _fingerprint(parameters: Iterable[tuple[str, torch.Tensor]]) -> str:
    """The same for the same weights, whether they are kept in half precision or not."""
    matrices = [(name, value) for name, value in parameters if value.ndim >= 2][:OF_LAYERS]
    digest = hashlib.sha256()
    for name, value in matrices:
        digest.update(name.encode())
        digest.update(value.detach().flatten()[:SAMPLED].float().cpu().half().numpy().tobytes())
    return digest.hexdigest()[:12]
