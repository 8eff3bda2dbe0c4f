"""What a run with particles gives, and what to make of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from .resampling import pool, resample
from .trace import Trace


@dataclass
class Particles:
    """What a run of M groups of N particles gives. All but x is on the CPU, and fp64 or int64."""

    x: Tensor  # (M·N, C, ...) at the last level
    log_weights: Tensor  # (M, N): of each particle in its group, the weights sum to 1
    log_z: Tensor  # (M,): log Ẑ of each group. Ẑ is an unbiased estimate of Z of the chain, the target's constant
    ancestors: Tensor  # (T, M, N): which particle of its group each one was before the step's resampling
    ess: Tensor  # (T, M): effective sample size before it, 1 to N
    trace: Trace | None  # of the M·N elements; each particle has its own ancestors' history
    asked: Tensor | None = None  # (T, M, N): r at each step, of those that did not go on, too; NaN: not asked
    tau: Tensor | None = None  # (T, M): the temper of each step
    strength: float | None = None  # α_r of the tilt

    @property
    def rewards(self) -> Tensor | None:
        """(T, M, N): r at each step, along each particle's own ancestors; NaN: not asked."""
        return None if self.asked is None else self.along(self.asked)

    def roots(self) -> Tensor:
        """(T, M, N): from which starting particle each one descends, after each step."""
        line = torch.arange(self.ancestors.shape[-1]).expand(self.ancestors.shape[1:])
        out = []
        for parents in self.ancestors:
            line = line.gather(-1, parents)
            out.append(line)
        return torch.stack(out)

    def along(self, values: Tensor) -> Tensor:
        """What each step told of its particles before it re-drew them, (T, M, N), along each one's own ancestors."""
        line = torch.arange(self.ancestors.shape[-1]).expand(self.ancestors.shape[1:])
        out = []
        for told, parents in zip(values.flip(0), self.ancestors.flip(0)):
            line = parents.gather(-1, line)
            out.append(told.gather(-1, line))
        return torch.stack(out[::-1])

    def unique(self) -> Tensor:
        """(T, M): from how many of the starting particles a group descends, after each step; 1 to N."""
        roots = self.roots()
        met = torch.zeros(roots.shape, dtype=torch.long).scatter_(-1, roots, 1)
        return met.sum(-1)

    def kl(self) -> Tensor:
        """(M,): KL(target ‖ models) in nats as each group sees it, E[r]/α_r - log Ẑ. Beyond log N of it N particles
        without a gradient are relatives of one. Raises ValueError for a run without a reward."""
        if self.asked is None or self.strength is None:
            raise ValueError("without a reward nothing is tilted, so there is no KL to tell")
        return (self.log_weights.exp() * self.asked[-1]).sum(-1) / self.strength - self.log_z

    def draw(self, n: int, scheme: str = "systematic", generator: torch.Generator | None = None) -> Tensor:
        """Which elements to show, (n,): a draw from all groups together, see `pool`."""
        return pool(self.log_z, self.log_weights, n, scheme, generator)

    def draw_each(self, generator: torch.Generator | None = None) -> Tensor:
        """(M,): one element of each group, by its weights."""
        groups, particles = self.log_weights.shape
        return torch.arange(groups) * particles + resample(self.log_weights, 1, "multinomial", generator)[:, 0]

    def best(self, n: int) -> Tensor:
        """(n,): the elements of the highest reward, the highest first. No draw from the target, but its better end."""
        if self.asked is None:
            raise ValueError("without a reward no particle is the best")
        return self.asked[-1].flatten().argsort(descending=True, stable=True)[:n]

    @property
    def is_unweighed(self) -> bool:
        """Whether every particle weighs the same and none was ever re-drawn: any of them is a draw."""
        alike = bool((self.log_weights == self.log_weights[:, :1]).all() and (self.log_z == self.log_z[0]).all())
        return alike and bool((self.ancestors == torch.arange(self.ancestors.shape[-1])).all())

    def of(self, groups: Tensor) -> Particles:
        """The same for some groups, (M',), in this order. Without the trace."""
        size, x = self.log_weights.shape[-1], self.x
        elements = rearrange(groups[:, None] * size + torch.arange(size), "m n -> (m n)")
        along = [None if v is None else v[:, groups] for v in (self.ancestors, self.ess, self.asked, self.tau)]
        ancestors, ess, asked, tau = along
        assert ancestors is not None
        assert ess is not None
        own = self.log_weights[groups], self.log_z[groups], ancestors, ess
        return Particles(x[elements.to(x.device)], *own, None, asked, tau, self.strength)

    @classmethod
    def unweighed(cls, x: Tensor, steps: int, groups: int, particles: int) -> Particles:
        """Of a run in which nothing told its particles apart. x: (groups·particles, C, ...)."""
        weights = torch.full((groups, particles), -math.log(particles), dtype=torch.float64)
        own = torch.arange(particles).expand(steps, groups, particles).clone()
        ess = torch.full((steps, groups), float(particles), dtype=torch.float64)
        return cls(x, weights, torch.zeros(groups, dtype=torch.float64), own, ess, None)

    @classmethod
    def join(cls, parts: Sequence[Particles]) -> Particles:
        """Of groups that were sampled one after another, with the same options."""
        first, sizes = parts[0], [len(part.x) for part in parts]
        ends = torch.tensor(sizes).cumsum(0).tolist()
        traces = [
            (range(end - size, end), part.trace)
            for end, size, part in zip(ends, sizes, parts)
            if part.trace is not None
        ]

        def along(axis: int, values: Sequence[Tensor | None]) -> Tensor | None:
            known = [value for value in values if value is not None]
            return torch.cat(known, axis) if len(known) == len(parts) else None

        return cls(
            torch.cat([part.x for part in parts]),
            torch.cat([part.log_weights for part in parts]),
            torch.cat([part.log_z for part in parts]),
            torch.cat([part.ancestors for part in parts], 1),
            torch.cat([part.ess for part in parts], 1),
            Trace.join(traces) if len(traces) == len(parts) else None,
            along(1, [part.asked for part in parts]),
            along(1, [part.tau for part in parts]),
            first.strength,
        )
