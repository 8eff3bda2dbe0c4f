"""What node packs do to a run, each mechanism alone: state in the model options or in a module, hooks, wrappers.

The truth loads each model from a file of its own, puts the same patch on each, and mixes what they answer.
"""

import threading

import comfy.hooks
import comfy.patcher_extension
import pytest
import tiny_models
import torch
from patched_pairs import LAMBDA, STEPS, conditionings, pairs
from truth import (
    k_sampled,
    mixture,
    near,
    realign_guider,
    realign_model,
    realigned,
    sampled,
    sigmas_of,
    stock_guider,
    true_of,
)

# State that a function behind the guidance keeps in the model options it is shown. The host hands a run's functions the
# same dict at every step, so this is how packs keep state that ends with the run (momentum, sliding mode control).


def momentum(model):
    def function(args):
        state = args["model_options"].setdefault("momentum_of_a_pack", {})
        mean = state.get("mean", args["denoised"])
        state["mean"] = 0.4 * args["denoised"] + 0.6 * mean
        return args["denoised"] + 0.5 * (args["denoised"] - mean)

    model = model.clone()
    model.set_model_sampler_post_cfg_function(function)
    return model


@pytest.mark.parametrize("anchor", ["full", "lora", "lora patched apart"])
@pytest.mark.parametrize("how", ["model", "guider", "sampler"])
def test_state_in_the_model_options(tiny, how, anchor):
    kind, conds, latent = "sd15", conditionings("sd15"), tiny_models.latent("sd15")
    (ours, other), true = pairs(tiny, kind, anchor, momentum)
    want = true_of(how, true, conds, latent, LAMBDA, STEPS)
    got = realigned(how, ours, other, conds, latent, LAMBDA, STEPS)
    near(f"state in the model options, {anchor}, {how}", got, want)


# A patch of the network that does its work where the batch holds one positive and one negative, and none where it holds
# more: it says nothing when it is left out.


def only_two(model):
    def patch(h, options):
        places = options["cond_or_uncond"]
        if len(places) != 2 or set(places) != {0, 1}:
            return h
        size = h.shape[0] // 2
        positive, negative = (slice(size * places.index(i), size * (places.index(i) + 1)) for i in (0, 1))
        out = h.clone()
        out[positive] += 0.5 * (h[positive] - h[negative])
        return out

    model = model.clone()
    model.set_model_input_block_patch(patch)
    return model


@pytest.mark.parametrize("how", ["model", "sampler"])
def test_a_patch_that_wants_two_conditionings(tiny, how):
    conds, latent = conditionings("sd15"), tiny_models.latent("sd15")
    (ours, other), true = pairs(tiny, "sd15", "lora", only_two)
    want = true_of(how, true, conds, latent, LAMBDA, STEPS)
    got = realigned(how, ours, other, conds, latent, LAMBDA, STEPS)
    near(f"a patch that wants two conditionings, LoRA, {how}", got, want)


# A wrapper around the run that runs it more than once, as packs do that refine the noise over iterations. From the same
# noise the second run of a deterministic sampler gives what the first gave.


def twice(model):
    def wrapper(executor, *args, **kwargs):
        executor(*args, **kwargs)
        return executor(*args, **kwargs)

    model = model.clone()
    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, "a_pack", wrapper)
    return model


@pytest.mark.parametrize("lam", [0.0, LAMBDA, 1.0])
@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_a_wrapper_that_runs_twice(tiny, anchor, lam):
    conds, latent = conditionings("sd15"), tiny_models.latent("sd15")
    (ours, other), _ = pairs(tiny, "sd15", anchor, twice)
    _, true = pairs(tiny, "sd15", anchor, lambda model: model)
    want = mixture(true, lam, conds, latent, "euler", sigmas_of(ours, STEPS))
    got = k_sampled(realign_model(ours, other, lam), conds, latent, STEPS, "euler")
    near(f"a run that is run twice, {anchor}, λ {lam}", got, want)


@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_a_wrapper_that_runs_twice_behind_realign(tiny, anchor):
    """The same node between Realign MODEL and the sampler."""
    conds, latent = conditionings("sd15"), tiny_models.latent("sd15")
    (ours, other), true = pairs(tiny, "sd15", anchor, lambda model: model)
    want = mixture(true, LAMBDA, conds, latent, "euler", sigmas_of(ours, STEPS))
    got = k_sampled(twice(realign_model(ours, other, LAMBDA)), conds, latent, STEPS, "euler")
    near(f"a run that is run twice behind Realign, {anchor}", got, want)


# A hook on a conditioning whose clone() does not carry everything, which no stock run asks for.


class Shift(comfy.hooks.TransformerOptionsHook):
    def __init__(self):
        super().__init__(hook_scope=comfy.hooks.EnumHookScope.HookedOnly)
        self.transformers_dict = {"patches": {"attn2_output_patch": [self.patch]}}

    def on_apply_hooks(self, model, transformer_options):
        self.kept = self.amount
        return super().on_apply_hooks(model, transformer_options)

    def patch(self, out, options):
        return out * (1 + self.kept)


def hooked(conds):
    hook, group = Shift(), comfy.hooks.HookGroup()
    hook.amount = 0.5
    group.add(hook)
    return comfy.hooks.set_hooks_for_conditioning(conds[0], hooks=group, append_hooks=True), conds[1]


