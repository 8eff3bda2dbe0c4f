"""Trains the demo models that ship with the pack: `python -m tools.train.train_demo --host PATH_TO_COMFYUI --out demo`.

1. The reference: a small class-conditional diffusion model of drawn pictures (demo_data.py), v-prediction
   (Salimans & Ho 2022, arXiv 2202.00512), exponential moving average of the weights.
2. The anchor: the reference fine-tuned by Diffusion-DPO (Wallace et al. 2023, arXiv 2311.12908) on pairs of drawn
   pictures of one caption, whose winner is drawn by Bradley–Terry from the reward "colourful".

Two CPU cores need about three quarters of an hour; a GPU is used where there is one. `--resume` goes on from the last
checkpoint, `--anchor-only` keeps the reference. OMP_WAIT_POLICY=PASSIVE helps where other programs run beside it.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from tools.train.demo_data import BACKGROUNDS, HUES, SHAPES, Painter, colourfulness
from tools.train.demo_host import default_host, demo_model, import_host
from tools.train.muon import Muon

REWARD_SCALE = 20.0  # Bradley–Terry: log-odds of winning per unit of colourfulness (its spread is 0.09)
CHECKPOINT_SECONDS = 180
BLOCKS = ("unet.input_blocks.", "unet.middle_block.", "unet.output_blocks.")


class Denoiser(nn.Module):
    """The UNet, its token table and the host's noise schedule."""

    def __init__(self, device: torch.device):
        super().__init__()
        demo = demo_model()
        if (tuple(SHAPES), tuple(HUES), BACKGROUNDS) != tuple(words[1:] for words in demo.CAPTION.values()):
            raise SystemExit("The words in demo_network.py are not those that tools/train/demo_data.py draws.")
        self.size, self.tokens_key = demo.SIZE, demo.REFERENCE_TOKENS
        model = demo.build_model(device)
        self.unet = model.diffusion_model.requires_grad_(True).train()
        self.tokens = nn.Embedding(demo.VOCABULARY, demo.TOKEN_DIM, device=device)
        self.register_buffer("sigmas", model.model_sampling.sigmas.to(device), persistent=False)
        sizes = [len(words) for words in demo.CAPTION.values()]
        first = torch.tensor([sum(sizes[:kind]) for kind in range(len(sizes))], device=device)
        self.register_buffer("first", first, persistent=False)
        self.initialise()

    def initialise(self) -> None:
        """The host's layers come uninitialised. Blocks that add to the stream start at zero."""
        for module in self.unet.modules():
            for kind in (nn.Conv2d, nn.Linear, nn.GroupNorm, nn.LayerNorm):
                if isinstance(module, kind):
                    kind.reset_parameters(module)
        for name, parameter in self.unet.named_parameters():
            if any(end in name for end in ("out_layers.3.", "proj_out.", "out.2.")):
                nn.init.zeros_(parameter)

    def noise_levels(self, count: int, random: torch.Generator) -> Tensor:
        """(count,) timesteps with ln σ ~ N(0, 1.7²): most where the picture takes shape, some at either end."""
        log_sigma = 1.7 * torch.randn(count, generator=random, device=self.sigmas.device)
        return torch.searchsorted(self.sigmas, log_sigma.exp()).clamp(max=len(self.sigmas) - 1)

    def context(self, captions: Tensor, random: torch.Generator) -> Tensor:
        """(B, 3) captions -> (B, 3, TOKEN_DIM); words and whole captions are sometimes left open, for CFG."""
        chance = torch.rand(captions.shape[0], captions.shape[1] + 1, generator=random, device=captions.device)
        keep = (chance[:, :-1] > 0.10) & (chance[:, -1:] > 0.10)
        return self.tokens(self.first + (captions + 1) * keep)

    def errors(self, pictures: Tensor, noise: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        """(B,): each picture's mean squared error of the predicted velocity α ε − σ x_0 (α² + σ² = 1)."""
        sigma = self.sigmas[timestep][:, None, None, None]
        alpha = (1 + sigma**2).rsqrt()
        sigma = sigma * alpha
        noisy = alpha * pictures + sigma * noise
        with torch.autocast(pictures.device.type, dtype=torch.bfloat16):
            velocity = self.unet(noisy, timestep, context=context)
        return (velocity.float() - (alpha * noise - sigma * pictures)).square().mean((1, 2, 3))


class Run:
    """One training stage: optimiser, moving average of the weights, progress lines, checkpoints."""

    def __init__(
        self,
        name: str,
        model: Denoiser,
        steps: int,
        rate: float,
        optimisers: list[torch.optim.Optimizer],
        options: argparse.Namespace,
    ):
        self.name, self.model, self.steps, self.rate = name, model, steps, rate
        self.average = copy.deepcopy(model.state_dict())
        self.optimisers = optimisers
        self.random = torch.Generator(model.sigmas.device).manual_seed(options.seed)
        self.painter = Painter(model.size, options.seed + 1, model.sigmas.device)
        self.checkpoint = options.out / f"{name}.checkpoint"
        self.step, self.seconds = 0, 0.0
        if options.resume and self.checkpoint.exists():
            self._load()
        self.now = self.saved = self.told = time.monotonic()
        self.told_step, self.losses = self.step, []

    def update(self, loss: Tensor) -> None:
        """One optimiser step: linear warm-up, cosine decay, clipped gradient, moving average."""
        warm = min(1.0, (self.step + 1) / (0.02 * self.steps))
        decay = 0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * self.step / self.steps))
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.rate * warm * decay
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
        if self.now - self.saved > CHECKPOINT_SECONDS:
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


