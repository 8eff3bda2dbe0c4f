"""A λ sweep: each picture of the batch is the run of its own λ, seed, cfg and η, however the batch is divided."""

from __future__ import annotations

import json
from itertools import pairwise

import comfy.samplers
import pytest
import tiny_models
import torch
import toy_models
from comfy.nested_tensor import NestedTensor
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise
from host_runs import conds_of, distance, realign, realign_guider, sampled
from realign.nodes.combine_anchors import RealignAnchorLambda
from realign.nodes.guider import RealignModel
from realign.nodes.models import memory
from realign.nodes.models.anchor import Anchor
from realign.nodes.run import by_element, parts
from realign.nodes.sweep import RealignSweep
from realign.nodes.trace import RealignTrace
from realign.realign_core import LambdaSchedule, Sweep
from rounding import CEILING as TOLERANCE
from test_adapters import ADAPTERS, Calls, patched
from test_guider import SAMPLERS
from test_nested_and_control_lora import two_stream_model

import nodes as host

LAMBDAS = (0.0, 0.4, 1.0, 1.5)


@pytest.fixture(scope="module")
def toys():
    """(reference, anchor), conditionings, of networks that cost next to nothing."""
    return tuple(toy_models.toy_model(seed=seed) for seed in (1, 2)), toy_models.CONDS


def sweep_of(latent, lambdas=LAMBDAS, **options):
    """(LATENT, sweep) of the λ Sweep node."""
    text = ", ".join(f"{value:g}" for value in lambdas)
    given = {"start": 0.0, "end": 1.0, "count": 2, "seeds": 1, "rows": "seed", "row_values": "", **options}
    return RealignSweep.execute(latent=latent, values="list", listed=text, **given).args


def element(latent, i, images=1):
    return {"samples": latent["samples"][i : i + images]}


def assert_each_is_its_own(swept, singles):
    """swept: LATENT. singles: a LATENT per element; they must differ from each other, too."""
    assert swept["samples"].shape[0] == len(singles)
    for i, single in enumerate(singles):
        assert distance(element(swept, i), single) <= TOLERANCE, i
    assert all(distance(a, b) > 0.02 for a, b in pairwise(singles))


def assert_near(ours, theirs):
    """KL per element; None where it is not known."""
    assert [value is None for value in ours] == [value is None for value in theirs]
    known = [(a, b) for a, b in zip(ours, theirs, strict=True) if b is not None]
    assert [a for a, _ in known] == pytest.approx([b for _, b in known], rel=1e-3)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
@pytest.mark.parametrize("kind", ["sd15", "sd3"])
def test_sampler_with_a_full_anchor(models, kind, sampler):
    pair, conds, latent = models(kind), conds_of(kind), tiny_models.latent(kind)
    batch, sweep = sweep_of(latent)
    with Calls(pair[0]) as reference, Calls(pair[1]) as anchor:
        swept, denoised, trace = realign(pair, *conds, batch, 0.9, sampler=sampler, lambda_schedule=sweep)
    assert sum(reference) == sum(anchor) == 4 * 2 * 3  # steps, cfg, three of four elements each
    singles = [realign(pair, *conds, latent, lam, sampler=sampler) for lam in LAMBDAS]
    assert_each_is_its_own(swept, [single[0] for single in singles])
    assert_each_is_its_own(denoised, [single[1] for single in singles])
    trace, singles = json.loads(trace), [json.loads(single[2]) for single in singles]
    assert trace["model_calls"] == pytest.approx(sum(single["model_calls"] for single in singles) / len(singles))
    assert_near(trace["kl_reference"], [single["kl_reference"][0] for single in singles])
    assert_near(trace["kl_anchors"][0], [single["kl_anchors"][0][0] for single in singles])
    assert [cell["value"] for cell in trace["sweep"]["cells"]] == list(LAMBDAS)


@pytest.mark.numeric
def test_sampler_with_a_lora_anchor(models, tiny):
    reference, conds, latent = models("sd15")[0], conds_of("sd15"), tiny_models.latent("sd15")
    pair = (reference, patched(reference, ADAPTERS["lora"](tiny, "sd15")))
    batch, sweep = sweep_of(latent)
    with Calls(reference) as rows:
        swept = realign(pair, *conds, batch, 0.5, lambda_schedule=sweep)[0]
    assert sum(rows) == 4 * 2 * (1 + 2 + 1 + 2)  # steps, cfg; λ 0 and 1 need one model
    assert_each_is_its_own(swept, [realign(pair, *conds, latent, lam)[0] for lam in LAMBDAS])


