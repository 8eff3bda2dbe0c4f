"""λ Search: its pictures are Realign Sampler's, its λ the full grid's; it can be kept, gone on with and shown again."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field

import comfy.model_management
import comfy.sd
import execution
import numpy as np
import pytest
import torch
import toy_models
from PIL import Image
from realign.nodes.combine_anchors import RealignAnchorLambda
from realign.nodes.grid import RealignGrid
from realign.nodes.models.anchor import Anchor
from realign.nodes.prompts import Prompts
from realign.nodes.reward.protocol import RewardError, scores
from realign.nodes.sampler import RealignSampler
from realign.nodes.search import RealignSearch
from realign.realign_core import LambdaSchedule, Sweep
from test_decoded import weights_of
from test_particles import Vae

RUN = {"seed": 7, "steps": 4, "cfg": 2.0, "sampler_name": "ddpm", "scheduler": "normal", "denoise": 1.0}


class Linear(Vae):
    """A VAE whose pictures are the latents' first three channels, so that they follow λ."""

    def decode(self, samples):
        return self.process_output(self.first_stage_model.decode(samples.float())).movedim(1, -1)


@dataclass
class Near:
    """A reward that has a peak over λ: how near a picture's mean is to a value."""

    value: float = 0.4
    name: str = "near"
    needs_prompt: bool = False
    asked: list = field(default_factory=list)

    def score(self, images, prompts):
        self.asked.append((len(images), list(prompts)))
        return -100 * (images.mean((1, 2, 3)) - self.value) ** 2


class Bright(Near):
    def score(self, images, prompts):
        return images.mean((1, 2, 3))


class Rough(Near):
    """No curve follows it, so that a search goes on as long as it may."""

    def score(self, images, prompts):
        return super().score(images, prompts) + 10 * torch.sin(5000 * images.mean((1, 2, 3)))


@pytest.fixture(scope="module")
def toys():
    """(model, anchor, positive, negative) and a VAE."""
    model, other = (toy_models.toy_model(seed=seed) for seed in (1, 2))
    return (model, (Anchor(other, "aligned", beta=100.0),), *toy_models.CONDS), Linear()


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr("folder_paths.output_directory", str(tmp_path / "output"))
    monkeypatch.setattr("folder_paths.temp_directory", str(tmp_path / "temp"))
    return tmp_path / "output" / "realign" / "searches"


def search(toys, reward, **options):
    """What λ Search gives the host."""
    (model, anchor, positive, negative), vae = toys
    given = {"start": 0.0, "end": 1.0, "most": 48, "kl_budget": 0.0, "seeds": 3, "reward": reward, "vae": vae}
    given |= {"latent_image": toy_models.latent(), **RUN, **options}
    return RealignSearch.execute(
        **{"model": model, "anchor": anchor, "positive": positive, "negative": negative} | given
    )


def searched(toys, reward, **options):
    """(λ, β, LATENT, sweep, trace, curve, report) of λ Search."""
    out = search(toys, reward, **options).args
    return (*out[:4], json.loads(out[4]), out[5], json.loads(out[6]))


def alone(toys, lam, seed, **options):
    """(LATENT, trace) of Realign Sampler."""
    (model, anchor, positive, negative), _ = toys
    latent, _, trace = RealignSampler.execute(
        model, anchor, positive, negative, toy_models.latent(), **RUN | {"seed": seed} | options, lambda_=lam
    ).args
    return latent, json.loads(trace)


def target(toys, lam, seeds=3, **options):
    """The mean of the pictures at this λ: a reward that is near to it has its peak there."""
    pictures = [toys[1].decode(alone(toys, lam, 7 + s, **options)[0]["samples"]) for s in range(seeds)]
    return float(torch.stack([one.mean() for one in pictures]).mean())


MORE_STEPS = {"steps": 30, "scheduler": "ddim_uniform"}  # 31, as the host makes them


@pytest.mark.parametrize("run", [{}, MORE_STEPS], ids=["normal", "ddim_uniform"])
def test_every_picture_is_that_of_a_plain_run(toys, run):
    reward = Near(target(toys, 0.6, **run))
    lam, beta, latent, sweep, trace, curve, report = searched(toys, reward, batch_size=1, **run)
    assert isinstance(sweep, Sweep)
    assert list(sweep.values) == sorted(sweep.values)
    assert len(latent["samples"]) == len(sweep.cells()) == report["pictures"]
    for place, cell in enumerate(sweep.cells()):
        want, told = alone(toys, cell.value, 7 + cell.seed, **run)
        assert torch.equal(latent["samples"][place], want["samples"][0]), cell
        nats = told["kl_reference"][0]
        assert trace["kl_reference"][place] == (nats if nats is None else pytest.approx(nats, rel=1e-5))
        assert trace["sweep"]["cells"][place]["value"] == cell.value
    assert beta == pytest.approx(100 / lam)
    assert curve.ndim == 4
    assert report["ended"] == "the interval is small"


