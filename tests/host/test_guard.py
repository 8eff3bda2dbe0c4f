"""An anchor whose LoRA does not reach the model is found in the first step."""

import pytest
import tiny_models
import torch
from comfy_extras.nodes_model_merging import ModelMergeSimple
from host_runs import conds_of
from patched_pairs import LAMBDA, STEPS, with_lora
from realign.nodes.run.guard import Guard
from realign.nodes.run.shared_weights import NeedsOwnWeights
from safetensors.torch import save_file
from truth import distance, k_sampled, realign_model

X = torch.tensor([5.0, 6.0])


def leaves_the_first_step(model):
    """As packs that begin with zeros (CFG-Zero*) do: what the model says in the first step is multiplied by 0."""
    model, asked = model.clone(), []

    def cfg(args):
        asked.append(float(args["sigma"].flatten()[0]))
        return args["cond"] * 0 if asked[-1] == asked[0] else args["uncond"] + 4.0 * (args["cond"] - args["uncond"])

    model.set_model_sampler_cfg_function(cfg)
    return model


def asks_nothing(model):
    """A wrapper that answers without the network, whatever its weights."""
    model = model.clone()
    model.set_model_unet_function_wrapper(lambda apply_model, args: 0.5 * args["input"])
    return model


def test_it_is_refused(tiny):
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    reference = tiny.load(tiny.reference("sd15"))
    before, patched = k_sampled(reference, conds, latent, STEPS, "euler"), asks_nothing(reference)
    with pytest.raises(ValueError, match=r"“anchor from MODEL” answers exactly as the reference does, although it has"):
        k_sampled(realign_model(patched, with_lora(tiny, patched, "sd15"), LAMBDA), conds, latent, STEPS, "euler")
    assert distance(k_sampled(reference, conds, latent, STEPS, "euler"), before) == 0


def test_an_answer_that_shows_no_model_is_waited_out(tiny):
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    reference = leaves_the_first_step(tiny.load(tiny.reference("sd15")))
    got = k_sampled(realign_model(reference, with_lora(tiny, reference, "sd15"), LAMBDA), conds, latent, STEPS, "euler")
    assert distance(got, k_sampled(reference, conds, latent, STEPS, "euler")) > 0.01
    first = Guard(reference, {1: with_lora(tiny, reference, "sd15")}, {1: "a"}, (0,))
    for answer in (X, torch.zeros(2)):
        first.look((answer, answer), X)
    with pytest.raises(ValueError, match="answers exactly as the reference does"):
        first.look((X + 1, X + 1), X)


def test_a_lora_of_zeros_is_none(tiny):
    """As trainers begin: nothing is added, and nothing need be reached."""
    parts = {}
    for layer, (up, down) in tiny.lora_weights("sd15", 31).items():
        name = "lora_unet_" + layer.replace(".", "_")
        parts |= {name + ".lora_up.weight": torch.zeros_like(up), name + ".lora_down.weight": down}
    save_file(parts, tiny.dir / "loras" / "sd15_third_0.safetensors")
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    reference = tiny.load(tiny.reference("sd15"))
    got = k_sampled(
        realign_model(reference, with_lora(tiny, reference, "sd15", 0), LAMBDA), conds, latent, STEPS, "euler"
    )
    assert distance(got, k_sampled(reference, conds, latent, STEPS, "euler")) <= 2e-4


def test_a_merge_that_gives_the_reference_back_has_no_lora(tiny):
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    reference = tiny.load(tiny.reference("sd15"))
    lora = with_lora(tiny, reference, "sd15")
    of_the_reference, of_both = (ModelMergeSimple().merge(lora, reference, ratio)[0] for ratio in (0.0, 0.5))
    want = k_sampled(reference, conds, latent, STEPS, "euler")
    got = k_sampled(realign_model(reference, of_the_reference, LAMBDA), conds, latent, STEPS, "euler")
    assert distance(got, want) <= 2e-4
    with pytest.raises(ValueError, match="answers exactly as the reference does"):
        k_sampled(realign_model(*map(asks_nothing, (reference, of_both)), LAMBDA), conds, latent, STEPS, "euler")


def test_one_on_the_references_weights_gets_its_own(tiny):
    reference = tiny.load(tiny.reference("sd15"))
    anchor, alike, other = with_lora(tiny, reference, "sd15"), torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0])
    for answers, shared, error in (
        ((alike, alike), (0, 1), NeedsOwnWeights),
        ((alike, alike), (0,), ValueError),
    ):
        with pytest.raises(error):
            Guard(reference, {1: anchor}, {1: "a"}, shared).look(answers, X)
    for answers in ((alike, other), (None, alike), (alike, None)):
        Guard(reference, {1: anchor}, {1: "a"}, (0, 1)).look(answers, X)
    first = Guard(reference, {1: anchor}, {1: "a"}, (0, 1))
    first.look((alike, other), X)
    first.look((alike, alike), X)  # it has been reached
