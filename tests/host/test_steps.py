"""Which step a question of the sampler belongs to: λ, KL and calls of a step are those of the sampler's own step."""

import json

import comfy.samplers
import pytest
import torch
import toy_models
from realign.nodes.run.steps import Steps, nearest_step
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


OTHER = {"dpm_fast", "dpm_adaptive", "ar_video"}  # they have steps of their own, or ask the network itself


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
