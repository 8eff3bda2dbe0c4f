"""A search by the command: a study whose λ are chosen as it goes."""

from __future__ import annotations

import json

import pytest
from conftest import gone, realign, records, started, table_of, written

SEARCH = {
    "rewards": {"good": {"node": "Good"}, "other": {"node": "Other"}},
    "search": {"reward": "good", "to": 1.0, "most": 30, "precision": 0.01},
}


def found_in(folder):
    return json.loads((folder / "search.json").read_text("utf-8"))


def test_it_makes_rows_until_it_ends_and_none_of_them_again(fake, write_plan, tmp_path):
    """The stand-in's scores follow no curve, so that it goes on as long as it may."""
    log = tmp_path / "log"
    host = fake(log=log)
    arguments = ("search", write_plan(**SEARCH), "--server", host.url)
    done = realign(*arguments)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "test" / "search"
    (one,) = found_in(folder)
    rows = table_of(folder)
    assert len(rows) == one["pictures"] == 30  # five λ of six pairs
    assert len({(row["lambda"], row["prompt"], row["seed"]) for row in rows}) == 30
    assert {row["lambda"] for row in rows} >= {0.0, 1.0}
    assert one["ended"] == "as many pictures as allowed"
    assert one["beta"] == pytest.approx(500 / one["lambda"])
    assert f"best λ {one['lambda']:.3g}" in done.stdout
    accepted = log.read_text()
    again = realign(*arguments)
    assert again.stdout == done.stdout
    assert log.read_text() == accepted


def test_a_search_that_was_killed_goes_on(fake, write_plan, tmp_path):
    whole = realign("search", write_plan(**SEARCH), "--server", fake().url, "--out", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    out, host = tmp_path / "out", fake(delay=0.2)
    arguments = ("search", write_plan(**SEARCH), "--server", host.url, "--out", out)
    process = started(*arguments)
    while len(written(out)) < 8:
        assert process.poll() is None, process.communicate()
    process.kill()
    process.communicate()
    gone_on = realign(*arguments)
    assert gone_on.returncode == 0, gone_on.stderr
    assert found_in(out) == found_in(tmp_path / "whole")
    assert len(records(out)) == len({key for key, _ in records(out)}) == 30


def test_there_is_one_lambda_for_each_anchor(fake, write_plan, tmp_path):
    anchors = [{"name": "a.safetensors", "beta": 1000}, {"name": "b.safetensors", "beta": 2000}]
    plan = write_plan(**SEARCH, anchors=anchors, seeds=[1])
    done = realign("search", plan, "--server", fake().url, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert [(one["anchor"], one["beta_anchor"]) for one in found_in(tmp_path / "out")] == [
        ("a.safetensors", 1000),
        ("b.safetensors", 2000),
    ]


def test_a_kl_budget_that_no_lambda_keeps_is_said(fake, write_plan, tmp_path):
    plan = write_plan(**SEARCH | {"search": {"reward": "good", "kl_budget": 0.1, "second": "other", "most": 24}})
    done = realign("search", plan, "--server", fake().url, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "no λ of the range keeps the limits" in done.stdout
    assert [one["name"] for one in found_in(tmp_path / "out")[0]["curves"]] == ["good", "KL", "other"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": None}, "says nothing of a search"),
        ({"search": {"reward": "bad"}}, "no reward “bad” in the plan; it has good, other"),
        ({"search": {"reward": "good", "from": 1, "to": 0}}, "the range must rise"),
        (
            {"search": {"reward": "good", "most": 11}},
            "line 23: a search may make 11 pictures, but its first round alone takes 24 (4 λ × 6 of the 6 pairs of "
            "prompt and seed): allow more, or ask fewer pairs in a round, as at_once: 2.",
        ),
        ({"search": {"reward": "good", "most": 3}}, "pairs of prompt and seed): allow more."),
        ({"search": {"reward": "good", "kl_budget": 0}}, "greater than 0"),
    ],
)
def test_what_cannot_be_is_refused(write_plan, changes, message):
    done = realign("search", write_plan(**{**SEARCH, **changes}))
    assert done.returncode == 2
    assert message in done.stderr


def test_a_picture_that_cannot_be_made_ends_it_in_a_sentence(fake, write_plan, tmp_path):
    plan = write_plan(**SEARCH, prompts=["a fox", "fail"])
    done = realign("search", plan, "--server", fake().url, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "cannot go on without the picture at λ 0" in done.stderr
    assert "--retry-failed" in done.stderr


def test_a_search_on_a_host_that_it_starts_has_one_for_all_its_rounds(comfyui, fake, write_plan, tmp_path):
    there = realign("search", write_plan(**SEARCH), "--server", fake().url, "--out", tmp_path / "there")
    assert there.returncode == 0, there.stderr
    done = realign("search", write_plan(**SEARCH, hosts=comfyui()), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert found_in(tmp_path / "out") == found_in(tmp_path / "there")
    (pid,) = comfyui.pids()
    assert gone(pid)
