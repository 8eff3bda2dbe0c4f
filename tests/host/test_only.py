"""λ Sweep's “only”: one picture of a sweep by itself is the picture that it is in the whole sweep."""

from __future__ import annotations

import json

import pytest
import torch
import toy_models
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise
from host_runs import distance, realign, realign_guider, sampled
from realign.nodes.combine_anchors import RealignAnchorLambda
from realign.nodes.guider import RealignModel
from realign.nodes.models.anchor import Anchor
from realign.nodes.pictures.facts import facts
from realign.nodes.pictures.labels import caption
from realign.nodes.pictures.traced import parse_trace
from realign.nodes.prompts import RealignPrompts
from rounding import CEILING as TOLERANCE
from test_sweep import element, sweep_of

import nodes as host

LAMBDAS = (0.0, 0.4, 1.0, 1.5)
CONDS = toy_models.CONDS
PROMPTS = RealignPrompts.execute([""], conditionings=[[[torch.full((1, 1, 1), word), {}]] for word in (0.7, 0.1)]).args
ROWS = {
    "seeds": (dict(seeds=3), 1),
    "cfg and seeds": (dict(seeds=2, rows="cfg", row_values="1, 4"), 1),
    "images": (dict(seeds=2), 3),
    "prompts": (dict(seeds=2, prompts=PROMPTS[0]), 2),
}
HOST_SAMPLERS = ("euler", "euler_ancestral", "dpmpp_2m_sde", "dpmpp_3m_sde_gpu", "heunpp2")


def pair():
    return tuple(toy_models.toy_model(seed=seed) for seed in (1, 2))


def latents(images):
    """Not empty, each with a noise mask of its own, and with places that are not 0, 1, 2."""
    generator = torch.Generator().manual_seed(3)
    mask = torch.ones(images, 64, 64)
    for image in range(images):
        mask[image, : 16 * image] = 0
    samples = torch.randn(images, 4, 8, 8, generator=generator)
    return {"samples": samples, "noise_mask": mask, "batch_index": [5, 2, 3][:images]}


def assert_each_is_that_of_the_whole(run, latent, options, every=1):
    """run: (LATENT, sweep) -> LATENT. every: look at each so manieth picture."""
    batch, sweep = sweep_of(latent, LAMBDAS, **options)
    whole = run(batch, sweep)
    for i in range(0, len(sweep.cells()), every):
        row, column = divmod(i, sweep.columns)
        one, alone = sweep_of(latent, LAMBDAS, only=f"{row + 1}, {column + 1}", **options)
        assert one["samples"].shape[0] == 1
        (cell,) = alone.cells()
        assert cell._replace(prompt=None) == sweep.cells()[i]._replace(prompt=None)
        assert distance(run(one, alone), element(whole, i)) <= TOLERANCE, (row, column)
    apart = [distance(element(whole, i), element(whole, i - 1)) for i in range(1, len(sweep.cells()))]
    assert min(apart) > 0.01


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_realign_sampler(rows, sampler):
    options, images = ROWS[rows]

    def run(latent, sweep):
        return realign(pair(), *CONDS, latent, 0.5, sampler=sampler, denoise=0.8, lambda_schedule=sweep)[0]

    if sampler == "ddim" and images > 1:  # it draws over the mask, for the whole batch
        with pytest.raises(ValueError, match=f"one image of a latent batch of {images}, but its sampler may look"):
            assert_each_is_that_of_the_whole(run, latents(images), options)
        return
    assert_each_is_that_of_the_whole(run, latents(images), options)


def test_rows_of_eta():
    def run(latent, sweep):
        return realign(pair(), *CONDS, latent, 0.5, lambda_schedule=sweep)[0]

    assert_each_is_that_of_the_whole(run, latents(1), dict(rows="η", row_values="0.2, 1", seeds=2))


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("sampler", HOST_SAMPLERS)
def test_guider(rows, sampler):
    options, images = ROWS[rows]

    def run(latent, sweep):
        return sampled(realign_guider(pair(), *CONDS, 0.5, lambda_schedule=sweep), latent, sampler=sampler)

    assert_each_is_that_of_the_whole(run, latents(images), options, every=3)


@pytest.mark.parametrize("sampler", ["dpmpp_sde", "lcm", "dpmpp_2m"])
def test_model(sampler):
    def run(latent, sweep):
        model = RealignModel.execute(pair()[0], (Anchor(pair()[1], "anchor"),), 0.5, lambda_schedule=sweep).args[0]
        return host.common_ksampler(model, 42, 4, 4.0, sampler, "karras", *CONDS, latent, denoise=0.9)[0]

    assert_each_is_that_of_the_whole(run, latents(3), dict(seeds=2), every=3)


