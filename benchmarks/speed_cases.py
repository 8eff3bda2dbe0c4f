"""What is measured: reference and anchors of each architecture, on files made here."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

PACK = Path(__file__).resolve().parents[1]
sys.path += [str(PACK), str(PACK / "tests" / "host")]

from tools.train.demo_host import default_host, import_host  # noqa: E402

RESULTS = PACK / "benchmarks" / "results"
SEED, CFG, SCHEDULER = 42, 7.0, "normal"
TOLERANCE = 1e-4  # of the latent's standard deviation
LAMBDAS = (0.0, 0.5, 1.0)
ARCHITECTURES = ("sd15", "sdxl", "sd3", "demo")
NAMES = {"sd15": "SD 1.5, small", "sdxl": "SDXL, small", "sd3": "SD3, small", "demo": "demo models"}
SIZES = {"sd15": 8, "sdxl": 8, "sd3": 64, "demo": 64}  # latents, per side
FULL_ANCHOR, LORA, LOW_RANK = "full", "LoRA", "low rank"
ANCHORS = (FULL_ANCHOR, LORA, LOW_RANK)
RANK, LORA_RANK = 64, 16
STOCK, SAMPLER, GUIDER, MODEL = "KSampler, one model", "RealignSampler", "RealignGuider", "RealignModel"
DUAL, MERGE = "DualModelGuider", "merged weights"
PACK_METHODS = (SAMPLER, GUIDER, MODEL)
CHECK_STEPS = 3  # of the run that is counted and compared
OVERHEAD_STEPS, OVERHEAD_REPEATS = 10, 3
LIGHT = ("sd3", "demo")  # quick enough to time everything by default
BETWEEN_UNITS = 3  # timed runs between two runs of the unit
MEMORY_KIND = "sdxl"  # 400 MB of weights where it is small
OVERHEAD = (("sdxl", 1), ("demo", 4))  # the network's own time is long enough to compare with; by default the first
TARGET = 0.02


def host_folder() -> str | None:
    """ComfyUI's folder, as the tools find it."""
    return default_host()


def enter_host(path: str | None, device: str) -> None:
    """The host on sys.path, and the pack as the host imports it: a package of its own name, made of its folder."""
    import_host(path)
    from comfy.cli_args import args

    args.cpu = args.cpu or device == "cpu"
    if (os.cpu_count() or 1) <= 2 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)  # two threads on two shared cores wait for each other
    import_pack(PACK)


