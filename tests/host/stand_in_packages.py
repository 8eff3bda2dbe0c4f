"""Packages of rewards: as if they were not there, and others of their name."""

from __future__ import annotations

import importlib.util
import sys


def hidden(monkeypatch):
    """A set, empty at first, of the modules that are not there; all others are."""
    names, find = set(), importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in names else find("json"))
    return names


def stand_in(folder, monkeypatch, files, dist=()):
    """A package of these files, found before all others."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for name in dist:
        (folder / f"{name}-9.dist-info").mkdir()
        (folder / f"{name}-9.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: 9\n", encoding="utf-8")
        record = "\n".join(f"{file},," for file in files)
        (folder / f"{name}-9.dist-info" / "RECORD").write_text(record, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    for file in files:  # also afterwards
        parts = file.removesuffix(".py").removesuffix("/__init__").split("/")
        for end in range(1, len(parts) + 1):
            monkeypatch.delitem(sys.modules, ".".join(parts[:end]), raising=False)
