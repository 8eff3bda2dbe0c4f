"""Find the λ: which one gives the best reward within limits, from as few pictures as will do.

A pair is a prompt with a seed. Every pair's pictures start from the same noise at each λ, so that what differs between
two λ is λ's doing: a reward over λ is modelled as a curve f(λ) that all pairs share, an offset of each pair, and what
is a pair's own over λ (curves.py). Looked for is the λ at which the pairs' mean is best, as a full grid of all pairs
would tell it. What it says for other pairs takes these as drawn independently: where several prompts have the same few
seeds, it is somewhat too narrow. Pictures are chosen by what they are expected to tell of that λ: the share of its
variance that a linear regression on what would be seen explains, over draws of the posterior (as Strong, Oakley and
Brennan 2014, Medical Decision Making 34, 311, do for what a decision is worth).
Limits enter the draws, as in constrained Bayesian optimisation (Gardner et al. 2014, ICML, section 3): in each draw the
best λ is among those that keep them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from einops import rearrange, reduce
from torch import Tensor

from .curves import Curves
from .sweep import LAMBDAS, even_values

STEPS = (0.005, 0.01, 0.02, 0.05, 0.1)  # of λ: the finest that divides the range into no more than MOST_STEPS
MOST_STEPS = 200
FIRST = 4  # λ of the first round: both ends and two between
DRAWS, SHARE = 2000, 0.9  # of the posterior; of it lies within the interval
ROUNDING = 1e-9

SMALL, MOST, ALL = "the interval is small", "as many pictures as allowed", "all pictures of the range are seen"


@dataclass(frozen=True)
class Limit:
    """What the second and further numbers of a picture must keep, in the mean over the pairs.

    bound: the largest mean (a KL budget), or, where `falls`, how much it may be below its value at λ 0.
    """

    name: str
    bound: float
    falls: bool = False

    def margin(self, values: Tensor, at_zero: Tensor) -> Tensor:
        """What is left: below 0 where the limit is broken. values: (..., B) over λ; at_zero: (..., 1)."""
        return values - at_zero + self.bound if self.falls else self.bound - values


@dataclass(frozen=True)
class Seen:
    """Pictures that are there. Each pair's at a λ comes once."""

    lambdas: Tensor  # (N,), fp64
    pairs: Tensor  # (N,), whole numbers from 0
    values: Tensor  # (N, 1 + L), fp64: the reward, then each limit's number; NaN: not known

    @classmethod
    def none(cls, limits: int = 0) -> Seen:
        values = torch.zeros(0, 1 + limits, dtype=torch.float64)
        return cls(values[:, 0], values[:, 0].long(), values)

    def add(self, lambda_: float, pairs: Sequence[int], values: Tensor) -> Seen:
        """values: (P, 1 + L) of these pairs at one λ. Raises ValueError for other shapes and rewards not finite."""
        if values.shape != (len(pairs), self.values.shape[1]) or not bool(values[:, 0].isfinite().all()):
            raise ValueError(
                f"What was seen at λ {lambda_:g} is not a finite reward for each of {len(pairs)} pictures."
            )
        lambdas = torch.full((len(pairs),), lambda_, dtype=torch.float64)
        return Seen(
            torch.cat([self.lambdas, lambdas]),
            torch.cat([self.pairs, torch.tensor(pairs).long()]),
            torch.cat([self.values, values.detach().cpu().double()]),
        )

    def __len__(self) -> int:
        return len(self.lambdas)


@dataclass(frozen=True)
class Curve:
    """The pairs' mean of one number over λ, and its interval (SHARE)."""

    name: str
    mean: Tensor  # (B,)
    low: Tensor  # (B,)
    high: Tensor  # (B,)


@dataclass(frozen=True)
class Found:
    """What is known of the best λ."""

    lambda_: float  # where the expected mean reward is largest, of the λ whose expected means keep the limits
    low: float  # of its interval (SHARE)
    high: float
    elsewhere: tuple[float, float]  # the same for other pairs of this kind, which were not seen
    keeps: bool  # whether some λ of the range is expected to keep all limits; else it is the one that comes nearest
    lambdas: Tensor  # (B,), of the curves
    curves: tuple[Curve, ...]  # the reward, then each limit
    zero: tuple[float, ...]  # of each its expected mean at λ 0
    worth: Tensor  # (B,): the share of the best λ's variance that pictures there would explain (0–1)


