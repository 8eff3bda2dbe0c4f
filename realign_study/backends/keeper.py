"""Runs the command of its arguments until that ends, or until standard input closes: whoever holds the other end of the
pipe is gone then, and the command is ended too. On Linux it ends as well where this process is killed, as a cluster may
do with what a worker has started. Standard library only: it runs as a file."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import threading

PATIENCE = 10  # seconds that the command may take to end
PR_SET_PDEATHSIG = 1
# Loaded here: between fork and exec as little as possible is to happen.
PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def end_with_parent() -> None:
    if PRCTL is not None:
        PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> int:
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, preexec_fn=end_with_parent if PRCTL else None)

    def watch() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()

    threading.Thread(target=watch, daemon=True).start()
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
