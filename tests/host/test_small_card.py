"""Cards that hold no two models: what the host will do with them, what is said, and which model is streamed.

The host loads real models onto torch's “meta” device here, whose memory is as large as a test says: nothing is moved,
and the host counts as on a card.
"""

from __future__ import annotations

import logging
from types import SimpleNamespace

import comfy.model_management as host
import comfy.sampler_helpers
import comfy.sd
import pytest
import tiny_models
import torch
from comfy.model_patcher import ModelPatcher
from host_runs import conds_of, realign, realign_guider, sampled
from realign.nodes import live
from realign.nodes.models import memory, small_card
from realign.nodes.models.anchor import Anchor
from realign.nodes.models.memory import Device, Load
from realign.nodes.run import parts, room

CARD = torch.device("meta")
NO_SPACE = 1e-9
SHAPE = (1, 4, 8, 8)


@pytest.fixture
def pair(tiny):
    """Models of their own, to be loaded onto the card."""
    patchers = [tiny.load(path) for path in (tiny.reference("sd15"), tiny.anchor("sd15"))]
    return tuple(ModelPatcher(patcher.model, CARD, CARD) for patcher in patchers)


@pytest.fixture
def card(pair, monkeypatch):
    """Makes a card of that many bytes, with the pair on it; the host's list of what is loaded is empty at first."""
    monkeypatch.setattr(host, "current_loaded_models", [])
    monkeypatch.setattr(host, "vram_state", host.VRAMState.NORMAL_VRAM)
    monkeypatch.setattr(host, "lowvram_available", True)
    monkeypatch.setattr(host, "MIN_WEIGHT_MEMORY_RATIO", 0.0)
    monkeypatch.setattr(host, "EXTRA_RESERVED_VRAM", 1_000_000)
    monkeypatch.setattr(host, "minimum_inference_memory", lambda: 3_000_000)
    monkeypatch.setattr(host, "soft_empty_cache", lambda force=False: None)
    monkeypatch.setattr(host, "discard_cuda_async_error", lambda: None)

    def of(size):
        def free(device=None, torch_free_too=False):
            left = size - sum(patcher.loaded_size() for patcher in pair)
            return (left, left) if torch_free_too else left

        monkeypatch.setattr(host, "get_free_memory", free)
        return Device.of(CARD)

    return of


def largest(patcher):
    return max(host.module_size(module) for module in patcher.model.modules() if not list(module.children()))


@pytest.mark.parametrize("models", [0.4, 1.2, 1.7, 2.5])
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_what_stays_on_the_device_is_what_the_host_leaves_there(pair, card, monkeypatch, models, share):
    """To a few layers: it moves whole ones, and keeps room for those on their way."""
    monkeypatch.setattr(host, "MIN_WEIGHT_MEMORY_RATIO", share)
    monkeypatch.setattr(host, "minimum_inference_memory", lambda: 40_000_000)  # more than a few layers
    reference, anchor = pair
    size = reference.model_size()
    device = card(models * size + 60_000_000)
    working = device.working(reference, SHAPE)
    need = reference.model.memory_required(list(SHAPE))
    host.load_models_gpu([reference, anchor], memory_required=2 * need, minimum_memory_required=need)
    expected = device.kept([anchor.model_size(), size], working)
    for patcher, kept in zip((anchor, reference), expected):
        on = patcher.loaded_size()
        assert kept - 4 * largest(patcher) <= on <= kept * (1 + 1e-6)
    lacking = Load([size, size], []).lacking(device, working)
    assert (lacking == 0) == (models == 2.5)


def loads(monkeypatch):
    """The lists of models that the host was asked to load."""
    out, real = [], host.load_models_gpu
    monkeypatch.setattr(
        host, "load_models_gpu", lambda models, *a, **k: out.append(list(models)) or real(models, *a, **k)
    )
    return out


def small(monkeypatch, free, streams=True):
    """The device of the tests' runs, which is a CPU, as a card of that size."""
    monkeypatch.setattr(Device, "of", classmethod(lambda cls, device, free_=None: Device(free, streams)))


