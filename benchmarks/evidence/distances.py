"""How far samples are from a distribution, in any number of dimensions."""

from __future__ import annotations

import torch
from torch import Tensor

QUANTILES = 500


def directions(d: int, count: int = 64) -> Tensor:
    """(d, count): unit vectors drawn once, fp64; in one dimension the only one there is."""
    if d == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    drawn = torch.randn(d, count, generator=torch.Generator().manual_seed(11), dtype=torch.float64)
    return drawn / drawn.norm(dim=0)


def along(x: Tensor, directions: Tensor) -> Tensor:
    """x (n, d) -> (QUANTILES, count): the quantiles of the samples along each direction, fp64, on the CPU."""
    at = (torch.arange(QUANTILES, dtype=torch.float64) + 0.5) / QUANTILES
    return torch.quantile(x.detach().cpu().double() @ directions, at, dim=0)


def sliced_wasserstein(x: Tensor, y: Tensor) -> float:
    """The mean over directions of the 1-Wasserstein distance of samples (n, d) and (m, d), in the units of x."""
    lines = directions(x.shape[1])
    return float((along(x, lines) - along(y, lines)).abs().mean())


def even_cells(values: Tensor, cells: int) -> Tensor:
    """(cells - 1,): the edges of cells in which equally many of the values lie. values: (n,)."""
    return torch.quantile(values.double(), torch.arange(1, cells, dtype=torch.float64) / cells)


def shares(values: Tensor, edges: Tensor) -> Tensor:
    """(cells,): the share of the values in each cell; the first and the last are open."""
    return torch.bincount(torch.bucketize(values.detach().cpu().double(), edges), minlength=len(edges) + 1) / len(
        values
    )


def total_variation(p: Tensor, q: Tensor) -> float:
    """½ Σ |p - q| of two lists of shares: 0 to 1."""
    return float((p.double() - q.double()).abs().sum() / 2)
