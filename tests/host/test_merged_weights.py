"""The control variate for a full anchor: a third, merged weight copy, at one λ for the whole run."""

from __future__ import annotations

import json

import pytest
import tiny_models
import torch
import toy_models
from host_runs import anchors_of, conds_of, distance, everywhere, realign, sampled, stock
from patched_pairs import with_lora
from realign.nodes.combine_anchors import RealignAddAnchor
from realign.nodes.demo import RealignDemoModels
from realign.nodes.guider import RealignGuider, RealignModel
from realign.nodes.models import memory
from realign.nodes.run import merged_weights
from realign.nodes.run.fewer_calls import CONTROL, OFF
from realign.realign_core import LambdaSchedule
from test_fewer_calls import NEAR, STEPS, spread, with_the_guider, with_the_sampler
from truth import k_sampled, near


@pytest.fixture(scope="module")
def full():
    """The trained pair, the anchor as weights of its own: (pair, conds, latent)."""
    with torch.inference_mode():
        reference, anchor, *conds = RealignDemoModels.execute("heart", "any", "any").args[:4]
    return (reference, anchor), conds, {"samples": torch.zeros(1, 3, 64, 64)}


@pytest.mark.parametrize("run", [with_the_sampler, with_the_guider])
def test_it_is_as_near_as_with_a_lora(full, run):
    """And the reference is as before."""
    pair, conds, latent = full
    before = stock(pair[0], *conds, latent, "euler", cfg=1.5)
    results = [run(*full, "ddim", lam, how) for lam, how in ((0.5, CONTROL), (0.5, OFF), (0.0, OFF))]
    if run is with_the_sampler:
        assert 1.1 * STEPS <= results[0][1]["model_calls"] <= 1.35 * STEPS
        results = [latent for latent, _ in results]
    got, exact, reference = results
    assert 0 < spread(got, exact) < NEAR[CONTROL] * spread(reference, exact)
    assert distance(stock(pair[0], *conds, latent, "euler", cfg=1.5), before) == 0


def test_each_lambda_has_its_own_merge_and_the_copy_is_kept(full, monkeypatch):
    pair, conds, latent = full
    made = []
    copied = merged_weights.with_own_weights
    monkeypatch.setattr(merged_weights, "with_own_weights", lambda patcher: made.append(1) or copied(patcher))
    pair = pair[0], anchors_of(pair[1][0].patcher)
    again = {}
    for lam in (0.5, 0.75, 0.5):
        got = with_the_guider(pair, conds, latent, "euler", lam, CONTROL)
        exact = with_the_guider(pair, conds, latent, "euler", lam)
        assert spread(got, exact) < NEAR[CONTROL] * spread(with_the_guider(pair, conds, latent, "euler", 0.0), exact)
        assert distance(again.setdefault(lam, got), got) == 0
    assert made == [1]


def test_what_nodes_put_on_the_reference_since_the_last_run_acts():
    """The host keeps the anchor's node from run to run; the weights that were merged then stay loaded."""
    reference, anchor = toy_models.toy_model(seed=1), toy_models.toy_model(seed=2)

    def dimmed(model, by):
        clone = model.clone()
        clone.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * by)
        return clone

    def before(by, anchors):
        return dimmed(reference, by), anchors, lambda model: model

    def behind(by, anchors):
        return reference, anchors, lambda model: dimmed(model, by)

    def run(node, by, anchors):
        model, anchors, then = node(by, anchors)
        realigned = then(RealignModel.execute(model, anchors, 0.5, fewer_calls=CONTROL, calls_per_step=1.3).args[0])
        return stock(realigned, *toy_models.CONDS, toy_models.latent(1), sampler="euler", cfg=2.0, steps=8)

    for node in (before, behind):
        kept, weights = anchors_of(anchor), set()
        for by in (0.5, 1.0):
            got = run(node, by, kept)
            _, copy, _, (_, uuid) = kept[0].kept["merged"]
            assert copy.model.current_weight_patches_uuid == uuid
            weights.add(uuid)
            assert distance(got, run(node, by, anchors_of(anchor))) == 0
        assert len(weights) == 1


def test_it_is_the_merged_model(full):
    """With one refresh only, at the first step, the rest is the merged model's answer and what it lacked there."""
    pair, conds, latent = full
    merged = pair[0].clone()
    merged.add_patches(pair[1][0].patcher.get_key_patches("diffusion_model."), 0.5, 0.5)
    want = stock(merged, *conds, latent, "euler", cfg=1.5)
    _, _, text = realign(pair, *conds, latent, 0.5, sampler="ddim", cfg=1.5, fewer_calls=CONTROL, calls_per_step=1.05)
    exact = realign(pair, *conds, latent, 0.5, sampler="ddim", cfg=1.5)[0]
    assert json.loads(text)["model_calls"] == 4 + 2
    assert spread(want, exact) < 0.2 * spread(stock(pair[0], *conds, latent, "euler", cfg=1.5), exact)


def test_a_lora_beside_a_full_anchor(tiny):
    """All of them are merged: the stock run of the copy is that of a file with these weights."""
    reference, full = tiny.load(tiny.reference("sd15")), tiny.load(tiny.anchor("sd15"))
    anchors = anchors_of(full), anchors_of(with_lora(tiny, reference, "sd15", 31, 0.7))
    both = RealignAddAnchor.execute(*anchors, 0.5, 0.25).args[0]
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    guider = RealignGuider.execute(reference, both, *conds, 2.0, 0.5, fewer_calls=CONTROL).args[0]
    sampled(guider, latent, steps=4)
    _, copy, _, (patches, uuid) = both[0].kept["merged"]
    ours = reference.clone(model_override=copy.get_clone_model_override())
    ours.patches, ours.patches_uuid = patches, uuid
    weights, theirs = dict(tiny.weights("sd15")), full.model.diffusion_model.state_dict()
    weights = {name: torch.lerp(weight, theirs[name].to(weight), 0.25) for name, weight in weights.items()}
    for layer, (up, down) in tiny.lora_weights("sd15", 31).items():
        weights[layer + ".weight"] = weights[layer + ".weight"] + 0.125 * 0.7 * up @ down
    want = k_sampled(tiny.load(tiny.checkpoint("sd15_merged_by_hand", weights)), conds, latent, 4, "euler")
    near("the merged copy", k_sampled(ours, conds, latent, 4, "euler"), want)


def test_what_it_cannot_have_is_refused(full, monkeypatch):
    pair, conds, latent = full
    one_lambda = r"λ must be one number for the whole run.*low_rank.*difference reuse"
    with pytest.raises(ValueError, match=one_lambda):
        realign(pair, *conds, latent, 0.5, lambda_schedule=LambdaSchedule("linear", 0.0, 1.0), fewer_calls=CONTROL)
    with pytest.raises(ValueError, match=one_lambda):
        realign(pair, *conds, latent, 0.5, sampler="ddpm", anchor_eta=0.6, fewer_calls=CONTROL)
    with pytest.raises(ValueError, match=r"no pixels"):
        realign(pair, *conds, latent, 0.5, lambda_mask=everywhere(1), fewer_calls=CONTROL)
    monkeypatch.setattr(merged_weights, "free_memory", lambda patchers: memory.free_memory(patchers) * 0 + 1000)
    with pytest.raises(ValueError, match=r"a third, merged copy.*does not fit \(.* GiB are missing\).*low_rank"):
        realign(pair, *conds, latent, 0.5, fewer_calls=CONTROL)
