"""What the correction of the mixture gains, for benchmarks/particles.py: on the plane, and in many dimensions."""

from __future__ import annotations

import math

from particles_runs import Measured, drawn_each, drawn_pooled, over_seeds, run
from particles_toys import COORDINATE, TOYS, Product, levels_of, quadratic

LAMBDAS, ETAS = (0.25, 0.5, 0.75, 1.5), (1.0, 0.5)
REWARD = quadratic([1.0], [1.0])  # of which the anchor is the tilted model, in each coordinate
POOLED = 8


def on_the_plane(toy: str, lam: float, eta: float, steps: int, particles: int, draws: int) -> list[Measured]:
    """Total variation: the floor, step by step, corrected (a draw a group)."""
    model, reward = TOYS[toy]
    anchor, exact = model.tilted(reward)[1], model.tilted(reward.times(lam))[1]

    def once(seed: int) -> tuple[float, float, float]:
        options = {"lambdas": (lam,), "eta": eta}
        plain = run([model, anchor], levels_of("ve", steps), draws, 1, seed, **options).x
        out = run([model, anchor], levels_of("ve", steps), draws, particles, seed, correct=True, **options)
        samples = exact.draw(draws, 900 + seed), plain, drawn_each(out, seed)
        return tuple(exact.total_variation(x) for x in samples)

    return over_seeds(once)


def in_dimensions(d: int, lam: float, steps: int, particles: int, groups: int) -> list[Measured]:
    """How far the mean of a coordinate of the step-wise mixture is from that of the exact model's own run; what a draw
    a group and a draw of POOLED groups together remove of it; unique ancestors.

    Each coordinate has the same anchor, so that KL grows with the dimensions. The exact model's run has the same noise.
    """
    anchor, exact = (COORDINATE.tilted(REWARD.times(factor))[1] for factor in (1.0, lam))
    models, levels = [Product(COORDINATE, d), Product(anchor, d)], levels_of("flow", steps)

    def once(seed: int) -> tuple[float, float, float, float]:
        mixed = {"lambdas": (lam,), "d": d}
        wanted = float(run([Product(exact, d)], levels, groups * particles, 1, seed, d=d).x.mean())
        plain = run(models, levels, groups * particles, 1, seed, **mixed).x
        out = run(models, levels, groups, particles, seed, correct=True, **mixed)
        pooled, _ = drawn_pooled(out, POOLED, seed)
        stepwise, alone, together = (float(x.mean()) - wanted for x in (plain, drawn_each(out, seed), pooled))
        return stepwise, alone, together, float(out.unique()[-1].double().mean())

    stepwise, alone, together, unique = over_seeds(once)
    return [stepwise, removed(stepwise, alone), removed(stepwise, together), unique]


def removed(before: Measured, after: Measured) -> Measured:
    """1 - after/before, with the interval of both."""
    share = after.mean / before.mean
    return Measured(1 - share, math.hypot(after.half, share * before.half) / abs(before.mean))