@dataclass(frozen=True)
class Search:
    """What is looked for. Raises ValueError, in a sentence, for a range, number or limit that cannot be.

    pairs: how many. most: pictures, at the most. precision: half the interval at which the search ends. at_once: pairs
    that a round asks at one λ; 0: all. reward: its name, for the curves.
    """

    low: float = 0.0
    high: float = 1.0
    pairs: int = 4
    most: int = 64
    precision: float = 0.05
    limits: tuple[Limit, ...] = ()
    at_once: int = 0
    reward: str = "reward"
    seed: int = 0

    def __post_init__(self) -> None:
        if not LAMBDAS[0] <= self.low < self.high <= LAMBDAS[1]:
            raise ValueError(
                f"λ is searched from {self.low:g} to {self.high:g}, but the range must rise, within {LAMBDAS[0]:g} to "
                f"{LAMBDAS[1]:g}: e.g. from 0 to 1.5."
            )
        if self.pairs < 1 or self.at_once < 0 or not 0 < self.precision < math.inf:
            raise ValueError("A search needs at least one pair of prompt and seed, and a precision above 0.")
        if not all(math.isfinite(one.bound) and one.bound >= 0 for one in self.limits):
            raise ValueError("A limit of the search must be a finite number, 0 or more.")
        if self.most < self.least:
            raise ValueError(
                f"The search may make {self.most:,} pictures, but its first round alone takes {self.least:,} "
                f"({len(self.first)} λ × {self.block} prompts and seeds): allow more, or take fewer seeds."
            )

    @property
    def block(self) -> int:
        """Pairs of a round."""
        return min(self.at_once or self.pairs, self.pairs)

    @cached_property
    def candidates(self) -> tuple[float, ...]:
        """The λ that may be asked, in order."""
        span = self.high - self.low
        step = next((step for step in STEPS if span / step <= MOST_STEPS + 1e-9), span / MOST_STEPS)
        return even_values(self.low, self.high, round(span / step) + 1)

    @property
    def first(self) -> tuple[float, ...]:
        """The λ of the first round. What must not fall is compared with λ 0, which is then among them."""
        last = len(self.candidates) - 1
        spread = {self.candidates[round(i * last / (FIRST - 1))] for i in range(FIRST)}
        return tuple(sorted(spread | ({0.0} if any(one.falls for one in self.limits) else set())))

    @property
    def least(self) -> int:
        """Pictures of the first round."""
        return len(self.first) * self.block

    def ask(self, seen: Seen) -> list[tuple[float, list[int]]]:
        """The next round: λ with the pairs to be drawn there; nothing where the search has ended (`ended` says why)."""
        missing = self.missing(seen)
        if missing:
            return missing
        return self.after(seen, self.found(seen))

    def missing(self, seen: Seen) -> list[tuple[float, list[int]]]:
        """What of the first round is not seen yet, as `ask`."""
        there = set(zip(seen.lambdas.tolist(), seen.pairs.tolist()))
        block = range(self.block)
        missing = [(value, [pair for pair in block if (value, pair) not in there]) for value in self.first]
        return [(value, pairs) for value, pairs in missing if pairs]

    def after(self, seen: Seen, found: Found) -> list[tuple[float, list[int]]]:
        """As `ask` after the first round, of what was found from `seen` already."""
        if self.ended(seen, found):
            return []
        left = [place for place, value in enumerate(self.candidates) if self._left(seen, value)]
        best = max(left, key=lambda place: float(found.worth[place]))
        value = self.candidates[best]
        pairs = self._left(seen, value)[: min(self.block, self.most - len(seen))]
        return [(value, sorted(pairs))]

    def ended(self, seen: Seen, found: Found) -> str:
        """Why the search is over; "" where it is not."""
        if found.high - found.low <= 2 * self.precision + 1e-9:
            return SMALL
        if not any(self._left(seen, value) for value in self.candidates):
            return ALL
        # Rounds are whole: a mean over other pairs than before would be another mean.
        return MOST if len(seen) + self.block > self.most else ""

    def _left(self, seen: Seen, value: float) -> list[int]:
        """Pairs that have no picture at this λ, those with the fewest pictures first."""
        there = set(seen.pairs[seen.lambdas == value].tolist())
        count = torch.bincount(seen.pairs, minlength=self.pairs).tolist()
        return sorted((pair for pair in range(self.pairs) if pair not in there), key=lambda pair: count[pair])

    def found(self, seen: Seen) -> Found:
        """What these pictures tell. Raises ValueError where a limit's number is known of none of them."""
        names = [self.reward, *(one.name for one in self.limits)]
        models = [self._learned(name, seen, values) for name, values in zip(names, seen.values.T)]
        grid = torch.tensor(self.candidates, dtype=torch.float64)
        points = torch.cat([grid, grid.new_zeros(1)])  # λ 0 last, which limits compare with
        pairs = torch.full((self.pairs,), 1 / self.pairs, dtype=torch.float64)
        means = torch.stack([one.mean(points, pairs) for one in models])
        (here, best), (_, others) = (self._draws(models, points, shares) for shares in (pairs, None))
        expected, keeps = self._best(rearrange(means, "number b -> number 1 b"))
        noises = torch.tensor([one.noise / self.block for one in models], dtype=torch.float64)
        return Found(
            float(grid[expected]),
            *_interval(grid[best]),
            _interval(grid[others]),
            bool(keeps),
            grid,
            tuple(Curve(name, mean[:-1], *_between(draws[:, :-1])) for name, mean, draws in zip(names, means, here)),
            tuple(means[:, -1].tolist()),
            explained(grid[best], here[..., :-1], noises),
        )

    def _learned(self, name: str, seen: Seen, values: Tensor) -> Curves:
        known = values.isfinite()
        if not bool(known.any()):
            raise ValueError(
                f"“{name}” is not known of any picture that was made, so that no λ can be chosen by it: search a range "
                "that has λ other than 0 and 1, at which both models are asked."
            )
        return Curves.learned(seen.lambdas[known], values[known], seen.pairs[known], self.high - self.low)

    def _draws(self, models: Sequence[Curves], points: Tensor, shares: Tensor | None) -> tuple[Tensor, Tensor]:
        """(1 + L, DRAWS, B + 1) curves, and the place of the best λ in each, (DRAWS,)."""
        generator = torch.Generator().manual_seed(self.seed)
        draws = torch.stack([one.draws(points, shares, DRAWS, generator) for one in models])
        return draws, self._best(draws)[0]

    def _best(self, curves: Tensor) -> tuple[Tensor, Tensor]:
        """(D,): the place of the best λ in each, and whether it keeps the limits; else it comes nearest to that.

        curves: (1 + L, D, B + 1), the last at λ 0.
        """
        reward, others = curves[0, :, :-1], curves[1:]
        if not self.limits:
            return reward.argmax(1), torch.ones(len(reward), dtype=torch.bool)
        margins = torch.stack([one.margin(own[:, :-1], own[:, -1:]) for one, own in zip(self.limits, others)])
        units = reduce(margins.abs(), "limit draw b -> limit 1 1", "mean").clamp(min=1e-300)
        least = (margins / units).amin(0)
        keeps = least >= -ROUNDING
        some = keeps.any(1)
        return torch.where(some, reward.masked_fill(~keeps, -math.inf).argmax(1), least.argmax(1)), some


