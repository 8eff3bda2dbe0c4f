"""A run with particles as data: of each picture shown, of each step, and of the groups. Counted from 1."""

from __future__ import annotations

from typing import Any

from .traced import TracedParticles, Values

Record = dict[str, Any]


def drawn_record(run: TracedParticles, picture: int) -> Record:
    """Of a picture: which particle it is, what it was found worth, and its weight.

    score, held_out_score: in the rewards' units. group_kl: KL(target ‖ model) as its group sees it, nats. log_z: of its
    group. None: not known.
    """
    group, particle = run.place(picture)
    return {
        "group": group + 1,
        "particle": particle + 1,
        "score": _at(run.scores, picture),
        "held_out_score": _at(run.held_out_scores, picture),
        "weight": run.weights[picture],
        "group_kl": _at(run.kl, group),
        "log_z": run.log_z[group],
    }


def drawn_step_record(run: TracedParticles, step: int, picture: int) -> Record:
    """Of a step: the picture's group, as `group_step_record`, and reward_drawn and held_out_drawn, those of the
    picture's own ancestor."""
    told = run.steps[step]
    return {
        **group_step_record(run, step, run.place(picture)[0]),
        "reward_drawn": _at(told.reward_drawn, picture),
        "held_out_drawn": _at(told.held_out_drawn, picture),
    }


def group_step_record(run: TracedParticles, step: int, group: int) -> Record:
    """Of a group at a step: ess, the effective sample size before the re-draw; unique, from how many starting particles
    it descends; tau, the temper; reward and held_out, means over its particles. None: not asked."""
    told = run.steps[step]
    return {
        "ess": told.ess[group],
        "unique": told.unique[group],
        "tau": _at(told.tau, group),
        "reward": _at(told.reward, group),
        "held_out": _at(told.held_out, group),
    }


def groups_record(run: TracedParticles) -> Record:
    """What was asked for; groups, with log_z and kl of each; and steps, one record per group and step."""
    groups = range(run.groups)
    return {
        **run.model_dump(include={"reward", "held_out", "strength", "corrected", "particles", "pick"}),
        "groups": [{"group": m + 1, "log_z": run.log_z[m], "kl": _at(run.kl, m)} for m in groups],
        "steps": [
            {"group": m + 1, "step": i + 1, **group_step_record(run, i, m)}
            for m in groups
            for i in range(len(run.steps))
        ],
    }


def over_groups(run: TracedParticles, which: str) -> Values:
    """(T,): the mean over groups of one of a step's numbers, by its name; None where one of them is not known."""
    return [mean(getattr(step, which)) for step in run.steps]


def mean(values: Values | None) -> float | None:
    """None where one is not known: the others' mean would be that of others."""
    known = [value for value in values or [] if value is not None]
    return sum(known) / len(known) if known and values and len(known) == len(values) else None


def _at(values: Values | None, place: int) -> float | None:
    return None if values is None else values[place]
