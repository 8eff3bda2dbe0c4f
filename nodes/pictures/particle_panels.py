"""A run with particles as plots over its steps: of all groups together, as means over them."""

from __future__ import annotations

from collections.abc import Sequence

from .colours import AMBER, BLUE
from .particle_records import mean, over_groups
from .particle_words import all_particles, held_out_name, reward_name
from .plot import Line, Panel
from .text import drawable, font, shortened
from .traced import TracedParticles, Values

AXIS = "step"
ROOM = 640  # px of a panel's name, in the font's size there
SHOWN = {"draw": "the pictures drawn", "best": "the best pictures", "all": "the pictures"}  # by `pick`
NOT_ASKED = "not asked"

Ticks = Sequence[tuple[float, str]]


def particle_panels(run: TracedParticles, ticks: Ticks) -> list[Panel]:
    """Reward; the held-out one, in its own units; what part of the particles count and live on; and the temper. Each
    where there is something to draw, and at least one. ticks: marks on the steps, from 0."""
    panels = [
        *_reward_panels(run, "reward", reward_name(run), ticks),
        *_reward_panels(run, "held_out", f"held-out {held_out_name(run)}", ticks),
    ]
    tau = over_groups(run, "tau")
    temper = Panel("τ, how much of the reward counts", [_line(tau, BLUE)], AXIS, reach=1.0, ticks=ticks)
    tempered = [temper] if _any_known(tau) else []
    if run.particles > 1 or not panels + tempered:
        panels.append(_share_panel(run, ticks))
    return panels + tempered


def _reward_panels(run: TracedParticles, which: str, name: str, ticks: Ticks) -> list[Panel]:
    """One, or none where it was never asked."""
    drawn = [mean(getattr(step, f"{which}_drawn")) for step in run.steps]
    lines = [
        _line(over_groups(run, which), BLUE, f"mean of {all_particles(run)} particles"),
        _line(drawn, AMBER, f"{SHOWN[run.pick]}, their ancestors"),
    ]
    if run.groups * run.particles == 1:  # which is the picture
        lines = [_line(over_groups(run, which), BLUE)]
    lines = [line for line in lines if _any_known([y for _, y in line.points])]
    name = shortened(drawable(name), font(18), ROOM)
    return [Panel(name, lines, AXIS, fits=True, ticks=ticks, empty=NOT_ASKED)] if lines else []


def _share_panel(run: TracedParticles, ticks: Ticks) -> Panel:
    """In shares of N: how many count, and how many of those that began have descendants."""
    lines = []
    for which, label, colour in (("ess", "effective sample size", BLUE), ("unique", "unique ancestors", AMBER)):
        shares = [None if value is None else min(value / run.particles, 1.0) for value in over_groups(run, which)]
        lines.append(_line(shares, colour, label))
    groups = f", mean of {run.groups} groups" if run.groups > 1 else ""
    name = f"share of {run.particles} particles{groups}" if run.particles > 1 else "share of 1 particle"
    return Panel(name, lines, AXIS, reach=1.0, ticks=ticks)


def _line(values: Values, colour: tuple[int, int, int], label: str = "") -> Line:
    return Line([*enumerate(values)], colour, label)


def _any_known(values: Values) -> bool:
    return any(value is not None for value in values)