def test_each_image_keeps_its_own_lambda_mask():
    mask = torch.zeros(3, 8, 8)
    for image in range(3):
        mask[image, :, 2 * image :] = 1

    def run(latent, sweep):
        return realign(pair(), *CONDS, latent, 0.5, lambda_schedule=sweep, lambda_mask=mask)[0]

    assert_each_is_that_of_the_whole(run, latents(3), {})
    one, alone = sweep_of(latents(3), LAMBDAS, only="3, 2")
    without_a_sweep = realign(pair(), *CONDS, latents(3), 0.4, lambda_mask=mask)[0]
    assert distance(run(one, alone), element(without_a_sweep, 2)) <= TOLERANCE


def test_without_noise_at_the_start():
    """Of another seed than the run's only the steps draw noise."""

    def run(latent, sweep):
        guider = realign_guider(pair(), *CONDS, 0.5, lambda_schedule=sweep)
        sigmas, ancestral = torch.tensor([2.0, 1.0, 0.5, 0.0]), host.comfy.samplers.sampler_object("euler_ancestral")
        none = Noise_EmptyNoise().generate_noise(latent)
        return {"samples": guider.sample(none, latent["samples"], ancestral, sigmas, seed=1)}

    assert_each_is_that_of_the_whole(run, latents(1), dict(seeds=2))


def test_a_seed_of_its_own_needs_noise_that_comes_from_a_seed():
    one, alone = sweep_of(latents(1), LAMBDAS, seeds=2, only="2, 1")
    guider = realign_guider(pair(), *CONDS, 0.5, lambda_schedule=alone)
    sigmas, euler = torch.tensor([2.0, 1.0, 0.0]), host.comfy.samplers.sampler_object("euler")
    with pytest.raises(ValueError, match="RandomNoise"):
        guider.sample(torch.rand_like(one["samples"]), one["samples"], euler, sigmas, seed=1)


def test_what_may_look_at_all_images_is_refused():
    """A conditioning with a row for each image, and a sampler that draws for the whole batch."""
    rows = [[[torch.full((3, 1, 1), 0.3), {}]], CONDS[1]]
    one, alone = sweep_of(latents(3), LAMBDAS, only="3, 2")
    with pytest.raises(ValueError, match="latent batch of 3, but a conditioning may look"):
        sampled(realign_guider(pair(), *rows, 0.5, lambda_schedule=alone), one)
    with pytest.raises(ValueError, match="latent batch of 3, but its sampler may look"):
        sampled(realign_guider(pair(), *CONDS, 0.5, lambda_schedule=alone), one, sampler="dpm_adaptive")
    single, alone = sweep_of(latents(1), LAMBDAS, only="1, 2")
    sampled(realign_guider(pair(), *CONDS, 0.5, lambda_schedule=alone), single, sampler="dpm_adaptive")


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("3, 1", "no picture in row 3, column 1: its rows are 1 to 2, its columns 1 to 4"),
        ("1, 5", "no picture in row 1, column 5"),
        ("0, 1", "no picture in row 0"),
        ("2", "“only” is “2”, but must be the row and the column"),
        ("2.3", "“only” is “2.3”"),
        ("-1, 2", "“only” is “-1, 2”"),
        ("1, 2, 3", "“only” is “1, 2, 3”"),
        ("λ 0.5", "“only” is “λ 0.5”"),
        ("1" + " " * 10**6 + "x", "“only” is “1 x”"),
        ("9" * 5000 + ", 1", "“only” is “9999"),
    ],
)
def test_no_place_in_the_sweep(only, message):
    with pytest.raises(ValueError, match=message):
        sweep_of(latents(1), LAMBDAS, seeds=2, only=only)


@pytest.mark.parametrize("text", ["2,3", " 2 , 3 ", "2;3", "2 3", "2\n3", "２，３"])
def test_a_place_may_be_written_so(text):
    assert sweep_of(latents(1), LAMBDAS, seeds=2, only=text)[1].cells()[0][:2] == (1.0, 1)


def test_what_is_said_of_it():
    """The trace of one picture says its seed and image, as labels do; nothing tells it from others."""
    one, alone = sweep_of(latents(2), LAMBDAS, seeds=2, only="4, 2")
    text = realign(pair(), *CONDS, one, 0.5, lambda_schedule=alone)[2]
    assert [cell["seed"] for cell in json.loads(text)["sweep"]["cells"]] == [1]
    known = facts(1, alone, parse_trace(text))
    assert known.table.shape == (1, 1)
    assert caption(known, 0)[:2] == ["λ 0.4", "seed 43"]


def test_an_anchor_with_lambda_masks_of_its_own():
    masks = torch.stack([torch.full((8, 8), value) for value in (0.2, 0.6, 1.0)])

    def run(latent, sweep):
        anchor = RealignAnchorLambda.execute((Anchor(pair()[1], "anchor"),), mask=masks).args[0]
        return sampled(realign_guider((pair()[0], anchor), *CONDS, 0.5, lambda_schedule=sweep), latent)

    batch, sweep = sweep_of(latents(3), (0.5, 1.0))
    whole = run(batch, sweep)
    one, alone = sweep_of(latents(3), (0.5, 1.0), only="3, 2")
    assert distance(run(one, alone), element(whole, 5)) <= TOLERANCE
