"""λ Sweep's “draft”: fewer model calls, pictures near the exact ones, and nothing else."""

from __future__ import annotations

import json

import pytest
import torch
import toy_models
from host_runs import distance, realign, realign_guider, sampled, stock_guider
from realign.nodes.demo import RealignDemoModels
from realign.nodes.models.anchor import Anchor
from realign.nodes.models.formats import adapter_clone
from realign.nodes.models.low_rank import factorise
from realign.nodes.trace import RealignTrace
from realign.realign_core import LambdaSchedule
from rounding import CEILING as TOLERANCE
from test_adapters import Calls
from test_fewer_calls import NEAR, spread
from test_prompts import prompts_of
from test_sweep import element, sweep_of

STEPS, LAMBDAS = 20, (0.0, 0.4, 0.7, 1.0)
BETWEEN = (1, 2)  # the pictures of two models
CONDS = toy_models.CONDS
METHOD = {"full": "difference reuse", "lora": "control variate"}


@pytest.fixture(scope="module")
def demo():
    """The trained models: {kind of anchor: pair}, conditionings, latent."""
    with torch.inference_mode():
        reference, anchor, *conds = RealignDemoModels.execute("heart", "any", "any").args[:4]
        difference, _ = factorise(reference, anchor[0].patcher, 4096)  # kept whole
        lora = adapter_clone(reference, difference, 1.0, "demo")[0]
    pairs = {"full": (reference, anchor[0].patcher), "lora": (reference, lora)}
    return pairs, conds, {"samples": torch.zeros(1, 3, 64, 64)}


def toys(anchor="full"):
    reference = toy_models.toy_model(seed=1)
    return reference, (toy_models.with_lora(reference) if anchor == "lora" else toy_models.toy_model(seed=2))


def swept(pair, conds, latent, lambdas=LAMBDAS, run=None, **options):
    """(calls a step of each picture that is no end, LATENT, trace) of Realign Sampler. run: its own settings."""
    batch, sweep = sweep_of(latent, lambdas, **options)
    settings = {"steps": STEPS, "cfg": 1.5, **(run or {})}
    with Calls(pair[0]) as rows, Calls(pair[1] if not pair[0].is_clone(pair[1]) else toys()[0]) as more:
        out, _, text = realign(pair, *conds, batch, 0.5, lambda_schedule=sweep, **settings)
    each = (sum(rows) + sum(more)) / 2 / settings["steps"] / sweep.rows  # cfg: two rows for each model asked
    ends = sum(value in (0.0, 1.0) for value in lambdas)
    return (each - ends) / (len(lambdas) - ends), out, json.loads(text)


@pytest.mark.parametrize("sampler", ["ddpm", pytest.param("ddim", marks=pytest.mark.thorough)])
@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_about_1_2_calls_a_step_for_pictures_near_the_exact_ones(demo, anchor, sampler):
    pairs, conds, latent = demo
    run = dict(sampler=sampler)
    exact_calls, exact, exact_trace = swept(pairs[anchor], conds, latent, run=run)
    calls, draft, trace = swept(pairs[anchor], conds, latent, run=run, draft=True)
    assert exact_calls == pytest.approx(2)
    assert 1.1 <= calls <= 1.35
    assert (exact_trace["sweep"]["draft"], trace["sweep"]["draft"]) == (False, True)
    assert trace["model_calls_saved"] > exact_trace["model_calls_saved"] == 0
    for place, lam in ((0, 0.0), (3, 1.0)):  # the stock runs (test_parity.py)
        single = realign(pairs[anchor], *conds, latent, lam, steps=STEPS, cfg=1.5, sampler=sampler)[0]
        assert torch.equal(element(draft, place)["samples"], single["samples"])
    for place in BETWEEN:
        apart = spread(element(draft, place), element(exact, place))
        assert 0 < apart < NEAR[METHOD[anchor]] * spread(element(exact, 0), element(exact, place))


@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_which_of_the_two_ways(anchor):
    """Mixed weights where the anchor is on the reference's; a full anchor's would take a third copy for each λ."""
    _, draft, _ = swept(toys(anchor), CONDS, toy_models.latent(), draft=True)
    for method in METHOD.values() if anchor == "lora" else [METHOD["full"]]:
        same = swept(toys(anchor), CONDS, toy_models.latent(), run=dict(fewer_calls=method))[1]
        alike = all(distance(element(draft, i), element(same, i)) <= TOLERANCE for i in BETWEEN)
        assert alike == (method == METHOD[anchor])


@pytest.mark.parametrize(
    "options",
    [
        {"lambda_schedule": LambdaSchedule("linear", 0.2, 1.0)},
        {"run": {"lambda_mask": torch.full((1, 8, 8), 0.5)}},
        {"run": {"anchor_cfg": 3.0}},
        {"run": {"anchor_eta": 0.8}, "lambdas": (0.0, 0.4, 0.7)},
    ],
    ids=str,
)
def test_differences_are_reused_where_mixed_weights_are_not_for_all_steps(options):
    """Or would make a picture depend on those beside it."""
    inputs = toys("lora"), CONDS, toy_models.latent()
    calls, draft, _ = swept(*inputs, draft=True, **options)
    reuse = {**options, "run": {**options.get("run", {}), "fewer_calls": "difference reuse"}}
    _, same, _ = swept(*inputs, **reuse)
    exact_calls, _, _ = swept(*inputs, **options)
    assert calls < exact_calls - 0.3
    assert distance(draft, same) <= TOLERANCE


