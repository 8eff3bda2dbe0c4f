"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

TRIES, PAUSE = 5, 0.05  # s, twice as long each time: how long another process may hold a file that is replaced


def put(part: Path, path: Path) -> None:
    """Move a finished file to its place, over what is there. Windows keeps a file that somebody reads from being
    replaced: it is waited for, 1.6 s in all. Raises PermissionError where that was not enough."""
    for attempt in range(TRIES):
        try:
            return os.replace(part, path)
        except PermissionError:
            if attempt == TRIES - 1 or not path.exists():  # nothing is in the way: the folder itself takes no file
                raise
            time.sleep(PAUSE * 2**attempt)


def replaced(path: Path, write: Callable[[Path], object]) -> None:
    """A file that is there whole or not at all."""
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        write(new)
        put(new, path)
    finally:
        new.unlink(missing_ok=True)
