"""The sentences at the head of evidence_exact.md: each says what its numbers say, whichever way they fall."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .exact_cases import (
    AGAIN,
    AGAIN_AT,
    ALONE,
    CONTROL,
    CORRECTED,
    EXACT,
    EXACT_WORLDS,
    FAR,
    HALF,
    LEARNED,
    MANY,
    MERGED,
    MOST,
    PARTICLE_DRAWS,
    PARTICLES,
    PICTURES,
    REFERENCE,
    RETRAINED,
    RING,
    STEPS,
    STEPWISE,
    pairs,
)
from .exact_results import NEAR, Found, Pair, Results
from .exact_runs import SAMPLERS
from .exact_worlds import BETAS, World

INSIDE: list[Pair] = [pair for pair in pairs() if pair[0] < pair[1]]  # λ < 1
OUTSIDE: list[Pair] = [pair for pair in pairs() if pair[0] > pair[1]]
MODES = [world for world in EXACT_WORLDS if world != CONTROL]
JUDGED = [world for world in MODES if world != MOST]  # where the retrained model's own run is near its density


def findings(worlds: Mapping[str, World], results: Results) -> list[str]:
    return [
        control(results),
        inside(results),
        modes(worlds, results),
        *(one for one in (where(results, INSIDE, "λ < 1"), where(results, OUTSIDE, "λ > 1")) if one),
        bias(results),
        samplers(results),
        steps(results),
        corrected(results),
        particles(results),
        networks(results),
        merged(results),
    ]


def control(results: Results) -> str:
    found = Found(results, CONTROL)
    worst = max((found.excess(STEPWISE, [pair]) for pair in pairs()), key=lambda one: abs(one.value))
    same = "is the retrained model" if abs(worst.value) < 1e-3 else "is not quite the retrained model"
    return (
        f"Where reference and anchor are one Gaussian each of one covariance, λ step by step {same}, at every λ from "
        f"0.05 to 20: at most {abs(worst.value):.4f} of total variation apart."
    )


def inside(results: Results) -> str:
    """The claim itself: λ ∈ [0, 1]."""
    counts = {world: Found(results, world).near(STEPWISE, INSIDE) for world in JUDGED}
    near, whole = sum(counts.values()), len(INSIDE) * len(JUDGED)
    shares = ", ".join(f"{count} in {world}" for world, count in counts.items())
    each = ", ".join(f"{world} {Found(results, world).excess(STEPWISE, INSIDE).text()}" for world in MODES)
    verdict = "holds" if near >= 0.9 * whole else "does not hold in general" if near else "does not hold"
    own, floor = (Found(results, MOST).mean(method, INSIDE) for method in (RETRAINED, EXACT))
    return (
        f"That λ in [0, 1] gives the model of β/λ {verdict} where there are several modes: step by step it is within "
        f"{NEAR:g} of total variation of retraining, in {near} of {whole} pairs of {len(JUDGED)} worlds ({shares}). "
        f"Beyond retraining, the mean over pairs: {each}. In 64 dimensions the retrained model's own run is {own:.3f} "
        f"from its density (exact draws {floor:.3f}): to be no further says little there, and is not counted."
    )


def between_modes(world: World, beta: float) -> float:
    """The KL of the modes' weights alone, nats."""
    logs = world.aligned(beta).log_weights
    return float(logs.exp() @ (logs - world.reference.log_weights))


def modes(worlds: Mapping[str, World], results: Results) -> str:
    beta = BETAS[0]
    each = ", ".join(
        f"{world} {between_modes(worlds[world], beta) / worlds[world].kl(beta):.0%} and "
        f"{Found(results, world).error(STEPWISE, INSIDE)[1].text(0, True)}"
        for world in MODES
    )
    return (
        f"How much of the alignment is a choice between modes (share of the KL at β {beta:g}), and by how much of the "
        f"way from reference to anchor λ < 1 misses the mean reward: {each}. Four worlds are a pattern and no proof."
    )


def where(results: Results, chosen: list[Pair], name: str) -> str:
    """The nearest and the furthest pair."""
    every = [(Found(results, world).excess(STEPWISE, [pair]), world, pair) for world in MODES for pair in chosen]
    nearest, furthest = (pick(every, key=lambda one: one[0].value) for pick in (min, max))

    def said(one: tuple) -> str:
        apart, world, (anchor, target) = one
        return f"{apart.text()} ({world}, anchor β {anchor:g} at β {target:g}, λ {anchor / target:g})"

    return f"With {name}, step by step, from {said(nearest)} to {said(furthest)} beyond retraining."


def bias(results: Results) -> str:
    """Which way λ errs."""
    signed = [Found(results, world).signed(STEPWISE, pair).value for world in MODES for pair in INSIDE]
    beyond = [Found(results, world).signed(STEPWISE, pair).value for world in MODES for pair in OUTSIDE]
    short, far = sum(v < 0 for v in signed), sum(v > 0 for v in beyond)
    return (
        f"Which way it errs: with λ < 1 the mean reward is short of the retrained one in {short} of {len(signed)} "
        f"pairs (median {np.median(signed):+.0%} of the way from reference to anchor), with λ > 1 above it in {far} of "
        f"{len(beyond)} (median {np.median(beyond):+.0%})."
    )


