"""λ over the picture (masks), over the steps (schedules), and of several anchors at once."""

from __future__ import annotations

import pytest
import tiny_models
import torch
import toy_models
from adapter_files import Calls
from host_runs import conds_of, everywhere, realign, realign_guider, sampled, stock_guider
from realign.nodes.combine_anchors import RealignAddAnchor, RealignAnchorLambda
from realign.nodes.models.anchor import Anchor
from realign.realign_core import LambdaSchedule
from rounding import assert_agree

LEFT = torch.zeros(1, 64, 64)
LEFT[..., :32] = 1


def face(name):
    """(pair, conds, latent, λ, options) -> LATENT, by either node."""
    if name == "sampler":
        return lambda pair, conds, latent, lam, **o: realign(pair, *conds, latent, lam, "ddim", cfg=3.0, **o)[0]
    return lambda pair, conds, latent, lam, **o: sampled(realign_guider(pair, *conds, lam, 3.0, **o), latent)


@pytest.mark.parametrize("name", ["sampler", "guider"])
@pytest.mark.parametrize("batch", [1, 3])
def test_each_half_is_its_models(name, batch):
    """Without spatial mixing, the half where λ is 1 is the anchor's picture and the other the reference's."""
    pair = [toy_models.toy_model(seed=seed) for seed in (1, 2)]
    latent, run = toy_models.latent(batch), face(name)
    reference, anchor = (run(pair, toy_models.CONDS, latent, lam)["samples"] for lam in (0.0, 1.0))
    mixed = run(pair, toy_models.CONDS, latent, 1.0, lambda_mask=LEFT)["samples"]
    assert torch.equal(mixed[..., 4:], reference[..., 4:])
    assert torch.equal(mixed[..., :4], anchor[..., :4])
    assert (reference - anchor).abs().max() > 0.1


def test_a_mask_multiplies_the_schedule_and_is_resized_as_noise_masks_are():
    pair = [toy_models.toy_model(seed=seed) for seed in (1, 2)]
    half = LambdaSchedule("linear", 0.0, 2.0)
    doubled = LambdaSchedule("linear", 0.0, 1.0)
    for mask in (everywhere(0.5), torch.full((64, 64), 0.5), torch.full((5, 32, 32), 0.5)):
        runs = [
            sampled(realign_guider(pair, *toy_models.CONDS, 9.0, **options), toy_models.latent(2))
            for options in ({"lambda_schedule": half, "lambda_mask": mask}, {"lambda_schedule": doubled})
        ]
        assert_agree(*runs, pair, toy_models.CONDS)


def test_a_mask_per_picture():
    """A mask for each element of the batch: the first all anchor, the second all reference."""
    pair = [toy_models.toy_model(seed=seed) for seed in (1, 2)]
    masks = torch.stack([torch.ones(8, 8), torch.zeros(8, 8)])
    got = sampled(realign_guider(pair, *toy_models.CONDS, 1.0, lambda_mask=masks), toy_models.latent(2))["samples"]
    for i, model in enumerate(reversed(pair)):
        assert torch.equal(got[i], sampled(stock_guider(model, *toy_models.CONDS), toy_models.latent(2))["samples"][i])


@pytest.mark.parametrize("name", ["sampler", "guider"])
def test_anchors_of_their_own_regions(name):
    """Two anchors, each with its own mask: left the one, right the other."""
    models = [toy_models.toy_model(seed=seed) for seed in (1, 2, 3)]
    one, two = ((Anchor(model, "anchor"),) for model in models[1:])
    one = RealignAnchorLambda.execute(one, mask=LEFT).args[0]
    two = RealignAnchorLambda.execute(two, mask=1 - LEFT).args[0]
    both = RealignAddAnchor.execute(one, two, 1.0, 1.0).args[0]
    latent, run = toy_models.latent(), face(name)
    mixed = run((models[0], both), toy_models.CONDS, latent, 1.0)
    for model, part in zip(models[1:], (slice(0, 4), slice(4, 8))):
        alone = run((models[0], model), toy_models.CONDS, latent, 1.0)
        halves = ({"samples": one["samples"][..., part]} for one in (mixed, alone))
        assert_agree(*halves, models, toy_models.CONDS, 3.0)


@pytest.mark.parametrize("name", ["sampler", "guider"])
def test_each_anchor_its_own_schedule(name):
    """First half of the run the one anchor, second half the other, with one call a step of the network that counts."""
    models = [toy_models.toy_model(seed=seed) for seed in (1, 2, 3)]
    early, late = LambdaSchedule("interval", 1.0, stop=0.5), LambdaSchedule("step", 0.0, 1.0, begin=0.51)
    parts = [
        RealignAnchorLambda.execute((Anchor(model, "anchor"),), schedule).args[0]
        for model, schedule in zip(models[1:], (early, late))
    ]
    both = RealignAddAnchor.execute(*parts, 1.0, 1.0).args[0]
    latent, run = toy_models.latent(), face(name)
    with Calls(models[0]) as reference, Calls(models[1]) as first, Calls(models[2]) as second:
        mixed = run((models[0], both), toy_models.CONDS, latent, 0.3)
    assert [len(rows) for rows in (reference, first, second)] == [0, 2, 2]
    alone = run((models[1], models[2]), toy_models.CONDS, latent, 0.3, lambda_schedule=late)
    assert_agree(mixed, alone, models, toy_models.CONDS, 3.0)


def test_one_anchor_at_1_and_the_others_at_0_is_that_anchor(models, tiny):
    reference, anchor = models("sd15")
    other = (Anchor(tiny.load(tiny.reference("sd15")), "other"),)
    both = RealignAddAnchor.execute(other, (Anchor(anchor, "anchor"),), 0.0, 1.0).args[0]
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    got = sampled(realign_guider((reference, both), *conds, 1.0), latent, sampler="dpmpp_2m")
    assert torch.equal(got["samples"], sampled(stock_guider(anchor, *conds), latent, sampler="dpmpp_2m")["samples"])


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m"])
def test_outside_an_interval_one_model_is_called(sampler):
    """λ = 0 in the first half of six steps: from the schedule alone, the anchor is not asked there."""
    pair = [toy_models.toy_model(seed=seed) for seed in (1, 2)]
    schedule = LambdaSchedule("interval", 0.7, begin=0.5)
    guider = realign_guider(pair, *toy_models.CONDS, 9.0, lambda_schedule=schedule)
    with Calls(pair[0]) as reference, Calls(pair[1]) as anchor:
        sampled(guider, toy_models.latent(), sampler=sampler, steps=6)
    # heun asks at the start and at the end of a step, but for the last; both have the step's λ.
    assert (len(reference), len(anchor)) == {"heun": (11, 5)}.get(sampler, (6, 3))


def test_a_mask_that_is_no_number_is_refused():
    pair = [toy_models.toy_model(seed=seed) for seed in (1, 2)]
    with pytest.raises(ValueError, match="λ mask holds values that are not finite"):
        realign_guider(pair, *toy_models.CONDS, 1.0, lambda_mask=everywhere(float("nan")))
    with pytest.raises(ValueError, match="λ mask holds values that are not finite"):
        RealignAnchorLambda.execute((Anchor(pair[1], "anchor"),), mask=everywhere(float("inf")))
