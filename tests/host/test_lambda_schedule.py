"""The λ schedule node: what it makes, its plot, the host's curve, and what the sampler does with it."""

from __future__ import annotations

import json

import comfy.samplers
import folder_paths
import numpy as np
import pytest
import tiny_models
import toy_models
from comfy_api.input import CurveInput
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, SamplerCustomAdvanced
from host_runs import conds_of, distance, realign, realign_guider, sampled, stock
from PIL import Image
from realign.nodes.lambda_schedule import SHAPES, LambdaSchedule
from realign.nodes.models.anchor import Anchor
from realign.nodes.pictures.plot import schedule_plot
from realign.nodes.run.attach import attach
from realign.nodes.run.realignment import Realignment
from realign.realign_core import LambdaSchedule as Schedule
from realign.realign_core.schedule import SHAPES as CORE_SHAPES
from rounding import assert_agree

import nodes as host

DEFAULTS = {i.id: i.default for i in LambdaSchedule.define_schema().inputs if getattr(i, "default", None) is not None}
DEFAULTS |= {"over": "steps", "curve": None}


def schedule(**inputs):
    return LambdaSchedule.execute(**{**DEFAULTS, **inputs})


def test_the_node_offers_every_shape():
    assert sorted(SHAPES) == sorted(CORE_SHAPES)


@pytest.mark.parametrize("interpolation", ["monotone_cubic", "linear"])
def test_curve_is_the_host_editors(interpolation):
    raw = {"points": [[0, 0.1], [0.3, 0.9], [0.55, 0.2], [1, 1]], "interpolation": interpolation}
    ours = schedule(shape="curve", curve=raw, scale=1.5, offset=0.25).args[0]
    theirs = CurveInput.from_raw(raw)
    for p in np.linspace(0, 1, 301):
        assert abs(ours.at(float(p)) - (0.25 + 1.5 * theirs.interp(float(p)))) < 0.02


@pytest.mark.parametrize("curve", [None, {"points": []}])
def test_a_missing_curve_is_said(curve):
    with pytest.raises(ValueError, match="curve"):
        schedule(shape="curve", curve=curve)


@pytest.mark.parametrize("points", [[[-0.1, 0], [1, 1]], [[0, 0], [1.5, 1]], [[0, 0], [1, 10.5]]])
def test_a_curve_outside_of_the_run_is_refused(points):
    sentence = "each of its points must be a position from 0 to 1 and a λ from -10 to 10"
    for curve in ({"points": points}, CurveInput.from_raw(points)):
        with pytest.raises(ValueError, match=sentence):
            schedule(shape="curve", curve=curve)


@pytest.mark.parametrize("beta", [None, 5000.0])
def test_plot_is_shown_on_the_node(models, beta):
    shown = schedule(anchor=(Anchor(models("sd15")[1], "a", beta),)).ui.as_dict()["images"]
    path = f"{folder_paths.get_temp_directory()}/{shown[0]['filename']}"
    picture = np.asarray(Image.open(path).convert("RGB"), dtype=int)
    assert picture.shape == (520 if beta else 260, 640, 3)
    blue = (np.abs(picture - [96, 165, 250]).sum(-1) < 30).nonzero()
    assert blue[0].max() - blue[0].min() > 150  # the linear schedule climbs the panel


@pytest.mark.parametrize(
    "lambdas", [[0.0], [0.0] * 5, [1.0] * 5, [-2.0, 3.0], [1e-9] * 3, [0.5] * 2000, list(np.linspace(0, 1.5, 7))]
)
@pytest.mark.parametrize("beta", [None, 0.04, 5000.0])
def test_any_schedule_can_be_plotted(lambdas, beta):
    image = schedule_plot(lambdas, beta, "steps")
    assert image.ndim == 4
    assert 0 <= image.min() <= image.max() <= 1


def test_a_constant_schedule_is_the_slider(models):
    pair, conds, latent = models("toy"), conds_of("toy"), tiny_models.latent("toy")
    by_schedule = realign(pair, *conds, latent, 0.0, lambda_schedule=schedule(shape="constant", start=0.7).args[0])
    assert distance(by_schedule[0], realign(pair, *conds, latent, 0.7)[0]) == 0


