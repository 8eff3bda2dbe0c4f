"""Results in the cache outside the clone, so that a killed run goes on where it was.

A result is kept under what it was asked for and a fingerprint of the code that made it: changed code makes it anew.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

PACK = Path(__file__).resolve().parents[2]
sys.path.append(str(PACK))

from tools.cache import CACHE  # noqa: E402


def fingerprint(files: Iterable[Path]) -> str:
    """Of what the files do: of their syntax trees, so that comments and layout change nothing."""
    whole = hashlib.sha256()
    for file in sorted(files):
        whole.update(f"{file.name} {ast.dump(ast.parse(file.read_text('utf-8')))}".encode())
    return whole.hexdigest()[:12]


class Kept:
    """A folder of results. `made` counts those that were not there."""

    def __init__(self, name: str, code: Iterable[Path], root: Path = CACHE / "evidence") -> None:
        self.folder = root / f"{name}-{fingerprint(code)}"
        self.made = 0

    def json(self, key: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, which JSON can hold."""

        def save(value: Any, path: Path) -> None:
            path.write_text(json.dumps(value), encoding="utf-8")

        return self._of(self._path(key, "json"), make, lambda path: json.loads(path.read_text("utf-8")), save)

    def tensors(self, key: str, make: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """A network's weights."""
        return self._of(
            self._path(key, "pt"),
            make,
            lambda path: torch.load(path, map_location="cpu", weights_only=True),
            torch.save,
        )

    def _path(self, key: str, kind: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.{kind}"

    def _of(self, path: Path, make: Callable, load: Callable, save: Callable) -> Any:
        if path.exists():
            return load(path)
        value = make()
        self.made += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}")
        save(value, part)
        part.replace(path)  # whole or not at all, whenever the run is killed
        return value
