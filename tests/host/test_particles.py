"""Groups of particles in the host: beside the same algorithm on stock answers, and as the plain sampler."""

from __future__ import annotations

import json

import comfy.controlnet
import comfy.model_management
import comfy.sample
import pytest
import tiny_models
import torch
from comfy.samplers import KSAMPLER
from einops import rearrange
from host_runs import conds_of
from patched_pairs import pairs
from realign.nodes.models.pair import noise_levels
from realign.nodes.reward.protocol import RewardError
from realign.nodes.run import by_element, particles, parts
from realign.nodes.run.particles import generator_of, seed_of
from realign.realign_core import particle_sample
from test_controls import lora_hook, with_hooks
from truth import SEED, Mixed, Stock, anchor_of, call, realign_sampler, sampler_object, sigmas_of, stock_guider

import nodes as host

N, STEPS, CFG, LAMBDA = 3, 5, 4.0, 0.4
BOUND = 2e-4  # of the latents' standard deviation


class Mean:
    """A reward of latents that a VAE of no weights hands on: their first channel's mean."""

    name, differentiable = "mean", True

    def __init__(self, scale=40.0):
        self.scale, self.asked = scale, 0

    def score(self, images, prompts):
        self.asked += len(images)
        return self.scale * images[..., 0].mean((1, 2))


class Plain(Mean):
    """The same, of which nobody can take a gradient."""

    name, differentiable = "plain", False


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1), requires_grad=False)

    def decode(self, z):
        return z[:, :3] * self.weight * 0.2


class Vae:
    """A VAE of the host's, of one weight."""

    latent_dim, vae_dtype, device = 2, torch.float32, torch.device("cpu")

    def __init__(self):
        self.first_stage_model = Network()
        self.patcher = comfy.model_patcher.ModelPatcher(self.first_stage_model, self.device, self.device)

    def memory_used_decode(self, shape, dtype):
        return 1

    def process_output(self, image):
        return image.add_(0.5).clamp_(0, 1)


def latent_of(kind, size=2):
    samples = tiny_models.latent(kind)["samples"]
    return {"samples": torch.zeros_like(samples[:1]).expand(size, -1, -1, -1).clone()}


def sampled(model, conds, latent, anchor=None, lam=LAMBDA, **options):
    """(LATENT, denoised, scores, weights, trace as a dict) of Realign Particles."""
    inputs = dict(
        model=model, positive=conds[0], negative=conds[1], latent_image=latent, seed=SEED, steps=STEPS, cfg=CFG,
        scheduler="simple", denoise=1.0, strength=1.0, particles=N, pictures=1, pick="all",
    )  # fmt: skip
    inputs |= {} if anchor is None else {"anchor": anchor_of(anchor), "lambda_": lam}
    *out, trace = call("RealignParticles", **inputs | options)
    return *out, json.loads(trace)


def true_particles(models, conds, latent, lam, tilt=None, correct=False, eta=1.0, others=None):
    """`particle_sample` on the answers of stock runs. models: on weights of their own, reference and anchor. others:
    the anchor's conditionings, where they keep state."""
    samples, sigmas = latent["samples"], sigmas_of(models[0], STEPS, sampler="ddpm")
    size, found = len(samples), []
    start = rearrange([comfy.sample.prepare_noise(samples, seed_of(SEED, n)) for n in range(N)], "n m ... -> (m n) ...")
    wide = samples.repeat_interleave(N, 0)
    guiders = [stock_guider(model, own, CFG) for model, own in zip(models, (conds, others or conds))]
    sampler = sampler_object("ddpm")
    other = Stock(guiders[1], start, wide, sampler, sigmas, None, SEED)

    def mix(model, x, sigmas, extra_args=None, callback=None, disable=None):
        mixed, levels = Mixed(model, other, lam), noise_levels(guiders[0].model_patcher, sigmas)
        draws = [torch.Generator().manual_seed((seed_of(SEED, n) + 1) % 2**64) for n in range(N)]  # as on a CPU

        def ask(x, level, called, merged):
            mixed(x, x.new_full([len(x)], level.sigma), **extra_args)
            return dict(enumerate(d.float() for d in mixed.ds))

        def noise(sigma, sigma_next):
            one = [torch.randn((size, *x.shape[1:]), generator=draw) for draw in draws]
            return rearrange(one, "n m ... -> (m n) ...")

        out = particle_sample(
            ask, x, levels, [[lam]] * STEPS, groups=size, particles=N, tilt=tilt, correct=correct, eta=eta,
            noise=noise, generator=[generator_of(SEED, group) for group in range(size)],
        )  # fmt: skip
        found.append(out)
        return out.x

    try:
        other.ask()
        out = guiders[0].sample(start, wide, KSAMPLER(mix, {}, sampler.inpaint_options), sigmas, None, seed=SEED)
    finally:
        other.asked.put(None)
        other.join(60)
    return out, found[0]


