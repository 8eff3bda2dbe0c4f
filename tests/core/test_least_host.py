"""A ComfyUI that is too old is told so in one sentence, before anything of it is imported. No host takes part here."""

from __future__ import annotations

import importlib.util
import re
import sys
import types
from pathlib import Path

import pytest

PACK = Path(__file__).parents[2]
NAME = "realign_on_another_host"


@pytest.fixture
def imported(monkeypatch):
    """Imports the pack as a host of some version would (None: one that does not say), and gives what that raises."""

    def attempt(version, **modules):
        told = types.ModuleType("comfyui_version")
        told.__version__ = version
        monkeypatch.setitem(sys.modules, "comfyui_version", told if version is not None else None)
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        spec = importlib.util.spec_from_file_location(
            NAME, PACK / "__init__.py", submodule_search_locations=[str(PACK)]
        )
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, NAME, module)
        with pytest.raises(ImportError) as raised:
            spec.loader.exec_module(module)
        return raised.value

    yield attempt
    for name in [name for name in sys.modules if name.startswith(NAME)]:
        del sys.modules[name]


def least():
    text = (PACK / "__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^LEAST_HOST = "(\d+\.\d+\.\d+)"', text, re.MULTILINE)[0]


@pytest.mark.parametrize("version", ["0.3.30", "0.9", "0.18.2", "0.23.9", "0.23"])
def test_an_older_host_is_told_what_it_needs(imported, version):
    assert str(imported(version)) == (f"Realign needs ComfyUI {least()} or newer; this is {version}: update ComfyUI.")


@pytest.mark.parametrize("version", ["0.24", "0.24.0", "0.24.1", "0.30.0", "0.100.0", "1.0"])
def test_others_are_not(imported, version):
    """They get as far as the host's own modules, which are not there."""
    error = imported(version)
    assert isinstance(error, ModuleNotFoundError)
    assert error.name == "comfy_api"


@pytest.mark.parametrize(("version", "called"), [(None, "unknown"), ("", "unknown"), ("0.18.2-fork", "0.18.2-fork")])
def test_a_host_without_a_number_is_known_by_what_it_lacks(imported, version, called):
    error = imported(version)
    assert str(error).startswith(f"Realign needs ComfyUI {least()} or newer; this one (version {called}) lacks ")
    assert "comfy_api" in str(error)
    assert error.__suppress_context__  # one sentence in the log, and no second traceback above it


def test_what_is_missing_of_something_else_is_said_as_it_is(imported):
    error = imported(None, **{f"{NAME}.nodes": None})
    assert isinstance(error, ModuleNotFoundError)
    assert error.name == f"{NAME}.nodes"


def test_the_registry_is_told_the_same():
    text = (PACK / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-comfyui = ">={least()}"' in text
