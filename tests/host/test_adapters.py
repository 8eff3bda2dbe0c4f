"""LoRA anchors in the forward pass: the same as two models, one after the other on one copy of the weights."""

from __future__ import annotations

import comfy.controlnet
import comfy.lora
import comfy.model_management
import comfy.sd
import comfy.utils
import pytest
import tiny_models
import torch
import toy_models
from adapter_files import ADAPTERS, Calls, convolutions, lora, matrices, patched, randn
from host_runs import conds_of, distance, everywhere, realign_guider, sampled
from realign.nodes.models.anchor import Anchor
from rounding import ONE_STEP, assert_agree, bound

import nodes as host

pytestmark = pytest.mark.numeric
CFG = 2.0  # multiplies the rounding of the two conditionings by 3, and 7 by 13


@pytest.fixture(scope="session")
def bases(tiny, models):
    """The same checkpoint, loaded twice: an anchor on the second is never on the first one's weights."""
    seconds = {}

    def load(kind):
        if kind not in seconds:
            seconds[kind] = tiny.load(tiny.reference(kind))
        return models(kind)[0], seconds[kind]

    return load


def mixed(pair, conds, latent, lam=0.5, cfg=CFG, sigmas=ONE_STEP, **options):
    """LATENT of one step that ends at the mixture itself."""
    return sampled(realign_guider(pair, *conds, lam, cfg, **options), latent, sigmas=sigmas)


def assert_as_two_models(bases, weights, kind, strength=1.0, calls=2, latent=None, conds=None, sigmas=ONE_STEP):
    """The mixture, and each end of it, in `calls` forward passes a step, as with the anchor on weights of its own."""
    latent, conds = latent or tiny_models.latent(kind), conds or conds_of(kind)
    first, second = bases(kind)
    one, two = (patched(model, weights, strength) for model in (first, second))
    for options in (
        {"lam": 0.5},
        {"lam": 1.0, "lambda_mask": everywhere(0)},
        {"lam": 1.0, "lambda_mask": everywhere(1)},
    ):
        want = mixed((first, two), conds, latent, sigmas=sigmas, **options)
        with Calls(first) as rows:
            got = mixed((first, one), conds, latent, sigmas=sigmas, **options)
        assert_agree(got, want, (first, two), conds, CFG)
        if options["lam"] == 0.5:
            assert len(rows) == calls * (len(sigmas) - 1)
            between = got
        else:
            assert distance(between, got) > 0.01  # the adapter does something


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "sd3", "flux"])
def test_loras_on_every_architecture(bases, tiny, kind):
    assert_as_two_models(bases, ADAPTERS["lora"](tiny, kind), kind, latent=tiny_models.latent(kind, 2))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_adapter_that_adds(bases, tiny, adapter):
    assert_as_two_models(bases, ADAPTERS[adapter](tiny, "sd15"), "sd15", strength=0.8)
    if adapter in ("lora", "differences"):
        assert_as_two_models(bases, ADAPTERS[adapter](tiny, "sd3"), "sd3")


@pytest.mark.parametrize("kind", ["sd3", "flux"])
def test_slices_of_a_fused_weight(bases, tiny, kind):
    """diffusers names q, k and v apart; the host has them as one matrix, and swaps the halves of another."""
    (reference, other), out = bases(kind), {}
    names = comfy.utils.mmdit_to_diffusers if kind == "sd3" else comfy.utils.flux_to_diffusers
    for name, target in names(reference.model.model_config.unet_config).items():
        key = target if isinstance(target, str) else target[0]
        shape = tiny.weights(kind).get(key, torch.zeros(1)).shape
        if name.endswith(".weight") and len(shape) == 2 and ("attn" in name or "norm_out" in name):
            n_out = shape[0] if isinstance(target, str) or target[1] is None else target[1][2]
            layer = f"transformer.{name.removesuffix('.weight')}"
            out[f"{layer}.lora_B.weight"] = 0.3 * randn(n_out, 4, seed=len(name))
            out[f"{layer}.lora_A.weight"] = randn(4, shape[1], seed=sum(map(ord, name))) / shape[1] ** 0.5
    assert any("norm_out" in key for key in out)
    assert_as_two_models(lambda _: (reference, other), out, kind)


def dora(tiny):
    out = lora(matrices(tiny, "sd15"))
    for name, (n_out, _) in matrices(tiny, "sd15").items():
        out[f"diffusion_model.{name}.dora_scale"] = 1 + 0.1 * randn(n_out, 1).abs()
    return out


