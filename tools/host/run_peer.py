"""`make peer`: benchmarks/peer.py with the newest diffusers.

It is installed beside the environment of `make test`, in the cache, without what it pins, so that what is compared with
is the library of today. Not part of `make test`, which has a diffusers of its own that it pins.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tools.cache import PACK, SetupError, say
from tools.host.environment import make_beside


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", type=Path, required=True, help="the ComfyUI")
    options, rest = parser.parse_known_args()
    try:
        python = make_beside(("diffusers",), Path(sys.executable))
    except SetupError as error:
        say(str(error))
        return 1
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [str(python), "benchmarks/peer.py", "--host", str(options.host), *rest]
    return subprocess.run(command, cwd=PACK, env=environment, stdin=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main())
