"""Guiders that hold further models. The realigned MODEL acts in all of its places, or the graph is refused."""

import comfy.model_patcher
import comfy.patcher_extension
import comfy.sampler_helpers
import comfy.samplers
import pytest
import tiny_models
from comfy_extras.nodes_custom_sampler import DualModelGuider
from patched_pairs import LAMBDA, STEPS, conditionings, pairs, with_lora
from truth import (
    distance,
    k_sampled,
    mixture,
    near,
    realign_model,
    sampled,
    show,
    sigmas_of,
)


def dual(model, negative_model, conds):
    return DualModelGuider.execute(
        model=model, positive=conds[0], cfg=4.0, model_negative=negative_model, negative=conds[1]
    ).args[0]


def run(guider, latent, sigmas):
    return sampled(guider, latent, "euler", sigmas)


def assert_refused(tiny, guider, latent, conds, sigmas):
    """And the host's models are as before."""
    reference = tiny.load(tiny.reference("sd15"))
    before = k_sampled(reference, conds, latent, STEPS, "euler")
    with pytest.raises(ValueError, match="Realign: this guider asks a realigned MODEL beside the one that it samples"):
        run(guider, latent, sigmas)
    assert distance(k_sampled(reference, conds, latent, STEPS, "euler"), before) == 0


@pytest.mark.parametrize("lam", [LAMBDA, 1.0])
@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_one_realigned_model_in_both_inputs_of_a_dual_guider(tiny, anchor, lam):
    """“Use the same model for ordinary CFG”, says the node."""
    conds, latent = conditionings("sd15"), tiny_models.latent("sd15")
    (ours, other), true = pairs(tiny, "sd15", anchor, lambda model: model)
    sigmas, realigned = sigmas_of(ours, STEPS), realign_model(ours, other, lam)
    got = run(dual(realigned, realigned, conds), latent, sigmas)
    near(f"both inputs, {anchor}, λ {lam}", got, mixture(true, lam, conds, latent, "euler", sigmas))


@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_a_realigned_model_for_the_negative_alone(tiny, anchor):
    conds, latent = conditionings("sd15"), tiny_models.latent("sd15")
    (ours, other), _ = pairs(tiny, "sd15", anchor, lambda model: model)
    guider = dual(tiny.load(tiny.reference("sd15")), realign_model(ours, other, 1.0), conds)
    assert_refused(tiny, guider, latent, conds, sigmas_of(ours, STEPS))


class AgainstAWorse(comfy.samplers.CFGGuider):
    """Guidance away from a second model, as packs write it: that one's wrappers are merged into the run's."""

    worse = None

    def sample(self, *args, **kwargs):
        given = self.model_options
        self.model_options = comfy.model_patcher.create_model_options_clone(given)
        wrappers = self.model_options.setdefault("transformer_options", {}).setdefault("wrappers", {})
        comfy.patcher_extension.merge_nested_dicts(wrappers, self.worse.wrappers, copy_dict1=False)
        try:
            return super().sample(*args, **kwargs)
        finally:
            self.model_options = given

    def outer_sample(self, noise, *args, **kwargs):
        conds = {"positive": [c.copy() for c in self.conds["positive"]]}
        model, _, loaded = comfy.sampler_helpers.prepare_sampling(self.worse, noise.shape, conds, self.model_options)
        self.worse_model = model
        self.worse.pre_run()
        try:
            return super().outer_sample(noise, *args, **kwargs)
        finally:
            self.worse.cleanup()
            comfy.sampler_helpers.cleanup_models(conds, loaded)

    def predict_noise(self, x, timestep, model_options=None, seed=None):
        if model_options is None:
            model_options = {}
        out = super().predict_noise(x, timestep, model_options, seed)

        def ask(model):
            return comfy.samplers.calc_cond_batch(model, [self.conds["positive"]], x, timestep, model_options)[0]

        return out + 0.5 * (ask(self.inner_model) - ask(self.worse_model))


def against(model, worse, conds):
    guider = AgainstAWorse(model)
    guider.worse = worse
    guider.set_conds(*conds)
    guider.set_cfg(4.0)
    return guider


def third(tiny):
    return tiny.load(tiny.checkpoint("sd15_third", tiny_models.perturbed(tiny.weights("sd15"), 11)))


@pytest.mark.parametrize("lam", [0.0, LAMBDA, 1.0])
@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_away_from_a_model_of_its_own(tiny, anchor, lam):
    conds, latent = conditionings("sd15"), tiny_models.latent("sd15")
    (ours, other), true = pairs(tiny, "sd15", anchor, lambda model: model)
    sigmas = sigmas_of(ours, STEPS)
    want = mixture(
        true, lam, conds, latent, "euler", sigmas, guiders=[against(model, third(tiny), conds) for model in true]
    )
    got = run(against(realign_model(ours, other, lam), third(tiny), conds), latent, sigmas)
    near(f"away from a third model, {anchor}, λ {lam}", got, want)


def damped(model):
    """A patch as packs put it on the worse model (a skipped layer)."""
    model = model.clone()
    model.set_model_attn2_output_patch(lambda out, options: 0.2 * out)
    return model