def controlled(tiny):
    net = comfy.controlnet.load_controlnet(str(tiny.controlnet()))
    hint = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(8))
    return host.ControlNetApplyAdvanced().apply_controlnet(*conds_of("sd15"), net, hint, 0.8, 0.0, 0.7)


def hooked(tiny):
    return with_hooks(conds_of("sd15"), lora_hook(tiny, True))


def with_an_area(tiny):
    positive, negative = conds_of("sd15")
    return [*positive, [2 * positive[0][0], {**positive[0][1], "area": (4, 4, 2, 2), "strength": 0.7}]], negative


def near(got, want):
    assert float((got - want).abs().max() / want.std()) < BOUND


# Against stock answers.


@pytest.mark.parametrize("anchor", ["full", "lora"])
@pytest.mark.parametrize("kind", ["sd15", "sd3"])
def test_the_corrected_mixture_is_that_of_stock_answers(tiny, kind, anchor):
    conds, latent = conds_of(kind), latent_of(kind)
    ours, true = pairs(tiny, kind, anchor, lambda model: model)
    want, told = true_particles(true, conds, latent, LAMBDA, correct=True)
    got, denoised, _, weights, trace = sampled(ours[0], conds, latent, ours[1], correct=True)
    assert bool((told.ancestors != torch.arange(N)).any())  # some were re-drawn
    near(got["samples"], want)
    near(denoised["samples"], want)
    steps = trace["particles"]["steps"]
    torch.testing.assert_close(torch.tensor([step["ess"] for step in steps]).double(), told.ess, atol=0.02, rtol=0)
    assert [step["unique"] for step in steps] == told.unique().tolist()
    share = (told.log_z[:, None] + told.log_weights).flatten().softmax(0)
    torch.testing.assert_close(torch.tensor(weights).double(), share, atol=0.01, rtol=0)


@pytest.mark.parametrize("what", ["ControlNet", "hook LoRA with keyframes", "area"])
def test_what_conditionings_hold_follows_the_particles(tiny, what):
    ours, true = pairs(tiny, "sd15", "full", lambda model: model)
    latent, made = latent_of("sd15"), {"ControlNet": controlled, "area": with_an_area}.get(what, hooked)
    want, told = true_particles(true, made(tiny), latent, LAMBDA, correct=True, others=made(tiny))
    got, *_, trace = sampled(ours[0], made(tiny), latent, ours[1], correct=True)
    near(got["samples"], want)
    assert [step["unique"] for step in trace["particles"]["steps"]] == told.unique().tolist()


@pytest.mark.parametrize(
    ("kind", "proposal"),
    [("sd15", "reward"), ("sd15", "none"), ("sd15", "full"), ("sdxl", "reward"), ("sd3", "reward"), ("sd3", "full")],
)
def test_a_tilted_mixture_is_that_of_stock_answers(tiny, kind, proposal):
    conds, latent = conds_of(kind), latent_of(kind)
    ours, true = pairs(tiny, kind, "full", lambda model: model)
    vae, reward = Vae(), Mean()
    if proposal == "full":  # stock answers have no gradient
        got, *_, trace = sampled(*ours[:1], conds, latent, ours[1], reward=reward, vae=vae, proposal=proposal)
        plain = sampled(*ours[:1], conds, latent, ours[1], reward=reward, vae=vae, proposal="none")[4]
        assert sum(trace["particles"]["scores"]) > sum(plain["particles"]["scores"])
        return

    def judged(x):
        return reward.score((ours[0].model.process_latent_out(x)[:, :3] * 0.2 + 0.5).clamp(0, 1).movedim(1, -1), [])

    from realign.realign_core import Tilt

    want, told = true_particles(true, conds, latent, LAMBDA, Tilt(judged, 1.0, gradient=proposal))
    got, _, scores, _, trace = sampled(ours[0], conds, latent, ours[1], reward=reward, vae=vae, proposal=proposal)
    near(got["samples"], want)
    torch.testing.assert_close(torch.tensor(scores).double(), told.asked[-1].flatten(), atol=1e-2, rtol=0)
    assert [step["unique"] for step in trace["particles"]["steps"]] == told.unique().tolist()


# As the plain sampler.


