"""Tests of `realign_core`: no host, seconds. They check it against `ground_truth`, which is numpy alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Appended, not put in front: a host has its own `nodes`, which the pack's folder of that name must not hide.
sys.path.append(str(Path(__file__).parents[2]))

torch.set_num_threads(1)
settings.register_profile("core", max_examples=40, deadline=None, derandomize=True, database=None)
settings.load_profile("core")


@pytest.fixture(autouse=True)
def seed():
    """The same numbers in every run: a test that fails fails again."""
    torch.manual_seed(0)
