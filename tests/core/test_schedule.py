"""λ schedules: every shape at positions worked out by hand, over steps and over noise levels, and through JSON."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realign_core import LambdaSchedule
from realign_core.schedule import DOMAINS, RAMPS, SHAPES

FIVE = [8.0, 4.0, 2.0, 1.0, 0.5, 0.0]  # five steps, p = 0, ¼, ½, ¾, 1 in both domains: σ halves each time
# Four steps at p = 0, ⅓, ⅔, 1 of the steps, but at 0, ½, ¾, 1 of the way down in log σ.
BENT = [16.0, 4.0, 2.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (LambdaSchedule(), [1, 1, 1, 1, 1]),
        (LambdaSchedule(start=0.3, end=9.0), [0.3, 0.3, 0.3, 0.3, 0.3]),
        (LambdaSchedule("linear", 0.0, 1.0), [0, 0.25, 0.5, 0.75, 1]),
        (LambdaSchedule("linear", 1.0, 0.2), [1, 0.8, 0.6, 0.4, 0.2]),
        (LambdaSchedule("linear", 0.0, 1.0, begin=0.25, stop=0.75), [0, 0, 0.5, 1, 1]),
        (LambdaSchedule("linear", 0.0, 1.0, begin=0.5, stop=0.5), [0, 0, 1, 1, 1]),
        (LambdaSchedule("cosine", 0.0, 1.0), [0, (1 - 0.5**0.5) / 2, 0.5, (1 + 0.5**0.5) / 2, 1]),
        (LambdaSchedule("cosine", 1.0, 0.0), [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0]),
        (LambdaSchedule("ease in", 0.0, 1.0), [0, 1 / 16, 1 / 4, 9 / 16, 1]),
        (LambdaSchedule("ease out", 0.0, 1.0), [0, 7 / 16, 3 / 4, 15 / 16, 1]),
        (LambdaSchedule("ease in-out", 0.0, 1.0), [0, 5 / 32, 1 / 2, 27 / 32, 1]),
        (LambdaSchedule("step", 0.1, 0.9, begin=0.5), [0.1, 0.1, 0.9, 0.9, 0.9]),
        (LambdaSchedule("step", 0.1, 0.9, begin=0.51), [0.1, 0.1, 0.1, 0.9, 0.9]),
        (LambdaSchedule("interval", 0.7, begin=0.25, stop=0.75), [0, 0.7, 0.7, 0.7, 0]),
        (LambdaSchedule("interval", 0.7, begin=0.3, stop=0.7), [0, 0, 0.7, 0, 0]),
        (LambdaSchedule("curve", points=((0.0, 0.0), (0.5, 1.0), (1.0, 0.5))), [0, 0.5, 1, 0.75, 0.5]),
        (LambdaSchedule("curve", points=((0.25, 0.2), (0.75, 0.6))), [0.2, 0.2, 0.4, 0.6, 0.6]),
        (LambdaSchedule("curve", points=((0.5, 0.4),)), [0.4, 0.4, 0.4, 0.4, 0.4]),
        (LambdaSchedule("curve", points=((0.5, 0.0), (0.5, 1.0))), [0, 0, 1, 1, 1]),
    ],
    ids=lambda v: f"{v.shape} {v.start:g} {v.end:g} {v.begin:g} {v.stop:g}" if isinstance(v, LambdaSchedule) else "",
)
def test_each_shape_has_the_values_worked_out_by_hand(schedule, expected):
    assert schedule.over(FIVE) == pytest.approx(expected)
    over_sigma = LambdaSchedule(**{**vars(schedule), "domain": "sigma"})
    assert over_sigma.over(FIVE) == pytest.approx(expected)


def test_scale_and_offset_take_lambda_beyond_one_but_not_the_outside_of_an_interval():
    ramp = LambdaSchedule("linear", 0.0, 1.0, scale=2.0, offset=-0.25)
    assert ramp.over(FIVE) == pytest.approx([-0.25, 0.25, 0.75, 1.25, 1.75])
    curve = LambdaSchedule("curve", points=((0.0, 0.0), (1.0, 1.0)), scale=3.0)
    assert curve.over(FIVE) == pytest.approx([0, 0.75, 1.5, 2.25, 3])
    inside = LambdaSchedule("interval", 0.5, begin=0.5, stop=1.0, scale=2.0, offset=0.1)
    assert inside.over(FIVE) == [0.0, 0.0, *[pytest.approx(1.1)] * 3]


def test_lambda_over_progress_counts_steps_and_over_sigma_measures_log_sigma():
    assert LambdaSchedule("linear", 0.0, 1.0).over(BENT) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert LambdaSchedule("linear", 0.0, 1.0, domain="sigma").over(BENT) == pytest.approx([0, 0.5, 0.75, 1])


def test_given_noise_levels_hold_whatever_the_run_and_are_clamped():
    schedule = LambdaSchedule("linear", 0.0, 1.0, domain="sigma", sigma_max=8.0, sigma_min=0.5)
    assert schedule.over(BENT) == pytest.approx([0, 0.25, 0.5, 0.75])  # 16 lies before the start
    assert schedule.over([2.0, 0.125, 0.0]) == pytest.approx([0.5, 1])  # 0.125 lies beyond the end
    for sigma, expected in zip(FIVE[:-1], [0, 0.25, 0.5, 0.75, 1]):
        assert schedule.over([sigma, 0.0]) == pytest.approx([expected])
    half_given = LambdaSchedule("linear", 0.0, 1.0, domain="sigma", sigma_max=64.0)
    assert half_given.over([8.0, 1.0, 0.0]) == pytest.approx([0.5, 1])


def test_a_run_wholly_on_one_side_of_the_noise_level_given_is_at_that_end():
    above = LambdaSchedule("linear", 0.0, 1.0, domain="sigma", sigma_max=0.5)
    assert above.over([8.0, 4.0, 1.0, 0.0]) == [0, 0, 0]
    below = LambdaSchedule("linear", 0.0, 1.0, domain="sigma", sigma_min=10.0)
    assert below.over([8.0, 4.0, 1.0, 0.0]) == [1, 1, 1]


@pytest.mark.parametrize("domain", DOMAINS)
def test_runs_of_one_step_and_of_none_have_as_many_lambdas(domain):
    ramp = LambdaSchedule("linear", 0.2, 1.0, domain=domain)
    assert ramp.over([1.0, 0.0]) == [0.2]
    assert ramp.over([1.0]) == []


@pytest.mark.parametrize("domain", DOMAINS)
def test_positions_take_leftover_noise_and_a_level_of_zero_before_the_last(domain):
    schedule = LambdaSchedule("linear", 0.0, 1.0, domain=domain)
    assert schedule.over([8.0, 4.0, 2.0, 1.0]) == pytest.approx([0, 0.5, 1])
    assert schedule.over([2.0, 1.0, 0.0, 0.0]) == pytest.approx([0, 0.5, 1] if domain == "progress" else [0, 1, 1])


@given(st.sampled_from(sorted(RAMPS)), st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted))
def test_every_ramp_rises_from_start_to_end(shape, pair):
    schedule = LambdaSchedule(shape, 0.0, 1.0)
    assert schedule.at(0) == pytest.approx(0)
    assert schedule.at(1) == pytest.approx(1)
    assert schedule.at(pair[0]) <= schedule.at(pair[1]) + 1e-12


numbers = st.floats(-10, 10)
sigmas = st.one_of(st.none(), st.floats(1e-3, 1e3))


@st.composite
def schedules(draw) -> LambdaSchedule:
    begin, stop = sorted(draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    low, high = draw(sigmas), draw(sigmas)
    if low and high:
        low, high = min(low, high), max(low, high) * 2
    points = draw(st.lists(st.tuples(st.floats(0, 1), numbers), min_size=1, max_size=5))
    return LambdaSchedule(
        shape=draw(st.sampled_from(SHAPES)),
        start=draw(numbers),
        end=draw(numbers),
        begin=begin,
        stop=stop,
        points=tuple(sorted(points)),
        scale=draw(numbers),
        offset=draw(numbers),
        domain=draw(st.sampled_from(DOMAINS)),
        sigma_max=high,
        sigma_min=low,
    )


@given(schedules())
def test_json_gives_back_the_same_schedule(schedule):
    text = schedule.to_json()
    assert LambdaSchedule.from_json(text) == schedule
    assert json.loads(text)["shape"] == schedule.shape


@given(schedules(), st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=8).map(lambda v: sorted(v, reverse=True)))
def test_any_run_has_a_finite_lambda_for_each_step_at_positions_that_rise_from_0_to_1(schedule, falling):
    levels = [*falling, 0.0]
    positions = schedule.positions(levels)
    assert len(schedule.over(levels)) == len(falling)
    assert all(math.isfinite(v) for v in schedule.over(levels))
    assert all(0 <= p <= 1 for p in positions)
    assert positions == sorted(positions)


def test_json_may_leave_out_what_has_a_default():
    assert LambdaSchedule.from_json("{}") == LambdaSchedule()
    assert LambdaSchedule.from_json('{"shape": "linear", "start": 0}') == LambdaSchedule("linear", 0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be JSON"),
        ("{'shape': 'linear'}", "must be JSON"),
        ("[1, 2]", "found list"),
        ("0.5", "found float"),
        ('{"shape": "linear", "strength": 1}', r"has the fields begin, .*found \['strength'\]"),
        ('{"shape": "wavy"}', "unknown λ schedule shape 'wavy'; it can be one of constant, linear, cosine"),
        ('{"domain": "time"}', "unknown λ schedule domain 'time'; it can be one of progress, sigma"),
        ('{"start": "high"}', "wrong kind"),
        ('{"start": null}', "wrong kind"),
        ('{"start": NaN}', "not a finite number"),
        ('{"scale": Infinity}', "not a finite number"),
        ('{"start": 1' + "0" * 400 + "}", "not a finite number|wrong kind"),
        ('{"begin": 0.8, "stop": 0.2}', "begin 0.8 > stop 0.2"),
        ('{"shape": "curve"}', "needs at least one point"),
        ('{"shape": "curve", "points": [[0.5, 1], [0.2, 1]]}', "rising order"),
        ('{"shape": "curve", "points": [[0, 1, 2]]}', "points of a λ schedule must be pairs"),
        ('{"shape": "curve", "points": [0, 1]}', "points of a λ schedule must be pairs"),
        ('{"shape": "curve", "points": [["a", "b"]]}', "points of a λ schedule must be pairs"),
        ('{"shape": "curve", "points": [[0, "1_0"]]}', "points of a λ schedule must be pairs"),
        ('{"shape": "curve", "points": [[true, 1]]}', "points of a λ schedule must be pairs"),
        ("[" * 100_000, "must be JSON"),
        ('{"start": 1' + "0" * 5000 + "}", "must be JSON"),
        ('{"shape": "curve", "points": null}', "points of a λ schedule must be pairs"),
        ('{"shape": "curve", "points": [[0, NaN]]}', "not a finite number"),
        ('{"sigma_max": 1, "sigma_min": 2}', "sigma_max > sigma_min > 0, but has 1 and 2"),
        ('{"sigma_max": -1}', "sigma_max > sigma_min > 0"),
        ('{"sigma_min": 0}', "sigma_max > sigma_min > 0"),
        ('{"sigma_min": "low"}', "wrong kind"),
    ],
)
def test_what_is_no_schedule_is_refused_with_the_reason(text, message):
    with pytest.raises(ValueError, match=message):
        LambdaSchedule.from_json(text)


def test_a_schedule_is_a_value():
    assert LambdaSchedule("curve", points=((0.0, 1.0),)) == LambdaSchedule("curve", points=((0.0, 1.0),))
    assert len({LambdaSchedule(), LambdaSchedule(), LambdaSchedule("linear")}) == 2
    with pytest.raises(AttributeError):
        LambdaSchedule().start = 0.5  # type: ignore[misc]
