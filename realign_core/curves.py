"""A curve over λ that several pairs of prompt and seed share, learned from numbers of some of their pictures.

Regression (regression.py) with the pairs as its groups. Lengths and variances are not chosen but weighed, each by its
evidence, so that few pictures give wide intervals (Rasmussen and Williams 2006, section 5.2). The scale of all
variances has an inverse gamma prior of one degree of freedom at the numbers' own spread, and is set to its mean.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor

from .regression import Regression, drawn

LIKELY = 0.01  # as likely as the likeliest: lengths and variances that are less are left out
LENGTHS = (0.2, 0.4, 0.8, 1.6, 3.2)  # of the range
# Beside a signal of 1: what is a pair's own, a pair's offset, and what no curve explains.
OWN, OFFSETS, NOISES = (0.01, 0.1, 1.0), (0.1, 1.0, 10.0), (1e-6, 1e-4, 1e-2)


@dataclass(frozen=True)
class Curves:
    """Curves of several lengths and variances, each with its probability; in `unit` of the numbers, from `middle`."""

    parts: tuple[tuple[float, Regression], ...]
    middle: float
    unit: float

    @classmethod
    def learned(cls, lambdas: Tensor, values: Tensor, pairs: Tensor, span: float) -> Curves:
        """lambdas, values, pairs: (N,), finite. span: of the λ that are looked at."""
        middle = float(values.mean())
        unit = float((values - middle).abs().max()) or 1.0
        known, count = (rearrange(lambdas, "n -> n 1"), (values - middle) / unit, pairs), len(values)
        found = []
        for length, own, offset, noise in itertools.product(LENGTHS, OWN, OFFSETS, NOISES):
            one = Regression(*known, length=length * span, own=own, offset=offset, noise=noise)
            fit = count * one.fit
            evidence = one.evidence + 0.5 * fit - 0.5 * (count + 1) * math.log1p(fit)  # a Student t's, but a constant
            found.append((evidence, one, (1 + fit) / (1 + count)))
        best = max(evidence for evidence, _, _ in found)
        kept = [(math.exp(evidence - best), one, scale) for evidence, one, scale in found]
        kept = [part for part in kept if part[0] >= LIKELY]
        total = sum(share for share, _, _ in kept)
        return cls(tuple((share / total, _scaled(one, scale)) for share, one, scale in kept), middle, unit)

    @property
    def noise(self) -> float:
        """Variance of a number that no curve explains."""
        return self.unit**2 * sum(share * one.noise for share, one in self.parts)

    def mean(self, lambdas: Tensor, shares: Tensor | None = None) -> Tensor:
        """(B,), expected. shares: (P,) what each pair counts, 1 in all; None: of pairs that were not seen."""
        points = rearrange(lambdas, "b -> b 1")
        means = [share * one.joint(points, shares)[0] for share, one in self.parts]
        return self.middle + self.unit * torch.stack(means).sum(0)

    def draws(self, lambdas: Tensor, shares: Tensor | None, count: int, generator: torch.Generator) -> Tensor:
        """(count, B), of the posterior, in no order."""
        points, parts = rearrange(lambdas, "b -> b 1"), []
        for share, one in self.parts:
            parts.append(drawn(*one.joint(points, shares), math.ceil(share * count), generator))
        mixed = torch.cat(parts)
        order = torch.randperm(len(mixed), generator=generator)[:count]
        return self.middle + self.unit * mixed[order]


def _scaled(one: Regression, scale: float) -> Regression:
    return replace(one, signal=scale * one.signal, offset=scale * one.offset, noise=scale * one.noise)
