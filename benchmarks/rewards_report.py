"""What benchmarks/rewards.py writes: a table of each reward, and what follows from it in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rewards_plot import Row
from rewards_runs import (
    ANCHOR,
    BEST,
    BOTH,
    FK,
    FK_MAX,
    GROUP,
    HELD_OUT,
    OURS,
    SHOWN,
    SMALL,
    UNGUIDED,
    Measured,
)
from tables import table as markdown

HEAD = """# Rewards on the demo models

Printed by `make rewards` (benchmarks/rewards.py) in {minutes:.0f} minutes of one core. Every figure is the mean of
{seeds} seeds and half its 95 % interval. Hearts of any colour, 64 × 64 pixels, T = {steps} steps of ddpm, cfg {cfg:g}.

Every row of a table costs 16·T model calls, however many pictures come out: 16 unguided ones, of which the best are
taken; 4 pictures of 4 particles each, or of 2 where an anchor is asked as well; 8 pictures at a λ. A call is a model
with cfg, conditional and unconditional. *Ours* is Realign Particles as its node has it; FK steering is the same node
with proposal “none”. The anchor was trained by Diffusion-DPO to prefer colourful pictures.

- KL, nats: of λ the trace's, summed over the steps, which is no less than that of the pictures themselves and counts
  all that the training moved; of particles the estimate of each group, E[r]/α − log Z, which so few particles know only
  roughly; of the best k of 16 that of a picture drawn from them, known exactly (log N − (N−1)/N for one); of λ with a
  reward the sum of both, without what the two have in common. Compare rows of one kind; between kinds it is rough.
- Diversity: mean over all pairs of a run's pictures of the root mean square difference of their luma (0 to 255) in
  {cells} × {cells} cells. No reward here looks at it: colourfulness is of chroma alone, and what a JPEG's size comes
  from is finer. JPEG compressibility is minus kB.
- Sharpness and brightness are optimised by nothing here. They tell that a picture has changed, not that it is worse.
- Still hearts: the share of pictures that the reference itself calls a heart, of its eight shapes.
- Ancestors: from how many of its particles a group descends at the end, and how many of the 4 groups are shown.
- Seconds: of the processor, for each picture that comes out.

Below each table, what is said to be more or less is so by more than the 95 % interval of the difference. The 4 pictures
of particles are drawn from all groups of a run together, and are often relatives: a run then counts as little more than
one draw, and its figures spread widely from seed to seed. What looks better, no figure here says.
"""


def table(reward: str, rows: Sequence[Row]) -> str:
    head = [
        "method",
        "pictures",
        f"mean {reward}",
        "KL",
        "diversity",
        *HELD_OUT,
        "still hearts",
        "ancestors, groups",
        "s per picture",
    ]
    digits = 2 if reward == SMALL else 1
    body = []
    for method, found in rows:
        lineage = "–"
        if "ancestors" in found:
            of = GROUP // 2 if method.family == BOTH else GROUP
            lineage = f"{found['ancestors'].mean:.1f} of {of}, {found['groups'].mean:.1f}"
        cells = [method.name, f"{found['pictures'].mean:.0f}", found["reward"].text(digits), found["kl"].text(2)]
        cells += [found["diversity"].text(1), *(found[name].text(0) for name in HELD_OUT)]
        cells.append(f"{100 * found['still'].mean:.0f} %")
        body.append([*cells, lineage, f"{found['seconds'].mean:.2f}"])
    return markdown([head, *body])


def apart(one: Measured, other: Measured) -> int:
    """1 where it is higher by more than the interval of their difference, -1 where lower, else 0."""
    if abs(one.mean - other.mean) <= math.hypot(one.half, other.half):
        return 0
    return 1 if one.mean > other.mean else -1


REACHED = {1: "more than", 0: "within the spread no better than", -1: "less than"}
DIVERSE = {1: "more diverse", 0: "as diverse, within the spread", -1: "less diverse"}


def findings(reward: str, rows: Sequence[Row]) -> list[str]:
    """Sentences, each from the figures alone: every method beside the best 4 of 16, then some beside one another."""
    digits = 2 if reward == SMALL else 1

    def of(family: str) -> list[Row]:
        return [row for row in rows if row[0].family == family]

    plain, kept = of(UNGUIDED)[0], next(row for row in of(BEST) if row[0].setting == "the best 4")
    told = [_beside(row, kept, digits) for family in (FK, FK_MAX, OURS, ANCHOR, BOTH) for row in of(family)]
    told.insert(0, _beside(kept, plain, digits))
    gradient, by_weight = of(OURS)[-1:], of(FK)[-1:]
    told += [_beside(gradient[0], by_weight[0], digits)] if gradient else []
    for anchored in (row for row in of(ANCHOR) if row[0].setting in ("λ 0.5", "λ 1")):
        told += [_beside(row, anchored, digits) for row in (*gradient, *of(BOTH)[-1:])]
        told += [_beside(anchored, plain, digits)] if reward == SMALL else []
    strongest = (gradient or by_weight)[0][1]
    if strongest["groups"].mean < SHOWN:
        told.append(
            f"At its strongest, {(gradient or by_weight)[0][0].name}, the {SHOWN} pictures of a run come from "
            f"{strongest['groups'].mean:.1f} of {SHOWN} groups, and a group from {strongest['ancestors'].mean:.1f} of "
            f"{GROUP} particles: what is shown is then a few relatives."
        )
    return told


def _beside(row: Row, other: Row, digits: int) -> str:
    """“A: 1 ± 0, more than B (0 ± 0); less diverse.”"""
    (method, found), (theirs, known) = row, other
    reached = REACHED[apart(found["reward"], known["reward"])]
    diverse = DIVERSE[apart(found["diversity"], known["diversity"])]
    values = [figures["reward"].text(digits) for figures in (found, known)]
    return f"{method.name}: {values[0]}, {reached} {theirs.name} ({values[1]}); {diverse}."