def import_pack(clone: Path) -> None:
    """A clone of the pack as `realign`, in a host that is on sys.path."""
    spec = importlib.util.spec_from_file_location(
        "realign", clone / "__init__.py", submodule_search_locations=[str(clone)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["realign"] = module
    spec.loader.exec_module(module)
    import comfy.utils

    comfy.utils.set_progress_bar_enabled(False)


def use_folder(folder: Path) -> None:
    """The host's model and user folders, in a scratch folder of this run's own."""
    import folder_paths

    for kind in ("checkpoints", "loras"):
        (folder / kind).mkdir(exist_ok=True)
        _, extensions = folder_paths.folder_names_and_paths[kind]
        folder_paths.folder_names_and_paths[kind] = ([str(folder / kind)], extensions)
    folder_paths.set_user_directory(str(folder))


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()
    return time.perf_counter()


def device_name() -> str:
    import comfy.model_management

    device = comfy.model_management.get_torch_device()
    if device.type != "cpu":
        return str(comfy.model_management.get_torch_device_name(device))
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"CPU, {names[0] if names else platform.processor()}, {torch.get_num_threads()} thread(s)"


# Models


@dataclass
class Case:
    """A reference and its anchors, loaded. anchors: kind -> (REALIGN_ANCHOR, the anchor as a MODEL)."""

    kind: str
    reference: Any
    anchors: dict[str, tuple[Any, Any]]
    positive: Any
    negative: Any
    channels: int

    def latent(self, batch: int) -> dict[str, torch.Tensor]:
        return {"samples": torch.zeros(batch, self.channels, SIZES[self.kind], SIZES[self.kind])}


def load_case(kind: str, folder: Path, anchors: Sequence[str] = ANCHORS) -> Case:
    """By the host's and the pack's own loaders, from files that are written on first use."""
    if kind == "demo":
        return load_demo(folder, anchors)
    import comfy.sd
    import tiny_models
    from realign.nodes.load_anchor import LoadAnchorModel

    paths = write_small(kind, folder)
    reference = comfy.sd.load_checkpoint_guess_config(str(paths[0]), output_vae=False, output_clip=False)[0]
    loaded = {}
    for anchor in anchors:
        name = f"loras/{write_lora(kind, reference, folder)}" if anchor == LORA else f"checkpoints/{paths[1].name}"
        low_rank = RANK if anchor == LOW_RANK else 0
        loaded[anchor] = LoadAnchorModel.execute(reference, name, 1.0, "unknown / no KL term", 0.0, low_rank).args
    conditioning = [tiny_models.conditioning(kind, seed) for seed in (1, 2)]
    return Case(kind, reference, loaded, *conditioning, 16 if kind == "sd3" else 4)


def load_demo(folder: Path, anchors: Sequence[str]) -> Case:
    from realign.nodes.demo import RealignDemoModels
    from realign.nodes.load_anchor import LoadAnchorModel, low_rank_clone
    from realign.nodes.models.anchor import Anchor
    from realign.nodes.models.low_rank import factorise

    reference, anchor, positive, negative, *_ = RealignDemoModels.execute("heart", "red", "any").args
    loaded = {}
    for kind in anchors:
        if kind == LORA:
            name = f"loras/{write_lora('demo', reference, folder)}"
            loaded[kind] = LoadAnchorModel.execute(reference, name, 1.0, "unknown / no KL term", 0.0).args
        elif kind == LOW_RANK:
            patcher, _ = low_rank_clone(reference, factorise(reference, anchor[0].patcher, RANK), RANK, "demo")
            loaded[kind] = ((Anchor(patcher, "demo"),), patcher)
        else:
            loaded[kind] = (anchor, anchor[0].patcher)
    return Case("demo", reference, loaded, positive, negative, 3)


def write_small(kind: str, folder: Path) -> tuple[Path, Path]:
    import tiny_models

    paths = [folder / "checkpoints" / f"{kind}_{which}.safetensors" for which in ("reference", "speed_anchor")]
    if all(path.exists() for path in paths):  # making the weights again would be in the memory that is measured
        return paths[0], paths[1]
    tiny = tiny_models.TinyModels(folder)
    weights = tiny.weights(kind)
    # SD3's table of positions is no trained weight, and no patch can change it.
    moved = {k: weights[k] if k == "pos_embed" else v for k, v in tiny_models.perturbed(weights, 7).items()}
    return tiny.reference(kind), tiny.checkpoint(f"{kind}_speed_anchor", moved)


def write_lora(kind: str, reference: Any, folder: Path) -> str:
    """A LoRA on every attention and feed-forward matrix; its file's name."""
    from safetensors.torch import save_file

    path = folder / "loras" / f"{kind}_lora.safetensors"
    if path.exists():
        return path.name
    generator, out = torch.Generator().manual_seed(5), {}
    for name, value in reference.model.diffusion_model.state_dict().items():
        layer = name.removesuffix(".weight")
        if layer != name and value.ndim == 2 and any(part in name for part in ("attn", ".ff.", "mlp")):
            up = 0.3 * torch.randn(value.shape[0], LORA_RANK, generator=generator)
            down = torch.randn(LORA_RANK, value.shape[1], generator=generator) / (value.shape[1] * LORA_RANK) ** 0.5
            out[f"diffusion_model.{layer}.lora_up.weight"] = up.to(value.dtype)
            out[f"diffusion_model.{layer}.lora_down.weight"] = down.to(value.dtype)
    save_file(out, path)
    return path.name


def say(text: str) -> None:
    print(text, flush=True)
