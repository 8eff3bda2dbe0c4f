"""Which row an actor gets next, without Ray."""

from __future__ import annotations

import os
import sys

import pytest

from realign_study.backends.interface import Task
from realign_study.backends.ray import RayActors
from realign_study.backends.ray_actor import Start
from realign_study.backends.ray_rows import AHEAD, Rows
from realign_study.backends.shared_queue import SharedQueue
from realign_study.errors import PlanError
from realign_study.plan import OnRay


class Member:
    models, ends = None, 0


def task(key, model):
    loader = {"class_type": "Loader", "inputs": {"name": f"{model}.safetensors", "text": key}}
    return Task(key, {"1": loader})


def crew_of(count):
    return [Member() for _ in range(count)]


def taken(rows, member):
    found = rows.take(member)
    if found is None:
        return None
    member.models = found.models
    return found.key


def test_an_actor_keeps_the_models_that_it_has_loaded():
    """Rows whose models alternate: each of two actors loads one pair, and neither the other's."""
    crew = crew_of(2)
    rows = Rows([task(f"{model}{number}", model) for number in range(4) for model in "ab"], crew)
    order = [taken(rows, crew[turn % 2]) for turn in range(8)]
    assert order[0::2] == ["a0", "a1", "a2", "a3"]
    assert order[1::2] == ["b0", "b1", "b2", "b3"]
    assert rows.all_given()


def test_it_takes_others_where_there_are_none_of_its_own():
    crew = crew_of(1)
    rows = Rows([task("a0", "a"), task("b0", "b"), task("a1", "a")], crew)
    assert [taken(rows, crew[0]) for _ in range(4)] == ["a0", "a1", "b0", None]


def test_tasks_are_pulled_as_they_are_wanted():
    pulled = []
    rows = Rows((pulled.append(n) or task(str(n), "a") for n in range(1000)), crew_of(2))
    rows.take(crew_of(1)[0])
    assert len(pulled) == 2 * AHEAD


def test_a_row_goes_to_another_than_whom_it_ended():
    crew = crew_of(2)
    rows = Rows([task("bad", "a"), task("good", "a")], crew)
    bad = rows.take(crew[0])
    assert rows.give_back(bad, crew[0], False)
    assert rows.take(crew[0]).key == "good"
    assert rows.take(crew[0]) is None
    assert rows.take(crew[1]) is bad
    assert not rows.give_back(bad, crew[1], False)  # all have ended with it


def test_a_row_whose_actor_is_given_up_is_not_to_blame():
    crew = crew_of(1)
    rows = Rows([task("a", "a")], crew)
    assert rows.give_back(rows.take(crew[0]), crew[0], True)
    assert not rows.all_given()


def test_a_row_that_fails_is_asked_of_another_who_is_known_to_work():
    crew = crew_of(3)
    rows = Rows([task(str(number), "a") for number in range(9)], crew)
    failed = rows.take(crew[0])
    assert not rows.settled(failed, crew[0], "no")
    assert rows.take(crew[1]).key == "1"  # of whom nothing is known yet
    works = rows.take(crew[2])
    assert rows.settled(works, crew[2], "")
    assert rows.take(crew[2]) is failed
    assert rows.settled(failed, crew[2], "no")  # it was the row


def test_one_that_fails_at_what_another_makes_waits_and_is_given_up():
    crew = crew_of(2)
    rows = Rows([task(str(number), "a") for number in range(9)], crew)
    for _ in range(3):
        assert not rows.settled(rows.take(crew[0]), crew[0], "no disk")
    assert rows.take(crew[0]) is None
    for _ in range(4):
        assert rows.settled(rows.take(crew[1]), crew[1], "")
    assert rows.unfit(crew[0]).endswith("others then made; the last: no disk")
    assert not rows.unfit(crew[1])


def test_a_row_that_fails_at_one_and_ends_the_other_is_never_left_lying():
    crew = crew_of(2)
    shared = SharedQueue([task("bad", "a")], crew)
    assert not shared.settled(shared.take(crew[0]), crew[0], "no")
    for again in (True, True, False):
        assert shared.give_back(shared.take(crew[1]), crew[1]) is again
    assert shared.take(crew[0]) is shared.take(crew[1]) is None


def test_rays_usage_reports_are_off_before_it_is_imported(monkeypatch):
    """Whatever the user's environment says."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    seen = []

    class Finder:
        def find_spec(self, name, *_):
            if name == "ray":
                seen.append(os.environ["RAY_USAGE_STATS_ENABLED"])
                raise ImportError

    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(PlanError, match="Ray is not installed"):
        RayActors(OnRay(), False, Start("", None, (), 1.0, 1.0), print)
    assert seen == ["0"]