def test_interval_calls_the_anchor_only_inside(models):
    pair, latent = models("toy"), tiny_models.latent("toy")
    inside = schedule(shape="interval", start=0.5, begin=0.3, stop=0.7, offset=0.2).args[0]
    trace = json.loads(realign(pair, *conds_of("toy"), latent, 0.0, steps=11, lambda_schedule=inside)[2])
    assert [s["model_calls"] for s in trace["steps"]] == [1] * 3 + [2] * 5 + [1] * 3
    assert [s["lambdas"][0][0] for s in trace["steps"]] == pytest.approx([0] * 3 + [0.7] * 5 + [0] * 3)


def test_step_from_reference_to_anchor_is_two_stock_runs(models):
    """λ 0 for the first half and 1 for the second: the stock reference hands over to the stock anchor."""
    (reference, anchor), conds, latent = models("toy"), conds_of("toy"), tiny_models.latent("toy")
    switch = schedule(shape="step", start=0.0, end=1.0, begin=0.5).args[0]
    got = realign((reference, anchor), *conds, latent, 0.0, "ddim", steps=8, lambda_schedule=switch)[0]
    half = stock(reference, *conds, latent, "ddim", steps=8, last_step=4)
    want = stock(anchor, *conds, half, "ddim", steps=8, start_step=4, disable_noise=True, force_full_denoise=True)
    assert_agree(got, want, (reference, anchor), conds)


def test_split_run_has_the_undivided_runs_lambda(models):
    pair, conds, latent = models("toy"), conds_of("toy"), tiny_models.latent("toy")
    options = dict(sampler="ddim", steps=8, lambda_schedule=schedule(start=0.0, end=1.5).args[0])
    whole = realign(pair, *conds, latent, 0.0, **options)[0]
    half = realign(pair, *conds, latent, 0.0, end_at_step=3, return_with_leftover_noise=True, **options)[0]
    joined = realign(pair, *conds, half, 0.0, start_at_step=3, add_noise=False, **options)[0]
    assert_agree(joined, whole, pair, conds)


def test_a_split_run_over_noise_levels_has_the_undivided_runs_lambda():
    """With the guider and the MODEL each part counts its own steps, but the noise levels are those of the whole."""
    pair, latent = (toy_models.toy_model(seed=1), toy_models.toy_model(seed=2)), toy_models.latent(1)
    sigmas = comfy.samplers.calculate_sigmas(pair[0].get_model_object("model_sampling"), "karras", 6)
    whole = Schedule("linear", 0.0, 1.5, domain="sigma", sigma_max=float(sigmas[0]), sigma_min=float(sigmas[-2]))
    conds, euler = toy_models.CONDS, comfy.samplers.sampler_object("euler")

    def run(schedule):
        guider = realign_guider(pair, *conds, 1.0, lambda_schedule=schedule)
        undivided = sampled(guider, latent, sigmas=sigmas)
        first = sampled(guider, latent, sigmas=sigmas[:4])
        rest = SamplerCustomAdvanced.execute(Noise_EmptyNoise(), guider, euler, sigmas[3:], first).args[0]
        model = attach(pair[0], Realignment.of((Anchor(pair[1], "a"),), 1.0, schedule))
        inputs = dict(steps=6, cfg=7.0, sampler_name="euler", scheduler="karras", positive=conds[0], negative=conds[1])
        ksampler = host.KSamplerAdvanced().sample
        half = ksampler(model, "enable", 42, **inputs, latent_image=latent, start_at_step=0, end_at_step=3,
                        return_with_leftover_noise="enable")[0]  # fmt: skip
        other = ksampler(model, "disable", 42, **inputs, latent_image=half, start_at_step=3, end_at_step=99,
                         return_with_leftover_noise="disable")[0]  # fmt: skip
        return undivided, rest, other

    undivided, *split = run(whole)
    assert all(distance(one, undivided) < 1e-4 for one in split)
    undivided, *split = run(Schedule("linear", 0.0, 1.5))
    assert all(distance(one, undivided) > 1e-2 for one in split)


def test_noise_level_schedule_does_not_depend_on_the_scheduler(models):
    pair, latent = models("toy"), tiny_models.latent("toy")
    by_sigma = schedule(over="noise level", sigma_max=10.0, sigma_min=0.1).args[0]
    pairs = []
    for scheduler in ("karras", "normal"):
        out = realign(pair, *conds_of("toy"), latent, 0.0, scheduler=scheduler, steps=9, lambda_schedule=by_sigma)
        pairs += [(s["sigma"], s["lambdas"][0][0]) for s in json.loads(out[2])["steps"]]
    for sigma, lam in pairs:
        assert lam == pytest.approx(min(max(np.log(10 / sigma) / np.log(100), 0), 1), abs=1e-5)
