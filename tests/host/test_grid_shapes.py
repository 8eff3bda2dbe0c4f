"""Grids of any shape: most of one is picture, its labels can be read at the size at which it is looked at, all of them
stand within it and none over another, and its footer is small."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from drawn_texts import recorded
from realign.nodes.pictures import sheet
from realign.nodes.pictures.facts import facts
from realign.nodes.pictures.tables import Note, swept_table
from realign.nodes.pictures.text import drawn_labels
from realign.nodes.pictures.traced import parse_trace
from realign.realign_core import Sweep
from test_grid import trace_of

LOOKED_AT, READABLE = 1400, 11  # px: how wide a grid is on a screen, and the least size of a label there
NOTES = [
    Note("", "base.safetensors · ddpm · karras · 30 steps · cfg 6 · η 1 · seed 7"),
    Note("Prompt", "a cosy reading nook by a rainy window, warm lamp light, film photo, soft focus, a cat asleep"),
    Note("Negative", "blurry, lowres, text, watermark"),
]
# Columns, rows, width and height of a picture, and the least share of the grid that is picture.
SHAPES = [
    (2, 2, (128, 128), 0.68),
    (2, 2, (64, 64), 0.63),
    (7, 3, (512, 512), 0.75),
    (7, 3, (64, 64), 0.73),
    (20, 12, (512, 512), 0.75),
    (20, 12, (64, 64), 0.75),
    (64, 1, (512, 512), 0.8),
    (1, 64, (512, 512), 0.8),
    (5, 2, (832, 1216), 0.75),
    (5, 2, (1344, 768), 0.7),
    (2, 12, (512, 512), 0.85),
    (64, 2, (512, 512), 0.4),
    (7, 1, (64, 64), 0.55),
]


def table_of_shape(columns, rows, sides=None):
    count = columns * rows
    sweep = Sweep(tuple(round(i / max(columns - 1, 1), 4) for i in range(columns)), seeds=rows)
    trace = parse_trace(trace_of(count, [100.0 + 17 * i for i in range(count)], sweep))
    table = swept_table(facts(count, sweep, trace), NOTES)
    return replace(table, sides=sides) if sides else table


def laid_out(table, size):
    size_of, wanted = sheet.sizes_of(torch.empty(1, size[1], size[0], 3), 0)
    grid = sheet.fitted(table, size_of, wanted)
    assert max(grid.width, grid.height) <= sheet.LARGEST
    assert grid.width * grid.height <= sheet.PIXELS
    return grid


def assert_labels_stand_apart(grid, count, monkeypatch):
    """Within the grid, on no picture, and none on another. The pictures themselves are not drawn: they can be large."""
    texts = recorded(monkeypatch)
    corners = [grid._corner(i) for i in range(count)]
    drawn_labels((grid.width, grid.height), grid._labels(corners))
    texts[-1].check()
    inset = (grid.column - grid.size[0]) // 2
    for x, y in corners:
        left, top, right, low = x + inset, y, x + inset + grid.size[0], y + grid.size[1]
        assert 0 <= left < right <= grid.width
        assert 0 <= top < low <= grid.height
        assert not [
            box for box in texts[-1].boxes if box[0] < right and left < box[2] and box[1] < low and top < box[3]
        ]


@pytest.mark.parametrize(("columns", "rows", "size", "share"), SHAPES, ids=str)
def test_most_of_a_grid_is_picture_and_its_labels_can_be_read(monkeypatch, columns, rows, size, share):
    count = columns * rows
    grid = laid_out(table_of_shape(columns, rows), size)
    assert_labels_stand_apart(grid, count, monkeypatch)
    assert count * grid.size[0] * grid.size[1] >= share * grid.width * grid.height
    assert grid.text * min(LOOKED_AT / grid.width, 1) >= READABLE
    foot = sum(one.height for one in grid.footer)
    most = 1 / 10 if rows > 1 and columns > 1 and columns < 64 else 1 / 5
    assert foot <= most * grid.height
    assert grid.footer[0].lines[0].startswith("λ")


@pytest.mark.parametrize(("columns", "rows", "size"), [one[:3] for one in SHAPES], ids=str)
def test_every_picture_has_its_lambda(columns, rows, size):
    """Over its column, or below it where a table has no columns; of 64 in two rows over every few."""
    grid = laid_out(table_of_shape(columns, rows), size)
    said = [one.lines[0] for one, _ in grid.heads] or [one.lines[0] for one in grid.below]
    if columns == 1:
        assert said == [f"seed {7 + i} · KL {200 + 34 * i}" for i in range(64)]
        assert grid.footer[0].lines[0].startswith("λ 0 ")
    else:
        assert len(said) == columns
        assert all(one.startswith("λ ") for one in said)
    assert (grid.heads_apart > 1) == (columns == 64 and rows == 2)


@pytest.mark.parametrize(("columns", "rows", "left_out"), [(7, 3, False), (20, 12, True)])
def test_the_kl_of_each_is_there_where_it_is_small_beside_the_picture(columns, rows, left_out):
    grid = laid_out(table_of_shape(columns, rows), (512, 512))
    assert bool(grid.below) != left_out
    assert (sheet.NOT_ALL in grid.footer[0].lines[0]) == left_out


@pytest.mark.parametrize(("columns", "rows", "size"), [one[:3] for one in SHAPES if one[1] in (2, 3, 12)], ids=str)
def test_prompts_beside_the_rows_are_wrapped(monkeypatch, columns, rows, size):
    prompts = [["a cosy reading nook by a rainy window"], ["portrait of an old sailor", "seed 8"]] * 6
    grid = laid_out(table_of_shape(columns, rows, prompts[:rows]), size)
    assert_labels_stand_apart(grid, columns * rows, monkeypatch)
    words = " ".join(grid.sides[1].lines)
    assert words.startswith("portrait of an old" if columns < 64 else "portrai")
    assert ("seed 8" in words) == (columns < 64)
    beside = grid.left - grid.margin
    assert beside <= max(0.36 * grid.size[0], 4.5 * grid.text) + grid.text
    assert beside <= grid.size[0] or columns == 64


def test_the_users_own_footer_is_there_in_full():
    own = "\n".join(f"line {i}" for i in range(40))
    grid = laid_out(replace(table_of_shape(2, 2), notes=[], own=own), (64, 64))
    assert grid.footer[1].lines == own.splitlines()


def test_what_is_too_wide_below_a_picture_does_not_take_the_rest_with_it():
    table = replace(table_of_shape(10, 10), heads=[], below=[["0.53", "a reward of a long name " * 3 + "1"]] * 100)
    grid = laid_out(table, (512, 512))
    assert [one.lines for one in grid.below] == [["0.53"]] * 100
    assert sheet.NOT_ALL in grid.footer[0].lines[0]
