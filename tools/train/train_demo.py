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
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tools.train.demo_host import default_host, import_host
from tools.train.denoiser import Denoiser
from tools.train.objectives import REWARD_SCALE, drawn, fit, keep_ends, prefer
from tools.train.stage import Run, Settings, adam, muon_and_adam


def train_reference(model: Denoiser, options: argparse.Namespace) -> Run:
    run = Run("reference", model, muon_and_adam(model), settings(options, options.steps, options.rate))
    fit(run, drawn(run))
    return run


def train_anchor(model: Denoiser, options: argparse.Namespace) -> Run:
    reference = copy.deepcopy(model)
    keep_ends(model)
    run = Run("anchor", model, adam(model), settings(options, options.anchor_steps, options.anchor_rate))
    prefer(run, reference, options.beta)
    return run


def settings(options: argparse.Namespace, steps: int, rate: float) -> Settings:
    return Settings(options.out, steps, rate, options.batch, options.seed, options.resume)


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
