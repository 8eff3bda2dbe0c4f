"""The front and its volume beside brute force, and where the answer is known."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from realign_core import hypervolume, on_front


def by_hand(scores):
    """The definition, in loops over plain numbers."""
    rows = scores.tolist()
    return [
        not any(all(x >= y for x, y in zip(other, one)) and any(x > y for x, y in zip(other, one)) for other in rows)
        for one in rows
    ]


@pytest.mark.parametrize("rewards", [1, 2, 3, 5])
def test_the_front_is_that_of_the_definition(rewards):
    """Of few whole numbers, too: with ties in single rewards, and equal points."""
    generator = torch.Generator().manual_seed(rewards)
    for count in (1, 2, 7, 40):
        drawn = torch.randn(count, rewards, generator=generator)
        for scores in (drawn, drawn.round(), drawn.half()):
            found = on_front(scores)
            assert found.tolist() == by_hand(scores)
            assert found.any()


def test_known_fronts():
    assert on_front(torch.tensor([[0.0, 3], [1, 2], [2, 2], [3, 0], [1, 1]])).tolist() == [
        True,
        False,
        True,
        True,
        False,
    ]
    assert on_front(torch.tensor([[1.0], [3], [3], [2]])).tolist() == [
        False,
        True,
        True,
        False,
    ]  # the best, all of them
    assert on_front(torch.ones(3, 2)).tolist() == [True] * 3  # equal points do not beat one another
    assert on_front(torch.tensor([[1.0, 1], [1, 1], [1, 2]])).tolist() == [False, False, True]
    assert on_front(torch.tensor([[math.inf, 0.0], [5, -math.inf], [5, 1]])).tolist() == [True, False, True]


def test_a_reward_more_never_takes_a_point_off_the_front():
    """Where no two scores are equal."""
    scores = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fronts = [on_front(scores[:, :rewards]) for rewards in (1, 2, 3, 4)]
    assert all((more | ~fewer).all() for fewer, more in itertools.pairwise(fronts))
    assert int(fronts[0].sum()) == 1


@pytest.mark.parametrize("wrong", [torch.zeros(3), torch.zeros(0, 2), torch.zeros(2, 0), torch.zeros(2, 2, 2)])
def test_what_is_no_table_is_refused(wrong):
    with pytest.raises(ValueError, match="points, rewards"):
        on_front(wrong)


def test_nan_is_refused():
    with pytest.raises(ValueError, match="hold NaN"):
        on_front(torch.tensor([[1.0, math.nan], [0, 0]]))
    with pytest.raises(ValueError, match="finite"):
        hypervolume(torch.tensor([[1.0, math.inf]]), torch.zeros(2))
    with pytest.raises(ValueError, match="finite"):
        hypervolume(torch.ones(1, 2), torch.zeros(3))


def in_cells(scores, least, most):
    """The volume of points of whole numbers, by counting the unit cells that some point covers."""
    cells = itertools.product(*[range(least, most)] * scores.shape[1])
    return sum(any(all(x > c for x, c in zip(one, cell)) for one in scores.tolist()) for cell in cells)


@pytest.mark.parametrize("rewards", [1, 2, 3, 4])
def test_the_volume_is_that_of_the_cells_covered(rewards):
    generator = torch.Generator().manual_seed(rewards)
    for count in (1, 3, 12):
        scores = torch.randint(-3, 5, (count, rewards), generator=generator).double()
        least = torch.full((rewards,), -2.0, dtype=torch.float64)
        assert hypervolume(scores, least) == in_cells(scores, -2, 5)


def test_only_the_front_counts_for_the_volume():
    scores = torch.randn(60, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    least = torch.full((3,), -1.0, dtype=torch.float64)
    whole = hypervolume(scores, least)
    assert hypervolume(scores[on_front(scores)], least) == pytest.approx(whole, rel=1e-12)
    assert hypervolume(scores - 10, least) == 0
    assert hypervolume(2 * scores + 2, least) > whole  # each moved outward, or staying below