@pytest.mark.parametrize("method", ["difference reuse", "control variate"])
def test_fewer_calls(toys, method):
    """What is reused is each element's own."""
    (reference, _), conds = toys
    pair, latent = (reference, toy_models.with_lora(reference)), toy_models.latent()
    saving = dict(fewer_calls=method, calls_per_step=1.3, steps=8)
    batch, sweep = sweep_of(latent, (0.3, 0.6, 1.2))
    swept, _, trace = realign(pair, *conds, batch, 0.5, lambda_schedule=sweep, **saving)
    assert_each_is_its_own(swept, [realign(pair, *conds, latent, lam, **saving)[0] for lam in (0.3, 0.6, 1.2)])
    assert json.loads(trace)["model_calls_saved"] > 0


@pytest.mark.parametrize("full", [False, True], ids=["a schedule", "a full anchor"])
@pytest.mark.parametrize("batch_size", [0, 2])
def test_the_control_variate_asks_for_each_lambda_as_if_alone(toys, full, batch_size):
    """Whose schedule says when it measures anew, and whose weights are merged."""
    (reference, anchor), conds = toys
    pair, latent = (reference, anchor if full else toy_models.with_lora(reference)), toy_models.latent()
    saving = dict(fewer_calls="control variate", calls_per_step=1.3, steps=16)
    schedule, lambdas = None if full else LambdaSchedule("linear", 0.0, 1.0), (0.0, 0.5, 1.0, 3.0)
    batch, sweep = sweep_of(latent, lambdas, batch_size=batch_size, lambda_schedule=schedule)
    swept = realign(pair, *conds, batch, 0.5, lambda_schedule=sweep, **saving)[0]
    rising = [None if full else LambdaSchedule("linear", 0.0, lam) for lam in lambdas]
    singles = [realign(pair, *conds, latent, lam, lambda_schedule=s, **saving)[0] for lam, s in zip(lambdas, rising)]
    assert_each_is_its_own(swept, singles)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_guider_with_every_sampler(toys, sampler):
    pair, conds, latent = *toys, toy_models.latent()
    sigmas = [0.6, 0.4, 0.0] if sampler == "dpm_adaptive" else [2.0, 0.9, 0.4, 0.0]
    run = dict(sampler=sampler, sigmas=torch.tensor(sigmas))
    batch, sweep = sweep_of(latent, (0.0, 0.5, 1.4), seeds=2)
    swept = sampled(realign_guider(pair, *conds, 9.0, lambda_schedule=sweep), batch, **run)
    guiders = [realign_guider(pair, *conds, lam) for lam in (0.0, 0.5, 1.4)]
    assert_each_is_its_own(
        swept, [sampled(guider, latent, seed=seed, **run) for seed in (42, 43) for guider in guiders]
    )


def test_samplers_whose_elements_would_not_be_alone_run_one_by_one():
    euler = comfy.samplers.sampler_object("euler")
    mask = torch.ones(1, 1, 8, 8)
    assert by_element.draws_can_be_shared(euler, mask)
    assert by_element.draws_can_be_shared(comfy.samplers.sampler_object("ddim"), None)
    churned = comfy.samplers.ksampler("euler", {"s_churn": 1.0})
    others = comfy.samplers.KSAMPLER(lambda *_, **__: None)  # of another pack
    own = comfy.samplers.ksampler("euler_ancestral", {"noise_sampler": lambda *_: None})
    adaptive = comfy.samplers.sampler_object("dpm_adaptive")
    assert not any(by_element.draws_can_be_shared(one, None) for one in (churned, others, own, adaptive, object()))
    assert not by_element.draws_can_be_shared(comfy.samplers.sampler_object("ddim"), mask)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_chunks_give_the_same_pictures(toys, batch_size):
    pair, conds = toys
    batch, sweep = sweep_of(toy_models.latent(), seeds=2)
    whole = realign(pair, *conds, batch, 0.5, lambda_schedule=sweep)
    _, divided = sweep_of(toy_models.latent(), seeds=2, batch_size=batch_size)
    chunks = realign(pair, *conds, batch, 0.5, lambda_schedule=divided)
    assert distance(chunks[0], whole[0]) <= TOLERANCE
    assert distance(chunks[1], whole[1]) <= TOLERANCE
    ours, theirs = json.loads(chunks[2]), json.loads(whole[2])
    assert_near(ours["kl_reference"], theirs["kl_reference"])
    assert ours["model_calls"] == pytest.approx(theirs["model_calls"])


