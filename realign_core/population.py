"""What a run with particles gives, and what to make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
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
    rewards: Tensor | None = None  # (T, M, N): r at each step, along each particle's own ancestors; NaN: not asked
    tau: Tensor | None = None  # (T, M): the temper of each step
    strength: float | None = None  # α_r of the tilt

    def roots(self) -> Tensor:
        """(T, M, N): from which starting particle each one descends, after each step."""
        line = torch.arange(self.ancestors.shape[-1]).expand(self.ancestors.shape[1:])
        out = []
        for parents in self.ancestors:
            line = line.gather(-1, parents)
            out.append(line)
        return torch.stack(out)

    def unique(self) -> Tensor:
        """(T, M): from how many of the starting particles a group descends, after each step; 1 to N."""
        roots = self.roots()
        met = torch.zeros(roots.shape, dtype=torch.long).scatter_(-1, roots, 1)
        return met.sum(-1)

    def kl(self) -> Tensor:
        """(M,): KL(target ‖ models) in nats as each group sees it, E[r]/α_r - log Ẑ. Beyond log N of it N particles
        without a gradient are relatives of one. Raises ValueError for a run without a reward."""
        if self.rewards is None or self.strength is None:
            raise ValueError("without a reward nothing is tilted, so there is no KL to tell")
        return (self.log_weights.exp() * self.rewards[-1]).sum(-1) / self.strength - self.log_z

    def draw(self, n: int, scheme: str = "systematic", generator: torch.Generator | None = None) -> Tensor:
        """Which elements to show, (n,): a draw from all groups together, see `pool`."""
        return pool(self.log_z, self.log_weights, n, scheme, generator)

    def draw_each(self, generator: torch.Generator | None = None) -> Tensor:
        """(M,): one element of each group, by its weights."""
        groups, particles = self.log_weights.shape
        return torch.arange(groups) * particles + resample(self.log_weights, 1, "multinomial", generator)[:, 0]

    def best(self, n: int) -> Tensor:
        """(n,): the elements of the highest reward, the highest first. No draw from the target, but its better end."""
        if self.rewards is None:
            raise ValueError("without a reward no particle is the best")
        return self.rewards[-1].flatten().argsort(descending=True, stable=True)[:n]

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
            along(1, [part.rewards for part in parts]),
            along(1, [part.tau for part in parts]),
            first.strength,
        )
