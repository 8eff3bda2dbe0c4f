"""Samples and measures the cases, each kept as soon as it is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from tools.cache import CACHE, PACK

from .exact_cases import AGAIN, EXACT, LEARNED, MERGED, PICTURES, REFERENCE, RETRAINED, RING, STEPWISE
from .exact_networks import Network, Weights, loaded, merged, trained
from .exact_runs import BATCHES, DEVICE, Case, Model, sampled
from .exact_worlds import Judge, World, worlds
from .kept import Kept

HERE = Path(__file__).resolve().parent
TOYS = HERE.parent / "particles_toys.py"
TRAINING = [TOYS, HERE / "exact_networks.py", HERE / "exact_worlds.py"]
MEASURING = [
    *TRAINING,
    HERE.parent / "particles_runs.py",
    *(HERE / f"{name}.py" for name in ("distances", "exact_bench", "exact_runs")),
    *(PACK / "realign_core").glob("*.py"),
]
Measured = dict[str, float]  # tv, sw, reward
Batches = list[Measured]  # a batch's part in each: their mean is the figure of all draws, see `parts`


def parts(measured: Callable[[Tensor], Measured], x: Tensor) -> Batches:
    """What all draws together measure, as a figure for each batch: their mean is it, their spread that of the draws.

    A distance from a density is larger the fewer the draws, so a mean over batches would hide small ones. These are
    the jackknife's pseudo-values (Efron and Stein 1981), centred: how the figure changes without the batch. Of a mean
    they are the batches' means. x: (draws, d)."""
    batches, whole = x.chunk(BATCHES), measured(x)
    less = [measured(torch.cat([*batches[:i], *batches[i + 1 :]])) for i in range(len(batches))]
    middle = {name: sum(one[name] for one in less) / len(less) for name in whole}
    return [{name: whole[name] + (len(less) - 1) * (middle[name] - one[name]) for name in whole} for one in less]


class Bench:
    """results: case -> its batches."""

    def __init__(self, root: Path = CACHE / "evidence") -> None:
        self.worlds = worlds()
        self.worlds[LEARNED] = self.worlds[RING]
        self.networks, self.results = Kept("networks", TRAINING, root), Kept("exact", MEASURING, root)
        self._judges = dict[tuple[str, float], Judge]()

    def measured(self, case: Case) -> Batches:
        return self.results.json(repr(astuple(case)), lambda: self._measure(case))

    def _measure(self, case: Case) -> Batches:
        world = self.worlds[case.world]
        judge = self._judges.setdefault((case.world, case.target), world.judge(case.target))
        if case.method == EXACT:
            x = judge.exact.draw(case.draws, 900)
        else:
            models = self.learned(case) if case.world == LEARNED else known(world, case)
            x = sampled(case, models, world.d, PICTURES.get(case.method, 1))
        return parts(judge.measured, x)

    @cached_property
    def spread(self) -> float:
        """Of the reference's data, in all networks."""
        return self.worlds[LEARNED].reference.spread

    def weights(self, beta: float = 0.0, seed: int = 0) -> Weights:
        """Of the network trained at this β, from the reference's weights; β 0: of the reference."""
        world = self.worlds[LEARNED]
        if not beta:
            return self.networks.tensors("reference", lambda: trained(world.reference, self.spread, 0, None))
        start, key = self.weights(), f"anchor of β {beta}, seed {seed}"
        return self.networks.tensors(key, lambda: trained(world.aligned(beta), self.spread, 1 + seed, start))

    def learned(self, case: Case) -> Sequence[Model]:
        def ready(weights: Weights) -> Network:
            return loaded(weights, self.spread).to(DEVICE)

        if case.method in (RETRAINED, AGAIN):
            return [ready(self.weights(case.target, seed=int(case.method == AGAIN)))]
        if case.method == REFERENCE:
            return [ready(self.weights())]
        if case.method == MERGED:
            return [ready(merged(self.weights(), self.weights(case.anchor), case.lambda_))]
        return [ready(self.weights()), ready(self.weights(case.anchor))]


def known(world: World, case: Case) -> Sequence[Model]:
    """The models of a case, in closed form."""
    if case.method == RETRAINED:
        return [world.aligned(case.target)]
    if case.method == REFERENCE:
        return [world.reference]
    if case.method == STEPWISE or case.method in PICTURES:
        return [world.reference, world.aligned(case.anchor)]
    raise ValueError(f"{case.method!r} needs networks: a density in closed form has no weights")