def test_a_batch_that_does_not_fit_is_divided_by_the_hosts_own_estimate(models, monkeypatch):
    pair, conds = models("sd15"), conds_of("sd15")
    batch, sweep = sweep_of(tiny_models.latent("sd15"))
    shape = tuple(batch["samples"].shape)
    need = pair[0].memory_required([2, *shape[1:]]) * memory.MEMORY_MARGIN
    for free, largest in ((need * 1.01, 2), (0.0, 1)):
        for name in ("free_memory", "free_memory_of_streamed"):
            monkeypatch.setattr(parts, name, lambda patchers, free=free: free)
        with Calls(pair[0]) as rows:
            realign(pair, *conds, batch, 0.5, lambda_schedule=sweep)
        assert max(rows) == 2 * largest  # with cfg


def test_rows_of_seeds_are_the_runs_of_those_seeds(toys):
    """The same seeds in the stock KSampler give the same starting noise: λ = 0 is that run."""
    pair, conds, latent = *toys, toy_models.latent()
    batch, sweep = sweep_of(latent, (0.0, 0.5), seeds=3)
    swept = realign(pair, *conds, batch, 0.5, lambda_schedule=sweep)[0]
    stock = [host.common_ksampler(pair[0], 42 + i, 4, 7.0, "ddpm", "normal", *conds, latent)[0] for i in range(3)]
    for row in range(3):
        assert distance(element(swept, 2 * row), stock[row]) <= TOLERANCE


def test_every_image_of_a_batch_gets_a_row(toys):
    pair, conds, latent = *toys, {"samples": torch.randn(3, 4, 8, 8)}
    mask = torch.zeros(3, 64, 64)
    for i in range(3):
        mask[i, 16 * i :] = 1
    latent["noise_mask"] = mask
    options = dict(denoise=0.8)
    batch, sweep = sweep_of(latent, (0.0, 0.6))
    for size in (0, 3):
        _, sweep = sweep_of(latent, (0.0, 0.6), batch_size=size)
        with Calls(pair[0]) as rows:
            swept = realign(pair, *conds, batch, 0.5, lambda_schedule=sweep, **options)[0]
        assert max(rows) == 2 * (size or 6)  # with cfg
        singles = [realign(pair, *conds, latent, lam, **options)[0] for lam in (0.0, 0.6)]
        assert_each_is_its_own(swept, [element(singles[column], image) for image in range(3) for column in (0, 1)])


@pytest.mark.parametrize("rows", [2, 3])
@pytest.mark.parametrize("images", [1, 2])
def test_every_lambda_has_the_rows_of_a_conditioning_that_its_single_run_has(toys, images, rows, caplog):
    """The host deals them out to a batch in turn: to the pictures of the latent, not to λ."""
    pair, (_, negative) = toys
    positive = [[torch.tensor([0.3, -2.0, 1.0])[:rows].reshape(rows, 1, 1), {}]]
    latent = toy_models.latent(images)
    batch, sweep = sweep_of(latent, (0.25, 0.5, 0.75))
    with caplog.at_level("INFO"):
        swept = realign(pair, positive, negative, batch, 0.5, cfg=2.0, lambda_schedule=sweep)[0]
    for column, lam in enumerate(sweep.values):
        single = realign(pair, positive, negative, latent, lam, cfg=2.0)[0]
        for image in range(images):
            assert distance(element(swept, image * 3 + column), element(single, image)) <= TOLERANCE
    assert ("sampled in 3 runs" in caplog.text) == (images % rows != 0)


