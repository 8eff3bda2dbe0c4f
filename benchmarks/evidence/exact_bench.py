"""Samples and measures the cases, each kept as soon as it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from functools import cached_property
from pathlib import Path

from tools.cache import CACHE, PACK

from .exact_cases import AGAIN, CORRECTED, EXACT, LEARNED, MERGED, REFERENCE, RETRAINED, RING, STEPWISE
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
Batches = list[dict[str, float]]  # of each batch of draws: tv, sw, reward


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
            x = sampled(case, models, world.d)
        return [judge.measured(batch) for batch in x.chunk(BATCHES)]

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
    if case.method in (STEPWISE, CORRECTED):
        return [world.reference, world.aligned(case.anchor)]
    raise ValueError(f"{case.method!r} needs networks: a density in closed form has no weights")
