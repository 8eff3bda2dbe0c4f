"""The real packages of rewards: `make test-rewards` has them, `make test` has not."""

from __future__ import annotations

import importlib.util

import folder_paths
import pytest

NEEDED = ("imscore", "rapidocr")
collect_ignore_glob = [] if all(map(importlib.util.find_spec, NEEDED)) else ["test_*.py"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The host's folder of reward models, in an empty place."""
    there = ([str(tmp_path)], folder_paths.folder_names_and_paths["reward_models"][1])
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "reward_models", there)
    folder_paths.filename_list_cache.clear()
    yield tmp_path
    folder_paths.filename_list_cache.clear()