def test_rows_of_cfg_and_eta(toys):
    pair, conds, latent = *toys, toy_models.latent()
    batch, sweep = sweep_of(latent, (0.3, 1.2), rows="cfg", row_values="1, 4")
    for runner in (
        lambda lat, **o: realign(pair, *conds, lat, 0.5, steps=2, **o)[0],
        lambda lat, **o: sampled(realign_guider(pair, *conds, 0.5, **o), lat, sampler="dpmpp_2m_sde", steps=2),
    ):
        swept = runner(batch, lambda_schedule=sweep)
        rows = [(cfg, LambdaSchedule(start=lam)) for cfg in (1.0, 4.0) for lam in (0.3, 1.2)]
        assert_each_is_its_own(swept, [runner(latent, cfg=cfg, lambda_schedule=constant) for cfg, constant in rows])
    batch, sweep = sweep_of(latent, (0.3, 1.2), rows="η", row_values="0, 0.5, 1")
    swept = realign(pair, *conds, batch, 0.5, steps=2, lambda_schedule=sweep)[0]
    singles = [realign(pair, *conds, latent, lam, steps=2, eta=eta)[0] for eta in (0.0, 0.5, 1.0) for lam in (0.3, 1.2)]
    assert_each_is_its_own(swept, singles)


def test_a_schedule_is_multiplied(toys):
    pair, conds, latent = *toys, toy_models.latent()
    ramp = LambdaSchedule(shape="linear", start=0.2, end=1.0)
    batch, sweep = sweep_of(latent, (0.5, 2.0), lambda_schedule=ramp)
    swept = realign(pair, *conds, batch, 0.5, lambda_schedule=sweep)[0]
    scaled = [LambdaSchedule(shape="linear", start=0.2, end=1.0, scale=scale) for scale in (0.5, 2.0)]
    assert_each_is_its_own(swept, [realign(pair, *conds, latent, 0.5, lambda_schedule=s)[0] for s in scaled])


def test_an_anchor_with_a_schedule_of_its_own_is_not_swept(toys):
    pair, conds, latent = *toys, toy_models.latent()
    own = (Anchor(pair[1], "own", schedule=LambdaSchedule(start=0.7)),)
    batch, sweep = sweep_of(latent, (0.1, 1.1))
    swept = realign((pair[0], own), *conds, batch, 0.5, lambda_schedule=sweep)[0]
    want = realign(pair, *conds, latent, 0.7)[0]
    assert all(distance(element(swept, i), want) <= TOLERANCE for i in (0, 1))


def test_a_mask_goes_with_the_sweep(toys):
    pair, conds, latent = *toys, toy_models.latent()
    mask = torch.zeros(1, 8, 8)
    mask[..., :4] = 1
    singles = [realign(pair, *conds, latent, lam, lambda_mask=mask)[0] for lam in (0.0, 1.0, 1.3)]
    for size in (0, 2):
        batch, sweep = sweep_of(latent, (0.0, 1.0, 1.3), batch_size=size)
        swept = realign(pair, *conds, batch, 0.5, lambda_schedule=sweep, lambda_mask=mask)[0]
        assert_each_is_its_own(swept, singles)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_inpainting(toys, sampler):
    """The host's ddim draws noise of its own over the mask."""
    pair, conds = toys
    latent = {"samples": torch.randn(1, 4, 8, 8), "noise_mask": torch.zeros(1, 64, 64)}
    latent["noise_mask"][:, 20:] = 1
    batch, sweep = sweep_of(latent)
    swept = realign(pair, *conds, batch, 0.5, sampler=sampler, lambda_schedule=sweep)[0]
    assert_each_is_its_own(swept, [realign(pair, *conds, latent, lam, sampler=sampler)[0] for lam in LAMBDAS])


def test_realign_model_in_the_stock_ksampler(toys):
    pair, conds, latent = *toys, toy_models.latent()
    batch, sweep = sweep_of(latent, seeds=2)
    settings = (5, 4.0, "dpmpp_sde", "karras")

    def run(lambda_, latent, seed, **options):
        model = RealignModel.execute(pair[0], (Anchor(pair[1], "anchor"),), lambda_, **options).args[0]
        return host.common_ksampler(model, seed, *settings, *conds, latent)[0]

    swept = run(0.5, batch, 42, lambda_schedule=sweep)
    assert_each_is_its_own(swept, [run(lam, latent, seed) for seed in (42, 43) for lam in LAMBDAS])


