"""What nodes' functions remember, wherever they keep it, is apart for each model; the truth is whole stock runs."""

import collections
import functools
import random
from functools import partial

import comfy.patcher_extension
import numpy as np
import pytest
import tiny_models
import torch
from host_runs import conds_of
from patched_pairs import pairs
from realign.nodes.models.reach import node_name, reached
from realign.nodes.run.state import State
from truth import anchor_of, call, distance, k_sampled, mixture, near, realign_guider, realign_model, sampled, sigmas_of

STEPS, LAMBDA = 5, 0.45
IN_MODULE, COUNTED = {}, 0


class Kept:
    """An object that functions hold, and whose class keeps something for all of its objects."""

    of_class = None

    def __init__(self):
        self.own = {}


class Slotted:
    __slots__ = ("last",)


def running_mean(denoised, last):
    """What all of these do: D and a part of the step before. last: None at first."""
    return denoised if last is None else denoised + 0.5 * (denoised - last)


def in_a_variable():
    last = None

    def function(args):
        nonlocal last
        last, before = args["denoised"], last
        return running_mean(args["denoised"], before)

    return function


def in_containers():
    by_name, line = {}, collections.deque([None], maxlen=2)

    def function(args):
        by_name["last"], before = args["denoised"], by_name.get("last")
        line.append(args["denoised"])
        assert before is line[0]
        return running_mean(args["denoised"], before)

    return function


def in_an_object():
    kept, slotted = Kept(), Slotted()

    def function(kept, args):
        before = getattr(slotted, "last", None)
        kept.own["last"] = slotted.last = args["denoised"]
        return running_mean(args["denoised"], before)

    return functools.partial(function, kept)


class Method:
    def __init__(self):
        self.last = None

    def function(self, args):
        before, self.last = self.last, args["denoised"]
        return running_mean(args["denoised"], before)


def in_its_class():
    def function(args):
        before, Kept.of_class = Kept.of_class, args["denoised"]
        return running_mean(args["denoised"], before)

    return function


def of_the_module():
    def function(args):
        before = IN_MODULE.get("last")
        counted()
        IN_MODULE["last"] = args["denoised"]
        return running_mean(args["denoised"], before)

    return function


def counted():
    global COUNTED
    COUNTED += 1


def drawn():
    """From generators of its own, and from the global ones."""
    generator, python, own = torch.Generator().manual_seed(3), random.Random(3), np.random.default_rng(3)

    def function(args):
        shape = args["denoised"].shape
        noise = torch.randn(shape, generator=generator) + torch.randn(shape) * random.random()
        return args["denoised"] + 0.05 * noise * (python.random() + own.random() + np.random.random())

    return function


def seeded():
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)


PLACES = {
    "a variable": in_a_variable,
    "containers": in_containers,
    "an object": in_an_object,
    "a method's object": lambda: Method().function,
    "its class": in_its_class,
}


def put_on(model, function):
    model = model.clone()
    model.set_model_sampler_post_cfg_function(function)
    return model


def forgotten():
    IN_MODULE.clear()
    Kept.of_class = None


def truth(tiny, kind, make, lam=LAMBDA):
    """The mixture of two stock runs. Whatever is of the whole module or of a class is kept by each model's own copy."""
    _, true = pairs(tiny, "sd15", kind, lambda model: put_on(model, make()))
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    return mixture(true, lam, conds, latent, "euler", sigmas_of(true[0], STEPS))


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_each_model_remembers_its_own(tiny, anchor, where):
    """One function on both models; the truth has two, in a variable each."""
    function, conds, latent = PLACES[where](), conds_of("sd15"), tiny_models.latent("sd15")
    (ours, other), _ = pairs(tiny, "sd15", anchor, lambda model: put_on(model, function))
    want = truth(tiny, anchor, in_a_variable)
    plain = truth(tiny, anchor, lambda: lambda args: args["denoised"])
    assert distance(want, plain) > 0.01  # it does something
    forgotten()
    near(where, k_sampled(realign_model(ours, other, LAMBDA), conds, latent, STEPS, "euler"), want)


@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_what_a_module_remembers(tiny, anchor):
    global COUNTED
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    (ours, other), _ = pairs(tiny, "sd15", anchor, lambda model: put_on(model, of_the_module()))
    want = truth(tiny, anchor, in_a_variable)
    forgotten()
    COUNTED = 0
    near("a module", k_sampled(realign_model(ours, other, LAMBDA), conds, latent, STEPS, "euler"), want)
    assert COUNTED == STEPS  # the reference's, as after its stock run


@pytest.mark.parametrize("on", ["both", "anchor"])
@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_all_models_draw_what_a_model_alone_would(tiny, anchor, on):
    """The truth adds to each model's D what the node has added in a stock run of that model alone."""
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    function = drawn()
    (ours, other), _ = pairs(tiny, "sd15", anchor, lambda model: model)
    ours, other = put_on(ours, function) if on == "both" else ours, put_on(other, function)
    plain = strip(tiny, anchor)
    noises = [heard(model, conds, latent) for model in plain]
    assert all(torch.allclose(one, another, atol=1e-4) for one, another in zip(*noises))  # whatever the model's path
    true = [put_on(model, added(noise)) for model, noise in zip(plain, noises)]
    if on == "anchor":
        true[0] = plain[0]
    want, mixed = (mixture(models, LAMBDA, conds, latent, "euler", sigmas_of(ours, STEPS)) for models in (true, plain))
    assert not torch.equal(want["samples"], mixed["samples"])
    seeded()
    got = k_sampled(realign_model(ours, other, LAMBDA), conds, latent, STEPS, "euler")
    near("draws", got, want, 1e-3)  # the noises were read back from D by subtraction


