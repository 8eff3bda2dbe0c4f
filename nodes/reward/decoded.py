"""Latents as pictures while they are sampled: as VAE Decode does it, but with gradients, and with nothing loaded.

The host's own VAE.decode makes room by taking other models off the device, among them the one that is being sampled. So
the VAE is loaded along with the run, and asked here.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import torch
from einops import rearrange
from torch import Tensor

from ..models.gradients import plain
from .protocol import RewardError

FULL, TILED, HALF, QUARTER = "full", "tiled", "half size", "quarter size"
HOW = (FULL, TILED, HALF, QUARTER)
SHRINK = {HALF: 2, QUARTER: 4}
TILE, OVERLAP = 32, 8  # of tiles, in latents
GRADIENT = 4  # how much more memory a decode with gradients takes, about


@dataclass
class Decoder:
    """(B, C, ...) latents as the sampler has them -> (B, H, W, 3) in [0, 1], fp32."""

    vae: Any  # the host's VAE
    process_out: Callable[[Tensor], Tensor]  # of the model: to the VAE's latents
    how: str = FULL

    def __call__(self, latents: Tensor) -> Tensor:
        z = self.process_out(latents.float())
        if z.ndim == 5 and self.vae.latent_dim == 2:
            z = z[:, :, 0]
        if self.how in SHRINK:
            z = shrunk(z, SHRINK[self.how])
        if self.how != TILED:
            try:
                return self._pictures(self._decoded(z), len(latents))
            except Exception as error:
                comfy.model_management.raise_non_oom(error)
            logging.warning("Realign: out of memory when decoding for the reward, going on in tiles")
            comfy.model_management.soft_empty_cache()
            self.how = TILED
        return self._pictures(tiled(self._recomputed, z), len(latents))

    def at_once(self, shape: tuple[int, ...], gradient: bool, most: int) -> int:
        """How many latents of this shape, (C, ...), may be decoded in one call, at most `most`."""
        vae = self.vae
        need = vae.memory_used_decode((1, *shape), vae.vae_dtype) * (GRADIENT if gradient else 1)
        need /= SHRINK.get(self.how, 1) ** 2
        return max(1, min(most, int(vae.patcher.get_free_memory(vae.device) / max(need, 1))))

    def _decoded(self, z: Tensor) -> Tensor:
        """(B, 3, ...), [0, 1]: as the host's VAE.decode."""
        vae = self.vae
        z = z.to(device=vae.device, dtype=vae.vae_dtype)
        with plain([vae.patcher]):
            out = vae.first_stage_model.decode(z)
        pictures: Tensor = vae.process_output(out.float().clone())  # changes it in place
        return pictures

    def _recomputed(self, z: Tensor) -> Tensor:
        """The same, of which nothing is kept for the gradient but z."""
        out: Tensor = _Recomputed.apply(z, self._decoded) if torch.is_grad_enabled() else self._decoded(z)
        return out

    def _pictures(self, out: Tensor, count: int) -> Tensor:
        out = rearrange(out, "b c ... h w -> b (...) h w c")
        if out.shape[1] != 1 or len(out) != count:
            raise RewardError(
                f"Rewards judge pictures, but these latents are videos of {out.shape[1]} frames: sample a single frame."
            )
        return out[:, 0, ..., :3]


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, decode: Callable[[Tensor], Tensor]) -> Tensor:  # type: ignore[override]
        ctx.decode = decode
        ctx.save_for_backward(z)
        with torch.no_grad():
            return decode(z)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (z,) = ctx.saved_tensors
        with torch.enable_grad():
            again = z.detach().requires_grad_()
            (back,) = torch.autograd.grad(ctx.decode(again), again, slope)
        return back, None


def shrunk(z: Tensor, by: int) -> Tensor:
    """Latents of a smaller picture: (B, C, ..., h/by, w/by), each the mean of those it stands for."""
    height, width = (max(side // by, 1) for side in z.shape[-2:])
    flat = z.reshape(-1, 1, *z.shape[-2:])
    return torch.nn.functional.interpolate(flat, size=(height, width), mode="area").reshape(
        *z.shape[:-2], height, width
    )


def tiled(decode: Callable[[Tensor], Tensor], z: Tensor, tile: int = TILE, overlap: int = OVERLAP) -> Tensor:
    """decode(z) in overlapping tiles, of which each fades into the next."""
    starts = [_starts(side, tile, overlap) for side in z.shape[-2:]]
    if all(len(one) == 1 for one in starts):
        return decode(z)
    total: Tensor | None = None
    for top, left in itertools.product(*starts):
        piece = z[..., top : top + tile, left : left + tile]
        out = decode(piece)
        scale = out.shape[-1] // piece.shape[-1]
        if total is None:
            total = out.new_zeros(*out.shape[:-2], *(side * scale for side in z.shape[-2:]))
            weight = torch.zeros_like(total[:1, :1])
        fade = _fade(out, overlap * scale)
        down, across = (slice(at * scale, at * scale + side) for at, side in zip((top, left), out.shape[-2:]))
        where = (..., down, across)
        total[where] = total[where] + out * fade
        weight[where] = weight[where] + fade
    assert total is not None
    return total / weight


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    """Where the tiles of a side begin."""
    if side <= tile:
        return [0]
    count = -(-(side - overlap) // (tile - overlap))
    return [round(i * (side - tile) / (count - 1)) for i in range(count)]


def _fade(out: Tensor, over: int) -> Tensor:
    """(h, w): 1, and falling towards all edges over so many px."""
    ramps = []
    for side in out.shape[-2:]:
        at = torch.arange(side, device=out.device, dtype=out.dtype) + 1
        ramps.append((torch.minimum(at, at.flip(0)) / (over + 1)).clamp(max=1))
    return ramps[0][:, None] * ramps[1]