def test_nested_latents(models):
    """Video and audio in one latent: each element keeps its own of both."""
    pair = [two_stream_model(seed) for seed in (1, 2)]
    conds = [[[torch.zeros(1, 1, 1), {}]]] * 2
    latent = {"samples": NestedTensor([torch.zeros(1, 4, 3, 8, 8), torch.zeros(1, 2, 16)])}
    batch, sweep = sweep_of(latent, (0.0, 0.5, 1.2), seeds=2)
    for size in (0, 2):
        _, sweep = sweep_of(latent, (0.0, 0.5, 1.2), seeds=2, batch_size=size)
        swept = sampled(realign_guider(pair, *conds, 0.5, lambda_schedule=sweep), batch)["samples"].unbind()
        for row in range(2):
            for column, lam in enumerate((0.0, 0.5, 1.2)):
                single = sampled(realign_guider(pair, *conds, lam), latent, seed=42 + row)["samples"].unbind()
                for ours, theirs in zip(swept, single, strict=True):
                    assert (ours[3 * row + column] - theirs[0]).abs().max() <= TOLERANCE * theirs.std()


def test_every_kl_is_known_on_request(toys):
    pair, conds = toys
    batch, sweep = sweep_of(toy_models.latent(), (0.0, 0.5, 1.0))
    plain = json.loads(realign(pair, *conds, batch, 0.5, lambda_schedule=sweep)[2])
    assert plain["kl_reference"][0] == 0
    assert plain["kl_reference"][2] is None
    batch, sweep = sweep_of(toy_models.latent(), (0.0, 0.5, 1.0), measure_ends=True)
    for size in (0, 1):
        _, sweep = sweep_of(toy_models.latent(), (0.0, 0.5, 1.0), measure_ends=True, batch_size=size)
        measured = json.loads(realign(pair, *conds, batch, 0.5, lambda_schedule=sweep)[2])
        assert measured["kl_reference"][0] == 0
        assert 0 < measured["kl_reference"][1] < measured["kl_reference"][2]
        assert measured["kl_anchors"][0][0] > measured["kl_anchors"][0][1] > measured["kl_anchors"][0][2] == 0


def test_the_trace_of_a_guided_run(toys):
    """The guider's KL with ddim is the sampler's own: it takes the same steps."""
    pair, conds = toys
    batch, sweep = sweep_of(toy_models.latent(), seeds=2, batch_size=3)
    guider = realign_guider(pair, *conds, 0.5, lambda_schedule=sweep)
    latent = sampled(guider, batch, sampler="ddim")
    same, trace = RealignTrace.execute(latent, guider=guider).args
    ours = json.loads(trace)
    theirs = json.loads(realign(pair, *conds, batch, 0.5, sampler="ddim", lambda_schedule=sweep)[2])
    assert same is latent
    assert_near(ours["kl_reference"], theirs["kl_reference"])
    assert ours["model_calls"] == pytest.approx(theirs["model_calls"])
    assert ours["sweep"] == theirs["sweep"]
    with pytest.raises(ValueError, match="Connect the Realign Guider"):
        RealignTrace.execute(latent, model=pair[0])


def test_the_host_is_left_as_it_was(toys):
    pair, conds, latent = *toys, toy_models.latent()
    before = sampled(realign_guider(pair, *conds, 0.0), latent)
    batch, sweep = sweep_of(latent, rows="cfg", row_values="2, 5")
    guider = realign_guider(pair, *conds, 0.5, cfg=3.0, lambda_schedule=sweep)
    first = sampled(guider, batch)
    assert guider.cfg == 3.0
    assert torch.equal(sampled(guider, batch)["samples"], first["samples"])
    assert torch.equal(sampled(realign_guider(pair, *conds, 0.0), latent)["samples"], before["samples"])


def test_progress_counts_the_whole(toys):
    pair, conds = toys
    batch, sweep = sweep_of(toy_models.latent(), batch_size=3)
    guider = realign_guider(pair, *conds, 0.5, lambda_schedule=sweep)
    seen = []
    noise = torch.randn(1, *batch["samples"].shape[1:]).expand_as(batch["samples"])
    sigmas = torch.tensor([2.0, 1.0, 0.5, 0.0])
    guider.sample(
        noise,
        batch["samples"],
        comfy.samplers.sampler_object("euler"),
        sigmas,
        callback=lambda step, x0, x, total: seen.append((step, total, tuple(x0.shape), tuple(x.shape))),
        seed=1,
    )
    shape = tuple(batch["samples"].shape)
    assert seen == [(i, 6, shape, shape) for i in range(6)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(rows="cfg", row_values=""), "list of cfg is empty"),
        (dict(rows="η", row_values="2"), "η must be"),
        (dict(rows="cfg", row_values="3, 3"), "list of cfg holds 3 more than once"),
        (dict(rows="cfg", row_values="3,5"), "may be 3.5 or 3 and 5"),
        (dict(lambdas=(0.5, 0.5)), "list of λ holds 0.5 more than once"),
        (dict(lambdas=(0.5, 50)), "λ must be from -10 to 10"),
        (dict(seeds=10**9), "“seeds” is 1,000,000,000, but must be a whole number from 1 to 64"),
        (dict(lambdas=()), "list of λ is empty"),
    ],
)
def test_the_node_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        sweep_of(tiny_models.latent("sd15"), **options)


