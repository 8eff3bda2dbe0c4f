"""Which step a question of the sampler belongs to: λ, KL and calls of a step are those of the sampler's own step."""

import json
from collections import Counter

import comfy.samplers
import pytest
import torch
import toy_models
from realign.nodes.models.pair import noise_level
from realign.nodes.run.steps import Steps, nearest_step
from realign.realign_core.posterior import kl_increment
from truth import BOUND, call, distance, mixture, realign_guider, sampled, show, sigmas_of

STEPS, CFG = 20, 2.0
# They ask twice in each step but the last: at its level, and once at a level of their own.
ASKED = {"dpm_2": 2, "dpm_2_ancestral": 2, "dpmpp_2s_ancestral": 2, "dpmpp_sde": 2}  # per step; in the last one: 1


def schedule(start, end, at):
    """λ is `start` before the fraction `at` of the steps, and `end` after it."""
    return call("LambdaSchedule", shape="step", start=start, end=end, begin=at, stop=at, scale=1.0, offset=0.0,
                over="steps", sigma_max=0.0, sigma_min=0.0, steps=STEPS)[0]  # fmt: skip


def models():
    return toy_models.toy_model(seed=1), toy_models.toy_model(seed=2)


@pytest.mark.parametrize("name", ASKED)
def test_a_schedule_flips_at_its_step(name):
    latent, conds, ours = toy_models.latent(1), toy_models.CONDS, models()
    sigmas, worst = sigmas_of(ours[0], STEPS, "karras", name), 0.0
    for at in (0.35, 0.5, 0.55):
        lambdas = [1.5 if i / (STEPS - 1) < at else 0.0 for i in range(STEPS)]
        true = mixture(models(), lambda k, lambdas=lambdas: lambdas[k // ASKED[name]], conds, latent, name, sigmas, CFG)
        guider = realign_guider(*ours, conds, 1.0, CFG, lambda_schedule=schedule(1.5, 0.0, at))
        worst = max(worst, distance(sampled(guider, latent, name, sigmas), true))
    show(f"λ's step, {name}", f"{worst:.2e} std", f"<= {BOUND:g}")
    assert worst <= BOUND


@pytest.mark.parametrize("name", ASKED)
def test_calls_per_step(name):
    latent, conds, ours = toy_models.latent(1), toy_models.CONDS, models()
    guider = realign_guider(*ours, conds, 0.5, CFG)
    out = sampled(guider, latent, name, sigmas_of(ours[0], STEPS, "karras", name))
    trace = json.loads(call("RealignTrace", latent=out, guider=guider)[1])
    calls = [int(step["model_calls"]) for step in trace["steps"]]
    wanted = [2 * ASKED[name]] * (STEPS - 1) + [2]  # two models, each asked as often as the sampler asks
    show(f"calls per step, {name}", calls, f"{wanted[:2]} … {wanted[-1:]}")
    assert calls == wanted


class Heard:
    """Between a sampler and what it asks: at which levels it does, and what each answer was made of."""

    def __init__(self, model, levels, answers):
        self.model, self.levels, self.answers = model, levels, answers

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __call__(self, x, sigma, **extra):
        self.levels.append(float(sigma[0]))
        out = self.model(x, sigma, **extra)
        self.answers.append((out.double(), *self.model.ds))
        return out


# Begins with too long a step, so that some are taken again.
CHOOSING = {"dpm_fast": {}, "dpm_adaptive": {"h_init": 2.0, "rtol": 0.02, "atol": 0.002}}


@pytest.mark.parametrize("flow", [False, True], ids=["ve", "flow"])
@pytest.mark.parametrize("name", CHOOSING)
@pytest.mark.parametrize("start", [1.5, 1.0], ids=["both", "alone"])
def test_a_sampler_that_chooses_its_steps(name, flow, start):
    """Each of them, of three questions, has the λ of where it begins. Its KL is that from there to where the next one
    begins; what the sampler takes again costs calls alone."""
    kind = {"kind": comfy.model_base.ModelType.FLOW} if flow else {}
    (*ours, other, another), latent = (
        [toy_models.toy_model(seed=seed, **kind) for seed in (1, 2, 1, 2)],
        toy_models.latent(1),
    )
    sampler, sigmas = comfy.samplers.ksampler(name, CHOOSING[name]), sigmas_of(ours[0], STEPS, "simple", name)
    levels, answers, end = [], [], 1.0 if start == 1 else 0.0

    def step(question):
        return nearest_step(sigmas[:-1].tolist(), levels[question // 3 * 3])

    def lam(question):
        return start if step(question) / (STEPS - 1) < 0.55 else end

    def own(model, *args, **options):
        return sampler.sampler_function(Heard(model, levels, answers), *args, **options)

    true = mixture((other, another), lam, toy_models.CONDS, latent, sampler, sigmas, CFG, own=own)
    guider = realign_guider(*ours, toy_models.CONDS, 1.0, CFG, lambda_schedule=schedule(start, end, 0.55))
    out = sampled(guider, latent, sampler, sigmas)
    assert distance(out, true) <= BOUND

    firsts = range(0, len(levels), 3)
    taken = [at for at in firsts if at + 3 >= len(levels) or levels[at + 3] < levels[at]]
    assert (name == "dpm_adaptive") == (len(taken) < len(firsts))
    kl, calls = {}, Counter()
    for at, then in zip(taken, [*(levels[at] for at in taken[1:]), float(sigmas[-2])]):
        both, reference, _ = answers[at]
        more = kl_increment(both, reference, *(noise_level(ours[0], sigma) for sigma in (levels[at], then)))
        kl[step(at)] = kl.get(step(at), 0.0) + float(more)
    for question in range(len(levels)):
        calls[step(question)] += 2 if lam(question) == 1.5 else 1
    told = json.loads(call("RealignTrace", latent=out, guider=guider)[1])["steps"]
    places = [nearest_step(sigmas[:-1].tolist(), one["sigma"]) for one in told]
    assert dict(zip(places, (one["model_calls"] for one in told))) == calls
    if start == 1.5:
        assert dict(zip(places, (one["kl_reference"][0] for one in told))) == pytest.approx(kl, rel=1e-3, abs=1e-6)
        assert {lam(question) for question in range(len(levels))} == {start, end}


OTHER = {"dpm_fast", "dpm_adaptive", "ar_video"}  # they choose their steps, or ask the network itself


@pytest.mark.parametrize("flow", [False, True], ids=["ve", "flow"])
@pytest.mark.parametrize("name", [name for name in comfy.samplers.SAMPLER_NAMES if name not in OTHER])
def test_every_sampler_of_the_host(name, flow, monkeypatch):
    """As the run itself tells: a step once its first question is answered, and what else is asked belongs to it."""
    events, of = [], Steps.of

    def spied(self, sigma):
        events.append(step := of(self, sigma))
        return step

    monkeypatch.setattr(Steps, "of", spied)
    kind = {"kind": comfy.model_base.ModelType.FLOW} if flow else {}
    ours = [toy_models.toy_model(seed=seed, **kind) for seed in (1, 2)]
    guider = realign_guider(*ours, toy_models.CONDS, 0.5, CFG)
    sigmas = sigmas_of(ours[0], 6, "simple", name)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    told = lambda step, *_: events.append(("told", step))  # noqa: E731
    guider.sample(noise, torch.zeros_like(noise), comfy.samplers.sampler_object(name), sigmas, callback=told, seed=1)
    ends = [i for i, event in enumerate(events) if isinstance(event, tuple)]
    assert [events[i][1] for i in ends] == list(range(len(sigmas) - 1))
    for step, (end, following) in enumerate(zip(ends, [*ends[1:], len(events) + 1])):
        assert events[end - 1] == step
        assert set(events[end + 1 : following - 1]) <= {step}
    if name in ASKED:
        assert len(events) - len(ends) == 2 * len(ends) - 1


def test_where_somebody_else_asks_too_sigma_tells():
    sigmas = [8.0, 4.0, 2.0, 0.0]
    steps = Steps(sigmas, [(8.0, 0), (4.0, 0), (4.0, 1)])
    assert [steps.of(8.0), steps.of(4.0)] == [0, 0]
    assert [steps.of(2.1), steps.of(4.0)] == [nearest_step(sigmas[:-1], 2.1), 1]


def test_a_rehearsal_takes_none_of_the_runs_draws():
    """Samplers that draw from the global state go on as without it."""
    churned = comfy.samplers.KSAMPLER(comfy.samplers.sampler_object("euler").sampler_function, {"s_churn": 5.0})
    ours, latent = models(), toy_models.latent(1)
    sigmas = sigmas_of(ours[0], 5, "karras", "euler")
    true = mixture(models(), 0.5, toy_models.CONDS, latent, churned, sigmas, CFG)
    assert distance(sampled(realign_guider(*ours, toy_models.CONDS, 0.5, CFG), latent, churned, sigmas), true) <= BOUND


def test_a_rehearsal_is_nothing_to_what_nodes_put_behind_the_guidance():
    """Some of it keeps state from question to question."""
    seen, latent = ([], []), toy_models.latent(1)

    def watched(model, log):
        clone = model.clone()
        clone.set_model_sampler_post_cfg_function(lambda args: log.append(args["input"].shape) or args["denoised"])
        return clone

    ours = [watched(model, log) for model, log in zip(models(), seen)]
    sampled(realign_guider(*ours, toy_models.CONDS, 0.5, CFG), latent, "euler", sigmas_of(ours[0], 4))
    assert seen == ([torch.Size([1, 4, 8, 8])] * 4,) * 2
