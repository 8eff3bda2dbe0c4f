"""A run with particles in words: what it reached, and what to beware of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .labels import number
from .particle_records import over_groups
from .traced import TracedParticles

FEW = 0.25  # of the particles: a group that descends from no more of them is of one family
LEAST = 6  # steps in which both rewards were asked, so that a third of them has two values at least
SURE = 2.0  # spreads: a smaller change is none
LONGEST = 60  # characters of a reward's name


def told(record: TracedParticles | Mapping[str, Any], *, swept: bool = False) -> list[str]:
    """Sentences, each of them only where it is true.

    record: a trace's “particles”, read or as a dict. swept: the groups have targets of their own, a λ sweep's, so that
    their weights are not compared. Raises ValueError for a dict that is none of a run.
    """
    run = record if isinstance(record, TracedParticles) else TracedParticles.model_validate(dict(record))
    return [
        *_reached(run, "reward", reward_name(run)),
        *_reached(run, "held_out", f"held-out {held_out_name(run)}"),
        *_hacked(run),
        *_kl(run),
        *_counting(run, swept),
    ]


def reward_name(run: TracedParticles) -> str:
    return _name(run.reward, "reward")


def held_out_name(run: TracedParticles) -> str:
    return _name(run.held_out, "reward")


def all_particles(run: TracedParticles) -> str:
    """“4”, or of several groups “8 × 4”."""
    return f"{run.groups} × {run.particles}" if run.groups > 1 else f"{run.particles}"


def is_hacked(run: TracedParticles) -> bool:
    """Whether the reward rises while the held-out one falls, beyond what both spread.

    Of the steps in which all groups were asked for both, at least `LEAST`, the first third is compared with the last:
    a group's change is the mean of its last third less that of its first, the run's change the mean over groups. It
    counts as a rise or a fall where it is more than `SURE` times the larger of two spreads: the standard deviation of a
    group's values within a third, pooled over groups and both thirds; and the standard error over groups of their
    changes. The first third is of blurred predictions, from which most rewards rise by themselves: so a held-out
    reward that falls is the rarer and the telling one, and a change that shows only between single steps is none.
    """
    both = [
        (step.reward, step.held_out)
        for step in run.steps
        if step.reward and step.held_out and None not in step.reward and None not in step.held_out
    ]
    if len(both) < LEAST:
        return False
    (risen, own), (fallen, theirs) = (_change([step[which] for step in both]) for which in (0, 1))
    return risen > SURE * own and -fallen > SURE * theirs


def _change(values: Sequence[Sequence[float]]) -> tuple[float, float]:
    """values: (T, M). The mean over groups of last third less first third, and its spread, as `is_hacked` says."""
    third = len(values) // 3
    changes, apart = [], []
    for group in zip(*values):
        first, last = group[:third], group[-third:]
        means = [sum(part) / third for part in (first, last)]
        changes.append(means[1] - means[0])
        apart += [value - mean for part, mean in zip((first, last), means) for value in part]
    groups = len(changes)
    change = sum(changes) / groups
    within = math.hypot(*apart) / math.sqrt(2 * groups * (third - 1))
    between = math.hypot(*(one - change for one in changes)) / math.sqrt(groups * max(groups - 1, 1))
    return change, max(within, between)


def _reached(run: TracedParticles, which: str, name: str) -> list[str]:
    """The mean over all particles, of the first step in which it was asked and of the last."""
    known = [value for value in over_groups(run, which) if value is not None]
    if not known:
        return []
    ends = dict.fromkeys(number(value, 3) for value in (known[0], known[-1]))
    mean = f" (mean of {all_particles(run)})" if run.groups * run.particles > 1 else ""
    return [f"{name} {' → '.join(ends)}{mean}"]


def _hacked(run: TracedParticles) -> list[str]:
    if not is_hacked(run):
        return []
    rises, falls = reward_name(run), held_out_name(run)
    return [f"{rises} rises while held-out {falls} falls: a sign of reward hacking. Raise strength."]


def _kl(run: TracedParticles) -> list[str]:
    """What the reward took, and whether N particles can tell: by drawing alone they reach log N nats."""
    if not run.kl:
        return []
    kl, own = sum(run.kl) / run.groups, math.log(run.particles)
    mean = f" (mean of {run.groups} groups)" if run.groups > 1 else ""
    said = f"KL {number(max(round(kl, 6), 0.0), 2)} nats from what the models draw without the reward{mean}"
    if run.particles > 1 and kl > own and _is_one_family(run):
        said += (
            f": beyond log({run.particles}) = {number(own, 2)} nats without a gradient one gets relatives of one "
            "picture. Take more particles, or a larger strength."
        )
    return [said]


def _counting(run: TracedParticles, swept: bool) -> list[str]:
    """How many particles the result rests on: in its groups, and, where they correct, between them."""
    prefix = "corrected: " if run.corrected else ""
    if run.particles * run.groups == 1:
        return [f"{prefix}one particle alone corrects nothing, take more"] if run.corrected else []
    said, few = [], False
    if run.particles > 1:
        ess, unique = (over_groups(run, which)[-1] for which in ("ess", "unique"))
        each = f" in each of {run.groups} groups" if run.groups > 1 else ""
        said.append(
            f"{number(ess, 2)} of {run.particles} particles count{each}, "
            f"pictures descend from {number(unique, 2)} of {run.particles}"
        )
        few = _is_one_family(run)
    if run.corrected and run.groups > 1 and not swept:
        between = _effective(run.log_z)
        said.append(f"{number(between, 2)} of {run.groups} groups count")
        few |= between < run.groups / 2
    if run.corrected and few:
        said.append("so it is partial, more particles correct more")
    return [prefix + "; ".join(said)] if said else []


def _is_one_family(run: TracedParticles) -> bool:
    return over_groups(run, "unique")[-1] <= max(FEW * run.particles, 1.5)


def _effective(log_weights: Sequence[float]) -> float:
    """The effective sample size of weights, 1 to their number."""
    most = max(log_weights)
    weights = [math.exp(one - most) for one in log_weights]
    return sum(weights) ** 2 / sum(weight**2 for weight in weights)


def _name(name: str | None, without: str) -> str:
    text = " ".join((name or without).split()) or without
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
