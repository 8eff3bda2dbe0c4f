"""The sentences at the head of evidence.md: each says what its numbers say, whichever way they fall."""

from __future__ import annotations

import numpy as np

from .learned_cases import CORRECTED, MERGED, STEPWISE, Case
from .learned_found import ABOVE, BELOW, Found
from .learned_networks import TILTED, Trained
from .learned_scores import CAPTION, DIVERSITY, REWARD
from .paired import estimate

PAPER = "0.15 to 0.43 %"  # of the mean, on SDXL: arXiv 2601.20198


def findings(found: Found) -> list[str]:
    said = [goal(found, way) for way in found.extent.betas]
    said += [short(found, way) for way in found.extent.betas]
    said += [others(found), merged(found), corrected(found)]
    said += [optimum(found), ended(found), frontier(found)]
    return [one for one in said if one]


def goal(found: Found, way: str) -> str:
    """The claim itself, for λ ∈ [0, 1]."""
    cases, noise = found.cases(way, STEPWISE, BELOW), found.between_trainings(way, REWARD)
    mean, share = found.error(cases, REWARD)
    text = (
        f"{way.capitalize()} anchors, λ below 1, step by step: the mean reward is off by {mean.text(1, True)} of "
        f"itself (the paper: {PAPER}), {share.text(0, True)} of the way from reference to anchor"
    )
    times = found.times_the_noise(cases, REWARD)
    if noise is None or times is None:
        return f"{text}."
    apart = " and ".join(f"{_apart(found, *pair):+.4f}" for pair in found.trained_twice(way))
    verdict = "so few trainings cannot tell whether that is more than twice their noise"
    if times.high <= 2:
        verdict = "no more than twice the noise between trainings"
    elif times.low > 2:
        verdict = "more than twice the noise between trainings"
    return (
        f"{text}; two trainings of one β differ by {apart} ({noise[0].text(1, True)} of the mean), of which the error "
        f"is {times.text(1)} times: {verdict}."
    )


def short(found: Found, way: str) -> str:
    """Which way λ errs."""
    cases = found.cases(way, STEPWISE, BELOW)
    signed = [found.signed(case) for case in cases]
    below, above = (sum(test(one) for one in signed) for test in (lambda one: one.high < 0, lambda one: one.low > 0))
    far = found.cases(way, STEPWISE, ABOVE)
    beyond = ", ".join(f"λ {case.lambda_:.2g}: {found.signed(case).text(0, True)}" for case in far)
    return (
        f"{way.capitalize()}: of {len(cases)} pairs with λ below 1 the reward is surely short of the retrained one in "
        f"{below} and surely above it in {above} (median {np.median([one.value for one in signed]):+.0%} of the way)."
        + (f" Above 1: {beyond}." if far else "")
    )


def others(found: Found) -> str:
    """Scores that training never saw."""
    way = found.extent.way
    parts = []
    for score in (CAPTION, DIVERSITY):
        noise = found.between_trainings(way, score)
        mean, share = found.error(found.cases(way, STEPWISE, BELOW), score)
        beside = f" (two trainings: {noise[0].text(1, True)})" if noise else ""
        parts.append(f"{score} {mean.text(1, True)}{beside}, of the way {share.of_way()}")
    return f"What training never saw, {way} anchors, λ below 1, off by, of the retrained mean: {'; '.join(parts)}."


def merged(found: Found) -> str:
    parts = []
    for way in found.extent.betas:
        cases = found.cases(way, MERGED, BELOW)
        same = [Case(STEPWISE, case.anchor, case.target) for case in cases]
        theirs, ours = (found.error(chosen, REWARD)[1] for chosen in (cases, same))
        nearer = sum(abs(found.signed(a).value) < abs(found.signed(b).value) for a, b in zip(same, cases, strict=True))
        parts.append(
            f"{way}: merged {theirs.text(0, True)}, λ {ours.text(0, True)} of the way, λ nearer in {nearer} of "
            f"{len(cases)} pairs"
        )
    return f"Merged weights at ratio λ, the same pairs: {'; '.join(parts)}."


