"""Packages that a user may have beside ComfyUI: looked for, and the command told. Nothing is installed here."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from ..models.files import said


@dataclass(frozen=True)
class Package:
    """modules: by what is imported, what pip calls it: the package first, then what it imports and ComfyUI does not
    bring. They are told without what they pin, so that pip exchanges nothing that is there, torch least of all."""

    modules: Mapping[str, str]

    @property
    def name(self) -> str:
        return next(iter(self.modules))

    def check(self) -> None:
        """Raises ValueError, which tells the command, where a module is not installed. Imports none of them."""
        lacking = [name for name in self.modules if not _is_there(name)]
        if lacking:
            raise ValueError(
                f"This reward needs the package {self.name}, and {_listed(lacking)} not installed: run "
                f"{command(*(self.modules[name] for name in lacking))} in a terminal, and restart ComfyUI."
            )

    def module(self, name: str) -> ModuleType:
        """One of its modules, imported. Raises ValueError where it cannot be: what is installed does not fit."""
        try:
            return importlib.import_module(name)
        except Exception as error:  # of a package that others break, anything
            raise self.unusable(said(error)) from error

    def unusable(self, why: str) -> ValueError:
        return ValueError(
            f"The package {self.name} is installed, but cannot be used here ({why.rstrip('.')}): run "
            f"{command('--upgrade', self.modules[self.name])} in a terminal, and restart ComfyUI."
        )


def command(*what: str) -> str:
    return f'"{sys.executable}" -m pip install --no-deps {" ".join(what)}'


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # of a module that something has put in its place
        return name in sys.modules


def _listed(names: list[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} are"
