"""What nodes' functions remember, apart for each model.

Nodes keep state in closures, in objects that their functions hold, in their modules' globals or on the network: a
running mean, a cache of the step before. Models that are asked in turn must not see each other's. So the contents of
all these places are exchanged whenever another model is asked.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..models.reach import Items, Place, Reached, reached, same

Bank = dict[int, tuple[Place, Any]]  # contents by the id of the place's holder, which is kept alive


class State:
    """The contents of the places that several models of a run reach, for each of them.

    Model 0, the reference, has what is there; another begins with the same, or with what it had at the end of its last
    run. lasting: by model, what its nodes have put on it.
    """

    def __init__(self, lasting: Mapping[int, Reached], device: torch.device):
        self._lasting = lasting
        every = {key: place for found in lasting.values() for key, place in found.places.items()}
        self._first = {key: (place, place.get()) for key, place in every.items()}
        self._shared: dict[int, Place] = {}
        self._banks: dict[int, Bank] = {}
        self._kept: Mapping[int, Bank] = {}
        self._now, self._device = 0, device
        self._drawn: Randomness | None = None
        self._left: Randomness | None = None  # by the last question
        self._draws: dict[int, Randomness] = {}  # of models that have not drawn as the reference did
        self.of_nodes = any(found.of_nodes for found in lasting.values())
        self._share(self._lasting.values())

    def begin(self, kept: Mapping[int, Bank] | None = None) -> None:
        """At the start of a run: all is as it was when this object was made. kept: of each model's last run; those of
        the last call where it is not given."""
        if kept is not None:
            self._kept = kept
        for place, contents in self._first.values():
            place.put(contents)
        self._banks = {model: dict(bank) for model, bank in self._kept.items()}
        self._drawn = self._left = None

    def share_too(self, options: Iterable[Any], networks: Sequence[torch.nn.Module] = (), objects: Any = ()) -> None:
        """What all models reach in this run: from model options that the host has prepared and objects that it keeps,
        and the networks that several of them use."""
        found = [reached(options, objects)]
        self.of_nodes = self.of_nodes or found[0].of_nodes
        if networks and self.of_nodes:
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

    def prepared(self, models: Iterable[int]) -> None:
        """The host has prepared the reference for its run, and with it these models: they begin as it does."""
        for model in models:
            bank = self._banks.setdefault(model, {})
            for key, place in self._shared.items():
                contents = place.get()
                if not same(contents, self._first[key][1]):
                    bank[key] = place, contents

    def asked(self) -> None:
        """A question begins: each model finds the global random state as it left it. Where the sampler has drawn since
        the last one, all find what the reference finds."""
        if not self.of_nodes:
            return
        self._drawn = Randomness.now(self._device)
        if self._left is None or not self._left.same(self._drawn):
            self._draws.clear()
        self._left = self._drawn

    @contextmanager
    def of(self, model: int) -> Iterator[None]:
        """While the context is open, the model finds what it remembers itself."""
        before, later = self._now, None
        self._switch(model)
        if self._drawn is not None and model:
            later = Randomness.now(self._device)
            self._draws.get(model, self._drawn).restore()
        try:
            yield
        finally:
            self._switch(before)
            if later is not None:
                self._draws[model] = Randomness.now(self._device)
                later.restore()
            elif self._drawn is not None:
                self._left = Randomness.now(self._device)

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


@dataclass(frozen=True, eq=False)
class Randomness:
    """The global random state: torch's on the CPU and on a device, Python's and numpy's."""

    cpu: Tensor
    device: Tensor | None
    python: Any
    numpy: Any
    module: Any  # torch.cuda, torch.mps …

    @classmethod
    def now(cls, device: torch.device) -> Randomness:
        module = getattr(torch, device.type, None) if device.type != "cpu" else None
        on_device = module.get_rng_state() if hasattr(module, "get_rng_state") else None
        return cls(torch.get_rng_state(), on_device, random.getstate(), np.random.get_state(), module)

    def same(self, other: Randomness) -> bool:
        """Whether the next numbers are the same."""
        arrays = [(self.cpu, other.cpu), (self.device, other.device)]
        return (
            all(a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in arrays)
            and self.python == other.python
            and all(np.array_equal(a, b) for a, b in zip(self.numpy, other.numpy))
        )

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        if self.device is not None:
            self.module.set_rng_state(self.device)
