"""The networks of `make evidence`: references, and anchors aligned with a reward in two ways, each kept as a file.

Tilted: denoising score matching on pictures resampled by exp(r/β), r the mean chroma: the optimum of KL-regularised
alignment is that density (DPO, arXiv 2305.18290, eq. 4), and plain regression goes there. Preferred: Diffusion-DPO
(arXiv 2311.12908) on pairs of the reference's own data, as the demo's anchor was made, to its end.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

PACK = Path(__file__).resolve().parents[2]
sys.path.append(str(PACK))

from tools.train.demo_data import VIVID, Painter, colourfulness  # noqa: E402
from tools.train.demo_host import import_host  # noqa: E402
from tools.train.denoiser import Denoiser  # noqa: E402
from tools.train.objectives import Draw, drawn, fit, keep_ends, prefer  # noqa: E402
from tools.train.stage import Run, Settings, adam, muon_and_adam  # noqa: E402

REFERENCE, TILTED, PREFERRED = "reference", "tilted", "preferred"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Network:
    """A size of the demo network. unet: what differs from the demo's own."""

    name: str
    size: int  # px
    unet: dict[str, Any] = field(hash=False)
    steps: dict[str, int] = field(hash=False)  # of each way of training
    batch: int
    pool: int = 48_000  # pictures that tilted data is drawn from


SMALL_UNET = {
    "image_size": 16,
    "model_channels": 24,
    "channel_mult": [1, 2],
    "num_res_blocks": [1, 1],
    "transformer_depth": [0, 0],
    "transformer_depth_output": [0, 0, 0, 0],
    "num_heads": 2,
}
TWIN = Network("twin", 32, SMALL_UNET, {REFERENCE: 2500, TILTED: 800, PREFERRED: 800}, 64)
SHIPPED = Network("shipped", 64, {}, {TILTED: 600}, 32)  # its reference is the one that ships
TRIAL = Network("trial", 32, SMALL_UNET, {REFERENCE: 2, TILTED: 2, PREFERRED: 2}, 8, 640)
NETWORKS = {network.name: network for network in (TWIN, SHIPPED, TRIAL)}
RATES = {REFERENCE: 2e-3, TILTED: 4e-4, PREFERRED: 1e-4}


@dataclass(frozen=True)
class Trained:
    """What a network was trained for. doubled: with twice the steps."""

    way: str
    beta: float = 0.0
    seed: int = 0
    network: Network = TWIN
    doubled: bool = False

    @property
    def name(self) -> str:
        """Of its file."""
        if self.way == REFERENCE:
            return f"{self.network.name}-reference"
        return f"{self.network.name}-{self.way}-{self.beta:g}-{self.seed}{'-doubled' if self.doubled else ''}"

    def file(self, folder: Path) -> Path:
        return folder / f"{self.name}.safetensors"


def train_all(wanted: Iterable[Trained], host: Path, folder: Path, workers: int) -> None:
    """Those whose files are not there; a killed training goes on from its checkpoint."""
    left = [one for one in dict.fromkeys(wanted) if not one.file(folder).exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for references in (True, False):
        now = [one for one in left if (one.way == REFERENCE) == references]
        # Several at once have a thread each: two threads on two cores that are shared wait for each other.
        threads = workers if len(now) == 1 else 1
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            for job in as_completed([pool.submit(train, one, host, folder, threads) for one in now]):
                job.result()


def train(one: Trained, host: Path, folder: Path, threads: int) -> None:
    """Write its file. For a process of its own."""
    torch.set_num_threads(threads)
    import_host(str(host))
    from tools.train.train_demo import load_reference

    torch.manual_seed(one.seed)
    network = one.network
    model = Denoiser(DEVICE, network.size, **network.unet)
    if one.way == REFERENCE and one.network == SHIPPED:
        load_reference(PACK / "demo" / "reference.safetensors", model)
        return save(model, one.file(folder))
    settings = Settings(
        folder,
        network.steps[one.way] * (2 if one.doubled else 1),
        RATES[one.way],
        network.batch,
        1000 * one.seed,
        resume=True,
        checkpoint_seconds=30.0,
    )
    if one.way == REFERENCE:
        run = Run(one.name, model, muon_and_adam(model), settings)
        fit(run, drawn(run))
    else:
        model.load_state_dict(load_file(Trained(REFERENCE, network=network).file(folder)))
        start = copy.deepcopy(model)
        if one.way == PREFERRED:
            keep_ends(model)
            run = Run(one.name, model, adam(model), settings)
            prefer(run, start, one.beta)
        else:
            model.tokens.requires_grad_(False)  # both models share one conditioning
            run = Run(one.name, model, adam(model), settings)
            fit(run, tilted(run, one.beta, network.pool))
    save(run.averaged(), one.file(folder))
    run.checkpoint.unlink(missing_ok=True)


def save(model: Denoiser, file: Path) -> None:
    """Whole or not at all, whenever the run is killed."""
    part = file.with_suffix(".part")
    save_file({name: value.contiguous().cpu() for name, value in model.state_dict().items()}, part)
    part.replace(file)


@dataclass(frozen=True)
class Pool:
    """Pictures drawn with more vivid ones among them than there should be, and what each is worth for it."""

    captions: Tensor  # (N, 3)
    pictures: Tensor  # (N, 3, H, W), uint8
    reward: Tensor  # (N,), mean chroma
    log_weight: Tensor  # (N,), fp64: ln of the data's density over the drawn one, but for a constant

    def chances(self, beta: float) -> Tensor:
        """(N,), fp64, sum 1: of the pictures under p ∝ p_data exp(r/β), every caption as likely as in the data."""
        log = self.log_weight + (self.reward.double() / beta if beta else 0)
        kind = self.captions @ torch.tensor([64, 8, 1])
        weight = (log - log.max()).exp()
        whole = torch.zeros(int(kind.max()) + 1, dtype=torch.float64).index_add(0, kind, weight)
        share = weight / whole[kind]
        return share / share.sum()

    def mean_reward(self, beta: float) -> float:
        """Of the tilted data; β 0: of the data."""
        return float((self.chances(beta) * self.reward.double()).sum())


def pool(size: int, seed: int, count: int) -> Pool:
    """Drawn with a uniform vividness, where the data's is the product of two uniform numbers to a power."""
    painter = Painter(size, 77 + seed)
    captions = painter.captions(count)
    vivid = torch.rand(count, 1, 1, generator=painter.random).clamp(min=1e-6)
    root = vivid.double() ** (1 / VIVID)  # the product; its density is -ln of it
    log_weight = torch.log(-root.log() * root / vivid)[:, 0, 0]
    parts = [painter.draw(c, v) for c, v in zip(captions.split(2000), vivid.split(2000), strict=True)]
    reward = torch.cat([colourfulness(part) for part in parts])
    pictures = torch.cat([((part + 1) * 127.5).round().to(torch.uint8) for part in parts])
    return Pool(captions, pictures, reward, log_weight)


def tilted(run: Run, beta: float, count: int) -> Draw:
    """Draws from p ∝ p_data exp(r/β)."""
    data = pool(run.model.size, run.settings.seed, count)
    chances = data.chances(beta)
    device = run.model.sigmas.device

    def draw(count: int) -> tuple[Tensor, Tensor]:
        picked = torch.multinomial(chances, count, replacement=True, generator=run.painter.random)
        return data.captions[picked].to(device), data.pictures[picked].to(device).float() / 127.5 - 1

    return draw
