"""Runs the command of its arguments until that ends, or until standard input closes: whoever holds the other end of the
pipe is gone then, and the command is ended too. Standard library only: it runs as a file."""

from __future__ import annotations

import subprocess
import sys
import threading

PATIENCE = 10  # seconds that the command may take to end


def main() -> int:
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)

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
