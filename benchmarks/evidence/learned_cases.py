"""What `make evidence` compares: at which β anchors are trained, and which targets are reached from which, and how."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .learned_networks import PREFERRED, REFERENCE, SHIPPED, TILTED, TRIAL, TWIN, Network, Trained

STEPWISE, CORRECTED, RLG, MERGED = "step by step", "corrected", "RLG, deterministic", "merged weights"
METHODS = (STEPWISE, CORRECTED, RLG, MERGED)
PARTICLES, STEPS = 4, 20


@dataclass(frozen=True)
class Case:
    """A target β reached from an anchor by λ."""

    method: str
    anchor: Trained
    target: float

    @property
    def lambda_(self) -> float:
        return round(self.anchor.beta / self.target, 9)


@dataclass(frozen=True)
class Asked:
    """One study: an anchor, and λ in order; 0 is the reference, 1 the anchor itself."""

    method: str
    anchor: Trained
    lambdas: tuple[float, ...]

    @property
    def name(self) -> str:
        return f"{self.anchor.name} {self.method}".replace(",", "")


@dataclass(frozen=True)
class Extent:
    """How much is done with a network.

    betas: of the anchors of each way, smallest first. starts: from how many of them all larger β are reached step by
    step and with merged weights. some: places of the targets that are reached corrected and by RLG, from the first
    anchor, which has the longest way. again: places of anchors that are trained twice. doubled: of those that are
    trained with twice the steps, to see whether the training was at its end. above: places of anchors from which the
    next smaller β is tried, λ above 1. every: of how many of the 320 captions one is asked. seeds: of each caption, its
    own.
    """

    network: Network
    betas: dict[str, tuple[float, ...]] = field(hash=False)
    starts: dict[str, int] = field(hash=False)
    some: dict[str, tuple[int, ...]] = field(hash=False)
    again: tuple[int, ...]
    doubled: dict[str, tuple[int, ...]] = field(hash=False)
    above: tuple[int, ...]
    seeds: int
    every: int
    lessons: int = 1500  # steps of the classifier

    def trained(self, way: str, place: int, seed: int = 0, doubled: bool = False) -> Trained:
        return Trained(way, self.betas[way][place], seed, self.network, doubled)

    @property
    def reference(self) -> Trained:
        return Trained(REFERENCE, network=self.network)

    @property
    def way(self) -> str:
        """The first, of which one is told where one is enough."""
        return next(iter(self.betas))

    @property
    def first(self) -> Trained:
        """The anchor whose studies also make the reference's pictures, at λ 0."""
        return self.trained(self.way, 0)

    def anchors(self, way: str) -> list[Trained]:
        """The first training of each β."""
        return [self.trained(way, place) for place in range(len(self.betas[way]))]

    def more(self, way: str) -> list[Trained]:
        """Second trainings, and longer ones."""
        found = [self.trained(way, place, seed=1) for place in self.again]
        return found + [self.trained(way, place, doubled=True) for place in self.doubled.get(way, ())]

    def all_trained(self) -> list[Trained]:
        return [self.reference, *(one for way in self.betas for one in (*self.anchors(way), *self.more(way)))]

    def cases(self) -> list[Case]:
        found = []
        for way, betas in self.betas.items():
            anchors = self.anchors(way)
            for place, anchor in enumerate(anchors[: self.starts[way]]):
                found += [Case(method, anchor, beta) for method in (STEPWISE, MERGED) for beta in betas[place + 1 :]]
            found += [Case(method, anchors[0], betas[at]) for method in (CORRECTED, RLG) for at in self.some[way]]
            found += [Case(STEPWISE, self.trained(way, place), betas[place - 1]) for place in self.above]
        return found

    def asked(self) -> Iterator[Asked]:
        """The studies: all cases, every network by itself at λ 1, and the reference at λ 0, by both kinds of sampler:
        the deterministic one's pictures are compared with its own."""
        cases = self.cases()
        beside = [self.trained(way, place) for way in self.betas for place in (0, *self.some[way])]
        alone = {STEPWISE: self.all_trained()[1:], RLG: beside}
        for method in METHODS:
            for anchor in self.all_trained()[1:]:
                lambdas = [case.lambda_ for case in cases if (case.method, case.anchor) == (method, anchor)]
                if anchor in alone.get(method, ()):
                    lambdas.append(1.0)
                if method in alone and anchor == self.first:
                    lambdas.append(0.0)
                if lambdas:
                    yield Asked(method, anchor, tuple(sorted(lambdas)))


WHOLE = Extent(
    TWIN,
    {TILTED: (0.06, 0.08, 0.1, 0.14, 0.2, 0.4), PREFERRED: (500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0)},
    starts={TILTED: 2, PREFERRED: 1},
    some={TILTED: (1, 2, 4), PREFERRED: (1, 3)},
    again=(0, 2),
    doubled={PREFERRED: (0, 1)},
    above=(2,),
    seeds=8,
    every=5,
)
ONE_ANCHOR = Extent(
    SHIPPED,
    {TILTED: (0.06, 0.1, 0.2)},
    starts={TILTED: 1},
    some={TILTED: (1, 2)},
    again=(),
    doubled={},
    above=(),
    seeds=8,
    every=10,
)
SMALLEST = Extent(
    TRIAL,
    {TILTED: (0.06, 0.1, 0.2), PREFERRED: (250.0, 500.0, 1000.0)},
    {TILTED: 2, PREFERRED: 1},
    {TILTED: (1,), PREFERRED: (2,)},
    again=(0,),
    doubled={PREFERRED: (1,)},
    above=(1,),
    seeds=2,
    every=160,
    lessons=5,
)
EXTENTS = {extent.network.name: extent for extent in (WHOLE, ONE_ANCHOR, SMALLEST)}
