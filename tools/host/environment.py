"""The Python environment of the test host: the host's requirements, the test tools, and a torch that fits the machine.

Kept in the cache, keyed by everything that decides its contents. A user's own environment is never touched. Another
host than the one `make test` takes gets a layer: what it pins otherwise, over that environment.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tools.cache import CACHE, CPU_INDEX, PACK, TORCH, TORCHAUDIO, TORCHVISION, SetupError, locked, run, say, stage

RECIPE = "3"  # raise it when this file makes environments differently
LINKS = Path(__file__).with_name("torchvision_shim.py")
PIP = ["-m", "pip", "--disable-pip-version-check", "--no-input"]
IMPORTS = "import torch, torchvision, torchaudio, aiohttp, safetensors, pytest"
NO_TEST_READS = re.compile(r"^comfyui-(workflow-templates|embedded-docs)\b")  # half a GB: the layers go without


def make_environment(host: Path) -> Path:
    """The environment's interpreter, made on first use (a few minutes, 2–3 GB) and found at once afterwards."""
    base = base_interpreter()
    requirements = _host_requirements(host)
    ours = (PACK / "tests" / "requirements.txt").read_text(encoding="utf-8")
    version = subprocess.run([base, "-c", "import sys; print(sys.version)"], capture_output=True, text=True).stdout
    parts = (RECIPE, *requirements, ours, version, TORCH, TORCHVISION, TORCHAUDIO, LINKS.read_text(encoding="utf-8"))
    return _made("env", parts, lambda folder, python: _build(folder, python, base, requirements))


def make_layer(host: Path, below: Path) -> Path:
    """The interpreter of an environment with what this host needs, and all else from the one below.

    below: that one's interpreter. A minute and 100–300 MB the first time.
    """
    requirements = [line for line in _host_requirements(host) if not NO_TEST_READS.match(line)]
    parts = (RECIPE, *requirements, str(below))
    return _made("layer", parts, lambda folder, python: _build_layer(folder, python, below, requirements))


def make_beside(packages: tuple[str, ...], below: Path) -> Path:
    """The interpreter of an environment with the newest of these packages, and all else from the one below.

    As a user has them who installs them into a ComfyUI: without what they pin. A minute the first time.
    """

    def build(folder: Path, python: Path) -> None:
        say(f"Making an environment with {', '.join(packages)} in {folder} (a minute, once)")
        _empty_layer(folder, python, below, CACHE / "beside.log")
        (folder / ".complete").touch()

    python = _made("beside", (RECIPE, *packages, str(below)), build)
    with locked(python.parents[1].name), stage("the newest of them"):
        command = [str(python), *PIP, "install", "--no-deps", "--upgrade", *packages]
        run(command, CACHE / "beside.log", f"Installing {', '.join(packages)}")
    return python


def _made(kind: str, parts: tuple[str, ...], build: Callable[[Path, Path], None]) -> Path:
    """The interpreter in the folder that belongs to `parts`, built on first use, once for all processes."""
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    folder = CACHE / f"{kind}-{key}"
    python = interpreter_of(folder)
    if not (folder / ".complete").is_file():
        with locked(f"{kind}-{key}"):
            if not (folder / ".complete").is_file():
                build(folder, python)
    return python


def interpreter_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def base_interpreter() -> str:
    """PYTHON, else the best Python 3.10–3.13 on the path that really runs. Raises SetupError where there is none."""
    named = os.environ.get("PYTHON")
    for name in (
        [named] if named else ["python3.11", "python3.12", "python3.13", "python3.10", "python3", sys.executable]
    ):
        found = shutil.which(name or "")
        if not found:
            continue
        code = "import sys, venv, ensurepip; assert (3, 10) <= sys.version_info[:2] <= (3, 13); print(sys.executable)"
        out = subprocess.run([found, "-c", code], capture_output=True, text=True)
        if out.returncode == 0:
            return out.stdout.strip()
    raise SetupError(
        f"{f'PYTHON={named}' if named else 'This machine'} has no Python 3.10–3.13 with venv. Install one (Debian: "
        "apt install python3 python3-venv), or name one: make PYTHON=/path/to/python …"
    )


def _host_requirements(host: Path) -> list[str]:
    """The host's requirements without torch and its companions, which need care."""
    lines = [line.split("#")[0].strip() for line in (host / "requirements.txt").read_text("utf-8").splitlines()]
    own_care = re.compile(r"^(torch|torchvision|torchaudio)\b(?!sde)")
    return [line for line in lines if line and not own_care.match(line)]


