"""Strips and grids of any shape: bounded, every picture there, and no label over another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from drawn_texts import WHITE, bounded, recorded
from PIL import Image
from realign.nodes import grid
from realign.nodes.pictures import sheet, tables
from realign.nodes.pictures.facts import facts
from realign.nodes.pictures.strip import Strip
from realign.realign_core import LambdaSchedule, Sweep

MANY = tuple(i / 200 for i in range(1000))
SHAPES = [
    Sweep((0.5,), seeds=1000),
    Sweep((0.5,), seeds=64, cfgs=(1.0, 2.5, 3.0, 7.25)),
    Sweep((0.5,), seeds=2100),  # more rows than a strip has pixels
    Sweep(MANY),
    Sweep(tuple(i / 1000 for i in range(2100))),
    Sweep(MANY[:24], seeds=4, cfgs=(1.0, 3.0), images=8, batch_index=tuple(range(8))),
    Sweep((0.0, 1.0), seeds=3, images=2, cfgs=(1.0, 3.0), batch_index=(0, 1)),
    Sweep((0.25, 1.0), seeds=30, schedule=LambdaSchedule()),
    Sweep((0.5,)),
]
PICTURES = [(300, 8), (8, 300), (1, 3000)]
CASES = [(sweep, (64, 64)) for sweep in SHAPES] + [(sweep, size) for sweep in SHAPES[5:8] for size in PICTURES]


def named(part):
    return f"{part.columns}x{part.rows}" if isinstance(part, Sweep) else "x".join(map(str, part))


@pytest.fixture
def texts(monkeypatch):
    return recorded(monkeypatch)


@pytest.mark.parametrize(("sweep", "size"), CASES, ids=named)
def test_a_strip_has_room_for_any_sweep(texts, sweep, size):
    shown = Strip(sweep, seed=2**64 - 1)
    bounded(shown.picture())
    count = sweep.columns * sweep.rows
    picture = Image.new("RGB", size, WHITE)
    shown.show(range(count // 2), [picture] * (count // 2))
    half = bounded(shown.picture())
    shown.show(range(count // 2, count), [picture] * (count - count // 2))
    whole = bounded(shown.picture())
    assert half.shape == whole.shape or count == 1
    lit = [int((pixels == WHITE).all(-1).sum()) for pixels in (half, whole)]
    assert lit[1] >= shown.shown[0] * shown.shown[1]
    assert lit[0] < lit[1]
    assert all(shown.heads[:1])
    for drawn in texts:
        assert drawn.boxes
        drawn.check()


def test_a_strip_of_few_pictures_has_them_large_and_all_its_labels(texts):
    shown = Strip(Sweep((0.0, 0.5, 1.0), seeds=2), seed=7)
    shown.show(range(6), [Image.new("RGB", (64, 48), WHITE)] * 6)
    shown.picture()
    assert shown.size == (256, 192)
    assert len(texts[-1].boxes) == 3 + 2


def grid_table(count, sweep):
    known = facts(count, sweep, None)
    notes = [tables.Note("", "base.safetensors · ddpm"), tables.Note("Prompt", "a fox in the snow " * 60)]
    table = tables.swept_table(known, notes) if sweep else tables.plain_table(known, notes)
    return replace(table, own="own words\n" * 80)


def assert_sheet(table, size, wanted, count):
    """The grid's picture, of white cells."""
    size_of, _ = sheet.sizes_of(torch.empty(1, size[1], size[0], 3), 0)
    placed = sheet.fitted(table, size_of, wanted)
    drawn = placed.draw(torch.ones(count, placed.size[1], placed.size[0], 3))[0]
    assert drawn.shape[:2] == (placed.height, placed.width)
    assert max(drawn.shape) <= sheet.LARGEST
    assert drawn.shape[0] * drawn.shape[1] <= sheet.PIXELS
    assert int((drawn == 1).all(-1).sum()) == count * placed.size[0] * placed.size[1]
    return placed


@pytest.mark.parametrize(("sweep", "size"), CASES, ids=named)
def test_a_grid_has_room_for_any_sweep(texts, monkeypatch, sweep, size):
    monkeypatch.setattr(sheet, "LARGEST", 4096)  # as large as is quick to draw
    monkeypatch.setattr(sheet, "PIXELS", 2**22)
    count = sweep.columns * sweep.rows
    assert_sheet(grid_table(count, sweep), size, max(size), count)
    texts[-1].check()


def test_a_grid_of_two_thousand_pictures_says_what_it_leaves_out():
    placed = assert_sheet(grid_table(2000, Sweep(MANY, seeds=2)), (64, 64), 64, 2000)
    assert placed.leaves_out
    assert sheet.NOT_ALL in " ".join(placed.footer[0].lines)
    small = assert_sheet(grid_table(4, Sweep((0.0, 1.0), seeds=2)), (64, 64), 160, 4)
    assert not small.leaves_out
    assert small.size == (160, 160)
    assert sheet.NOT_ALL not in " ".join(small.footer[0].lines)


def test_pictures_without_a_sweep(texts):
    for count in (2, 7, 300):
        assert_sheet(grid_table(count, None), (64, 48), 160, count)
        texts[-1].check()


def test_of_many_labelled_pictures_none_is_larger_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(sheet, "BATCH_PIXELS", 2**16)
    monkeypatch.setattr(sheet, "LARGEST", 2048)
    images = torch.rand(300, 64, 32, 3)
    whole, labelled, singles = grid.RealignGrid.execute(images, sweep=Sweep((0.5, 1.0), seeds=150), cell_size=64).args
    assert max(whole.shape[1:3]) <= 2048
    assert labelled.shape[0] == 300
    assert labelled.shape[1] < 64 + 40
    assert singles is images
