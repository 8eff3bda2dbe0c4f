"""Imports the host (ComfyUI) and the demo model's definition for the scripts beside this file."""

from __future__ import annotations

import importlib.util
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import torch

from tools.cache import PACK


def default_host() -> str | None:
    """REALIGN_HOST or COMFYUI_PATH, else the ComfyUI whose custom_nodes folder this pack lies in."""
    enclosing = PACK.parent.parent
    named = os.environ.get("REALIGN_HOST") or os.environ.get("COMFYUI_PATH")
    return named or (str(enclosing) if (enclosing / "comfy").is_dir() else None)


def import_host(path: str | None) -> None:
    """Put the host on sys.path, on the CPU where there is no CUDA. Ends the script if `path` holds no ComfyUI."""
    if not path or not (Path(path) / "comfy").is_dir():
        sys.exit(f"No ComfyUI at {path!r}: give its folder with --host, or set COMFYUI_PATH.")
    sys.path.insert(0, str(Path(path).resolve()))
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
    args.use_pytorch_cross_attention = True


@cache
def demo_model() -> ModuleType:
    """nodes/models/demo_network.py by its path: under its package's name it would clash with the host's `nodes`."""
    spec = importlib.util.spec_from_file_location("demo_model", PACK / "nodes" / "models" / "demo_network.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