def replaced(tiny):
    name, shape = next(iter(matrices(tiny, "sd15").items()))
    return {f"diffusion_model.{name}.set_weight": randn(*shape) / shape[1] ** 0.5}


@pytest.mark.parametrize(("make", "why"), [(dora, "DoRA"), (replaced, "replaces the weight")])
def test_what_cannot_be_added_gets_weights_of_its_own(bases, tiny, caplog, make, why):
    with caplog.at_level("INFO"):
        assert_as_two_models(bases, make(tiny), "sd15", calls=1)  # the reference's alone
    assert "weight copy of its own" in caplog.text
    assert why in caplog.text


def test_an_anchor_that_scales_the_weights_gets_its_own(bases, tiny):
    """ModelMerge's way: strength_model is not 1."""
    first, second = bases("sd15")
    key_map = comfy.lora.model_lora_keys_unet(first.model, {})
    anchors = [model.clone() for model in (first, second)]
    for anchor in anchors:
        anchor.add_patches(comfy.lora.load_lora(ADAPTERS["lora"](tiny, "sd15"), key_map), 1.0, 0.7)
    conds = conds_of("sd15")
    got, want = (mixed((first, a), conds, tiny_models.latent("sd15")) for a in anchors)
    assert_agree(got, want, (first, anchors[1]), conds, CFG)


def test_several_lora_anchors_on_one_copy(bases, tiny):
    """Each anchor's adapters act in its own call: a strength vector each."""
    first, second = bases("sd15")
    third = tiny.load(tiny.reference("sd15"))
    weights = lora(matrices(tiny, "sd15")), lora(convolutions(tiny, "sd15"))
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15", 2)

    def chain(*models):
        return tuple(Anchor(patched(m, w), "anchor", share=s) for m, w, s in zip(models, weights, (0.3, 0.5)))

    want = mixed((first, chain(second, third)), conds, latent, 1.0)
    with Calls(first) as rows:
        got = mixed((first, chain(first, first)), conds, latent, 1.0)
    assert rows == [2 * 2] * 3  # three models, positive and negative, two pictures, nothing twice
    assert_agree(got, want, (first, second, third), conds, CFG)


def test_where_memory_splits_the_batch(bases, tiny, monkeypatch):
    """The host then computes one conditioning at a time, in an order of its own."""
    weights = ADAPTERS["lora"](tiny, "sd15")
    first, second = bases("sd15")
    one, two = patched(first, weights), patched(second, weights)
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15", 2)
    bound((first, two), conds, latent, CFG)  # measured while there is memory for more than one batch
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *a, **k: 0)
    want = mixed((first, two), conds, latent)
    with Calls(first) as rows:
        got = mixed((first, one), conds, latent)
    assert rows == [2, 2, 2, 2]
    assert_agree(got, want, (first, two), conds, CFG)


def test_controlnet_areas_masks_and_an_own_cfg(bases, tiny):
    weights = ADAPTERS["lora"](tiny, "sd15")
    net = comfy.controlnet.load_controlnet(str(tiny.controlnet()))
    hint = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(8))
    controlled = host.ControlNetApplyAdvanced().apply_controlnet(*conds_of("sd15"), net, hint, 0.8, 0.0, 0.7)
    assert_as_two_models(bases, weights, "sd15", conds=controlled, sigmas=torch.tensor([3.0, 1.0, 0.0]))
    positive, negative = conds_of("sd15")
    left = [[cond, {**o, "area": (8, 4, 0, 0), "strength": 1.0}] for cond, o in tiny_models.conditioning("sd15", 31)]
    large = tiny_models.latent("sd15", size=8)
    two_sizes = positive + left, negative
    assert_as_two_models(bases, weights, "sd15", conds=two_sizes, latent=large, calls=4)

    first, second = bases("sd15")
    for cfg, anchor_cfg, asked in ((3.0, 1.0, [2, 1]), (1.0, 2.0, [1, 2])):
        two, one = (patched(model, weights) for model in (second, first))
        plain, latent = (positive, negative), tiny_models.latent("sd15")
        want = mixed((first, two), plain, latent, cfg=cfg, anchor_cfg=anchor_cfg)
        with Calls(first) as rows:
            got = mixed((first, one), plain, latent, cfg=cfg, anchor_cfg=anchor_cfg)
        assert rows == asked  # one of the two has no use for the negative
        assert_agree(got, want, (first, two), plain, max(cfg, anchor_cfg))


