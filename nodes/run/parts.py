"""Runs a λ sweep: as one batch, or in chunks where settings differ, memory is short or a sampler's noise is its own."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import comfy.model_management
import comfy.nested_tensor
import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from comfy.k_diffusion.sampling import BrownianTreeNoiseSampler, default_noise_sampler
from torch import Tensor

from ...realign_core import Cell, Sweep, Trace
from ..live import Callback, Progress
from .own_weights import Prepared, restore, taken

if TYPE_CHECKING:
    from .realignment import Lambda, Realignment

NoiseSampler = Callable[[Any, Any], Tensor]  # (sigma, sigma_next) -> step noise, shaped like x

# These samplers of the host draw their steps' noise from a Brownian tree (comfy/k_diffusion/sampling.py); the others
# that draw any have `default_noise_sampler`. Value: whether the tree is on the CPU.
BROWNIAN = {
    f"sample_dpmpp_{name}{on}": on == "" for name in ("sde", "2m_sde", "2m_sde_heun", "3m_sde") for on in ("", "_gpu")
}
ADAPTIVE = ("dpm_adaptive_function", "sample_dpm_adaptive")  # their steps depend on the whole batch
MEMORY_MARGIN = 1.5  # as the host's calc_cond_batch has over its own estimate


@dataclass(frozen=True)
class Unit:
    """All images of the swept latent at one λ and setting: what is never divided. places: in the sweep's batch."""

    cell: Cell
    places: list[int]


@dataclass(frozen=True)
class Chunk:
    """Units that are sampled as one batch; they share cfg and η."""

    units: list[Unit]

    @property
    def cfg(self) -> float | None:
        return self.units[0].cell.cfg

    @property
    def eta(self) -> float | None:
        return self.units[0].cell.eta

    @property
    def places(self) -> list[int]:
        return [place for unit in self.units for place in unit.places]

    @property
    def cells(self) -> list[Cell]:
        return [unit.cell for unit in self.units for _ in unit.places]


def units_of(sweep: Sweep) -> list[Unit]:
    """In the order of the columns, row by row."""
    cells = sweep.cells()
    above = [row * sweep.columns for row in range(0, sweep.rows, sweep.images)]
    units = [[start + image * sweep.columns for image in range(sweep.images)] for start in above]
    return [
        Unit(cells[places[0] + column], [place + column for place in places])
        for places in units
        for column in range(sweep.columns)
    ]


def chunks_of(units: Sequence[Unit], at_once: int) -> list[Chunk]:
    """at_once: units per chunk at the most, ≥ 1."""
    groups: dict[tuple[float | None, float | None], list[Unit]] = {}
    for unit in units:
        groups.setdefault((unit.cell.cfg, unit.cell.eta), []).append(unit)
    return [Chunk(part) for group in groups.values() for part in _evenly(group, at_once)]


