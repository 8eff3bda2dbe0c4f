"""What of a batch is sampled at once. A plain run is one part; a λ sweep several, where settings differ, memory is
short or a sampler's noise is its own."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import comfy.nested_tensor
import comfy.sample
import comfy.sampler_helpers
import comfy.samplers
import comfy.utils
import torch
from comfy.k_diffusion.sampling import BrownianTreeNoiseSampler, default_noise_sampler
from einops import rearrange
from torch import Tensor

from ...realign_core import Cell, Sweep
from ..models.memory import MEMORY_MARGIN, free_memory, free_memory_of_streamed
from ..types import Conditioning
from .by_element import draws_can_be_shared, may_couple, quoted, unknown_networks
from .call import Call
from .fewer_calls import CONTROL
from .particles import seed_of
from .posterior import with_options
from .prompts import batches_of, check_guider, conditionings_of, stacked
from .realignment import Realignment
from .rows import hold_rows, row_counts

NoiseSampler = Callable[[Any, Any], Tensor]  # (sigma, sigma_next) -> step noise, shaped like x

TOGETHER = "particle element ... -> (element particle) ..."

# These samplers of the host draw their steps' noise from a Brownian tree (comfy/k_diffusion/sampling.py); the others
# that draw any have `default_noise_sampler`. Value: whether the tree is on the CPU.
BROWNIAN = {
    f"sample_dpmpp_{name}{on}": on == "" for name in ("sde", "2m_sde", "2m_sde_heun", "3m_sde") for on in ("", "_gpu")
}


@dataclass(frozen=True, eq=False)
class Part:
    """Elements of a batch that are sampled at once."""

    elements: list[int]  # their places in the batch, in the order in which they are sampled
    lambdas: Tensor  # (T, K, B), fp64, on the CPU: see `Realignment.lambdas`
    call: Call  # the host's, for these elements
    cfg: float | None = None  # None: the guider's
    eta: float | None = None  # None: the sampler's
    positive: Conditioning | None = None  # in the place of the guider's; None: that
    # Leaves torch's global random state as a run of these elements alone finds it, for samplers that draw from it.
    seeded: Callable[[], Any] = lambda: None
    particles: int = 1  # of each element in the call, one after the other
    first: Part | None = None  # the same part with the first particle of each element alone


def parts_of(realignment: Realignment, guider: Any, call: Call) -> list[Part]:
    """All of one run of the host's guider. Raises ValueError for a batch, or a guider, that is not the sweep's."""
    kind = _Plain if realignment.sweep is None else _Swept
    first = kind(realignment, guider, call)
    at_once = first.at_once()
    with torch.random.fork_rng(devices=[]):  # the host's draws leave the global state as a plain run finds it
        others = [kind(realignment, guider, again(call, particle)) for particle in range(1, realignment.particles)]
    device = guider.model_patcher.load_device
    parts = [together(versions, device) for versions in zip(*(one.parts(at_once) for one in (first, *others)))]
    if len(parts) > 1:
        logging.info("Realign: %d pictures are sampled in %d runs", call.noise.shape[0], len(parts))
    return parts


class _Plain:
    """The parts of a run without a sweep: one, but where particles of all pictures together would not fit."""

    def __init__(self, realignment: Realignment, guider: Any, call: Call):
        self.realignment, self.guider, self.call = realignment, guider, call
        self.size = call.noise.shape[0]

    def at_once(self) -> int:
        """How many pictures are sampled as one batch."""
        if self.realignment.particles == 1:
            return self.size
        return fitting(self.realignment, self.guider, self.call, self.size, self.realignment.particles)

    def parts(self, at_once: int) -> list[Part]:
        lambdas = self.realignment.lambdas(self.call.sigmas.tolist(), [1.0] * self.size)
        if at_once >= self.size:
            return [Part(list(range(self.size)), lambdas, self.call)]
        divided = evenly([[element] for element in range(self.size)], at_once)
        return [self._part([element for unit in units for element in unit], lambdas) for units in divided]

    def _part(self, elements: list[int], lambdas: Tensor) -> Part:
        """With the step noise that these elements have in the whole batch."""
        call = self.call
        like = torch.zeros(call.noise.shape, device=self.guider.model_patcher.load_device)
        draw = step_noise(call.sampler, like, call.sigmas, call.seed)
        sampler = with_options(call.sampler, noise_sampler=lambda *levels: draw(*levels)[elements])
        return Part(elements, lambdas[..., elements], call.of(elements, sampler=sampler))


class _Swept:
    """A sweep's parts. What is never divided is a unit: all images of the swept latent at one λ and setting."""

    def __init__(self, realignment: Realignment, guider: Any, call: Call):
        self.realignment, self.guider, self.call, self.sigmas = realignment, guider, call, call.sigmas.tolist()
        assert realignment.sweep is not None
        self.sweep = sweep = realignment.sweep
        self.cells, self.units = sweep.cells(), units_of(sweep)
        check_batch(call.noise.shape[0], sweep)
        self.prompts = conditionings_of(sweep)
        if self.prompts:
            check_guider(guider)
        if sweep.images < sweep.batch and hold_rows(self._conditionings()):
            self._check_whole("a conditioning")
        if sweep.cfgs and type(guider).set_cfg is not comfy.samplers.CFGGuider.set_cfg:
            raise ValueError(f"A {type(guider).__name__} has more than one cfg: set the sweep's rows to “seed”.")

    def parts(self, at_once: int) -> list[Part]:
        groups: dict[tuple[Any, ...], list[list[int]]] = {}
        batches, kinds = self._batches(at_once), self._kinds()
        for unit in self.units:
            cell = self.cells[unit[0]]
            batch = None if cell.prompt is None else batches[cell.prompt]
            groups.setdefault((cell.cfg, cell.eta, batch, kinds[cell.value]), []).append(unit)
        noise = self._noise()
        divided = [some for group in groups.values() for some in evenly(group, at_once)]
        return [self._part(some, noise) for some in divided]

    def _part(self, units: list[list[int]], noise: Tensor) -> Part:
        elements = [element for unit in units for element in unit]
        cells = [self.cells[element] for element in elements]
        seed = self.call.seed
        call = self.call.of(
            elements,
            noise=noise[elements],
            sampler=self._with_equal_noise([self.cells[unit[0]] for unit in units]),
            seed=None if seed is None else _later(seed, cells[0].seed),
        )
        lambdas = self.realignment.lambdas(self.sigmas, [cell.value for cell in cells])
        seeded = partial(self._drawn, cells[0].seed)
        prompts = [cell.prompt for cell in cells if cell.prompt is not None]
        positive = stacked(self.prompts, prompts) if prompts else None
        return Part(elements, lambdas, call, cells[0].cfg, cells[0].eta, positive, seeded)

    def _batches(self, at_once: int) -> list[int]:
        """Of each prompt, a number that is the same for those that may be sampled in one batch."""
        if at_once == 1 or self.realignment.steering is not None:  # particles change places, and prompts do not
            return list(range(len(self.prompts)))
        patchers = [self.guider.model_patcher, *(anchor.patcher for anchor in self.realignment.anchors)]
        return batches_of(self.prompts, patchers)

    def _kinds(self) -> dict[float, Any]:
        """By λ, what is equal for those that may share a batch. Where differences are reused, a batch spends its calls
        on its anchors together: so all of it has the same anchors at 0, and at 1, in the same steps. A control variate
        measures what mixed weights leave out for all of it at once, when λ says so, and merges a full anchor at one λ:
        so all of it has the same λ. A draft takes one only where λ says nothing, on shared weights."""
        saving = self.realignment.saving
        if saving.method == CONTROL:
            return {value: value for value in self.sweep.values}
        if not saving.reuses:
            return dict.fromkeys(self.sweep.values)
        table = self.realignment.lambdas(self.sigmas, self.sweep.values)
        ends = rearrange([table == 0, table == 1], "end step anchor value -> value (end step anchor)").tolist()
        return dict(zip(self.sweep.values, map(tuple, ends)))

    def at_once(self) -> int:
        """How many units are sampled as one batch."""
        anchors = [anchor.patcher for anchor in self.realignment.anchors]
        if not draws_can_be_shared(self.call.sampler, self.call.denoise_mask):
            self._check_whole("its sampler")
            return 1
        if names := may_couple(self.guider, anchors) | unknown_networks([self.guider.model_patcher, *anchors]):
            self._check_whole(quoted(names))
            logging.info("Realign: one picture at a time, as %s may look at the others", ", ".join(sorted(names)))
            return 1
        if any(self.sweep.images % rows for rows in row_counts(self._conditionings())):
            logging.info(
                "Realign: one λ at a time, as a conditioning has contents for other pictures than the latent's"
            )
            return 1
        size = self.sweep.images * self.realignment.particles
        if self.sweep.batch_size:
            return max(self.sweep.batch_size // size, 1)
        return fitting(self.realignment, self.guider, self.call, len(self.units), size)

    def _noise(self) -> Tensor:
        """The starting noise of all cells: the host's for the run's seed, and what it draws for the seeds after it.

        Raises ValueError where rows have seeds of their own but the noise is not drawn from a seed.
        """
        first = self.call.noise[self.units[0]]
        seeds = {cell.seed for cell in self.cells}
        by_seed = dict.fromkeys(seeds, first)  # where there is no noise at the start, or one seed for all: the host's
        if seeds != {0} and bool(first.any()):
            if not torch.equal(self._drawn(0), first):
                raise ValueError(
                    "The sweep has rows of different seeds, but its noise does not come from a seed alone: connect "
                    "RandomNoise, or set the sweep's seeds to 1."
                )
            by_seed = {seed: self._drawn(seed) for seed in seeds}
        return torch.stack([by_seed[cell.seed][cell.image - self.sweep.first_image] for cell in self.cells])

    def _drawn(self, seed: int) -> Tensor:
        """The host's RandomNoise for the swept images, drawn as for the whole latent batch that they are of."""
        latents = self.call.latent_image[:1].expand(self.sweep.batch, *self.call.latent_image.shape[1:])
        drawn = random_noise(self.call, latents, _later(self.call.seed or 0, seed), list(self.sweep.batch_index))
        return drawn[self.sweep.places]

    def _conditionings(self) -> Iterator[dict[str, Any]]:
        """All that take part, as the host holds them."""
        yield from chain(*self.guider.conds.values())
        for conditioning in (*self.prompts, *self.realignment.anchor_conds):
            yield from comfy.sampler_helpers.convert_cond(conditioning or [])

    def _check_whole(self, what: str) -> None:
        """Raise ValueError where one image of several is to be sampled alone, and this may look at all of them."""
        if self.sweep.images < self.sweep.batch:
            raise ValueError(
                f"λ Sweep's “only” asks for one image of a latent batch of {self.sweep.batch}, but {what} may look at "
                "all of them at once, so that it would be another picture: empty “only”, or sweep a latent image alone."
            )

    def _with_equal_noise(self, units: Sequence[Cell]) -> comfy.samplers.Sampler:
        """The sampler, with step noise for each unit as it would draw it for that unit alone. units: a cell of each."""
        sampler = self.call.sampler
        alone = len(units) == 1 and self.sweep.images == self.sweep.batch
        if alone or "noise_sampler" not in inspect.signature(sampler.sampler_function).parameters:
            return sampler
        shape, device = self.call.noise.shape, self.guider.model_patcher.load_device
        like = torch.zeros((self.sweep.batch, *shape[1:]), device=device)
        base = self.call.seed
        own = {
            seed: step_noise(sampler, like, self.call.sigmas, None if base is None else _later(base, seed))
            for seed in {cell.seed for cell in units}
        }

        def noise_sampler(sigma: Any, sigma_next: Any) -> Tensor:
            drawn = {seed: draw(sigma, sigma_next) for seed, draw in own.items()}
            return torch.cat([drawn[cell.seed][self.sweep.places] for cell in units])

        return with_options(sampler, noise_sampler=noise_sampler)


def fitting(realignment: Realignment, guider: Any, call: Call, units: int, size: int) -> int:
    """How many units of `size` elements fit beside the models. Where not even one does, the host streams weights, once
    for each call whatever its batch: then as many as fit where weights make room for them, since more calls move more.
    """
    beside = realignment.steering.beside if realignment.steering else ()
    patchers = [guider.model_patcher, *(anchor.patcher for anchor in realignment.anchors), *beside]
    shape = call.noise.shape[1:]
    needs = [patchers[0].memory_required([n * size, *shape]) * MEMORY_MARGIN for n in range(units + 1)]
    free = free_memory(patchers)
    if needs[1] >= free:
        free = free_memory_of_streamed(patchers)
    return max((n for n in range(1, units + 1) if needs[n] < free), default=1)


def random_noise(call: Call, latents: Tensor, seed: int, indices: list[int] | None = None) -> Tensor:
    """As the host's RandomNoise. latents: (B, …), several streams packed into one. indices: their batch_index."""
    shapes = call.latent_shapes
    if len(shapes) == 1:
        return comfy.sample.prepare_noise(latents, seed, indices)
    streams = comfy.nested_tensor.NestedTensor(comfy.utils.unpack_latents(latents, shapes))
    return comfy.utils.pack_latents(comfy.sample.prepare_noise(streams, seed, indices).unbind())[0]


def again(call: Call, particle: int) -> Call:
    """What the host would ask for another particle of each picture: all of its noise is that of another seed."""
    seed = seed_of(call.seed or 0, particle)
    noise = random_noise(call, call.latent_image, seed).to(call.noise) if bool(call.noise.any()) else call.noise
    return replace(call, noise=noise, seed=seed)


def together(versions: Sequence[Part], device: torch.device) -> Part:
    """One part for all particles of its pictures. versions: the same part for each particle. device: of the run."""
    first, count = versions[0], len(versions)
    if count == 1:
        return first
    calls = [version.call for version in versions]
    like = torch.zeros(calls[0].noise.shape, device=device)
    draws = [
        call.sampler.extra_options.get("noise_sampler") or step_noise(call.sampler, like, call.sigmas, call.seed)
        for call in calls
    ]

    def noise_sampler(sigma: Any, sigma_next: Any) -> Tensor:
        return rearrange([draw(sigma, sigma_next) for draw in draws], TOGETHER)

    elements = [element for element in range(len(first.elements)) for _ in range(count)]
    sampler = with_options(calls[0].sampler, noise_sampler=noise_sampler)
    crowd = calls[0].of(elements, noise=rearrange([call.noise for call in calls], TOGETHER), sampler=sampler)
    return replace(first, call=crowd, lambdas=first.lambdas[..., elements], particles=count, first=first)


def units_of(sweep: Sweep) -> list[list[int]]:
    """Elements of the sweep's batch, by unit: in the order of the columns, row by row."""
    elements = torch.arange(sweep.rows * sweep.columns)
    axes = {"image": sweep.images, "column": sweep.columns}
    units: list[list[int]] = rearrange(elements, "(row image column) -> (row column) image", **axes).tolist()
    return units


def evenly(units: list[list[int]], at_once: int) -> list[list[list[int]]]:
    """In as few parts of at most `at_once` units as there can be, of nearly equal size."""
    count = -(-len(units) // max(at_once, 1))
    return [units[len(units) * i // count : len(units) * (i + 1) // count] for i in range(count)]


def check_batch(size: int, sweep: Sweep) -> None:
    """Raise ValueError where the latent image is not the sweep's."""
    cells = sweep.columns * sweep.rows
    if size != cells:
        raise ValueError(
            f"The λ sweep has {cells} pictures, but the latent image holds {size}: connect the latent output of the "
            "same λ Sweep to the sampler."
        )


def step_noise(sampler: comfy.samplers.KSAMPLER, like: Tensor, sigmas: Tensor, seed: int | None) -> NoiseSampler:
    """What a sampler of the host draws its steps' noise from, if it is given none."""
    cpu = BROWNIAN.get(sampler.sampler_function.__name__)
    if cpu is None:
        draw: NoiseSampler = default_noise_sampler(like, seed=seed)
        return draw
    sigmas = sigmas.to(like.device)
    tree: NoiseSampler = BrownianTreeNoiseSampler(like, sigmas[sigmas > 0].min(), sigmas.max(), seed=seed, cpu=cpu)
    return tree


def _later(seed: int, offset: int) -> int:
    return (seed + offset) % 2**64
