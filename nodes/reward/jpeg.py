"""The size of a picture as a JPEG file, by a real encoder: a reward without a gradient."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

KB = 1000  # bytes
QUALITY = 95  # of the published reward (DDPO, arXiv 2305.13301)
LARGEST_SIDE = 65535  # px, of the format


@dataclass(frozen=True)
class JpegSize:
    """kB of each picture as a JPEG; with sign -1 small files are good (compressibility), with 1 large ones."""

    sign: int
    quality: int = QUALITY
    differentiable: bool = False

    @property
    def name(self) -> str:
        return "JPEG compressibility" if self.sign < 0 else "JPEG incompressibility"

    def score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        if max(images.shape[1:3]) > LARGEST_SIDE:
            raise ValueError(f"a JPEG's sides have at most {LARGEST_SIDE} px")
        pixels = (images.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        sizes = [self.sign * jpeg_bytes(picture, self.quality) / KB for picture in pixels]
        return torch.tensor(sizes, dtype=images.dtype, device=images.device)


def jpeg_bytes(pixels: np.ndarray, quality: int) -> int:
    """pixels: (H, W, 3) of 8 bits. The size of the file, with the encoder's own settings but for the quality."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=quality)
    return file.tell()
