"""What Diffusion-DPO minimises, on pairs that no training saw: whether a training was at its end."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from realign_study.report.statistics import Array
from tools.train.demo_host import import_host
from tools.train.denoiser import Denoiser
from tools.train.objectives import preference_loss
from tools.train.stage import Run, Settings

from .learned_cases import Extent
from .learned_networks import DEVICE, Trained

SEED = 90_001  # of the pairs; trainings have 0, 1000 …
BATCHES = 32


def losses(extent: Extent, host: Path, networks: Path) -> dict[Trained, Array]:
    """(BATCHES,), the same pairs, noise and t for all: of each network that was trained with twice the steps, and of
    the one that was not."""
    if not any(extent.doubled.values()):
        return {}
    import_host(str(host))
    wanted = [extent.trained(way, at, doubled=long) for way, all_ in extent.doubled.items() for at in all_
              for long in (False, True)]  # fmt: skip
    reference = _network(extent.reference, networks)
    return {one: _losses(one, reference, networks) for one in wanted}


def _network(one: Trained, networks: Path) -> Denoiser:
    model = Denoiser(DEVICE, one.network.size, **one.network.unet)
    model.load_state_dict(load_file(one.file(networks)))
    return model.requires_grad_(False)


def _losses(one: Trained, reference: Denoiser, networks: Path) -> Array:
    run = Run(one.name, _network(one, networks), [], Settings(networks, 0, 0.0, one.network.batch, SEED))
    with torch.no_grad():
        return torch.stack([preference_loss(run, reference, one.beta) for _ in range(BATCHES)]).double().cpu().numpy()