def plain(ours, conds, latent, lam, **options):
    return realign_sampler(*ours, conds, latent, lam, STEPS, CFG, "ddpm", **options)


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "sd3"])
def test_one_particle_without_a_reward_is_realign_sampler(models, kind):
    conds, latent, (reference, anchor) = conds_of(kind), tiny_models.latent(kind), models(kind)
    for lam in (0.0, LAMBDA, 1.0):
        want = plain((reference, anchor), conds, latent, lam)
        got = sampled(reference, conds, latent, anchor, lam, particles=1, pick="draw")
        assert torch.equal(got[0]["samples"], want[0]["samples"])
        assert torch.equal(got[1]["samples"], want[1]["samples"])
    alone = sampled(reference, conds, latent, particles=1, pick="draw")
    assert torch.equal(alone[0]["samples"], plain((reference, anchor), conds, latent, 0.0)[0]["samples"])


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_one_model_alone_has_nothing_to_correct(models, lam):
    """Its picture is the stock one, and is sampled once."""
    conds, latent, pair = conds_of("sd15"), latent_of("sd15"), models("sd15")
    want = plain(pair, conds, latent, lam)
    got = plain(pair, conds, latent, lam, correct=True, particles=N)
    assert torch.equal(got[0]["samples"], want[0]["samples"])
    assert json.loads(got[2])["model_calls"] == json.loads(want[2])["model_calls"] == STEPS


def test_the_first_of_a_group_is_the_picture_without_particles(models):
    """A reward that tells nothing apart re-draws nobody."""
    conds, latent, (reference, anchor) = conds_of("sd15"), latent_of("sd15"), models("sd15")
    want = plain((reference, anchor), conds, latent, LAMBDA)
    got = sampled(reference, conds, latent, anchor, reward=Plain(0.0), vae=Vae())
    near(got[0]["samples"][::N], want[0]["samples"])
    drawn = sampled(reference, conds, latent, anchor, reward=Plain(0.0), vae=Vae(), pick="draw")
    near(drawn[0]["samples"], want[0]["samples"])


def test_a_group_does_not_depend_on_what_is_sampled_beside_it(models, monkeypatch):
    conds, latent, (reference, anchor) = conds_of("sd15"), latent_of("sd15", 3), models("sd15")
    options = dict(anchor=anchor, reward=Mean(), vae=Vae())
    whole = sampled(reference, conds, latent, **options)
    monkeypatch.setattr(parts, "fitting", lambda *_: 1)
    apart = sampled(reference, conds, latent, **options)
    near(apart[0]["samples"], whole[0]["samples"])
    assert apart[4]["particles"]["picked"] == whole[4]["particles"]["picked"]
    for one, other in zip(apart[4]["particles"]["steps"], whole[4]["particles"]["steps"]):
        assert one["unique"] == other["unique"]


def test_a_sweep_is_corrected_cell_by_cell(models):
    conds, pair = conds_of("sd15"), models("sd15")
    latent, sweep, *_ = call(
        "RealignSweep",
        latent=latent_of("sd15", 1),
        values="list",
        start=0.0,
        end=1.0,
        count=3,
        listed="0, 0.4, 1",
        seeds=1,
        rows="seed",
        row_values="",
    )
    swept = plain(pair, conds, latent, 0.0, lambda_schedule=sweep, correct=True, particles=N)
    for column, lam in enumerate((0.0, 0.4, 1.0)):
        one = plain(pair, conds, latent_of("sd15", 1), lam, correct=True, particles=N)
        near(swept[0]["samples"][column], one[0]["samples"][0])


# Masks, cancelling, models.


def masked(kind):
    latent = tiny_models.latent(kind)
    mask = torch.zeros(1, 1, *latent["samples"].shape[-2:])
    mask[..., : mask.shape[-1] // 2] = 1
    return latent | {"noise_mask": mask}


def test_what_a_mask_keeps_is_kept_and_its_noise_goes_along(models, monkeypatch):
    conds, (reference, anchor) = conds_of("sd15"), models("sd15")
    latent, seen = masked("sd15"), []
    take = particles._Blended.take

    def watched(self, index):
        before = self.model.noise.clone()
        take(self, index)
        seen.append(torch.equal(self.model.noise, before[index]))

    monkeypatch.setattr(particles._Blended, "take", watched)
    got = sampled(reference, conds, latent, anchor, reward=Mean(), vae=Vae(), strength=0.1)
    assert seen
    assert all(seen)
    half = latent["samples"].shape[-1] // 2
    kept = latent["samples"][..., half:].repeat_interleave(N, 0)
    torch.testing.assert_close(got[0]["samples"][..., half:], kept, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "sd3"])