@pytest.mark.parametrize("lam", [0.0, LAMBDA, 1.0])
@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_a_hook_that_does_not_clone_well(tiny, anchor, lam):
    latent = tiny_models.latent("sd15")
    (ours, other), true = pairs(tiny, "sd15", anchor, lambda model: model)
    guiders = [stock_guider(model, hooked(conditionings("sd15")), 4.0) for model in true]
    sigmas = sigmas_of(ours, STEPS)
    want = mixture(true, lam, None, latent, "euler", sigmas, guiders=guiders)
    got = sampled(realign_guider(ours, other, hooked(conditionings("sd15")), lam), latent, "euler", sigmas)
    near(f"a hook that does not clone well, {anchor}, λ {lam}", got, want)


# Attention over regions: the positive's rows are asked once per region inside of a layer, and mixed behind it.


def regions(model):
    def before(q, k, v, options):
        places = options["cond_or_uncond"]
        size, rows, queries, keys = q.shape[0] // len(places), [], [], []
        for i, place in enumerate(places):
            own = slice(size * i, size * (i + 1))
            for region in range(1 if place == 1 else 2):
                rows.append(place)
                queries.append(q[own])
                keys.append(k[own].roll(5 * region, -1))
        options["rows_of_a_pack"] = rows
        return torch.cat(queries), torch.cat(keys), torch.cat(keys)  # negatives come first, as the host orders them

    def after(out, options):
        rows = options["rows_of_a_pack"]
        chunks = list(zip(rows, out.chunk(len(rows))))
        negatives, positives = ([chunk for place, chunk in chunks if place == i] for i in (1, 0))
        if positives:
            first, second = positives  # of the one positive that there is in a batch
            negatives.append(0.3 * first + 0.7 * second)
        return torch.cat(negatives)

    model = model.clone()
    model.set_model_attn2_patch(before)
    model.set_model_attn2_output_patch(after)
    return model


def on_the_positive(conds):
    """The same patches as a hook of the positive alone, as packs for regional prompts put them."""
    hook = comfy.hooks.TransformerOptionsHook(hook_scope=comfy.hooks.EnumHookScope.HookedOnly)
    hook.transformers_dict, group = {"patches": regions_patches()}, comfy.hooks.HookGroup()
    group.add(hook)
    return comfy.hooks.set_hooks_for_conditioning(conds[0], hooks=group, append_hooks=True), conds[1]


def regions_patches():
    class Taken:
        def clone(self):
            return self

        def set_model_attn2_patch(self, patch):
            return setattr(self, "before", patch)

        def set_model_attn2_output_patch(self, patch):
            return setattr(self, "after", patch)

    taken = regions(Taken())
    return {"attn2_patch": [taken.before], "attn2_output_patch": [taken.after]}


@pytest.mark.parametrize("how", ["model", "sampler"])
@pytest.mark.parametrize("anchor", ["full", "lora"])
@pytest.mark.parametrize("place", ["on the model", "as a hook"])
def test_attention_over_regions(tiny, place, anchor, how):
    latent = tiny_models.latent("sd15")
    patch = regions if place == "on the model" else lambda model: model
    conds = conditionings("sd15") if place == "on the model" else on_the_positive(conditionings("sd15"))
    (ours, other), true = pairs(tiny, "sd15", anchor, patch)
    want = true_of(how, true, conds, latent, LAMBDA, STEPS)
    got = realigned(how, ours, other, conds, latent, LAMBDA, STEPS)
    near(f"attention over regions, {place}, {anchor}, {how}", got, want)


# A cache that a pack keeps in one place for all models. The truth's models run in threads, each with its own.

KEPT = threading.local()


def cached_in_one_place(model):
    def wrapper(apply_model, args):
        x, step, key = args["input"], float(args["timestep"].max()), tuple(args["cond_or_uncond"])
        kept = KEPT.__dict__
        if step > kept.get("step", -1.0):
            kept.clear()
        kept["step"] = step
        old = kept.get(key)
        if old is not None and old["fresh"] and old["step"] != step:
            kept[key] = old | {"fresh": False}
            return x + old["difference"]
        out = apply_model(x, args["timestep"], **args["c"])
        kept[key] = {"difference": out - x, "step": step, "fresh": True}
        return out

    model = model.clone()
    model.set_model_unet_function_wrapper(wrapper)
    return model


@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_a_cache_in_one_place(tiny, anchor):
    conds, latent = conditionings("sd15"), tiny_models.latent("sd15")
    (ours, other), true = pairs(tiny, "sd15", anchor, cached_in_one_place)
    want = mixture(true, LAMBDA, conds, latent, "euler", sigmas_of(ours, 6))
    KEPT.__dict__.clear()
    got = k_sampled(realign_model(ours, other, LAMBDA), conds, latent, 6, "euler")
    near(f"a cache in one place, {anchor}", got, want)


# A guidance node between Realign MODEL and the sampler: to a stock model its place in the chain makes no difference.


def sharpened(model):
    model = model.clone()
    model.set_model_sampler_post_cfg_function(
        lambda args: args["denoised"] + 0.3 * (args["cond_denoised"] - args["uncond_denoised"])
    )
    return model


@pytest.mark.parametrize("lam", [LAMBDA, 1.0])
@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_a_patch_behind_realign(tiny, anchor, lam):
    """For both models as in front of it."""
    conds, latent = conditionings("sd15"), tiny_models.latent("sd15")
    (ours, other), plain = pairs(tiny, "sd15", anchor, lambda model: model)
    true = [sharpened(model) for model in plain]
    want = mixture(true, lam, conds, latent, "euler", sigmas_of(ours, STEPS))
    got = k_sampled(sharpened(realign_model(ours, other, lam)), conds, latent, STEPS, "euler")
    near(f"a patch behind Realign, {anchor}, λ {lam}", got, want)
