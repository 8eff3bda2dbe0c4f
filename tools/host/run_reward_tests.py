"""`make test-rewards`: the rewards that need packages of their own, with these packages.

They are installed beside the environment of `make test`, in the cache: the newest there are, without what they pin, by
the command that the nodes tell. Not part of `make test`, which needs neither of them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tools.cache import PACK, SetupError, say
from tools.host.environment import make_beside

IMSCORE = ("imscore", "open-clip-torch", "timm", "ftfy", "wcwidth")
RAPIDOCR = ("rapidocr", "onnxruntime", "opencv-python-headless", "pyclipper", "shapely", "omegaconf", "colorlog", "six")
VERSIONS = (
    "import sys; from importlib.metadata import version; print(*(f'{n} {version(n)}' for n in sys.argv[1:]), sep=', ')"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", type=Path, required=True, help="the ComfyUI")
    options, rest = parser.parse_known_args()
    try:
        python = make_beside((*IMSCORE, *RAPIDOCR), Path(sys.executable))
    except SetupError as error:
        say(str(error))
        return 1
    names = ["torch", "transformers", *IMSCORE, *RAPIDOCR]
    subprocess.run([str(python), "-c", VERSIONS, *names])
    environment = {**os.environ, "REALIGN_HOST": str(options.host), "HF_HUB_OFFLINE": "1"}
    environment.setdefault("OMP_NUM_THREADS", "1")
    command = [str(python), "-m", "pytest", "tests/host/rewards", *(rest or ["-v"])]
    return subprocess.run(command, cwd=PACK, env=environment, stdin=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main())
