"""Which cases `make evidence-exact` samples: not every product of worlds, samplers, steps, particles and pairs of β.

All anchors × targets at one sampler and 50 steps; samplers × steps, and numbers of particles, for some pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .exact_runs import SAMPLERS, Case
from .exact_worlds import BETAS

EXACT, REFERENCE, RETRAINED, AGAIN = "exact draws", "reference", "retrained", "retrained, another seed"
STEPWISE, ALONE, CORRECTED, MERGED = "step by step", "corrected, 1 picture", "corrected, 8 pictures", "merged weights"
METHODS = (EXACT, REFERENCE, RETRAINED, AGAIN, STEPWISE, ALONE, CORRECTED, MERGED)
PICTURES = {ALONE: 1, CORRECTED: 8}  # how many are drawn from their groups of particles together

CONTROL, RING, GRID, MANY, MOST = (
    "one Gaussian, 2-D, linear",
    "ring of 8, 2-D, quadratic",
    "grid of 9, 2-D, linear",
    "8 modes, 16-D, linear",
    "8 modes, 64-D, quadratic",
)
LEARNED = "networks on the ring"  # of RING's density
EXACT_WORLDS = (CONTROL, RING, GRID, MANY, MOST)
STEPS = (10, 20, 50, 100, 200)
HALF, FAR, DOUBLE = (0.5, 1.0), (0.5, 5.0), (2.0, 1.0)  # anchor and target: λ 0.5, 0.1 and 2
STEPPED = (RING, MANY)  # worlds of the samplers and steps
PARTICLES = {RING: (4, 8, 16, 32, 64), MOST: (4, 16, 64)}
PARTICLE_DRAWS = {RING: 2048, MOST: 1024}
SOME_CORRECTED = (GRID, LEARNED)  # worlds in which the correction is tried for three pairs alone
AGAIN_AT = (1.0, 5.0)  # β with a second training


def pairs() -> Iterator[tuple[float, float]]:
    """Every anchor with every other target."""
    yield from ((anchor, target) for anchor in BETAS for target in BETAS if anchor != target)


def alone(world: str, target: float, **setting: int | str) -> list[Case]:
    """What λ is compared with at this target."""
    return [Case(world, method, 0.0, target, **setting) for method in (EXACT, REFERENCE, RETRAINED)]  # type: ignore[arg-type]


def matrix(world: str) -> list[Case]:
    """All anchors × targets."""
    methods = {RING: (STEPWISE, *PICTURES), MANY: (STEPWISE, *PICTURES), LEARNED: (STEPWISE, MERGED)}
    found = [case for target in BETAS for case in alone(world, target)]
    for anchor, target in pairs():
        for method in methods.get(world, (STEPWISE,)):
            found.append(Case(world, method, anchor, target, particles=4 if method in PICTURES else 1))
    if world == LEARNED:
        found += [Case(world, AGAIN, 0.0, target) for target in AGAIN_AT]
    if world in SOME_CORRECTED:
        found += [Case(world, one, *pair, particles=4) for pair in (HALF, FAR, DOUBLE) for one in PICTURES]
    return found


def by_steps(world: str) -> list[Case]:
    return [
        case
        for sampler in SAMPLERS
        for steps in STEPS
        for case in (
            Case(world, RETRAINED, 0.0, 1.0, sampler, steps),
            *(Case(world, STEPWISE, *pair, sampler, steps) for pair in (HALF, DOUBLE)),
        )
    ]


def by_particles(world: str) -> list[Case]:
    found = []
    for pair in (HALF, FAR):
        found += [
            *alone(world, pair[1], draws=PARTICLE_DRAWS[world]),
            Case(world, RETRAINED, 0.0, pair[0], draws=PARTICLE_DRAWS[world]),
            Case(world, STEPWISE, *pair, draws=PARTICLE_DRAWS[world]),
        ]
        for method in PICTURES:
            one = Case(world, method, *pair, draws=PARTICLE_DRAWS[world])
            found += [replace(one, particles=particles) for particles in PARTICLES[world]]
    return found


def all_cases() -> list[Case]:
    found = [case for world in (*EXACT_WORLDS, LEARNED) for case in matrix(world)]
    found += [case for world in STEPPED for case in by_steps(world)]
    found += [case for world in PARTICLES for case in by_particles(world)]
    return list(dict.fromkeys(found))
