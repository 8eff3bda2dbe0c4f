"""What is said of a run with particles: each sentence where it is true, and nowhere else."""

from __future__ import annotations

import random

import pytest
from particle_traces import record, with_series
from realign.nodes.pictures.particle_words import is_hacked, told
from realign.nodes.pictures.traced import TracedParticles

WORDS = [
    (record(), "colourfulness 40 → 60 (mean of 4)"),
    (record(4, 4), "colourfulness 41.5 → 61.5 (mean of 4 × 4)"),
    (record(1, 1), "colourfulness 40 → 60"),
    (record(1, 4, 1), "colourfulness 40 (mean of 4)"),
    (record(held_out="other"), "held-out other 0.25 → 0.55 (mean of 4)"),
    (record(2, kl=[1.0, 1.5]), "KL 1.2 nats from what the models draw without the reward (mean of 2 groups)"),
    (record(kl=[9e-16]), "KL 0 nats from what the models draw without the reward"),  # rounding, where nothing draws
    (record(kl=[-0.01]), "KL 0 nats from what the models draw without the reward"),
    (record(), "1.9 of 4 particles count, pictures descend from 2 of 4"),
    (record(reward=None, corrected=True), "corrected: 1.9 of 4 particles count, pictures descend from 2 of 4"),
    (
        record(3, reward=None, corrected=True, log_z=[0.0, 0.0, 0.0]),
        "corrected: 1.9 of 4 particles count in each of 3 groups, pictures descend from 2 of 4; 3 of 3 groups count",
    ),
    (
        record(4, reward=None, corrected=True, log_z=[0.0, 0.0, 0.0, 50.0]),
        "1 of 4 groups count; so it is partial, more particles correct more",
    ),
    (record(1, 1, reward=None, corrected=True), "corrected: one particle alone corrects nothing, take more"),
]


@pytest.mark.parametrize(("told_of", "words"), WORDS)
def test_words_are_those_of_the_numbers(told_of, words):
    assert any(said.endswith(words) for said in told(told_of)), told(told_of)
    assert told(told_of) == told(TracedParticles.model_validate(told_of))
    assert not [said for said in told(told_of) if "None" in said or "\n" in said]


def collapsed(told_of, unique):
    for step in told_of["steps"]:
        step["unique"] = [unique] * told_of["groups"]
    return told_of


@pytest.mark.parametrize(
    ("told_of", "is_said"),
    [
        (collapsed(record(1, 16, kl=[3.5]), 2), True),
        (collapsed(record(1, 16, kl=[2.5]), 2), False),  # log 16 = 2.77
        (collapsed(record(1, 16, kl=[3.5]), 9), False),
        (collapsed(record(1, 1, kl=[3.5]), 1), False),
    ],
)
def test_relatives_are_told_of_beyond_what_particles_can_reach(told_of, is_said):
    said = [text for text in told(told_of) if "relatives of one picture" in text]
    assert bool(said) == is_said
    assert not is_said or "log(16) = 2.8 nats" in said[0]


def test_groups_of_a_sweep_are_not_compared():
    told_of = record(4, reward=None, corrected=True, log_z=[0.0, 0.0, 0.0, 50.0])
    assert "groups count" in " ".join(told(told_of))
    assert "groups count" not in " ".join(told(told_of, swept=True))
    assert "partial" not in " ".join(told(told_of, swept=True))


def line(start, end, steps, noise=0.0, groups=1, seed=0):
    drawn = random.Random(seed)
    step = (end - start) / (steps - 1)
    return [[start + i * step + drawn.gauss(0, noise) for _ in range(groups)] for i in range(steps)]


RISING = line(40, 60, 12, noise=0.5)
HACKED = {
    "falls": (RISING, line(0.6, 0.3, 12), True),
    "falls in noise": (RISING, line(0.6, 0.3, 12, noise=0.02, seed=1), True),
    "rises": (RISING, line(0.3, 0.6, 12), False),
    "stays": (RISING, line(0.5, 0.5, 12), False),
    "falls less than its noise": (RISING, line(0.52, 0.48, 12, noise=0.1, seed=1), False),
    "both fall": (line(60, 40, 12), line(0.6, 0.3, 12), False),
    "the reward is noise": (line(50, 50, 12, noise=3), line(0.6, 0.3, 12), False),
    "too few steps": (line(40, 60, 5), line(0.6, 0.3, 5), False),
    "just enough steps": (line(40, 60, 6), line(0.6, 0.3, 6), True),
    "in all groups": (line(40, 60, 12, 0.5, 4), line(0.6, 0.3, 12, 0.02, 4, seed=1), True),
    "groups apart, each falls": (
        line(40, 60, 12, 0.5, 3),
        [[0.1 * m + low[0] for m in range(0, 90, 30)] for low in line(0.6, 0.3, 12)],
        True,
    ),
    "groups do not agree": (
        line(40, 60, 12, 0.5, 2),
        [[low[0], high[0]] for low, high in zip(line(0.9, 0.1, 12), line(0.3, 0.6, 12))],
        False,
    ),
    "numbers without end": (line(-1e300, 1e300, 9), line(1e300, -1e300, 9), True),
}


@pytest.mark.parametrize("case", HACKED)
def test_reward_hacking_is_told_where_both_changes_are_beyond_their_spread(case):
    reward, held_out, expected = HACKED[case]
    told_of = with_series(reward, held_out)
    assert is_hacked(TracedParticles.model_validate(told_of)) == expected
    said = "colourfulness rises while held-out other falls: a sign of reward hacking. Raise strength."
    assert (said in told(told_of)) == expected


def test_steps_in_which_not_both_were_asked_do_not_count():
    told_of = with_series(RISING, line(0.6, 0.3, 12))
    for i, step in enumerate(told_of["steps"]):
        step["held_out"] = step["held_out"] if i % 2 else None
    assert is_hacked(TracedParticles.model_validate(told_of))
    told_of["steps"][1]["reward"] = [None]
    assert not is_hacked(TracedParticles.model_validate(told_of))