def samplers(results: Results) -> str:
    parts = []
    for world in (RING, MANY):
        apart = [f"{name} {Found(results, world, name).excess(STEPWISE, [HALF]).text()}" for name in SAMPLERS]
        parts.append(f"{world}: {', '.join(apart)}")
    return f"The sampler matters: λ 0.5, 50 steps, beyond retraining. {'; '.join(parts)}."


def steps(results: Results) -> str:
    parts = []
    for world in (RING, MANY):
        for name in ("ddpm", "dpmpp_2m"):
            few, many = (Found(results, world, name, count) for count in (STEPS[0], STEPS[-1]))
            retrained, mixed = (
                [f.distance(RETRAINED, 1.0).value, f.excess(STEPWISE, [HALF]).value] for f in (few, many)
            )
            parts.append(
                f"{world}, {name}: retrained {retrained[0]:.3f} → {mixed[0]:.3f}, beyond it {retrained[1]:.3f} → "
                f"{mixed[1]:.3f}"
            )
    few, many = (Found(results, RING, steps=count).excess(STEPWISE, [HALF]).value for count in (STEPS[0], STEPS[-1]))
    verdict = "close" if many < few / 2 else "do not close"
    return (
        f"More steps {verdict} the gap. Total variation at {STEPS[0]} → {STEPS[-1]} steps, λ 0.5: {'; '.join(parts)}."
    )


def corrected(results: Results) -> str:
    parts = []
    for world in (RING, MANY):
        found = Found(results, world)
        for chosen, name in ((INSIDE, "λ < 1"), (OUTSIDE, "λ > 1")):
            said = [
                f"{after} {found.excess(after, chosen).text()}, within {NEAR:g} in {near} of {len(chosen)}"
                for after in PICTURES
                for near in [found.near(after, chosen)]
            ]
            before = f"step by step {found.excess(STEPWISE, chosen).value:.3f}"
            parts.append(f"{world}, {name}: {before}; {'; '.join(said)} pairs")
    return (
        "The correction with 4 particles, beyond retraining, for one picture, and for 8 of a batch that noise alone "
        f"tells apart, which are drawn from their groups together. {'. '.join(parts)}."
    )


def particles(results: Results) -> str:
    parts = []
    for world, counts in PARTICLES.items():
        for pair in (HALF, FAR):
            found = Found(results, world, draws=PARTICLE_DRAWS[world])
            ends = [Found(results, world, draws=found.draws, particles=n) for n in (counts[0], counts[-1])]
            plain, aim = found.distance(STEPWISE, pair[1], pair[0]).value, found.distance(RETRAINED, pair[1]).value
            said = [
                f"{name} {few:.3f} with {counts[0]}, {many:.3f} with {counts[-1]}"
                for method, name in ((ALONE, "1 picture"), (CORRECTED, "8 pictures"))
                for few, many in [[end.distance(method, pair[1], pair[0]).value for end in ends]]
            ]
            parts.append(
                f"{world}, λ {pair[0] / pair[1]:g}: {plain:.3f} step by step, {', '.join(said)} (retrained {aim:.3f})"
            )
    beside = Found(results, MOST, draws=PARTICLE_DRAWS[MOST])
    return f"More particles. {'; '.join(parts)}. In 64 dimensions no alignment is {beside.mean(REFERENCE, [HALF]):.3f}."


def networks(results: Results) -> str:
    found = Found(results, LEARNED)
    noise = [
        abs(float(found.of("reward", AGAIN, beta).mean() - found.of("reward", RETRAINED, beta).mean()))
        for beta in AGAIN_AT
    ]
    chosen = [pair for pair in INSIDE if pair[1] in AGAIN_AT]
    apart = [
        abs(float(found.of("reward", STEPWISE, t, a).mean() - found.of("reward", RETRAINED, t).mean()))
        for a, t in chosen
    ]
    within = sum(one <= 2 * noise[AGAIN_AT.index(t)] for one, (_, t) in zip(apart, chosen))
    learned, exact = (one.excess(STEPWISE, INSIDE) for one in (found, Found(results, RING)))
    whose = (
        "the mixing's and not the training's" if exact.value > learned.value / 2 else "the training's for the most part"
    )
    shown = ", ".join(f"{one:.3f} at β {beta:g}" for one, beta in zip(noise, AGAIN_AT))
    return (
        f"Learned networks: two trainings differ in mean reward by {shown}. λ step by step is off by no more than "
        f"twice that in {within} of {len(chosen)} pairs with λ < 1 (median {np.median(apart):.2f}); it is "
        f"{learned.text()} of total variation beyond the retrained network, in closed form "
        f"{exact.text()}: so the gap is {whose}."
    )


def merged(results: Results) -> str:
    found, parts = Found(results, LEARNED), []
    for chosen, name in ((INSIDE, "λ < 1"), (OUTSIDE, "λ > 1")):
        ours, theirs = found.excess(STEPWISE, chosen), found.excess(MERGED, chosen)
        lost = {method: len(chosen) - len(found.settled(method, chosen)) for method in (MERGED, STEPWISE)}
        parts.append(
            f"{name}: merged {theirs.text()}, step by step {ours.text()}; {lost[MERGED]} of {len(chosen)} merged runs "
            f"ran away, {lost[STEPWISE]} of {len(chosen)} step by step"
        )
    return f"Merged weights, beyond retraining in total variation. {'. '.join(parts)}."
