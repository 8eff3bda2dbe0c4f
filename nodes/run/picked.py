"""What comes out of a run: its parts put together, and of particles those that become its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor

from ...realign_core import Particles, Trace
from .call import Call
from .particles import ALL, BEST, Steering, generator_of
from .planned import Planned
from .realignment import Realignment


@dataclass(frozen=True, eq=False)
class Picked:
    """Of M groups of N particles, those that are shown."""

    index: Tensor  # (K,): element m·N + n of each
    latents: Tensor  # (K, …)
    trace: Trace  # of the K


def whole(latents: Sequence[Tensor], plans: Sequence[Planned]) -> tuple[Tensor, Trace]:
    """The parts of a run, in the batch's order."""
    if len(latents) == 1 and plans[0].part.elements == list(range(len(latents[0]))):
        return latents[0], plans[0].trace
    trace = Trace.join([(plan.part.elements, plan.trace) for plan in plans])
    order = torch.tensor([element for plan in plans for element in plan.part.elements]).argsort()
    return torch.cat(list(latents))[order], trace


def pick(
    realignment: Realignment, steering: Steering, plans: Sequence[Planned], latents: Sequence[Tensor], call: Call
) -> Picked:
    """call: the whole run's."""
    size, order = steering.particles, torch.tensor([e for plan in plans for e in plan.part.elements]).argsort()
    groups = [_groups(plan, out, size) for plan, out in zip(plans, latents)]
    particles = Particles.join([one for one, _ in groups]).of(order)
    watched = torch.cat([told for _, told in groups], 1)[:, order]
    elements = [[e * size + n for e in plan.part.elements for n in range(size)] for plan in plans]
    trace = Trace.join(list(zip(elements, [_spread(plan, size) for plan in plans])))
    pools = pools_of(realignment, call)
    index = chosen(realignment, steering, particles, pools, call.seed or 0)
    trace.take(index)
    trace.info["particles"] = record(steering, particles, watched, index, pools, trace.steps)
    return Picked(index, particles.x[index.to(particles.x.device)], trace)


def _groups(plan: Planned, latents: Tensor, size: int) -> tuple[Particles, Tensor]:
    """A part's particles, and what was watched of them, (T, M, N). latents: as the host gave them."""
    if plan.population is not None and plan.population.particles is not None:
        return replace(plan.population.particles, x=latents), plan.population.watched
    each = repeat(latents, "m ... -> (m n) ...", n=size) if plan.part.particles == 1 else latents
    steps, groups = len(plan.trace.calls), len(plan.part.elements)
    return Particles.unweighed(each, steps, groups, size), torch.full((steps, groups, size), torch.nan)


def _spread(plan: Planned, size: int) -> Trace:
    if plan.part.particles == 1 and size > 1:
        plan.trace.take(torch.arange(len(plan.part.elements)).repeat_interleave(size))
    return plan.trace


def pools_of(realignment: Realignment, call: Call) -> list[list[int]]:
    """The pictures that are drawn from their groups together: those of one target, which only noise tells apart."""
    cells = realignment.sweep.cells() if realignment.sweep else None
    pools: dict[Any, list[int]] = {}
    for picture in range(call.noise.shape[0]):
        known = _alike(call.latent_image, picture), _alike(call.denoise_mask, picture)
        cell = cells[picture]._replace(image=0) if cells else None
        masked = picture if any(len(mask) > 1 for mask in _masks(realignment)) else 0
        pools.setdefault((known, cell, masked), []).append(picture)
    return list(pools.values())


def _masks(realignment: Realignment) -> list[Tensor]:
    masks = (realignment.mask, *(anchor.mask for anchor in realignment.anchors))
    return [mask for mask in masks if mask is not None and mask.ndim > 2]


def _alike(values: Tensor | None, picture: int) -> int:
    """The first of a batch that is equal to this one."""
    if values is None or len(values) == 1:
        return 0
    return next(i for i in range(picture + 1) if torch.equal(values[i], values[picture]))


def chosen(
    realignment: Realignment, steering: Steering, particles: Particles, pools: Sequence[Sequence[int]], seed: int
) -> Tensor:
    """(K,): the elements that are shown; in the order of the pictures, where there is one for each group."""
    size = steering.particles
    if steering.pick == ALL:
        return torch.arange(particles.log_weights.numel())
    out = torch.zeros(len(particles.log_weights), dtype=torch.long)
    for groups in pools:
        later, first = realignment.by_itself(groups[0])
        which = torch.tensor(groups)
        of = particles.of(which)
        if steering.pick == BEST and of.asked is not None:
            drawn = of.best(len(groups))
        elif of.is_unweighed:  # any of them is a draw: the first, as without particles
            drawn = torch.arange(len(groups)) * size
        else:
            drawn = _in_place(of.draw(len(groups), generator=generator_of(seed + later, -1 - first)), size)
        out[which] = which[drawn // size] * size + drawn % size
    return out


def _in_place(drawn: Tensor, size: int) -> Tensor:
    """The same elements, as many as can be at the place of their own group."""
    waiting, out = drawn.tolist(), [-1] * len(drawn)
    for place in range(len(out)):
        own = next((element for element in waiting if element // size == place), None)
        if own is not None:
            out[place] = own
            waiting.remove(own)
    return torch.tensor([waiting.pop(0) if element < 0 else element for element in out])


def record(
    steering: Steering,
    particles: Particles,
    watched: Tensor,
    index: Tensor,
    pools: Sequence[Sequence[int]],
    steps: Sequence[int],
) -> dict[str, Any]:
    """For the trace. watched: (T, M, N). index: see `Picked`. steps: those that were sampled."""
    size = steering.particles
    group, particle = index // size, index % size
    share = torch.zeros(len(particles.log_weights), size, dtype=torch.float64)
    for groups in pools:
        logs = particles.log_z[groups, None] + particles.log_weights[groups]
        share[groups] = rearrange(logs.flatten().softmax(0), "(m n) -> m n", n=size)
    asked, seen = particles.asked, watched if bool(watched.isfinite().any()) else None
    tilt, unique = steering.tilt, particles.unique()

    def means(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.mean(-1)

    def drawn(values: Tensor | None) -> Tensor | None:
        return None if values is None else particles.along(values)[:, group, particle]

    columns = {
        "ess": particles.ess,
        "unique": unique,
        "tau": particles.tau,
        "reward": means(asked),
        "reward_drawn": drawn(asked),
        "held_out": means(seen),
        "held_out_drawn": drawn(seen),
    }
    return {
        "reward": tilt.name if tilt else None,
        "held_out": steering.watched_name if seen is not None else None,
        "strength": tilt.strength if tilt else None,
        "corrected": steering.correct,
        "groups": len(share),
        "particles": size,
        "pick": steering.pick,
        "picked": index.tolist(),
        "log_z": particles.log_z.tolist(),
        "kl": particles.kl().tolist() if tilt else None,
        "scores": asked[-1, group, particle].tolist() if asked is not None else None,
        "weights": share[group, particle].tolist(),
        "held_out_scores": _listed(seen[-1, group, particle]) if seen is not None else None,
        "steps": [
            {name: None if values is None else _listed(values[step]) for name, values in columns.items()}
            for step in steps
        ],
    }


def _listed(values: Tensor) -> list[Any]:
    return [None if value != value else value for value in values.tolist()]  # NaN: not asked
