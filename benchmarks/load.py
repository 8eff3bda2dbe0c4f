"""How long Load Anchor Model takes, beside the host's own loaders of the same file, in turns.

A LoRA on every layer of SDXL in its real size, without values in the model's weights; and a low-rank difference that is
found in the cache, on a small SDXL.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from overhead_cases import RANK, Measure, node, now
from real_sizes import Shapes
from speed_cases import write_small

LORA, CACHED = "LoRA", "low-rank difference, cached"
NO_BETA = "unknown / no KL term"
CACHED_RANK = 8


def loads(small: bool, folder: Path) -> dict[str, Measure]:
    """By name. folder: the host's model and user folders. The first measurement of the second fills the cache."""
    reference = Shapes("sdxl", small).model(torch.float16, "meta")
    name, count = write_lora(reference, folder)
    return {
        f"{LORA}, {count} layers": in_turns(anchor(reference, f"loras/{name}", 0), stock_lora(reference, name)),
        f"{CACHED}, {'SD3' if small else 'SDXL'}, small": cached("sd3" if small else "sdxl", folder),
    }


def write_lora(reference: Any, folder: Path) -> tuple[str, int]:
    """A LoRA on all layers in kohya's names; its file's name, and how many layers."""
    from safetensors.torch import save_file

    out: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(5)
    for name, weight in reference.model.diffusion_model.named_parameters():
        if weight.ndim > 1:
            layer = f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}"
            up = torch.randn(weight.shape[0], RANK, *[1] * (weight.ndim - 2), generator=generator)
            down = torch.randn(RANK, *weight.shape[1:], generator=generator)
            out |= {f"{layer}.lora_up.weight": up.half(), f"{layer}.lora_down.weight": down.half()}
            out[f"{layer}.alpha"] = torch.tensor(float(RANK))
    path = folder / "loras" / "whole_unet.safetensors"
    save_file(out, path)
    return path.name, len(out) // 3


Load = Callable[[], Any]  # the MODEL that is loaded


def anchor(reference: Any, name: str, low_rank: int) -> Load:
    return lambda: node("LoadAnchorModel").execute(reference, name, 1.0, NO_BETA, 0.0, low_rank).args[1]


def stock_lora(reference: Any, name: str) -> Load:
    import nodes as host

    def load() -> Any:
        return host.LoraLoaderModelOnly().load_lora_model_only(reference, name, 1.0)[0]

    return load


def cached(kind: str, folder: Path) -> Measure:
    """The second load of a full anchor as a low-rank difference, beside the host's of the same checkpoint."""
    measured: list[Measure] = []

    def measure() -> list[float]:
        if not measured:  # the files are written when it is asked for the first time
            reference, other = write_small(kind, folder)
            ours = anchor(stock_checkpoint(reference)(), f"checkpoints/{other.name}", CACHED_RANK)
            measured.append(in_turns(ours, stock_checkpoint(other)))
        return measured[0]()

    return measure


def stock_checkpoint(path: Path) -> Load:
    import comfy.sd

    return lambda: comfy.sd.load_checkpoint_guess_config(str(path), output_vae=False, output_clip=False)[0]


def in_turns(ours: Load, stock: Load) -> Measure:
    """Milliseconds of ours and of the host's, and their ratio; of the two runs of the host's around it, the mean."""

    def milliseconds(load: Load) -> float:
        start = now()
        load()
        return 1000 * (now() - start)

    def measure() -> list[float]:
        before, own, after = (milliseconds(load) for load in (stock, ours, stock))
        beside = (before + after) / 2
        return [own, beside, own / beside]

    return measure
