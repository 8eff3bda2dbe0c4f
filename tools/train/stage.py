"""One training stage: its settings, optimisers, moving average of the weights, progress lines and checkpoints."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .demo_data import Painter
from .denoiser import Denoiser
from .muon import Muon

BLOCKS = ("unet.input_blocks.", "unet.middle_block.", "unet.output_blocks.")


@dataclass(frozen=True)
class Settings:
    """Of a stage. rate: the largest learning rate. folder: of its checkpoint."""

    folder: Path
    steps: int
    rate: float
    batch: int = 32
    seed: int = 0
    resume: bool = False
    checkpoint_seconds: float = 180.0


class Run:
    """A stage of a model's training; `step` is how many are done, `random` and `painter` its chance."""

    def __init__(self, name: str, model: Denoiser, optimisers: list[torch.optim.Optimizer], settings: Settings):
        self.name, self.model, self.settings, self.steps = name, model, settings, settings.steps
        self.average = copy.deepcopy(model.state_dict())
        self.optimisers = optimisers
        self.random = torch.Generator(model.sigmas.device).manual_seed(settings.seed)
        self.painter = Painter(model.size, settings.seed + 1, model.sigmas.device)
        self.checkpoint = settings.folder / f"{name}.checkpoint"
        self.step, self.seconds = 0, 0.0
        if settings.resume and self.checkpoint.exists():
            self._load()
        self.now = self.saved = self.told = time.monotonic()
        self.told_step, self.losses = self.step, list[Tensor]()

    def update(self, loss: Tensor) -> None:
        """One optimiser step: linear warm-up, cosine decay, clipped gradient, moving average."""
        warm = min(1.0, (self.step + 1) / (0.02 * self.steps))
        decay = 0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * self.step / self.steps))
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.settings.rate * warm * decay
            optimiser.step()
            optimiser.zero_grad()
        self.step += 1
        keep = min(0.999, (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - keep)
        self.losses.append(loss.detach())
        self._report()

    def averaged(self) -> Denoiser:
        """The model with the moving average as its weights."""
        self.model.load_state_dict(self.average)
        return self.model

    def _report(self) -> None:
        before, self.now = self.now, time.monotonic()
        self.seconds += self.now - before
        if self.step % 50 == 0 or self.step == self.steps:
            pace = (self.now - self.told) / (self.step - self.told_step)
            loss = float(torch.stack(self.losses).mean())
            left = pace * (self.steps - self.step) / 60
            print(
                f"{self.name} step {self.step}/{self.steps}  loss {loss:.5f}  {pace:.2f} s/step  {left:.0f} min left",
                flush=True,
            )
            self.told, self.told_step, self.losses = self.now, self.step, []
        if self.now - self.saved > self.settings.checkpoint_seconds:
            self._save()
            self.saved = self.now

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "random": self.random.get_state(),
            "painter": self.painter.random.get_state(),
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def _load(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.random.set_state(state["random"])
        self.painter.random.set_state(state["painter"])
        self.step, self.seconds = state["step"], state["seconds"]
        print(f"{self.name}: going on from step {self.step}", flush=True)


def adam(model: Denoiser) -> list[torch.optim.Optimizer]:
    """AdamW for all that is to be trained."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [_adam(wanted)]


def muon_and_adam(model: Denoiser) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the UNet, AdamW for its ends, the embeddings, biases and norms."""
    inside, rest = [], []
    for name, parameter in model.named_parameters():
        block = name.startswith(BLOCKS) and not name.startswith("unet.input_blocks.0.")
        (inside if block and parameter.ndim > 1 else rest).append(parameter)
    return [Muon(inside), _adam(rest)]


def _adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