def adam(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, betas=(0.9, 0.99), weight_decay=0.01, fused=True)


def muon_and_adam(model: Denoiser) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the UNet, AdamW for its ends, the embeddings, biases and norms."""
    inside, rest = [], []
    for name, parameter in model.named_parameters():
        block = name.startswith(BLOCKS) and not name.startswith("unet.input_blocks.0.")
        (inside if block and parameter.ndim > 1 else rest).append(parameter)
    return [Muon(inside), adam(rest)]


def train_reference(model: Denoiser, options: argparse.Namespace) -> Run:
    """Denoising score matching on freshly drawn pictures."""
    run = Run("reference", model, options.steps, options.rate, muon_and_adam(model), options)
    while run.step < run.steps:
        captions = run.painter.captions(options.batch)
        pictures = run.painter.draw(captions)
        noise = torch.randn(pictures.shape, generator=run.random, device=pictures.device)
        timestep = model.noise_levels(len(pictures), run.random)
        run.update(model.errors(pictures, noise, timestep, model.context(captions, run.random)).mean())
    return run


def train_anchor(model: Denoiser, options: argparse.Namespace) -> Run:
    """Diffusion-DPO from the reference, which stays frozen.

    So do the tokens, as both models share one conditioning, and the layers next to the pixels, whose drift would show
    as a pattern of the patches.

    Loss: -log σ(-β/2 · ω ((e_w - e_w_ref) - (e_l - e_l_ref))), e the mean squared errors of winner and loser at the
    same noise, t uniform; the constant factor T is inside β, as in the paper's code. ω(λ_t) is free: σ² (of
    α² + σ² = 1) makes e the error of x_0. Weighing all noise alike, the model learned to spoil the losers' last
    steps with a pixel pattern instead of colouring the winners.
    """
    reference = copy.deepcopy(model).requires_grad_(False)
    for frozen in (model.tokens, model.unet.input_blocks[0], model.unet.out):
        frozen.requires_grad_(False)
    gentle = [adam([parameter for parameter in model.parameters() if parameter.requires_grad])]
    run = Run("anchor", model, options.anchor_steps, options.anchor_rate, gentle, options)
    pairs = options.batch // 2
    while run.step < run.steps:
        captions = run.painter.captions(pairs).repeat(2, 1)
        pictures = order_by_reward(run.painter.draw(captions), run.random)
        noise = torch.randn(pairs, *pictures.shape[1:], generator=run.random, device=pictures.device).repeat(2, 1, 1, 1)
        timestep = torch.randint(len(model.sigmas), (pairs,), generator=run.random, device=pictures.device).repeat(2)
        context = model.context(captions[:pairs], run.random).repeat(2, 1, 1)
        with torch.no_grad():
            baseline = reference.errors(pictures, noise, timestep, context)
        weight = model.sigmas[timestep] ** 2 / (1 + model.sigmas[timestep] ** 2)
        winners, losers = (weight * (model.errors(pictures, noise, timestep, context) - baseline)).chunk(2)
        run.update(-functional.logsigmoid(-0.5 * options.beta * (winners - losers)).mean())
    return run


def order_by_reward(pictures: Tensor, random: torch.Generator) -> Tensor:
    """pictures: (2N, …), pair k being k and N + k -> the same with each pair's Bradley–Terry winner first."""
    first, second = pictures.chunk(2)
    odds = REWARD_SCALE * (colourfulness(first) - colourfulness(second))
    wins = torch.rand(len(first), generator=random, device=pictures.device) < torch.sigmoid(odds)
    wins = wins[:, None, None, None]
    return torch.cat([torch.where(wins, first, second), torch.where(wins, second, first)])


