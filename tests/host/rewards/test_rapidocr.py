"""rapidocr itself, on text that is drawn: what can be read is worth what Flow-GRPO's reward gives for it."""

from __future__ import annotations

import socket

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from realign.nodes.reward.protocol import RewardError, scores
from realign.nodes.text_reward import RealignTextReward

from tools.host.run_reward_tests import IMSCORE, RAPIDOCR


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Nothing is brought from the web, and nothing tries to."""
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was opened"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("an address was looked up"))


def drawn(*texts, size=48, side=320, ink="black", paper="white"):
    """(B, side, side, 3)."""
    pictures = []
    for text in texts:
        image = Image.new("RGB", (side, side), paper)
        place = (side // 2, side // 2)
        font = ImageFont.load_default(size)
        ImageDraw.Draw(image).multiline_text(place, text, ink, font, anchor="mm", align="center")
        pictures.append(torch.from_numpy(np.array(image)).float() / 255)
    return torch.stack(pictures)


def reward(text=""):
    return RealignTextReward.execute(text).args[0]


def test_what_is_written_is_read():
    texts = ["OPEN", "Happy\nBirthday", "LATE NIGHT\nCOFFEE"]
    for text, picture in zip(texts, drawn(*texts)):
        assert float(scores(reward(text), picture[None])) == 1
        assert float(scores(reward(text.lower().replace("\n", " ")), picture[None])) == 1
    assert float(scores(reward("COFFEE"), drawn(texts[2]))) == 1  # text beside it costs nothing


def test_what_is_written_wrongly_is_worth_what_is_right_in_it():
    given = scores(reward("COFFEE"), drawn("COFFEE", "COFFER", "COF", "TEA", ""))
    assert torch.allclose(given, torch.tensor([1, 5 / 6, 3 / 6, 1 / 6, 0]))


def test_the_words_may_be_in_the_prompt_of_each_picture():
    prompts = ['a shop with the sign "OPEN"', "a neon sign that says “CLOSED”"]
    given = scores(reward(), drawn("OPEN", "OPEN"), prompts)
    assert given[0] == 1
    assert given[1] == pytest.approx(1 - 4 / 6)  # of CLOSED, O and E are in their order in OPEN
    with pytest.raises(RewardError, match="there are none: put them in quotation marks, or type them into “text”"):
        scores(reward(), drawn("OPEN"), "a shop with the sign OPEN")


def test_ink_paper_and_size_do_not_matter():
    for options in ({"ink": "yellow", "paper": "navy"}, {"ink": "white", "paper": "black"}, {"size": 24, "side": 160}):
        assert float(scores(reward("OPEN"), drawn("OPEN", **options))) == 1
    small = torch.zeros(1, 8, 8, 3)
    assert float(scores(reward("OPEN"), small)) == 0


def test_these_packages_are_those_of_the_command():
    """Installed without what they pin, as the nodes tell it: so nothing else is needed."""
    from realign.nodes.reward import ocr, papers

    assert tuple(ocr.RAPIDOCR.modules.values()) == RAPIDOCR
    assert tuple(papers.IMSCORE.modules.values()) == IMSCORE
