"""Several rewards at once: the front, which is what no other beats in all of them, and how much it covers.

Deb, Multi-objective optimization using evolutionary algorithms (2001), definition 2.5; Zitzler and Thiele,
Multiobjective evolutionary algorithms (1999), section II.C, for the volume.
"""

from __future__ import annotations

import torch
from einops import rearrange, reduce
from torch import Tensor


def on_front(scores: Tensor) -> Tensor:
    """Which points no other beats: none is at least as good in every reward, and better in one.

    scores: (B, R), higher is better; an infinity counts as a number -> (B,) bool, at least one of them True. Of points
    that are equal in all rewards none beats another: all are on the front, or none is.
    Raises ValueError for what is not (B, R), and for NaN, which nothing is better than.
    """
    _check(scores)
    one, other = rearrange(scores, "b r -> b 1 r"), rearrange(scores, "b r -> 1 b r")
    beaten = reduce(other >= one, "b by r -> b by", "all") & reduce(other > one, "b by r -> b by", "any")
    return ~reduce(beaten, "b by -> b", "any")


def hypervolume(scores: Tensor, least: Tensor) -> float:
    """The volume of all that is better than `least` and no better than some point, in the product of the units.

    The larger it is, the further a front reaches and the better it is filled; a point that another beats adds nothing,
    nor does one that is not above `least` in every reward. scores: (B, R), least: (R,), both finite. Exact, by slices
    along the last reward: seconds for some hundred points of three rewards.
    Raises ValueError for what is not of these shapes, or not finite.
    """
    _check(scores)
    if least.shape != scores.shape[1:] or not (torch.isfinite(scores).all() and torch.isfinite(least).all()):
        raise ValueError("hypervolume: scores are (B, R) and least (R,), all finite numbers")
    above = (scores - least).double()
    return _volume(above[(above > 0).all(1)])


def _volume(points: Tensor) -> float:
    """points: (B, R), all above 0 -> the volume between 0 and them."""
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(points.max())
    points = points[points[:, -1].argsort(descending=True)]
    tops = points[:, -1].tolist()
    volume = 0.0
    for count, (top, below) in enumerate(zip(tops, [*tops[1:], 0.0]), 1):
        if top > below:  # in this slice, the points that reach up to it
            volume += (top - below) * _volume(points[:count, :-1])
    return volume


def _check(scores: Tensor) -> None:
    if scores.ndim != 2 or not scores.numel():
        raise ValueError(f"scores are of the shape {tuple(scores.shape)}, but must be (points, rewards), one at least")
    if torch.isnan(scores).any():
        raise ValueError("scores hold NaN, which is neither better nor worse than any number")
