"""Nodes that change the noise mask over the steps: a step has one mask for all models."""

import pytest
import tiny_models
import torch
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from host_runs import conds_of
from patched_pairs import LAMBDA, STEPS, pairs
from truth import distance, k_sampled, mixture, near, realign_model, sigmas_of

REFUSAL = "“DifferentialDiffusion” changes the noise mask, and the anchor “anchor from MODEL” and the reference have it"


def changing(model, strength=1.0):
    """As the host runs the node: a class is made for each execution."""
    node = DifferentialDiffusion.PREPARE_CLASS_CLONE(None)
    return node.execute(model, strength).args[0]


def masked():
    latent = tiny_models.latent("sd15")
    return latent | {"noise_mask": torch.linspace(0, 1, latent["samples"].shape[-1]).expand(1, 1, 8, -1)}


@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_a_node_on_each_is_one_mask(tiny, anchor):
    conds, latent = conds_of("sd15"), masked()
    ours, true = pairs(tiny, "sd15", anchor, lambda model: model)
    ours, true = (list(map(changing, models)) for models in (ours, true))
    want = mixture(true, LAMBDA, conds, latent, "euler", sigmas_of(ours[0], STEPS))
    near("masked", k_sampled(realign_model(*ours, LAMBDA), conds, latent, STEPS, "euler"), want)


def test_two_masks_are_refused(tiny):
    conds = conds_of("sd15")
    (reference, anchor), _ = pairs(tiny, "sd15", "full", lambda model: model)
    for models in (
        (changing(reference), anchor),
        (reference, changing(anchor)),
        (changing(reference, 0.5), changing(anchor, 0.6)),
    ):
        realigned = realign_model(*models, LAMBDA)
        with pytest.raises(ValueError, match=REFUSAL):
            k_sampled(realigned, conds, masked(), STEPS, "euler")
        k_sampled(realigned, conds, tiny_models.latent("sd15"), STEPS, "euler")  # without a mask nothing is changed
        for lam, model in zip((0.0, 1.0), models):
            got = k_sampled(realign_model(*models, lam), conds, masked(), STEPS, "euler")
            assert distance(got, k_sampled(model, conds, masked(), STEPS, "euler")) == 0


def test_one_behind_realign_model_is_on_all(tiny):
    conds, latent = conds_of("sd15"), masked()
    ours, true = pairs(tiny, "sd15", "full", lambda model: model)
    want = mixture(list(map(changing, true)), LAMBDA, conds, latent, "euler", sigmas_of(ours[0], STEPS))
    got = k_sampled(changing(realign_model(*ours, LAMBDA)), conds, latent, STEPS, "euler")
    near("behind", got, want)