@pytest.mark.parametrize("fewer_calls", ["off", "difference reuse"])
def test_with_difference_reuse_the_anchor_is_what_is_streamed(models, monkeypatch, card, tiny, fewer_calls):
    """The host gives the last of its list room first. The picture is the same."""
    reference, anchor = models("sd15")
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    guider = realign_guider((reference, anchor), *conds, 0.5, fewer_calls=fewer_calls)
    roomy = sampled(guider, latent)
    seen = loads(monkeypatch)
    small(monkeypatch, 1.5 * reference.model_size())
    guider = realign_guider((reference, anchor), *conds, 0.5, fewer_calls=fewer_calls)
    tight = sampled(guider, latent)
    assert torch.equal(tight["samples"], roomy["samples"])
    (order,) = [[one.model for one in models] for models in seen if len(models) > 1]
    first, last = (reference.model, anchor.model) if fewer_calls == "off" else (anchor.model, reference.model)
    assert order[0] is first
    assert order[-1] is last
    assert not anchor.get_additional_models()


def test_the_order_decides_what_the_host_keeps_on_a_card(pair, card):
    reference, anchor = pair
    size = reference.model_size()
    card(1.4 * size + 5_000_000)
    host.load_models_gpu([reference, anchor], memory_required=2e6, minimum_memory_required=1e6)
    assert anchor.loaded_size() == size
    assert reference.loaded_size() < 0.5 * size


@pytest.mark.parametrize("loaded_before", [False, True])
def test_the_reference_first_by_the_hosts_own_preparation(pair, card, loaded_before):
    """Through `prepare_sampling`, onto the card; also where a run before has left the anchor on it."""
    reference, anchor = pair
    size = reference.model_size()
    card(1.4 * size + 5_000_000)
    if loaded_before:
        host.load_models_gpu([reference, anchor], memory_required=2e6, minimum_memory_required=1e6)
    assert room.streamed_anchor(reference, [anchor], SHAPE) is anchor
    real, conds, loaded = room.reference_first(
        comfy.sampler_helpers._prepare_sampling, reference, anchor, [anchor], list(SHAPE), {}
    )
    assert real is reference.model
    assert loaded == [anchor]
    assert reference.loaded_size() == size
    assert 0 < anchor.loaded_size() < 0.5 * size
    card(3 * size)
    assert room.streamed_anchor(reference, [anchor], SHAPE) is None
    assert room.streamed_anchor(reference, [reference.clone()], SHAPE) is None


def test_the_advice_names_what_helps_best_first(pair, card):
    reference, anchor = pair
    size = reference.model_size()
    device = Device(1.5 * size + 10_000_000, least=10_000_000)
    text = small_card.advice(reference, [anchor], SHAPE, device=device)
    lora, low_rank = small_card.adapter_sizes(reference, small_card.RANK)
    assert lora < low_rank < 0.6 * size
    places = [text.index(words) for words in ("a LoRA anchor", "low_rank on Load Anchor Model", "difference reuse")]
    assert places == sorted(places)
    assert f"moves {small_card.gib(0.5 * size)} GiB" in text
    # Where the reference itself is streamed, both of a LoRA's models are asked on it: difference reuse moves less.
    device = Device(0.3 * size + 10_000_000, least=10_000_000)
    text = small_card.advice(reference, [anchor], SHAPE, device=device)
    assert text.index("difference reuse") < text.index("a LoRA anchor")
    assert f"moves {small_card.gib(1.7 * size)} GiB" in text


def test_no_advice_where_there_is_nothing_to_say(pair, card, tiny):
    reference, anchor = pair
    size = reference.model_size()
    wide, narrow = Device(2.1 * size, least=NO_SPACE), Device(0.5 * size, least=NO_SPACE)
    assert not small_card.advice(reference, [anchor], SHAPE, device=wide)
    assert not small_card.advice(reference, [reference.clone()], SHAPE, device=narrow)  # a LoRA: one model
    assert not small_card.advice(reference, [], SHAPE, device=narrow)


