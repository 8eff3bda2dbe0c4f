"""Text in the picture, with a stand-in for rapidocr. With rapidocr itself: rewards/, `make test-rewards`."""

from __future__ import annotations

import functools
import random

import numpy as np
import pytest
import stand_in_packages
import torch
from realign.nodes.reward import ocr
from realign.nodes.reward.ocr import TextInPicture, distance, likeness, quoted
from realign.nodes.reward.protocol import RewardError, gradient, scores
from realign.nodes.text_reward import RealignTextReward


def pictures(count):
    return torch.rand(count, 8, 6, 3, generator=torch.Generator().manual_seed(0))


READS = """
import numpy as np
class RapidOCR:
    def __init__(self, params):
        self.params = params
    def __call__(self, picture):
        assert picture.dtype == np.uint8 and picture.flags.c_contiguous
        class Out:
            txts = ("b%dg%dr%d" % tuple(picture[0, 0]), "End") if picture.any() else None
        Out.params = self.params
        return Out
"""
MODEL_FILES = {f"rapidocr/models/x_{word}_y.onnx": "" for word in ("det", "cls", "rec")}


@pytest.fixture
def rapidocr(tmp_path, monkeypatch):
    """Makes a stand-in for rapidocr, of this text and with these models."""
    stand_in_packages.hidden(monkeypatch)

    def make(text=READS, models=MODEL_FILES):
        ocr.reader.cache_clear()
        stand_in_packages.stand_in(
            tmp_path / "site", monkeypatch, {"rapidocr/__init__.py": text, **models}, ["rapidocr"]
        )

    yield make
    ocr.reader.cache_clear()


def test_pictures_reach_rapidocr_as_it_wants_them(rapidocr):
    rapidocr()
    images = torch.zeros(2, 4, 4, 3)
    images[0] = torch.tensor([255, 128, 1]) / 255
    reward = RealignTextReward.execute("B1 G128 R255 end").args[0]
    assert scores(reward, images).tolist() == [1, 0]
    assert not reward.needs_prompt
    with pytest.raises(RewardError, match="has no gradient"):
        scores(reward, images.requires_grad_()) if torch.is_grad_enabled() else gradient(reward, images)
    assert RealignTextReward.execute().args[0].needs_prompt


@pytest.mark.parametrize(
    ("text", "models", "why"),
    [
        (READS, {}, "its model “det” is not there"),
        ("class RapidOCR:\n    def __init__(self): pass\n", MODEL_FILES, "TypeError"),
        ("raise ImportError('no libgomp')\n", MODEL_FILES, "no libgomp"),
    ],
)
def test_a_rapidocr_that_does_not_work_is_said_in_a_sentence(rapidocr, text, models, why):
    rapidocr(text, models)
    with pytest.raises(ValueError, match="The package rapidocr is installed, but cannot be used here") as error:
        RealignTextReward.execute("x")
    assert why in str(error.value)
    assert "--upgrade rapidocr" in str(error.value)


def test_its_models_are_those_of_its_wheel_so_that_it_brings_none(rapidocr, tmp_path):
    rapidocr()
    (tmp_path / "site" / "rapidocr" / "models" / "another_det_model.onnx").touch()  # which somebody has put there
    import rapidocr as module

    made = []
    own = module.RapidOCR.__init__
    module.RapidOCR.__init__ = lambda self, params: (made.append(params), own(self, params))[1]
    ocr.reader()
    models = {
        f"{part}.model_path": f"x_{word}_y.onnx" for part, word in (("Det", "det"), ("Cls", "cls"), ("Rec", "rec"))
    }
    assert {key: path.rpartition("/")[2] for key, path in made[0].items() if "path" in key} == models


def slow_distance(one, other):
    @functools.cache
    def of(i, j):
        if not i or not j:
            return i + j
        return min(of(i - 1, j) + 1, of(i, j - 1) + 1, of(i - 1, j - 1) + (one[i - 1] != other[j - 1]))

    return of(len(one), len(other))


def test_the_distance_is_levenshteins():
    draw = random.Random(1)
    for _ in range(100):
        one, other = ("".join(draw.choices("abc", k=draw.randrange(7))) for _ in "12")
        assert distance(one, other) == slow_distance(one, other)


@pytest.mark.parametrize(
    ("wanted", "read", "value"),
    [
        ("OPEN", "open", 1),
        ("Happy Birthday", "HAPPYBIRTHDAY!", 1),
        ("OPEN", "OPFN", 3 / 4),
        ("OPEN", "", 0),
        ("OPEN", "nothing of this here", 0),
        ("ＯＰＥＮ", "open", 1),
        ("新年快乐", "新年快乐 2026", 1),
    ],
)
def test_likeness_is_flow_grpos(wanted, read, value):
    assert likeness(wanted, read) == pytest.approx(value)


def test_words_in_quotation_marks_are_found():
    for prompt in (
        'a sign "OPEN"',
        "a sign “OPEN”",
        "ein Schild „OPEN“",
        "看板「OPEN」",
        "看板『OPEN』",
        "«OPEN»",
        "»OPEN«",
    ):
        assert quoted(prompt) == "OPEN", prompt
    assert quoted('"LATE" night "COFFEE"') == "LATECOFFEE"
    for prompt in ("the artist's sign OPEN", 'a " mark', '""', "“ ”"):
        with pytest.raises(RewardError, match="there are none: put them in quotation marks"):
            quoted(prompt)
    read = TextInPicture("", lambda picture: ["OPEN"])
    assert np.allclose(scores(read, pictures(2), ['"open"', '"shut"']), [1, 0])
