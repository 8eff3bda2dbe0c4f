"""Runs the command of its arguments, after a folder, until that ends, or until standard input closes: whoever holds the
other end of the pipe is gone then, and the command is ended and the folder removed. On Linux the command ends as well
where this process is killed, as a cluster may do with what a worker has started. Standard library only: it runs as a
file."""

from __future__ import annotations

import ctypes
import shutil
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
    folder, *command = sys.argv[1:]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=end_with_parent if PRCTL else None)

    over = threading.Event()

    def watch() -> None:  # to its end: the process stays for it
        while sys.stdin.buffer.read(4096):
            pass
        over.set()
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    status = process.wait()
    if over.is_set():
        watching.join()
    return status


if __name__ == "__main__":
    sys.exit(main())
