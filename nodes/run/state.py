"""What nodes' functions remember, apart for each model.

Nodes keep state in closures, in objects that their functions hold, in their modules' globals or on the network: a
running mean, a cache of the step before. Models that are asked in turn must not see each other's. So the contents of
all these places are exchanged whenever another model is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ..models.reach import Items, Place, Reached, reached

Bank = dict[int, tuple[Place, Any]]  # contents by the id of the place's holder, which is kept alive


class State:
    """The contents of the places that several models of a run reach, for each of them.

    Model 0, the reference, has what is there; another begins with the same, or with what it had at the end of its last
    run. lasting: by model, what its nodes have put on it.
    """

    def __init__(self, lasting: Mapping[int, Reached]):
        self._lasting = lasting
        self._every = {key: place for found in self._lasting.values() for key, place in found.places.items()}
        self._first = {key: (place, place.get()) for key, place in self._every.items()}
        self._shared: dict[int, Place] = {}
        self._banks: dict[int, Bank] = {}
        self._kept: Mapping[int, Bank] = {}
        self._now = 0
        self._share(self._lasting.values())

    def begin(self, kept: Mapping[int, Bank] | None = None) -> None:
        """At the start of a run: all is as it was when this object was made. kept: of each model's last run; those of
        the last call where it is not given."""
        if kept is not None:
            self._kept = kept
        for place, contents in self._first.values():
            place.put(contents)
        self._banks = {model: dict(bank) for model, bank in self._kept.items()}

    def share_too(self, options: Iterable[Any], networks: Sequence[torch.nn.Module] = (), objects: Any = ()) -> None:
        """What all models reach in this run: from model options that the host has prepared and objects that it keeps,
        and the networks that several of them use."""
        found = [reached(options, objects)]
        if networks and any(one.of_nodes for one in [*found, *self._lasting.values()]):
            of_networks = Reached()
            for module in (m for network in networks for m in network.modules() if next(m.children(), None)):
                of_networks.places[id(vars(module))] = Items(vars(module))
            found.append(of_networks)
        self._share([*found, *found])

    def _share(self, found: Iterable[Reached]) -> None:
        found = list(found)
        counts = Counter(key for one in found for key in one.places)
        places = {key: place for one in found for key, place in one.places.items()}
        for key, count in counts.items():
            if count > 1 and key not in self._shared:
                self._shared[key] = places[key]
                self._first.setdefault(key, (places[key], places[key].get()))

    @contextmanager
    def of(self, model: int) -> Iterator[None]:
        """While the context is open, the model finds what it remembers itself."""
        before = self._now
        self._switch(model)
        try:
            yield
        finally:
            self._switch(before)

    def _switch(self, model: int) -> None:
        if model == self._now or not self._shared:
            self._now = model
            return
        self._banks[self._now] = {key: (place, place.get()) for key, place in self._shared.items()}
        bank = self._banks.get(model, {})
        for key, place in self._shared.items():
            place.put(bank.get(key, self._first[key])[1])
        self._now = model

    def lasting(self, model: int) -> Bank:
        """What a model remembers beyond this run, for `begin`."""
        own = self._lasting[model].places
        return {key: entry for key, entry in self._banks.get(model, {}).items() if key in own}