def test_a_decimal_comma_is_one():
    latent = tiny_models.latent("sd15")
    batch, sweep = RealignSweep.execute(latent, "list", 0.0, 1.0, 2, "0; 0,5; 1", 1, "cfg", "1,5; 3").args
    assert (sweep.values, sweep.cfgs) == ((0, 0.5, 1), (1.5, 3))
    assert batch["samples"].shape[0] == 6


def test_a_sweep_that_is_too_large_is_refused_before_anything_is_built():
    """At once, whatever is asked for: tensors and lists of that size would not fit into memory."""
    latent = tiny_models.latent("sd15")
    for images, count, seeds, message in (
        (1, 10**9, 1, "“count” is 1,000,000,000"),
        (1, 7, 10**12, "“seeds” is 1,000,000,000,000"),
        (2, 64, 64, "8,192 pictures"),
        (10**6, 2, 1, "2,000,000 pictures"),
    ):
        wide = {"samples": latent["samples"][:1].expand(images, -1, -1, -1)}
        with pytest.raises(ValueError, match=message):
            RealignSweep.execute(wide, "range", 0.0, 1.0, count, "", seeds, "seed", "")


def test_sampler_and_guider_refuse(toys):
    pair, conds, latent = *toys, toy_models.latent()
    batch, sweep = sweep_of(latent)
    with pytest.raises(ValueError, match="4 pictures, but the latent image holds 1"):
        realign(pair, *conds, latent, 0.5, lambda_schedule=sweep)
    with pytest.raises(ValueError, match="4 pictures, but the latent image holds 1"):
        sampled(realign_guider(pair, *conds, 0.5, lambda_schedule=sweep), latent)
    _, etas = sweep_of(latent, rows="η", row_values="0, 1")
    with pytest.raises(ValueError, match="Only Realign Sampler"):
        realign_guider(pair, *conds, 0.5, lambda_schedule=etas)
    with pytest.raises(ValueError, match="largest λ"):
        realign(pair, *conds, batch, 0.5, lambda_schedule=sweep, eta=0.2, anchor_eta=0.9)
    with pytest.raises(ValueError, match="belongs to the sampler"):
        RealignAnchorLambda.execute((Anchor(pair[1], "anchor"),), sweep)
    with pytest.raises(ValueError, match="itself a sweep"):
        sweep_of(latent, lambda_schedule=sweep)
    with pytest.raises(ValueError, match="known β"):
        RealignSweep.execute(latent, "target β", 0.0, 1.0, 3, "100", 1, "seed", "")


def test_target_betas_are_lambdas(models):
    anchor = (Anchor(models("sd15")[1], "anchor", beta=2000.0),)
    latent = tiny_models.latent("sd15")
    sweep = RealignSweep.execute(
        latent, "target β", 0.0, 1.0, 3, "4000, 2000, 1000", 1, "seed", "", anchor=anchor
    ).args[1]
    assert sweep == Sweep((0.5, 1.0, 2.0))


def test_rows_of_seeds_need_noise_that_comes_from_a_seed(toys):
    pair, conds = toys
    batch, sweep = sweep_of(toy_models.latent(), seeds=2)
    guider = realign_guider(pair, *conds, 0.5, lambda_schedule=sweep)
    sigmas, euler = torch.tensor([2.0, 1.0, 0.0]), comfy.samplers.sampler_object("euler")
    with pytest.raises(ValueError, match="RandomNoise"):
        guider.sample(torch.rand_like(batch["samples"]), batch["samples"], euler, sigmas, seed=1)
    none = Noise_EmptyNoise().generate_noise(batch)
    out = guider.sample(none, batch["samples"], comfy.samplers.sampler_object("euler_ancestral"), sigmas, seed=1)
    assert (out[0] - out[4]).abs().max() > 0.01  # the steps' noise differs