def test_a_cancelled_run_leaves_the_models_as_they_were(models, kind):
    conds, latent, (reference, anchor) = conds_of(kind), latent_of(kind), models(kind)
    before = plain((reference, anchor), conds, latent, LAMBDA)

    class Cancelled(Mean):
        def score(self, images, prompts):
            if self.asked > 3 * N:
                comfy.model_management.interrupt_current_processing()
            return super().score(images, prompts)

    for proposal in ("reward", "full"):
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            sampled(reference, conds, latent, anchor, reward=Cancelled(), vae=Vae(), proposal=proposal)
        assert not any("realign" in key for key in reference.additional_models)
        again = plain((reference, anchor), conds, latent, LAMBDA)
        assert torch.equal(again[0]["samples"], before[0]["samples"])
    weights = [*reference.model.parameters()]
    assert all(weight.grad is None for weight in weights)


def test_all_is_loaded_at_once_and_nothing_in_a_step(models, monkeypatch):
    conds, latent, (reference, anchor) = conds_of("sd15"), latent_of("sd15", 1), models("sd15")
    vae, loads = Vae(), []
    load = comfy.model_management.load_models_gpu

    def watched(patchers, *args, **kwargs):
        loads.append([one.model for one in patchers])
        return load(patchers, *args, **kwargs)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", watched)
    sampled(reference, conds, latent, anchor, reward=Mean(), vae=vae)
    assert len(loads) == 2  # to try the reward, and for the run
    assert all(any(one is model for one in loads[1]) for model in (reference.model, anchor.model, vae.patcher.model))


# What is told.


def test_a_held_out_reward_is_watched(models):
    conds, latent, (reference, anchor) = conds_of("sd15"), latent_of("sd15"), models("sd15")
    options = dict(anchor=anchor, reward=Mean(), vae=Vae(), pick="draw")
    alone, watched = (sampled(reference, conds, latent, **options, **more) for more in ({}, {"held_out": Plain(-1.0)}))
    assert torch.equal(alone[0]["samples"], watched[0]["samples"])
    told = watched[4]["particles"]
    assert told["held_out"] == "plain"
    for step in told["steps"]:
        assert [40 * -value for value in step["held_out"]] == pytest.approx(step["reward"], abs=1e-3)
        assert [40 * -value for value in step["held_out_drawn"]] == pytest.approx(step["reward_drawn"], abs=1e-3)
    assert told["steps"][-1]["reward_drawn"] == pytest.approx(told["scores"])


def test_pick(models):
    conds, latent, (reference, anchor) = conds_of("sd15"), latent_of("sd15"), models("sd15")
    options = dict(anchor=anchor, reward=Plain(), vae=Vae())
    every = sampled(reference, conds, latent, **options)
    best = sampled(reference, conds, latent, **options, pick="best")
    drawn = sampled(reference, conds, latent, **options, pick="draw")
    assert len(every[0]["samples"]) == len(every[2]) == 2 * N
    assert sum(every[3]) == pytest.approx(1)
    assert sorted(best[2], reverse=True) == sorted(every[2], reverse=True)[:2]
    for out in (best, drawn):
        picked = out[4]["particles"]["picked"]
        assert torch.equal(out[0]["samples"], every[0]["samples"][picked])
        assert out[2] == [every[2][element] for element in picked]


def test_pictures_are_a_larger_batch(models):
    conds, (reference, anchor) = conds_of("sd15"), models("sd15")
    options = dict(anchor=anchor, reward=Plain(), vae=Vae(), pick="draw")
    many = sampled(reference, conds, latent_of("sd15", 1), **options, pictures=3)
    batch = sampled(reference, conds, latent_of("sd15", 3), **options)
    assert torch.equal(many[0]["samples"], batch[0]["samples"])


def test_the_host_hears_of_pictures_and_not_of_particles(models):
    """The denoised output comes from its callback."""
    conds, latent, (reference, anchor) = conds_of("sd15"), latent_of("sd15"), models("sd15")
    got = sampled(reference, conds, latent, anchor, reward=Mean(), vae=Vae(), pick="draw")
    near(got[1]["samples"], got[0]["samples"])


