"""`make clean-cache` removes what was brought and nothing else, wherever REALIGN_CACHE points."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PACK = Path(__file__).parents[2]


def clean(home: Path, **names: str) -> str:
    """Of a home of its own, so that a fault here could not reach the real one."""
    own = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "REALIGN_CACHE": ""}
    command = [sys.executable, "-m", "tools.host.bootstrap", "clean"]
    done = subprocess.run(command, cwd=PACK, env=os.environ | own | names, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def filled(cache: Path) -> Path:
    for name in ("env-0123", "evidence/networks-0123", "serve/output", "serve-89ab/output"):
        (cache / name).mkdir(parents=True)
        (cache / name / "file").touch()
    (cache / "host.lock").touch()
    (cache / "link").symlink_to(cache.parent)
    return cache


def left(cache: Path) -> set[str]:
    return {str(file.parent.relative_to(cache)) for file in cache.rglob("file")} | {
        file.name for file in cache.iterdir()
    }


MADE = {"evidence", "evidence/networks-0123", "serve", "serve/output", "serve-89ab", "serve-89ab/output"}


@pytest.mark.parametrize("named", [None, "default", "data"])
def test_what_was_brought_goes_and_what_was_made_stays(tmp_path, named):
    default = tmp_path / "home" / ".cache" / "realign"
    names = {None: "", "default": str(default), "data": str(tmp_path / "data")}
    cache = filled(tmp_path / "data" / "realign" if named == "data" else default)
    (cache.parent / "mine.txt").touch()
    said = clean(tmp_path / "home", REALIGN_CACHE=names[named])
    assert left(cache) == MADE
    assert (cache.parent / "mine.txt").exists()
    assert all(str(cache / name) in said for name in ("evidence", "serve", "serve-89ab"))


def test_there_may_be_nothing_to_clean(tmp_path):
    clean(tmp_path / "home")