def test_no_beta_is_told_where_lambda_changes_in_a_run(toys):
    """As no picture of such a sweep has one."""
    _, beta, _, _, _, _, report = searched(toys, Near(), lambda_schedule=LambdaSchedule("linear", 0.0, 1.0), most=12)
    assert beta == 0
    assert report["beta"] is None


def test_it_finds_the_lambda_of_the_full_grid(toys):
    reward = Near(target(toys, 0.6))
    lam, *_, report = searched(toys, reward)
    means = {}
    for value in (0.5, 0.55, 0.6, 0.65, 0.7):
        pictures = [toys[1].decode(alone(toys, value, 7 + seed)[0]["samples"]) for seed in range(3)]
        means[value] = float(torch.cat([scores(reward, one) for one in pictures]).mean())
    assert abs(lam - max(means, key=means.get)) <= 0.05 + 1e-9
    assert report["low"] <= lam <= report["high"]
    assert report["pictures"] <= 0.4 * 21 * 3


def test_the_pictures_go_on_into_the_grid(toys):
    _, _, latent, sweep, trace, *_ = searched(toys, Near())
    grid = RealignGrid.execute(toys[1].decode(latent["samples"]), sweep, json.dumps(trace)).args[0]
    assert grid.shape[0] == 1


def test_the_page_is_told_and_shown_it_with_the_outputs(toys, folders, monkeypatch, caplog):
    """Which the host keeps, and sends again where the node is not run again."""
    out = search(toys, Near())
    report, (text,), (strip,) = json.loads(out.args[6]), out.ui["realign_text"], out.ui["realign_strip"]
    assert text.startswith(f"best λ {report['lambda']:g} (")
    assert f"{report['pictures']} pictures at 3 prompts and seeds · ended: {report['ended']}" in text
    temp = folders.parents[2] / "temp"
    assert strip["type"] == "temp"
    with Image.open(temp / strip["subfolder"] / strip["filename"]) as picture:
        columns, shown = len(out.args[3].values), np.asarray(picture.convert("L"), dtype=float)
    assert shown.shape[1] > shown.shape[0] * columns / 3 / 1.5
    assert shown[shown.shape[0] // 2 :, shown.shape[1] // 2 :].std() > 1  # pictures, no empty cells

    def broken(*_):
        raise RuntimeError("no picture")

    monkeypatch.setattr("realign.nodes.live.Strip.show", broken)
    with caplog.at_level("WARNING"):
        again = search(toys, Near())
    assert again.ui == {"realign_text": [text]}
    assert "cannot be shown on the node (no picture)" in caplog.text


def test_a_kl_budget_and_a_second_reward_limit_it(toys):
    sign = 1 if target(toys, 1.0) > target(toys, 0.0) else -1

    class Reward(Bright):
        def score(self, images, prompts):
            return sign * super().score(images, prompts)

    class Falling(Bright):
        def score(self, images, prompts):
            return -sign * super().score(images, prompts)

    assert searched(toys, Reward(name="up"))[0] > 0.9
    nats = [alone(toys, 0.5, 7 + seed)[1]["kl_reference"][0] for seed in range(3)]
    lam, *_, report = searched(toys, Reward(name="up"), kl_budget=round(sum(nats) / 3, 4))
    assert abs(lam - 0.5) <= 0.02
    assert report["keeps_limits"]
    fall = abs(target(toys, 0.5) - target(toys, 0.0))
    lam, *_, report = searched(toys, Reward(name="up"), second=Falling(name="down"), may_fall=fall)
    assert abs(lam - 0.5) <= 0.03
    assert [one["name"] for one in report["curves"]] == ["up", "down, which must not fall"]


def test_a_kept_search_is_shown_again_without_a_picture(toys, folders, monkeypatch):
    first = searched(toys, Near(), name="my search")
    assert (folders / "my search.json").is_file()
    monkeypatch.setattr("realign.nodes.searched.sampled", lambda *_: pytest.fail("a picture was made"))
    again = searched(toys, Near(), name="my search")
    assert torch.equal(first[2]["samples"], again[2]["samples"])
    assert first[:2] == again[:2]
    assert first[4] == again[4]
    other = searched(toys, Near(), name="my search", precision=0.5, most=12)  # what no picture shows may be another
    assert torch.equal(first[2]["samples"], other[2]["samples"])
    with pytest.raises(ValueError, match="made with other models, prompts, rewards or settings"):
        searched(toys, Near(), name="my search", cfg=3.0)
    (folders / "my search.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be read"):
        searched(toys, Near(), name="my search")


def test_cancelling_leaves_what_was_kept_and_nothing_else(toys, folders):
    class Cancelled(Rough):
        def score(self, images, prompts):
            if len(self.asked) > 1:  # the rehearsal and the first round
                raise comfy.model_management.InterruptProcessingException
            return super().score(images, prompts)

    options = {"precision": 0.005, "most": 24}
    whole = searched(toys, Rough(), **options)
    assert whole[6]["ended"] == "as many pictures as allowed"
    assert whole[6]["pictures"] == 24
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        searched(toys, Cancelled(), **options)
    assert not folders.exists()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        searched(toys, Cancelled(), **options, name="kept")
    assert len(json.loads((folders / "kept.json").read_text("utf-8"))["rounds"]) == 1
    gone_on = searched(toys, Rough(), **options, name="kept")
    assert torch.equal(gone_on[2]["samples"], whole[2]["samples"])


def test_prompts_are_rows(toys):
    texts = ("one", "two")
    prompts = Prompts(texts, tuple([[torch.full((1, 1, 1), value), {}]] for value in (0.3, 0.5)))
    reward = Near(needs_prompt=True)
    _, _, latent, sweep, *_ = searched(toys, reward, prompts=prompts, seeds=2, precision=0.5)
    assert sweep.rows == 4
    assert len(latent["samples"]) == 4 * sweep.columns
    assert {text for _, asked in reward.asked for text in asked} == {"one", "two"}


REFUSED = {
    "range": (dict(start=1.0, end=0.5), "must rise"),
    "most": (dict(most=5), "first round alone takes 12"),
    "sweep": (dict(lambda_schedule=Sweep((0.0, 1.0))), "chooses its λ itself"),
    "prompt": (dict(reward=Near(needs_prompt=True)), "type what they should show"),
    "name": (dict(name="a/b"), "must be one for a file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_before_a_picture_is_made(toys, case, monkeypatch):
    monkeypatch.setattr("realign.nodes.searched.sampled", lambda *_: pytest.fail("a picture was made"))
    options, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        searched(toys, **{"reward": Near()} | options)


TYPED = {"start": 0.0, "end": 1.5}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({}, None),
        ({"start": 3.0, "end": 1.0}, "from 3 to 1, but the range must rise"),
        ({"start": 1.0, "end": 1.0}, "must rise"),
        ({"start": 11.0}, "“start” is 11, but must be a number from -10 to 10"),
        ({"end": float("nan")}, "“end” is nan, which is not a finite number"),
        ({"start": 3.0, "end": None}, None),  # None: by a link
        ({"start": None, "end": 12.0}, "“end” is 12, but"),
    ],
)
def test_what_is_typed_is_refused_before_anything_runs(typed, message):
    given = {name: value for name, value in (TYPED | typed).items() if value is not None}
    said = RealignSearch.validate_inputs(**given)
    if message is None:
        assert said is True
    else:
        assert re.search(message, said)
        assert "\n" not in said


def test_the_host_asks_it_and_runs_nothing(monkeypatch):
    monkeypatch.setitem(execution.nodes.NODE_CLASS_MAPPINGS, "RealignSearch", RealignSearch)
    inputs = TYPED | {"start": 3.0, "end": 1.0}
    prompt = {"1": {"class_type": "RealignSearch", "inputs": inputs}}
    valid, errors, _ = asyncio.run(execution.validate_inputs("a", prompt, "1", {}))
    own = [one for one in errors if one["type"] == "custom_validation_failed"]
    assert not valid
    assert {one["extra_info"]["input_name"] for one in own} == set(TYPED)
    assert all("the range must rise" in one["details"] for one in own)


def test_an_anchor_that_is_not_searched_and_a_vae_of_another_model_are_refused(toys, monkeypatch):
    monkeypatch.setattr("realign.nodes.searched.sampled", lambda *_: pytest.fail("a picture was made"))
    fixed = RealignAnchorLambda.execute(toys[0][1], LambdaSchedule(start=0.5)).args[0]
    with pytest.raises(ValueError, match="schedule of its own"):
        searched(toys, Near(), anchor=fixed)
    with pytest.raises(RewardError, match="VAE cannot decode"):
        searched(toys, Near(), vae=comfy.sd.VAE(sd=weights_of("wan")))