def _evenly(units: list[Unit], at_once: int) -> list[list[Unit]]:
    count = -(-len(units) // max(at_once, 1))
    return [units[len(units) * i // count : len(units) * (i + 1) // count] for i in range(count)]


class SweptRun:
    """One run of the host's guider over all cells of a sweep.

    executor, prepared, more: of the host's OUTER_SAMPLE wrapper. rows: T rows of one λ per anchor, which each cell's λ
    multiplies for the anchors in `swept`.
    """

    def __init__(
        self,
        realignment: Realignment,
        executor: Any,
        prepared: Prepared,
        more: dict[str, Any],
        rows: list[list[Lambda]],
    ):
        assert realignment.sweep is not None
        self.realignment, self.executor, self.prepared, self.more, self.rows = (
            realignment,
            executor,
            prepared,
            more,
            rows,
        )
        self.sweep, self.guider = realignment.sweep, executor.class_obj
        self.cells = self.sweep.cells()
        check_batch(prepared.noise.shape[0], self.sweep)
        if self.sweep.cfgs and type(self.guider).set_cfg is not comfy.samplers.CFGGuider.set_cfg:
            raise ValueError(f"A {type(self.guider).__name__} has more than one cfg: set the sweep's rows to “seed”.")
        units = units_of(self.sweep)
        self.chunks = chunks_of(units, self._at_once(units))
        if len(self.chunks) > 1:
            logging.info("Realign: the sweep's %d pictures are sampled in %d runs", len(self.cells), len(self.chunks))

    def sample(self) -> Tensor:
        """Latents of all cells, in the sweep's order."""
        noise, state, cfg = self._noise(), taken(self.guider), getattr(self.guider, "cfg", None)
        progress = Progress.of(self.realignment, self.guider, self.prepared, self.more)
        latents: list[Tensor] = []
        traces = []
        try:
            for chunk in self.chunks:
                restore(self.guider, state)
                if chunk.cfg is not None:
                    self.guider.set_cfg(chunk.cfg)
                self.realignment.eta = chunk.eta
                latents.append(
                    self._sample_chunk(chunk, noise, progress.part(chunk.places, len(latents), len(self.chunks)))
                )
                traces.append((chunk.places, self.realignment.record.trace()))
        finally:
            self.realignment.eta = None
            if self.sweep.cfgs:
                self.guider.set_cfg(cfg)
        progress.finish()
        self.realignment.finished = Trace.join(traces)
        order = torch.tensor([place for chunk in self.chunks for place in chunk.places]).argsort()
        return torch.cat(latents)[order]

    def _sample_chunk(self, chunk: Chunk, noise: Tensor, callback: Callback | None) -> Tensor:
        places, prepared = chunk.places, self.prepared
        mask, seed = prepared.denoise_mask, prepared.seed
        part = prepared._replace(
            noise=noise[places],
            latent_image=prepared.latent_image[places],
            denoise_mask=mask[places] if mask is not None and mask.shape[0] > 1 else mask,
            sampler=self._with_equal_noise(chunk),
            callback=callback,
            seed=None if seed is None else _later(seed, chunk.units[0].cell.seed),
        )
        shapes = self.more.get("latent_shapes")
        more = self.more if shapes is None else {**self.more, "latent_shapes": [[len(places), *s[1:]] for s in shapes]}
        return self.realignment.sample(self.executor, part, more, self._rows(chunk))

    def _rows(self, chunk: Chunk) -> list[list[Lambda]]:
        values = [cell.value for cell in chunk.cells]
        factor: Lambda = values[0] if len(set(values)) == 1 else torch.tensor(values)
        return [[v * factor if swept else v for v, swept in zip(row, self.realignment.swept)] for row in self.rows]

    def _at_once(self, units: Sequence[Unit]) -> int:
        """How many units may be sampled as one batch."""
        if not draws_can_be_shared(self.prepared.sampler, self.prepared.denoise_mask):
            return 1
        if self.sweep.batch_size:
            return max(self.sweep.batch_size // self.sweep.images, 1)
        patcher, shape = self.guider.model_patcher, self.prepared.noise.shape
        free = free_memory([patcher, *(anchor.patcher for anchor in self.realignment.anchors)])
        for count in range(len(units), 1, -1):
            if patcher.memory_required([count * self.sweep.images, *shape[1:]]) * MEMORY_MARGIN < free:
                return count
        return 1

    def _noise(self) -> Tensor:
        """The starting noise of all cells: the host's for the run's seed, and what it draws for the seeds after it.

        Raises ValueError where rows have seeds of their own but the noise is not drawn from a seed.
        """
        images = [image * self.sweep.columns for image in range(self.sweep.images)]  # of the first unit
        first, base = self.prepared.noise[images], self.prepared.latent_image[images]
        by_seed = {0: first}
        if self.sweep.seeds > 1 and bool(first.any()):
            by_seed = {seed: self._drawn(base, seed) for seed in range(self.sweep.seeds)}
            if not torch.equal(by_seed[0], first):
                raise ValueError(
                    "The sweep has rows of different seeds, but its noise does not come from a seed alone: connect "
                    "RandomNoise, or set the sweep's seeds to 1."
                )
        elif self.sweep.seeds > 1:  # no noise at the start
            by_seed = dict.fromkeys(range(self.sweep.seeds), first)
        return torch.stack([by_seed[cell.seed][cell.image] for cell in self.cells])

    def _drawn(self, latents: Tensor, seed: int) -> Tensor:
        """As the host's RandomNoise. latents: (images, …), several streams packed into one."""
        shapes = self.more.get("latent_shapes") or [latents.shape]
        indices = list(self.sweep.batch_index)
        seed = _later(self.prepared.seed or 0, seed)
        if len(shapes) == 1:
            return comfy.sample.prepare_noise(latents, seed, indices)
        streams = comfy.nested_tensor.NestedTensor(comfy.utils.unpack_latents(latents, shapes))
        return comfy.utils.pack_latents(comfy.sample.prepare_noise(streams, seed, indices).unbind())[0]

    def _with_equal_noise(self, chunk: Chunk) -> comfy.samplers.Sampler:
        """The sampler, with step noise for each unit as it would draw it for that unit alone."""
        sampler = self.prepared.sampler
        if len(chunk.units) == 1 or "noise_sampler" not in inspect.signature(sampler.sampler_function).parameters:
            return sampler
        shape, device = self.prepared.noise.shape, self.guider.model_patcher.load_device
        like = torch.zeros((self.sweep.images, *shape[1:]), device=device)
        base = self.prepared.seed
        seeds = {unit.cell.seed for unit in chunk.units}
        own = {
            seed: step_noise(sampler, like, self.prepared.sigmas, None if base is None else _later(base, seed))
            for seed in seeds
        }

        def noise_sampler(sigma: Any, sigma_next: Any) -> Tensor:
            drawn = {seed: draw(sigma, sigma_next) for seed, draw in own.items()}
            return torch.cat([drawn[unit.cell.seed] for unit in chunk.units])

        options = {**sampler.extra_options, "noise_sampler": noise_sampler}
        return comfy.samplers.KSAMPLER(sampler.sampler_function, options, sampler.inpaint_options)


def check_batch(size: int, sweep: Sweep) -> None:
    """Raise ValueError where the latent image is not the sweep's."""
    cells = sweep.columns * sweep.rows
    if size != cells:
        raise ValueError(
            f"The λ sweep has {cells} pictures, but the latent image holds {size}: connect the latent output of the "
            "same λ Sweep to the sampler."
        )


def draws_can_be_shared(sampler: Any, denoise_mask: Tensor | None) -> bool:
    """Whether each element of a batch can be given the noise that it would have alone, and depends on no other."""
    if type(sampler) is not comfy.samplers.KSAMPLER:
        return False
    function, options = sampler.sampler_function, sampler.extra_options
    known = function.__module__.startswith(("comfy.", __package__.rpartition(".")[0]))
    draws_over_the_mask = sampler.inpaint_options.get("random", False) and denoise_mask is not None
    own_noise = "noise_sampler" in options or bool(options.get("s_churn"))
    return known and function.__name__ not in ADAPTIVE and not draws_over_the_mask and not own_noise


def step_noise(sampler: comfy.samplers.KSAMPLER, like: Tensor, sigmas: Tensor, seed: int | None) -> NoiseSampler:
    """What a sampler of the host draws its steps' noise from, if it is given none."""
    cpu = BROWNIAN.get(sampler.sampler_function.__name__)
    if cpu is None:
        draw: NoiseSampler = default_noise_sampler(like, seed=seed)
        return draw
    sigmas = sigmas.to(like.device)
    tree: NoiseSampler = BrownianTreeNoiseSampler(like, sigmas[sigmas > 0].min(), sigmas.max(), seed=seed, cpu=cpu)
    return tree


def free_memory(patchers: Sequence[Any]) -> float:
    """Bytes that a batch may take on the device of these models once they are loaded, and nothing else is."""
    device = patchers[0].load_device
    free: float = comfy.model_management.get_free_memory(device)
    if comfy.model_management.is_device_cpu(device):
        return free
    distinct = [one for i, one in enumerate(patchers) if not any(one.is_clone(other) for other in patchers[:i])]
    loaded = [m.model_loaded_memory() for m in comfy.model_management.current_loaded_models if m.device == device]
    return free + sum(loaded) - sum(one.model_size() for one in distinct)


def _later(seed: int, offset: int) -> int:
    return (seed + offset) % 2**64