def heard(model, conds, latent):
    """What the node adds at each step of the model's stock run."""
    function, noises = drawn(), []

    def heard_function(args):
        out = function(args)
        noises.append(out - args["denoised"])
        return out

    seeded()
    k_sampled(put_on(model, heard_function), conds, latent, STEPS, "euler")
    return noises


def added(noises):
    step = iter(noises)
    return lambda args: args["denoised"] + next(step)


@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_the_next_run_goes_on_from_each_models_last(tiny, anchor):
    """As after two stock runs; and the reference's own stock run finds what the reference has left."""
    function, conds, latent = in_a_variable(), conds_of("sd15"), tiny_models.latent("sd15")
    (ours, other), true = pairs(tiny, "sd15", anchor, lambda model: put_on(model, function))
    apart = [put_on(model, made) for model, made in zip(strip(tiny, anchor), (in_a_variable(), in_a_variable()))]
    sigmas = sigmas_of(ours, STEPS)
    with_anchor = partial(call, "RealignModel", model=ours, anchor=anchor_of(other))
    for _ in range(2):
        want = mixture(apart, LAMBDA, conds, latent, "euler", sigmas)
        near("again", k_sampled(with_anchor(lambda_=LAMBDA)[0], conds, latent, STEPS, "euler"), want)
    want = k_sampled(apart[0], conds, latent, STEPS, "euler")
    near("the reference alone", k_sampled(ours, conds, latent, STEPS, "euler"), want)
    want = mixture(apart, 1.0, conds, latent, "euler", sigmas)
    near("then the anchor", k_sampled(with_anchor(lambda_=1.0)[0], conds, latent, STEPS, "euler"), want)


def strip(tiny, anchor):
    """The models of `pairs` by themselves, without a patch."""
    return pairs(tiny, "sd15", anchor, lambda model: model)[1]


def test_pictures_of_a_sweep_do_not_see_each_other(tiny):
    """Each begins with what was remembered before the first."""
    function, conds, latent = in_a_variable(), conds_of("sd15"), tiny_models.latent("sd15")
    (ours, other), _ = pairs(tiny, "sd15", "lora", lambda model: put_on(model, function))
    inputs = dict(latent=latent, values="list", start=0.0, end=1.0, count=2, listed="0, 0.5, 1")
    batch, sweep = call("RealignSweep", **inputs, seeds=1, rows="seed", row_values="")
    guider = realign_guider(ours, other, conds, 1.0, lambda_schedule=sweep)
    got = sampled(guider, batch, "euler", sigmas_of(ours, STEPS))["samples"]
    for picture, lam in zip(got.split(1), (0.0, 0.5, 1.0)):
        near(f"λ {lam}", {"samples": picture}, truth(tiny, "lora", in_a_variable, lam))


def test_a_failed_run_leaves_each_model_what_it_remembers(tiny):
    """An error in the middle of the anchor's call: the reference finds what it had."""
    state, failing = {"of": "reference"}, []

    def function(args):
        if failing:
            state["of"] = "anchor"
            raise RuntimeError("planted")
        return args["denoised"]

    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    (ours, other), _ = pairs(tiny, "sd15", "full", lambda model: model)
    both = put_on(ours, function), put_on(put_on(other, lambda args: failing.append(1) or args["denoised"]), function)
    with pytest.raises(RuntimeError, match="planted"):
        k_sampled(realign_model(*both, LAMBDA), conds, latent, STEPS, "euler")
    assert state == {"of": "reference"}
    assert not failing


def test_a_place_on_the_network(tiny):
    """A cache as an attribute of the network (TeaCache and others), which a LoRA anchor shares with the reference."""

    def caching(model):
        model = model.clone()
        network = model.get_model_object("diffusion_model")

        def wrapper(apply_model, args):
            out = apply_model(args["input"], args["timestep"], **args["c"])
            before, network.kept_by_a_pack = getattr(network, "kept_by_a_pack", None), out
            return out if before is None else out + 0.3 * (out - before)

        model.set_model_unet_function_wrapper(wrapper)
        return model

    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    (ours, other), true = pairs(tiny, "sd15", "lora", caching)
    want = mixture(true, LAMBDA, conds, latent, "euler", sigmas_of(ours, STEPS))
    near("the network", k_sampled(realign_model(ours, other, LAMBDA), conds, latent, STEPS, "euler"), want)


def test_nothing_is_walked_without_nodes(tiny):
    """A run of plain models exchanges nothing."""
    model = tiny.load(tiny.reference("sd15"))
    found = reached([model.model_options, model.wrappers, model.callbacks])
    assert not found.places
    assert not found.of_nodes
    state = State({0: found, 1: found}, torch.device("cpu"))
    with state.of(1):
        state.asked()
    assert not state.lasting(1)


def test_names():
    assert node_name(functools.partial(Method().function)) == "Method"
    assert node_name(in_a_variable()) == "in_a_variable"
    assert node_name(comfy.patcher_extension.PatcherInjection(None, None)) == "PatcherInjection"
