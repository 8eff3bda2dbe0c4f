"""The strip of a run with particles: bounded for any shape, no text over another, and lineage where it belongs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from drawn_texts import WHITE, bounded, recorded
from PIL import Image
from realign.nodes.pictures.colours import lineage
from realign.nodes.pictures.particle_strip import BAR, ParticleStrip
from realign.nodes.pictures.strip import Strip

SHAPES = [(1, 1), (1, 4), (8, 4), (1, 16), (3, 64), (64, 64), (2100, 1), (1, 2100), (300, 2), (2, 300), (40, 3)]
PICTURES = [(64, 64), (300, 8), (8, 300), (1, 3000), (832, 1216)]


@pytest.fixture
def texts(monkeypatch):
    return recorded(monkeypatch)


def filled(groups, particles, size=(64, 64), score="63.5", rows=None):
    shown = ParticleStrip(groups, particles, rows)
    count = groups * particles
    shown.show(range(count), [Image.new("RGB", size, WHITE)] * count)
    for place in range(count):
        shown.tell(place, score, place % particles)
    return shown


@pytest.mark.parametrize("size", PICTURES, ids=str)
@pytest.mark.parametrize(("groups", "particles"), SHAPES)
def test_it_has_room_for_any_run(texts, groups, particles, size):
    shown = ParticleStrip(groups, particles)
    bounded(shown.picture())
    shown = filled(groups, particles, size)
    pixels = bounded(shown.picture())
    assert int((pixels == WHITE).all(-1).sum()) >= shown.shown[0] * shown.shown[1]
    for drawn in texts:
        drawn.check()


@pytest.mark.parametrize(("groups", "particles", "texts_each"), [(1, 4, 2), (8, 4, 2), (1, 16, 2), (3, 64, 2)])
def test_scores_and_lineage_are_below_each(texts, groups, particles, texts_each):
    filled(groups, particles).picture()
    labels = groups if groups > 1 else 0
    assert len(texts[-1].boxes) == groups * particles * texts_each + labels


def test_a_picture_keeps_half_of_its_height_at_least():
    for groups, particles in SHAPES:
        shown = filled(groups, particles)
        bare = ParticleStrip(groups, particles)
        bare.foot = 0
        Strip._arrange(bare, 64, 64)
        assert 2 * shown.size[1] >= bare.size[1]


def test_the_bar_has_the_colour_of_the_starting_particle():
    shown = filled(2, 3)
    for place, root in enumerate([0, 0, 2, 1, 1, 1]):
        shown.tell(place, None, root)
    pixels = np.asarray(Strip.picture(shown))  # as one who knows no other strip calls it
    for place, x, y in shown._places():
        bar = pixels[y + shown.size[1] + 1 : y + shown.size[1] + BAR, x : x + shown.size[0]]
        assert (bar == lineage(shown.roots[place])).all()
    shown.tell(4, None, 0)
    assert (np.asarray(shown.picture()) != pixels).any()


def test_a_text_that_has_no_room_is_left_out(texts):
    long = filled(1, 16, score="-1234567890.5")
    long.picture()
    assert len(texts[-1].boxes) == 16
    texts[-1].check()


def test_nothing_is_below_a_picture_of_which_nothing_was_told(texts):
    shown = ParticleStrip(1, 4)
    shown.show([0], [Image.new("RGB", (64, 64), WHITE)])
    shown.picture()
    assert not texts[-1].boxes
    shown.tell(0, "63.5", 2)
    shown.picture()
    assert len(texts[-1].boxes) == 2
    shown.tell(0, None, 2)
    shown.picture()
    assert len(texts[-1].boxes) == 1


def test_rows_have_labels_of_their_own(texts):
    filled(2, 4, rows=["λ 0.5", ("λ 1", "seed 7")]).picture()
    assert len(texts[-1].boxes) == 2 * 4 * 2 + 3
    with pytest.raises(ValueError, match="2 groups need as many labels, not 1"):
        ParticleStrip(2, 4, ["λ 0.5"])


def test_families_have_colours_of_their_own():
    colours = [lineage(root) for root in range(64)]
    assert len(set(colours)) == 64
    for one, other in pairwise(colours):
        assert max(abs(a - b) for a, b in zip(one, other)) > 40