def _build(folder: Path, python: Path, base: str, requirements: list[str]) -> None:
    say(f"Making a Python environment for ComfyUI in {folder} (a few minutes, once)")
    shutil.rmtree(folder, ignore_errors=True)
    log = CACHE / "environment.log"
    log.unlink(missing_ok=True)
    with stage("venv"):
        run([base, "-m", "venv", str(folder)], log, "Making a virtual environment")
    with stage(f"torch {TORCH}"):
        _install_torch(python, log)
    constraint, listed = folder / "constraint.txt", folder / "requirements.txt"
    constraint.write_text(f"torch=={TORCH}\n", encoding="utf-8")  # several packages would bring another torch
    listed.write_text("\n".join(requirements) + "\n", encoding="utf-8")
    with stage("ComfyUI's requirements and the test tools"):
        files = ["-r", str(listed), "-r", str(PACK / "tests" / "requirements.txt")]
        run([str(python), *PIP, "install", "-c", str(constraint), *files], log, "Installing ComfyUI's requirements")
    _mend_companions(python)
    run([str(python), "-c", IMPORTS], log, "The finished environment's imports")
    (folder / ".complete").touch()


def _build_layer(folder: Path, python: Path, below: Path, requirements: list[str]) -> None:
    say(f"Making a layer for another ComfyUI in {folder} (a minute, once)")
    log = CACHE / "environment.log"
    _empty_layer(folder, python, below, log)
    constraint, listed = folder / "constraint.txt", folder / "requirements.txt"
    constraint.write_text(f"torch=={TORCH}\n", encoding="utf-8")
    listed.write_text("\n".join(requirements) + "\n", encoding="utf-8")
    with stage("what this ComfyUI pins otherwise"):
        command = [str(python), *PIP, "install", "-c", str(constraint), "-r", str(listed)]
        run(command, log, "Installing ComfyUI's requirements")
    run([str(python), "-c", IMPORTS], log, "The finished layer's imports")
    (folder / ".complete").touch()


def _empty_layer(folder: Path, python: Path, below: Path, log: Path) -> None:
    """A virtual environment that finds what the one below has."""
    shutil.rmtree(folder, ignore_errors=True)
    run([str(below), "-m", "venv", str(folder)], log, "Making a virtual environment")
    # Found after the layer's own packages, and with its .pth files, which a plain path in a .pth file would leave out.
    (_site(python) / "realign_below.pth").write_text(
        f"import site; site.addsitedir({str(_site(below))!r})\n", encoding="utf-8"
    )


def _install_torch(python: Path, log: Path) -> None:
    """The CPU build where there is no NVIDIA GPU and one can be had, else the index's own; companions without deps."""
    install = [str(python), *PIP, "install"]
    cpu = sys.platform == "linux" and not _has_nvidia()
    if cpu:
        quick = ["--extra-index-url", CPU_INDEX, "--retries", "0", "--timeout", "20"]
        try:
            run([*install, *quick, f"torch=={TORCH}+cpu"], log, "The CPU build of torch")
        except SetupError:
            cpu = False
    if not cpu:
        run([*install, f"torch=={TORCH}"], log, "Installing torch")
    companions = [f"torchvision=={TORCHVISION}", f"torchaudio=={TORCHAUDIO}"]
    if cpu:
        try:
            local = [f"{name}+cpu" for name in companions]
            run([*install, "--no-deps", *quick, *local], log, "The CPU builds of torchvision and torchaudio")
            return
        except SetupError:
            say("    no CPU builds of torchvision and torchaudio here; taking the usual ones")
    run([*install, "--no-deps", *companions], log, "Installing torchvision and torchaudio")


def _has_nvidia() -> bool:
    tool = shutil.which("nvidia-smi")
    return bool(tool) and subprocess.run([tool, "-L"], capture_output=True).returncode == 0


def _mend_companions(python: Path) -> None:
    """Under CPU torch a CUDA build of torchvision or torchaudio cannot load its library; the host only imports it.

    Done in this environment alone, and only where the real library fails.
    """

    def imports(module: str) -> bool:
        return subprocess.run([str(python), "-c", f"import {module}"], capture_output=True).returncode == 0

    site = _site(python)
    if not imports("torchvision"):
        shutil.copy(LINKS, site / "realign_torchvision_shim.py")
        (site / "realign_torchvision_shim.pth").write_text("import realign_torchvision_shim\n", encoding="utf-8")
    if not imports("torchaudio"):
        for library in (site / "torchaudio").rglob("*.so"):
            library.unlink()


def _site(python: Path) -> Path:
    """The folder of an interpreter's packages."""
    where = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    return Path(subprocess.run([str(python), "-c", where], capture_output=True, text=True, check=True).stdout.strip())
