"""Peak memory of a method, in a fresh process."""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from speed_cases import ANCHORS, DUAL, FULL_ANCHOR, GUIDER, LORA, LOW_RANK, MERGE, PACK_METHODS, STOCK, load_case, say
from speed_runs import has_dual, make_run


def memory_child(method: str, anchor: str, kind: str, folder: Path) -> dict[str, float]:
    """In a fresh process: bytes of the loaded models as the host counts them, and the peak while sampling."""
    import comfy.model_management

    base = peak_memory()
    anchors = [] if method == STOCK else [anchor]
    case = load_case(kind, folder, anchors)
    run = make_run(case, 1, method, anchor, None if method in (STOCK, DUAL) else 0.5)
    loading = peak_memory() - base
    give_back_freed()
    seen: list[int] = []

    def look(module: torch.nn.Module, args: Any) -> None:
        if type(module) is type(case.reference.model.diffusion_model):
            models = [loaded for loaded in comfy.model_management.current_loaded_models if loaded.model is not None]
            seen.append(sum(loaded.model_memory() for loaded in models))

    reset_peak()
    handle = torch.nn.modules.module.register_module_forward_pre_hook(look)
    run.sample(2)
    handle.remove()
    return {"host": float(max(seen)), "peak": peak_memory() - base, "loading": loading, "calls": len(seen) / 2}


def give_back_freed() -> None:
    """What loading has freed, to the system where the C library can, so that it is not counted as used."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def reset_peak() -> None:
    """Forget the peak so far, where the system can: CUDA, and Linux (proc(5), clear_refs)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> float:
    """Bytes: of the GPU where there is one, else of the process. MPS knows no peak, but keeps what was allocated."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    if torch.backends.mps.is_available():
        return float(torch.mps.driver_allocated_memory())
    status = Path("/proc/self/status")
    if status.is_file():  # as ru_maxrss, but `reset_peak` resets it
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def measure_memory(kind: str, folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The unit first. Files and the cached low-rank difference are there before."""
    wanted = [(STOCK, "–")]
    wanted += [(method, a) for method in (PACK_METHODS if options.full else (GUIDER,)) for a in ANCHORS]
    wanted += [(MERGE, kind) for kind in ((FULL_ANCHOR, LORA, LOW_RANK) if options.full else (FULL_ANCHOR, LORA))]
    wanted += [(DUAL, FULL_ANCHOR)] if has_dual() else []
    out = []
    for method, anchor in wanted:
        command = [
            sys.executable,
            str(Path(__file__).with_name("speed.py")),
            "--host",
            options.host,
            "--device",
            options.device,
        ]
        command += ["--memory-child", method, anchor, kind, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            say(f"  {method}, {anchor}: failed\n{done.stderr[-2000:]}")
            continue
        out.append({"method": method, "anchor": anchor, **json.loads(done.stdout.splitlines()[-1])})
    return out