def save(path: Path, model: Denoiser, with_tokens: bool, metadata: dict[str, object]) -> None:
    """fp16 weights and what they were trained for. The token table goes with the reference only."""
    tensors = {f"diffusion_model.{name}": value for name, value in model.unet.state_dict().items()}
    if with_tokens:
        tensors[model.tokens_key] = model.tokens.weight.detach()
    tensors = {name: value.half().cpu().contiguous() for name, value in tensors.items()}
    save_file(tensors, path, metadata={name: str(value) for name, value in metadata.items()})
    print(f"wrote {path}, {path.stat().st_size / 1e6:.1f} MB", flush=True)


def load_reference(path: Path, model: Denoiser) -> None:
    tensors = load_file(path)
    model.tokens.load_state_dict({"weight": tensors.pop(model.tokens_key).float()})
    model.unet.load_state_dict({name.removeprefix("diffusion_model."): value for name, value in tensors.items()})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=default_host(), help="ComfyUI's folder (default: COMFYUI_PATH)")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for the two files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32, help="pictures per step")
    parser.add_argument("--steps", type=int, default=4000, help="of the reference")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate of the reference")
    parser.add_argument("--anchor-steps", type=int, default=300)
    parser.add_argument("--anchor-rate", type=float, default=2.5e-5)
    parser.add_argument("--beta", type=float, default=500.0, help="KL strength β of Diffusion-DPO")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints in the folder")
    parser.add_argument("--anchor-only", action="store_true", help="keep the reference that is in the folder")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    import_host(options.host)
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    model = Denoiser(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    trained = {"realign.model": "demo", "realign.data": "tools/train/demo_data.py", "realign.seed": options.seed}
    reference_file = options.out / "reference.safetensors"
    if not options.anchor_only:
        run = train_reference(model, options)
        notes = {"realign.steps": run.steps, "realign.batch": options.batch}
        save(reference_file, run.averaged(), True, trained | notes)
        print(f"reference: {run.seconds / 60:.1f} minutes", flush=True)
    load_reference(reference_file, model)
    run = train_anchor(model, options)
    reward = {"name": "colourfulness (mean chroma)", "bradley_terry_scale": REWARD_SCALE}
    trained |= {
        "realign.beta": options.beta,
        "realign.method": "Diffusion-DPO",
        "realign.reward": json.dumps(reward),
        "realign.steps": run.steps,
        "realign.batch": options.batch,
    }
    save(options.out / "anchor.safetensors", run.averaged(), False, trained)
    print(f"anchor: {run.seconds / 60:.1f} minutes", flush=True)
    for checkpoint in options.out.glob("*.checkpoint"):
        checkpoint.unlink()


if __name__ == "__main__":
    main()
