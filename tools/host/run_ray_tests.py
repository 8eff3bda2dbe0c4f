"""`make test-ray`: studies by Ray, which `make test` does without: it is installed beside, in the cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tools.cache import PACK, SetupError, say
from tools.host.environment import make_beside

# What `pip install 'ray[client]'` brings, as far as the environment of `make test` does not have it.
RAY = ("ray", "grpcio", "click", "msgpack", "protobuf", "jsonschema", "jsonschema-specifications", "referencing")
MORE = ("rpds-py", "attrs")


def interpreter() -> Path:
    """Of an environment with Ray, made on first use. Raises SetupError."""
    return make_beside((*RAY, *MORE), Path(sys.executable))


def main() -> int:
    try:
        python = interpreter()
    except SetupError as error:
        say(str(error))
        return 1
    command = [
        str(python),
        "-m",
        "pytest",
        "tests/study/test_ray.py",
        "tests/study/test_three_back_ends.py",
        *(sys.argv[1:] or ["-v"]),
    ]
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=PACK, env=environment, stdin=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main())