def corrected(found: Found) -> str:
    parts = []
    for way in found.extent.betas:
        cases = found.cases(way, CORRECTED, BELOW)
        same = [Case(STEPWISE, case.anchor, case.target) for case in cases]
        before, after = (found.error(chosen, REWARD)[1] for chosen in (same, cases))
        parts.append(f"{way} from {before.text(0, True)} to {after.text(0, True)} of the way")
    text = f"With *correct*, from the strongest anchor: {'; '.join(parts)}."
    if TILTED not in found.extent.betas:
        return text
    strongest = found.extent.anchors(TILTED)[0]
    own, data = found.nats(found.alone(strongest)), found.truth[strongest.beta].nats
    text += (
        f" It weighs runs by all in which two networks differ. Tilting the data to β {strongest.beta:g} is "
        f"{data:.1f} nats, and the runs of the network trained on them are {own:.0f} nats from the reference's"
    )
    return f"{text}: {1 - data / own:.0%} of what is weighed there is not the tilt." if own > data else f"{text}."


def optimum(found: Found) -> str:
    """Whether regression on tilted data went where it should."""
    if TILTED not in found.extent.betas:
        return ""
    reference = found.mean(found.alone(found.extent.reference), REWARD).value
    parts = []
    for one in found.extent.anchors(TILTED):
        gone = found.mean(found.alone(one), REWARD).value - reference
        whole = found.truth[one.beta].reward - found.truth[0].reward
        parts.append(f"β {one.beta:g} {gone / whole:.0%}")
    return f"How much of the tilted data's gain in reward the trained networks' pictures have: {', '.join(parts)}."


def ended(found: Found) -> str:
    """Whether DPO was at its end."""
    parts = []
    for way, places in found.extent.doubled.items():
        noise = [abs(_apart(found, *pair)) for pair in found.trained_twice(way)]
        for place in places:
            first, longer = found.extent.trained(way, place), found.extent.trained(way, place, doubled=True)
            moved = _apart(found, first, longer)
            verdict = "less" if abs(moved) < max(noise) else "more"
            parts.append(
                f"twice the steps move the mean reward of β {first.beta:g} by {moved:+.4f}, {verdict} than two "
                f"trainings differ by (up to {max(noise):.4f}){_losses(found, first, longer)}"
            )
    return f"Whether Diffusion-DPO was at its end: {'; '.join(parts)}." if parts else ""


def _losses(found: Found, first: Trained, longer: Trained) -> str:
    if not {first, longer} <= found.losses.keys():
        return ""
    before, after = (found.losses[one] for one in (first, longer))
    return f", and the loss on held-out pairs from {before.mean():.4f} by {estimate(after - before).text(4)}"


def _apart(found: Found, one: Trained, other: Trained) -> float:
    return found.mean(found.alone(other), REWARD).value - found.mean(found.alone(one), REWARD).value


def frontier(found: Found) -> str:
    """Reward for the nats that it costs: λ from the strongest anchor beside the retrained networks."""
    parts = []
    for way in found.extent.betas:
        strongest = found.extent.anchors(way)[0]
        line = sorted(
            (found.nats(found.alone(one)), found.mean(found.alone(one), REWARD).value)
            for one in (found.extent.reference, *found.extent.anchors(way))
        )
        x, y = zip(*line, strict=True)
        above = []
        for case in found.cases(way, STEPWISE, BELOW):
            if case.anchor == strongest:
                run = found.by_lambda(case)
                above.append(found.mean(run, REWARD).value - float(np.interp(found.nats(run), x, y)))
        parts.append(f"{way} {np.mean(above):+.4f} on average (from {min(above):+.4f} to {max(above):+.4f})")
    return (
        "Mean reward by λ from the strongest anchor, less that of retrained networks at the same KL (linearly between "
        f"them): {'; '.join(parts)}."
    )