def test_what_may_not_keep_pictures_apart_is_named(models, monkeypatch):
    conds, latent, (reference, _) = conds_of("sd15"), latent_of("sd15"), models("sd15")
    said = []
    monkeypatch.setattr("realign.nodes.live.show_text", lambda node_id, text: said.append(text))
    reference = reference.clone()
    reference.set_model_sampler_post_cfg_function(lambda args: args["denoised"])
    sampled(reference, conds, latent, reward=Mean(), vae=Vae())
    assert "may look at the other pictures of a batch" in said[-1]
    said.clear()
    sampled(models("sd15")[0], conds, latent, reward=Mean(), vae=Vae())
    assert "mean" in said[-1]
    assert "may look at" not in said[-1]
    monkeypatch.setattr(by_element, "NETWORKS", set())
    sampled(models("sd15")[0], conds, latent, reward=Mean(), vae=Vae())
    assert "The network “BaseModel” is not known to keep the pictures of a batch apart" in said[-1]


# Refusals.


class Broken(Mean):
    """As `how`; from the `after`-th picture on."""

    name = "broken"

    def __init__(self, how, after=0):
        super().__init__()
        self.how, self.after = how, after

    def score(self, images, prompts):
        out = super().score(images, prompts)
        if self.asked <= self.after:
            return out
        if self.how == "raises":
            raise RuntimeError("no such file")
        return {"nan": out * float("nan"), "shape": out[:, None], "python": out.tolist()}[self.how]


@pytest.mark.parametrize("how", ["raises", "nan", "shape", "python"])
def test_a_reward_that_fails_is_refused_before_the_first_model_call(models, how):
    conds, latent, (reference, _) = conds_of("sd15"), latent_of("sd15"), models("sd15")
    reference = reference.clone()
    reference.set_model_unet_function_wrapper(lambda *_: pytest.fail("a model was called"))
    with pytest.raises(RewardError, match="broken"):
        sampled(reference, conds, latent, reward=Broken(how), vae=Vae())


@pytest.mark.parametrize("how", ["raises", "nan", "shape", "python"])
def test_a_reward_that_fails_later_is_told_with_its_step(models, how):
    conds, latent, (reference, _) = conds_of("sd15"), latent_of("sd15"), models("sd15")
    with pytest.raises(ValueError, match=rf"step 2 of {STEPS}: .*broken"):
        sampled(reference, conds, latent, reward=Broken(how, 2 + 2 * N), vae=Vae())


REFUSED = {
    "eta": (dict(reward=True, eta=0.0), "particles need eta above 0"),
    "vae": (dict(reward=True, vae=None), "connect the “vae”"),
    "nothing": (dict(), "3 particles are weighed by a reward, and there is none"),
    "correct": (dict(reward=True, correct=True), "there is none: connect one, or turn it off"),
    "best": (dict(particles=1, pick="best"), "Without a reward no particle is the best"),
    "proposal": (dict(reward="plain", proposal="full"), "has no gradient, so that nothing can be drawn towards it"),
    "tempering": (dict(reward=True, proposal="none", tempering="curvature"), "needs a gradient, and there is none"),
    "leftover": (dict(reward=True, end_at_step=3, return_with_leftover_noise=True), "ends at σ = 0"),
    "prompt": (dict(reward="words"), "compares pictures with a text"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_sampled_is_refused_before_the_first_model_call(models, case):
    conds, latent, (reference, _) = conds_of("sd15"), latent_of("sd15"), models("sd15")
    options, words = REFUSED[case]
    rewards = {True: Mean(), "plain": Plain(), "words": Mean()}
    rewards["words"].needs_prompt = True
    options = {"vae": Vae()} | options
    if "reward" in options:
        options["reward"] = rewards[options["reward"]]
    reference = reference.clone()
    reference.set_model_unet_function_wrapper(lambda *_: pytest.fail("a model was called"))
    with pytest.raises(ValueError, match=words):
        sampled(reference, conds, latent, **options)


def test_a_prompt_for_each_picture_is_refused(models):
    latent, (reference, anchor) = latent_of("sd15"), models("sd15")
    conds = [[[torch.cat([one[0][0]] * 2), one[0][1]]] for one in conds_of("sd15")]
    plain((reference, anchor), conds, latent, LAMBDA)
    with pytest.raises(ValueError, match="Particles need one prompt for all pictures"):
        plain((reference, anchor), conds, latent, LAMBDA, correct=True)


@pytest.mark.parametrize("sampler", ["ddim"])
def test_correct_needs_noise(models, sampler):
    conds, latent, pair = conds_of("sd15"), latent_of("sd15"), models("sd15")
    with pytest.raises(ValueError, match="particles need eta above 0"):
        realign_sampler(*pair, conds, latent, LAMBDA, STEPS, CFG, sampler, correct=True)