def test_advice_that_cannot_be_taken_is_not_given(tiny, pair):
    reference, anchor = pair
    device = Device(1.5 * reference.model_size(), least=NO_SPACE)
    assert REUSE_WORDS not in small_card.advice(reference, [anchor], SHAPE, 1.2, device)
    packed = comfy.sd.load_diffusion_model_state_dict(
        dict(tiny.weights("sd15")), model_options={"dtype": torch.float8_e4m3fn}
    )
    other = comfy.sd.load_diffusion_model_state_dict(
        dict(tiny.weights("sd15")), model_options={"dtype": torch.float8_e4m3fn}
    )
    device = Device(1.5 * packed.model_size(), least=NO_SPACE)
    text = small_card.advice(packed, [other], SHAPE, device=device)
    assert "a LoRA anchor" in text
    assert "low_rank" not in text
    whole = Device(1.5 * reference.model_size(), streams=False, least=NO_SPACE)
    text = small_card.advice(reference, [anchor], SHAPE, device=whole)
    assert "may run out of memory" in text
    assert REUSE_WORDS not in text
    assert "moved" not in text


REUSE_WORDS = "difference reuse"


def test_it_is_said_on_the_node_at_every_run_and_once_in_the_log(models, monkeypatch, caplog):
    shown = []
    monkeypatch.setattr(live, "show_text", lambda node_id, text: shown.append(text))
    reference, model = models("sd15")
    anchor = (Anchor(model, "anchor"),)
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")
    realign((reference, anchor), *conds, latent, 0.5)
    assert not any("do not fit" in text for text in shown)
    small(monkeypatch, 1.5 * reference.model_size())
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        shown.clear()
        realign((reference, anchor), *conds, latent, 0.5)
        assert "do not fit on this device together" in shown[0]  # before a step is done
        assert "step 4/4" in shown[-1]
        assert "do not fit on this device together" in shown[-1]
    assert len([r for r in caplog.records if "do not fit" in r.getMessage()]) == 1
    shown.clear()
    for lam in (0.0, 1.0):  # one model alone
        realign((reference, anchor), *conds, latent, lam)
    assert not any("do not fit" in text for text in shown)


def test_a_sweep_takes_the_largest_parts_where_weights_are_streamed(models, monkeypatch):
    """On a card that holds both models, those that fit beside them."""
    reference, _ = models("sd15")
    device, needs = {}, [reference.memory_required([n, 4, 8, 8]) * memory.MEMORY_MARGIN for n in range(8)]
    monkeypatch.setattr(memory.host, "is_device_cpu", lambda device: False)
    monkeypatch.setattr(Device, "of", classmethod(lambda cls, of, free=None: device["is"]))
    models = [reference, models("sd15")[1]]
    weights, layer = sum(one.model_size() for one in models), memory._largest_layer(reference)

    asked = SimpleNamespace(steering=None, anchors=[SimpleNamespace(patcher=one) for one in models[1:]])
    guider, call = SimpleNamespace(model_patcher=models[0]), SimpleNamespace(noise=torch.zeros(7, 4, 8, 8))

    def fitting(free, **more):
        device["is"] = Device(free, **more)
        return parts.fitting(asked, guider, call, 7, 1)

    assert fitting(weights + needs[7] * 1.01) == 7
    assert fitting(weights + needs[3] * 1.01) == 3
    assert fitting(weights + needs[1] * 1.01) == 1
    assert fitting(weights) == (7 if needs[7] < weights - 3 * layer else 0)  # not one: all that weights make room for
    assert fitting(3 * layer + needs[5] * 1.01) == 5
    assert fitting(3 * layer + needs[5] * 1.01, reserved=needs[2]) == 3
    assert fitting(0.0) == 1  # the host will try
    assert fitting(weights, streams=False) == 1
    half = Device(2.0 * weights, weights_share=0.25)
    assert memory.Device.kept(half, [weights, weights], half.free) == [0.5 * weights, 0.375 * weights]
