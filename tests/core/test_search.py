"""The search for the best λ, on curves that are known: a peak, limits, and pairs that differ."""

from __future__ import annotations

import math

import pytest
import torch

from realign_core import Limit, Search, Seen
from realign_core.search import ALL, MOST, SMALL, explained


class World:
    """Pairs whose reward over λ is known: a peak of its own for each, around one that all share, and an offset."""

    def __init__(self, pairs, peak=0.62, own=0.05, seed=0, noise=0.0):
        generator = torch.Generator().manual_seed(seed)
        self.peaks = peak + own * torch.randn(pairs, generator=generator, dtype=torch.float64)
        self.offsets = 20 * torch.randn(pairs, generator=generator, dtype=torch.float64)
        self.noise, self.generator = noise, generator

    def reward(self, value, pairs):
        clean = self.offsets[pairs] - 10 * (value - self.peaks[pairs]) ** 2
        return clean + self.noise * torch.randn(len(pairs), generator=self.generator, dtype=torch.float64)

    def kl(self, value, pairs):
        return value**2 * (1000 + 10 * self.offsets[pairs])

    def quality(self, value, pairs):
        """Falls with λ, from another value for each pair."""
        return self.offsets[pairs] - 4 * value


def searched(search, numbers):
    """(Seen, Found, why it ended) of numbers: functions of λ and pairs, the reward first."""
    seen = Seen.none(len(search.limits))
    while asked := search.ask(seen):
        for value, pairs in asked:
            seen = seen.add(value, pairs, torch.stack([one(value, torch.tensor(pairs)) for one in numbers], 1))
    found = search.found(seen)
    return seen, found, search.ended(seen, found)


def best_of(world, search, numbers):
    """The λ of the full grid of its candidates."""
    pairs, values = torch.arange(search.pairs), search.candidates
    table = torch.stack([torch.stack([one(value, pairs) for one in numbers], 1).mean(0) for value in values])
    keeps = torch.ones(len(values), dtype=torch.bool)
    zero = torch.stack([one(0.0, pairs) for one in numbers], 1).mean(0)
    for place, limit in enumerate(search.limits, 1):
        keeps &= limit.margin(table[:, place], zero[place]) >= -1e-9
    return values[int(table[:, 0].masked_fill(~keeps, -math.inf).argmax())]


@pytest.mark.parametrize("seed", range(5))
def test_a_peak_is_found_with_few_pictures(seed):
    world = World(6, seed=seed, own=0.2)
    search = Search(0, 1.5, pairs=6, most=72)
    seen, found, why = searched(search, [world.reward])
    best = best_of(world, search, [world.reward])
    assert why == SMALL
    assert len(seen) <= 0.4 * 31 * 6
    assert abs(found.lambda_ - best) <= 0.03
    assert found.low - 0.011 <= best <= found.high + 0.011  # a step of λ
    assert found.high - found.low <= 2 * search.precision + 1e-9


def test_other_pairs_are_less_certain_than_these():
    world = World(6, own=0.3)
    _, found, _ = searched(Search(0, 1.5, pairs=6), [world.reward])
    low, high = found.elsewhere
    assert high - low > 2 * (found.high - found.low)


def test_a_kl_budget_is_kept():
    world = World(4, peak=1.2)
    search = Search(0, 1.5, pairs=4, limits=(Limit("KL", 250.0),))
    numbers = [world.reward, world.kl]
    _, found, _ = searched(search, numbers)
    best = best_of(world, search, numbers)
    assert best < 0.7
    assert abs(found.lambda_ - best) <= 0.02
    assert found.keeps
    assert [one.name for one in found.curves] == ["reward", "KL"]


def test_a_second_reward_may_not_fall_further_than_allowed():
    world = World(4, peak=1.2)
    search = Search(0.2, 1.5, pairs=4, limits=(Limit("quality", 2.0, falls=True),))
    numbers = [world.reward, world.quality]
    seen, found, _ = searched(search, numbers)
    assert 0.0 in seen.lambdas.tolist()  # what it is compared with, although the range begins above
    assert abs(found.lambda_ - 0.5) <= 0.02


def test_where_no_lambda_keeps_the_limits_the_nearest_is_told():
    world = World(4)
    _, found, _ = searched(Search(0.5, 1.5, pairs=4, limits=(Limit("KL", 10.0),)), [world.reward, world.kl])
    assert not found.keeps
    assert found.lambda_ == 0.5


def test_numbers_that_are_not_known_are_left_out():
    """KL is not measured where one model alone is asked."""
    world = World(4, peak=1.2)

    def kl(value, pairs):
        return torch.full((len(pairs),), math.nan) if value == 1 else world.kl(value, pairs)

    search = Search(0, 1, pairs=4, limits=(Limit("KL", 250.0),))
    _, found, _ = searched(search, [world.reward, kl])
    assert abs(found.lambda_ - best_of(world, search, [world.reward, world.kl])) <= 0.02
    seen = Seen.none(1).add(0.5, [0], torch.tensor([[1.0, math.nan]]))
    with pytest.raises(ValueError, match="“KL” is not known"):
        search.found(seen)


def test_a_round_may_ask_some_of_the_pairs():
    world = World(24, own=0.1)
    search = Search(0, 1.5, pairs=24, most=120, at_once=4)
    seen, found, _ = searched(search, [world.reward])
    assert abs(found.lambda_ - best_of(world, search, [world.reward])) <= 0.05
    assert len(seen) < 24 * 4  # less than all pairs at four λ
    count = torch.bincount(seen.pairs, minlength=24)
    assert int((count > 0).sum()) > 4  # pairs that were not in the first round have come too


def test_it_ends_with_as_many_pictures_as_allowed_and_with_all_of_them():
    world = World(3, noise=5.0)
    seen, _, why = searched(Search(0, 1, pairs=3, most=20, precision=0.001), [world.reward])
    assert why == MOST
    assert len(seen) == 18
    seen, _, why = searched(Search(0, 0.02, pairs=2, precision=1e-6), [World(2, noise=5.0).reward])
    assert why == ALL
    assert len(seen) == 2 * 5


def test_no_picture_is_asked_twice():
    world = World(3, noise=5.0)
    seen, _, _ = searched(Search(0, 0.2, pairs=3, most=200, precision=1e-6, at_once=2), [world.reward])
    assert len(set(zip(seen.lambdas.tolist(), seen.pairs.tolist()))) == len(seen)


def test_what_a_picture_tells_is_the_share_of_variance_that_it_explains():
    generator = torch.Generator().manual_seed(1)
    told, noise = torch.randn(2, 4000, generator=generator, dtype=torch.float64)
    curves = torch.stack([told, noise], 1)[None]  # (1, D, 2): the first point is what the best λ follows
    worth = explained(2 * told + 0.5, curves, torch.zeros(1, dtype=torch.float64))
    assert worth[0] == pytest.approx(1, abs=1e-6)
    assert worth[1] < 0.01
    half = explained(2 * told + 0.5, curves, torch.ones(1, dtype=torch.float64))
    assert half[0] == pytest.approx(0.5, abs=0.05)  # as much noise as signal


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 1.0, "high": 0.0}, "must rise"),
        ({"high": 11.0}, "within -10 to 10"),
        ({"pairs": 0}, "at least one pair"),
        ({"precision": 0.0}, "precision above 0"),
        ({"limits": (Limit("KL", -1.0),)}, "0 or more"),
        ({"pairs": 8, "most": 31}, "first round alone takes 32"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Search(**options)


def test_a_reward_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="not a finite reward"):
        Seen.none().add(0.5, [0], torch.tensor([[math.nan]]))