def test_the_samplers_own_choice_goes_first():
    own = dict(run=dict(fewer_calls="difference reuse"))
    inputs = toys("lora"), CONDS, toy_models.latent()
    assert torch.equal(swept(*inputs, draft=True, **own)[1]["samples"], swept(*inputs, **own)[1]["samples"])


@pytest.mark.parametrize("schedule", [None, LambdaSchedule("linear", 0.2, 1.0)])
@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_one_picture_of_a_draft_is_a_draft_too(anchor, schedule):
    options = dict(draft=True, seeds=2, lambda_schedule=schedule)
    inputs = toys(anchor), CONDS, toy_models.latent()
    _, whole, _ = swept(*inputs, **options)
    one, alone = sweep_of(toy_models.latent(), LAMBDAS, only="2, 3", **options)
    single = realign(toys(anchor), *CONDS, one, 0.5, cfg=1.5, steps=STEPS, lambda_schedule=alone)[0]
    assert distance(single, element(whole, 6)) <= TOLERANCE
    one, last = sweep_of(toy_models.latent(), LAMBDAS, only="2, 4", **options)  # at λ 1 in the last step
    end = realign(toys(anchor), *CONDS, one, 0.5, cfg=1.5, steps=STEPS, lambda_schedule=last)[0]
    assert distance(end, element(whole, 7)) <= TOLERANCE
    one, alone = sweep_of(toy_models.latent(), LAMBDAS, only="2, 3", **options | {"draft": False})
    exact = realign(toys(anchor), *CONDS, one, 0.5, cfg=1.5, steps=STEPS, lambda_schedule=alone)[0]
    assert distance(single, exact) > TOLERANCE


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m_sde", "heun"])
def test_samplers_of_the_host_and_prompts(demo, sampler):
    pairs, (positive, negative), latent = demo
    other = RealignDemoModels.execute("star", "red", "any").args[2]
    batch, sweep = sweep_of(latent, (0.0, 0.5), draft=True, prompts=prompts_of(positive, other))
    guider = realign_guider(pairs["full"], positive, negative, 0.9, 1.5, lambda_schedule=sweep)
    run = dict(sampler=sampler, steps=STEPS)
    draft = sampled(guider, batch, **run)
    trace = json.loads(RealignTrace.execute(draft, guider=guider).args[1])
    assert trace["model_calls_saved"] > 0
    for row, prompt in enumerate((positive, other)):
        stock = sampled(stock_guider(pairs["full"][0], prompt, negative, 1.5), latent, **run)
        assert distance(element(draft, 2 * row), stock) <= TOLERANCE  # both prompts in one batch
        exact = sampled(realign_guider(pairs["full"], prompt, negative, 0.5, 1.5), latent, **run)
        assert 0 < spread(element(draft, 2 * row + 1), exact) < NEAR["difference reuse"] * spread(stock, exact)


def test_every_kl_cannot_be_known_of_a_draft():
    """λ 0 and 1 stay the stock runs, without a second model that would only be watched."""
    calls, _, trace = swept(toys(), CONDS, toy_models.latent(), draft=True, measure_ends=True)
    assert calls < 1.35
    assert trace["kl_reference"][0] == 0
    assert trace["kl_reference"][3] is None


def test_a_corrected_run_needs_every_answer():
    run = dict(steps=4, correct=True, particles=2)
    inputs = toys("lora"), CONDS, toy_models.latent(), (0.4, 0.7)
    exact, draft = (swept(*inputs, run=run, draft=draft)[1] for draft in (False, True))
    assert torch.equal(exact["samples"], draft["samples"])


def test_several_anchors():
    """Calls are spent on the anchors that take part: at λ 0 of one that is the other alone."""
    first, second = toys()
    anchors = (Anchor(second, "a"), Anchor(toy_models.toy_model(seed=3), "b", schedule=LambdaSchedule(start=0.3)))
    inputs = (first, anchors), CONDS, toy_models.latent()
    batch, sweep = sweep_of(toy_models.latent(), (0.0, 0.5, 1.0), draft=True)
    got = realign(*inputs[:1], *CONDS, batch, 0.5, steps=8, lambda_schedule=sweep)[0]
    for i, lam in enumerate((0.0, 0.5, 1.0)):
        alone = sweep_of(toy_models.latent(), (lam,), draft=True)[1]
        single = realign(*inputs[:1], *CONDS, toy_models.latent(), 0.5, steps=8, lambda_schedule=alone)[0]
        assert distance(element(got, i), single) <= TOLERANCE