@pytest.mark.parametrize("lam", [LAMBDA, 1.0])
@pytest.mark.parametrize("anchor", ["full", "lora"])
@pytest.mark.parametrize("patch", [lambda model: model.clone(), damped], ids=["itself", "itself, damped"])
def test_away_from_a_clone_of_the_realigned_model(tiny, patch, anchor, lam):
    """The worse model is the realigned one, behind another node."""
    conds, latent = conditionings("sd15"), tiny_models.latent("sd15")
    (ours, other), true = pairs(tiny, "sd15", anchor, lambda model: model)
    realigned, sigmas = realign_model(ours, other, lam), sigmas_of(ours, STEPS)
    before = k_sampled(tiny.load(tiny.reference("sd15")), conds, latent, STEPS, "euler")
    got = run(against(realigned, patch(realigned), conds), latent, sigmas)
    guiders = [against(model, patch(model), conds) for model in true]
    near(
        f"away from itself, {anchor}, λ {lam}", got, mixture(true, lam, conds, latent, "euler", sigmas, guiders=guiders)
    )
    after = k_sampled(ours, conds, latent, STEPS, "euler")
    show("the reference afterwards", distance(after, before), 0)
    assert distance(after, before) == 0


@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_the_realigned_model_with_a_lora_and_without(tiny, anchor):
    """On one weight copy the host can have one of them only."""
    conds, latent = conditionings("sd15"), tiny_models.latent("sd15")
    (ours, other), _ = pairs(tiny, "sd15", anchor, lambda model: model)
    realigned = realign_model(ours, other, LAMBDA)
    worse = with_lora(tiny, realigned, "sd15", 33)
    with pytest.raises(ValueError, match="holds the realigned MODEL with and without a LoRA"):
        run(against(realigned, worse, conds), latent, sigmas_of(ours, STEPS))


def test_two_models_that_are_realigned_apart(tiny):
    conds, latent = conditionings("sd15"), tiny_models.latent("sd15")
    (ours, other), _ = pairs(tiny, "sd15", "full", lambda model: model)
    apart = [realign_model(tiny.load(tiny.reference("sd15")), other, LAMBDA) for _ in range(2)]
    with pytest.raises(ValueError, match="holds two MODELs that are realigned apart"):
        run(dual(*apart, conds), latent, sigmas_of(ours, STEPS))


@pytest.mark.parametrize("lam", [LAMBDA, 1.0])
@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_the_negatives_model_is_the_plain_reference(tiny, anchor, lam):
    """On the reference's weights, which a LoRA anchor must leave alone there."""
    conds, latent = conditionings("sd15"), tiny_models.latent("sd15")
    (ours, other), true = pairs(tiny, "sd15", anchor, lambda model: model)
    got = run(dual(realign_model(ours, other, lam), ours, conds), latent, sigmas_of(ours, STEPS))
    guiders = [dual(model, tiny.load(tiny.reference("sd15")), conds) for model in true]
    want = mixture(true, lam, conds, latent, "euler", sigmas_of(ours, STEPS), guiders=guiders)
    near(f"the plain reference for the negative, {anchor}, λ {lam}", got, want)


# A guider that keeps its models in a list of its own, and asks these.


class Team(comfy.samplers.CFGGuider):
    models = ()

    def outer_sample(self, noise, *args, **kwargs):
        prepare, names = comfy.sampler_helpers.prepare_sampling, ("positive", "negative")
        conds = [{k: [c.copy() for c in self.conds[k]] for k in names} for _ in self.models]
        prepared = [prepare(m, noise.shape, c, m.model_options) for m, c in zip(self.models, conds)]
        self.prepared = [model for model, _, _ in prepared]
        for model in self.models:
            model.pre_run()
        return super().outer_sample(noise, *args, **kwargs)

    def predict_noise(self, x, timestep, model_options=None, seed=None):
        if model_options is None:
            model_options = {}
        conds = [self.conds["negative"], self.conds["positive"]]
        sampling = comfy.samplers.sampling_function
        outs = [sampling(m, x, timestep, *conds, self.cfg, model_options=model_options) for m in self.prepared]
        return sum(outs) / len(outs)


def team(models, conds):
    guider = Team(models[0])
    guider.models = models
    guider.set_conds(*conds)
    guider.set_cfg(4.0)
    return guider


@pytest.mark.parametrize("lam", [LAMBDA, 1.0])
@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_the_first_of_a_list(tiny, anchor, lam):
    """λ moves the picture as it moves the model's place in the list."""
    conds, latent = conditionings("sd15"), tiny_models.latent("sd15")
    (ours, other), true = pairs(tiny, "sd15", anchor, lambda model: model)
    sigmas = sigmas_of(ours, STEPS)
    got = run(team([realign_model(ours, other, lam), third(tiny)], conds), latent, sigmas)
    guiders = [team([model, third(tiny)], conds) for model in true]
    want = mixture(true, lam, conds, latent, "euler", sigmas, guiders=guiders)
    near(f"the first of a list, {anchor}, λ {lam}", got, want)


@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_another_of_a_list(tiny, anchor):
    conds, latent = conditionings("sd15"), tiny_models.latent("sd15")
    (ours, other), _ = pairs(tiny, "sd15", anchor, lambda model: model)
    guider = team([third(tiny), realign_model(ours, other, LAMBDA)], conds)
    assert_refused(tiny, guider, latent, conds, sigmas_of(ours, STEPS))
