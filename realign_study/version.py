"""Which version of the pack this is: of the clone that it lies in, else as it was installed."""

from __future__ import annotations

import re
from functools import cache
from importlib import metadata
from pathlib import Path


@cache
def version() -> str:
    """Such as “0.1.0”; "" where nothing says it."""
    project = Path(__file__).parents[1] / "pyproject.toml"
    if project.is_file():
        name, found = (
            re.search(rf'^{key} = "(.+)"$', project.read_text(encoding="utf-8"), re.M) for key in ("name", "version")
        )
        if name and found and name[1] == "realign":
            return found[1]
    try:
        return metadata.version("realign")
    except metadata.PackageNotFoundError:
        return ""
