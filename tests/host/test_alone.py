"""Runs of one model alone, λ = 0 or 1: stock bit for bit, and with a trace that says what was done."""

from __future__ import annotations

import json

import comfy.samplers
import pytest
import torch
import toy_models
from compared import cells_of, told_by
from host_runs import realign, realign_guider, same, sampled, stock_guider
from realign.nodes.combine_anchors import RealignAddAnchor
from realign.nodes.compare import RealignCompare
from realign.nodes.grid import RealignGrid
from realign.nodes.guider import RealignModel
from realign.nodes.models.anchor import Anchor
from realign.nodes.report import RealignReport
from realign.nodes.sweep import RealignSweep
from realign.nodes.trace import RealignTrace
from test_adapters import Calls
from test_guider import SAMPLERS

import nodes as host

# How often these ask in each step; in the last one, whose σ ends at 0, once.
ASKED = {"heun": 2, "heunpp2": 3, "dpm_2": 2, "dpm_2_ancestral": 2, "dpmpp_2s_ancestral": 2, "dpmpp_sde": 2}
ASKED |= {"seeds_2": 2, "seeds_3": 3, "exp_heun_2_x0": 2, "dpmpp_2s_ancestral_cfg_pp": 2}
OWN_STEPS = ("dpm_fast", "dpm_adaptive")


@pytest.fixture(scope="module")
def pair():
    return [toy_models.toy_model(seed=seed) for seed in (1, 2)]


def trace_of(latent, **behind):
    return json.loads(RealignTrace.execute(latent, **behind).args[1])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_is_stock_and_its_calls_are_counted(pair, sampler):
    sigmas = [0.6, 0.4, 0.0] if sampler == "dpm_adaptive" else [2.0, 1.1, 0.9, 0.4, 0.0]

    def run(guider):
        return sampled(
            guider, toy_models.latent(2), sampler=sampler, sigmas=torch.tensor(sigmas)
        )  # uni_pc writes on it

    for end, model in enumerate(pair):
        with Calls(model) as calls:
            want = run(stock_guider(model, *toy_models.CONDS))
        guider = realign_guider(pair, *toy_models.CONDS, float(end))
        got = run(guider)
        trace = trace_of(got, guider=guider)
        assert same(got, want)
        assert trace["model_calls"] == len(calls)
        assert all(step["lambdas"] == [[end, end]] for step in trace["steps"])
        assert trace["kl_reference"] == ([0.0, 0.0] if end == 0 else [None, None])
        assert trace["kl_anchors"] == [[None, None] if end == 0 else [0.0, 0.0]]
        if sampler in OWN_STEPS:
            continue
        assert [step["sigma"] for step in trace["steps"]] == pytest.approx(sigmas[:-1])
        assert [step["sigma_next"] for step in trace["steps"]] == pytest.approx(sigmas[1:])
        if sampler in ASKED:
            each = [step["model_calls"] for step in trace["steps"]]
            assert each[0] == ASKED[sampler]
            assert each[-1] == 1
            assert each[1:-2] == each[:1]  # heunpp2 asks twice in the last but one


def test_without_a_callback(pair):
    """A script may sample without one."""
    guider = realign_guider(pair, *toy_models.CONDS, 1.0)
    latent = toy_models.latent()
    euler, sigmas = comfy.samplers.sampler_object("euler"), torch.tensor([2.0, 1.0, 0.0])
    out = guider.sample(torch.ones_like(latent["samples"]), latent["samples"], euler, sigmas, seed=1)
    assert [step["model_calls"] for step in trace_of({"samples": out}, guider=guider)["steps"]] == [1, 1]


def test_of_several_anchors_the_one_that_runs(pair):
    second = (Anchor(toy_models.toy_model(seed=3), "second"),)
    both = RealignAddAnchor.execute((Anchor(pair[1], "first"),), second, 0.0, 1.0).args[0]
    guider = realign_guider((pair[0], both), *toy_models.CONDS, 1.0)
    trace = trace_of(sampled(guider, toy_models.latent(), steps=2), guider=guider)
    assert [step["lambdas"] for step in trace["steps"]] == [[[0.0], [1.0]]] * 2
    assert (trace["kl_reference"], trace["kl_anchors"]) == ([None], [[None], [0.0]])


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_realign_model_has_one_too(pair, end):
    model = RealignModel.execute(pair[0], (Anchor(pair[1], "anchor"),), end).args[0]
    latent = host.common_ksampler(model, 1, 3, 2.0, "heun", "normal", *toy_models.CONDS, toy_models.latent())[0]
    assert [step["model_calls"] for step in trace_of(latent, model=model)["steps"]] == [2, 2, 1]


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_realign_sampler_and_guider_tell_the_same(pair, end):
    ours = json.loads(realign(pair, *toy_models.CONDS, toy_models.latent(2), end, sampler="ddim")[2])
    guider = realign_guider(pair, *toy_models.CONDS, end)
    theirs = trace_of(sampled(guider, toy_models.latent(2), sampler="ddim"), guider=guider)
    assert len(ours["steps"]) == 4
    for key in ("steps", "model_calls", "kl_reference", "kl_anchors"):
        assert ours[key] == theirs[key]


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_grid_compare_and_report_take_it(pair, end):
    guider = realign_guider(pair, *toy_models.CONDS, end)
    latent = sampled(guider, toy_models.latent(), steps=3)
    text = RealignTrace.execute(latent, guider=guider).args[1]
    image = torch.rand(1, 32, 32, 3)
    RealignGrid.execute(image, trace=text)
    told = cells_of(told_by(RealignCompare.execute(image, trace=text)))[0]
    assert told["label"] == f"λ {end:g}"
    report = json.loads(RealignReport.execute(text).args[1])
    assert report["pictures"][0]["lambda"] == end
    assert len(report["steps"]) == 3


def test_parts_of_a_sweep_that_are_one_model_alone(pair):
    """One picture at a time: λ 0 and 1 are runs of one model, and the sweep's trace knows them."""
    settings = dict(values="list", start=0.0, end=1.0, count=2, seeds=1, rows="seed", row_values="", batch_size=1)
    latent, sweep = RealignSweep.execute(toy_models.latent(), listed="0, 0.5, 1", **settings).args
    guider = realign_guider(pair, *toy_models.CONDS, 0.5, lambda_schedule=sweep)
    trace = trace_of(sampled(guider, latent, steps=3), guider=guider)
    assert trace["kl_reference"][0] == 0
    assert trace["kl_reference"][1] > 0
    assert trace["kl_anchors"][0][2] == 0
    assert [step["lambdas"] for step in trace["steps"]] == [[[0.0, 0.5, 1.0]]] * 3
    assert trace["model_calls"] == pytest.approx(3 * (1 + 2 + 1) / 3)
