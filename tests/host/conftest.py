"""The real host in this process: its folder from REALIGN_HOST (or COMFYUI_PATH), and the pack as `realign`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

import pytest
import torch

PACK = Path(__file__).parents[2]
# With real packages that a user may have: `make test-rewards` installs them.
collect_ignore = [] if all(map(importlib.util.find_spec, ("imscore", "rapidocr"))) else ["rewards"]
BY_THE_PACK: dict[str, set[str]] = {"packages": set(), "files": set()}  # what importing it loads and opens


def _enter_host() -> None:
    host = os.environ.get("REALIGN_HOST") or os.environ.get("COMFYUI_PATH")
    if not host or not (Path(host) / "main.py").is_file():
        raise pytest.UsageError("tests/host need a ComfyUI: run `make test`, or set REALIGN_HOST to its folder")
    sys.path.insert(0, host)
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
    args.use_pytorch_cross_attention = True  # the default picks slow kernels for tiny CPU models
    # First, as main.py does: older hosts put comfy/ on the path, whose utils would be found instead.
    importlib.import_module("utils.extra_config")
    import server  # noqa: F401 (what a host has loaded when it comes to its custom nodes: pydantic, and `nodes`)

    _import_pack()


def _import_pack() -> None:
    """The pack as the host imports it: a package of its own name, made of its folder."""
    before, importing = set(sys.modules), True

    def heard(event: str, args: tuple) -> None:
        if importing and event == "open":
            BY_THE_PACK["files"].add(str(args[0]))

    sys.addaudithook(heard)
    spec = importlib.util.spec_from_file_location(
        "realign", PACK / "__init__.py", submodule_search_locations=[str(PACK)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["realign"] = module
    spec.loader.exec_module(module)
    importing = False
    BY_THE_PACK["packages"] |= {name.split(".")[0] for name in set(sys.modules) - before}


_enter_host()
sys.path.append(str(PACK))  # for tools; last, as the host's own `nodes` must not be hidden by the pack's


@pytest.fixture(autouse=True)
def inference_mode():
    """Nodes run under inference mode in the host."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory):
    """The host's model folders, empty, in a temporary place: <dir>/checkpoints, diffusion_models, loras, controlnet."""
    import folder_paths

    base = tmp_path_factory.mktemp("models")
    for kind in ("checkpoints", "diffusion_models", "loras", "controlnet"):
        (base / kind).mkdir()
        _, extensions = folder_paths.folder_names_and_paths[kind]
        folder_paths.folder_names_and_paths[kind] = ([str(base / kind)], extensions)
    return base


@pytest.fixture(scope="session")
def tiny(models_dir):
    """Small random checkpoints of real architectures, by name; see tiny_models.py."""
    import tiny_models

    return tiny_models.TinyModels(models_dir)


@pytest.fixture(scope="session")
def models(tiny):
    """(reference, anchor) of an architecture, by the stock loader, loaded once; "toy" where none matters."""
    import toy_models

    loaded = {"toy": tuple(toy_models.toy_model(seed=seed) for seed in (1, 2))}

    def load(kind):
        if kind not in loaded:
            loaded[kind] = (tiny.load(tiny.reference(kind)), tiny.load(tiny.anchor(kind)))
        return loaded[kind]

    return load


@pytest.fixture(scope="module")
def sd15(models):
    """The reference, with its own weights: another test's LoRA may lie merged in them."""
    import comfy.model_management

    comfy.model_management.unload_all_models()
    return models("sd15")[0]


@pytest.fixture(scope="module")
def library(tiny, sd15):
    """diffusers' UNet with the weights of sd15; see real_adapters.py."""
    import real_adapters

    return real_adapters.Library(tiny, sd15)