def test_conditioning_of_the_anchors_own(bases, tiny):
    """Trigger words for the anchor alone."""
    weights = ADAPTERS["lora"](tiny, "sdxl")
    first, second = bases("sdxl")
    own, conds, latent = tiny_models.conditioning("sdxl", 77), conds_of("sdxl"), tiny_models.latent("sdxl")
    one, two = patched(first, weights), patched(second, weights)
    want, got = (mixed((first, anchor), conds, latent, anchor_positive=own) for anchor in (two, one))
    assert_agree(got, want, (first, two), conds, CFG)
    without = mixed((first, one), conds, latent)
    assert distance(got, without) > 0.01


def test_a_patch_on_one_model_only_needs_two(bases, tiny):
    weights = ADAPTERS["lora"](tiny, "sd15")
    first, second = bases("sd15")
    halved = first.clone()
    halved.set_model_attn1_output_patch(lambda out, extra: out * 0.5)
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    one, two = patched(first, weights), patched(second, weights)
    want, got = (mixed((halved, anchor), conds, latent) for anchor in (two, one))
    assert_agree(got, want, (first, two), conds, CFG)


def test_a_patch_on_both_sees_the_conditionings_it_knows(bases, tiny):
    """IPAdapter and its like index their own pair by `cond_or_uncond`: 0 and 1."""
    seen = set()

    def patch(out, extra):
        seen.update(extra["cond_or_uncond"])
        return out * 0.5

    first, second = bases("sd15")
    conds, latent, weights = conds_of("sd15"), tiny_models.latent("sd15"), ADAPTERS["lora"](tiny, "sd15")
    runs, two = [], patched(second, weights)
    for anchor in (two, patched(first, weights)):
        models = [first.clone(), anchor.clone()]
        for model in models:
            model.set_model_attn1_output_patch(patch)
        with Calls(first) as rows:
            runs.append(mixed(models, conds, latent))
    assert rows == [2, 2]
    assert seen == {0, 1}
    assert_agree(runs[1], runs[0], (first, two), conds, CFG)


def test_nothing_is_left_on_the_model(bases, tiny):
    """After a run, a cancelled one too, the network has no hook and the stock picture is what it was."""
    weights = ADAPTERS["lora"](tiny, "sd15")
    first, _ = bases("sd15")
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    run = lambda: host.common_ksampler(first, 42, 2, 7.0, "euler", "normal", *conds, latent)[0]["samples"]  # noqa: E731
    before, guider = run(), realign_guider((first, patched(first, weights)), *conds, 0.5)
    sampled(guider, latent)

    def fail(module, args):
        raise RuntimeError("stop")

    handle = first.model.diffusion_model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="stop"):
        sampled(guider, latent)
    handle.remove()
    assert not any(module._forward_hooks for module in first.model.modules())
    assert torch.equal(run(), before)
    assert not first.get_additional_models()
    assert not guider.model_patcher.get_additional_models()


@pytest.mark.parametrize(
    ("network", "log"),
    [
        (toy_models.PerPixel, ""),
        (toy_models.Folded, ""),
        (toy_models.PixelsFirst, ""),
        (toy_models.WeightAlone, "outside of its layer"),
    ],
)
def test_blocks_that_fold_the_batch(network, log, caplog):
    """Wherever the batch is in a layer: all of a call has one strength, so that nothing is guessed."""
    caplog.set_level("INFO")
    first, second = toy_models.toy_model(network), toy_models.toy_model(network)
    want, got = (
        sampled(
            realign_guider((first, toy_models.with_lora(base)), *toy_models.CONDS, 0.5), toy_models.latent(3), steps=3
        )
        for base in (second, first)
    )
    assert_agree(got, want, (first, toy_models.with_lora(second)), toy_models.CONDS)
    alone = sampled(realign_guider((first, toy_models.with_lora(first)), *toy_models.CONDS, 0.0), toy_models.latent(3))
    assert distance(got, alone) > 0.05
    assert log in caplog.text
    assert bool(log) == ("Realign:" in caplog.text)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_half_precision(tiny, dtype):
    """As far from two models as two models are from themselves in fp32, and no further."""
    runs = {}
    for kind in (torch.float32, dtype):
        for own_weights in (True, False):
            first, second = (
                comfy.sd.load_diffusion_model(str(tiny.reference("sd15")), {"dtype": kind}) for _ in range(2)
            )
            anchor = patched(second if own_weights else first, ADAPTERS["lora"](tiny, "sd15"))
            runs[kind, own_weights] = mixed((first, anchor), conds_of("sd15"), tiny_models.latent("sd15"))
    assert first.model.get_dtype() == dtype
    rounding = distance(runs[dtype, True], runs[torch.float32, True])
    assert rounding > 1e-4
    assert distance(runs[dtype, False], runs[torch.float32, True]) <= 2 * rounding
