"""Anchor files in the tests: loaded as the node does, or refused as it refuses them."""

from __future__ import annotations

import re

import comfy.model_management
import pytest
from realign.nodes.load_anchor import LoadAnchorModel

BARE = re.compile(
    r"has no attribute|object is not|not implemented|index out of range|size of tensor|KeyError|mat1 and mat2"
)


def load(reference, choice, beta_source="from file"):
    return LoadAnchorModel.execute(reference, choice, 1.0, beta_source, 1.0).args[0]


def refusal(monkeypatch, reference, choice):
    """The sentence that the file is refused with, before any model is loaded."""

    def loaded(*_, **__):
        raise AssertionError("a model was loaded before the refusal")

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", loaded)
    with pytest.raises(ValueError) as error:  # noqa: PT011 (what it says is the test)
        load(reference, choice)
    text = str(error.value)
    assert choice.rsplit("/", 1)[-1] in text
    assert text.endswith(".")
    assert "\n" not in text
    assert not BARE.search(text)
    return text