def explained(best: Tensor, curves: Tensor, noises: Tensor) -> Tensor:
    """(B,): the share of the best λ's variance that a linear regression on what would be seen at each λ explains.

    best: (D,) the best λ of each draw. curves: (1 + L, D, B). noises: (1 + L,) variance of what would be seen around
    these. Where all draws agree, the variance of the reward itself, at most 1: there is nothing else to learn.
    """
    off = curves - reduce(curves, "number draw b -> number 1 b", "mean")
    units = off.square().mean((1, 2), keepdim=True).sqrt().clamp(min=1e-300)
    off, noise = off / units, noises / units.flatten() ** 2
    wrong = best - best.mean()
    variance = float(wrong.square().mean())
    if variance == 0:
        return off[0].square().mean(0).clamp(max=1)
    with_best = torch.einsum("d,ndb->bn", wrong, off) / len(wrong)
    among = torch.einsum("ndb,mdb->bnm", off, off) / len(wrong) + torch.diag(noise + ROUNDING)
    return torch.einsum("bn,bn->b", with_best, torch.linalg.solve(among, with_best)) / variance


def _interval(drawn: Tensor) -> tuple[float, float]:
    low, high = _between(drawn)
    return float(low), float(high)


def _between(drawn: Tensor) -> tuple[Tensor, Tensor]:
    """What SHARE of the draws, (D, ...), is between."""
    ends = drawn.quantile(torch.tensor([(1 - SHARE) / 2, (1 + SHARE) / 2], dtype=drawn.dtype), 0)
    return ends[0], ends[1]
