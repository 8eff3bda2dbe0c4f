"""On a device without fp64 (counting_device.py) every node runs, and the pack waits for it at most once a step."""

import itertools

import pytest
import tiny_models
import torch
from counting_device import DEVICE, Away, device  # noqa: F401
from host_runs import anchors_of, conds_of, realign, realign_guider, sampled
from realign.nodes.guider import RealignModel
from realign.nodes.run.fewer_calls import REUSE
from realign.realign_core import LambdaSchedule, NoiseLevel, Sweep
from test_quantised import lora_anchor, lora_file

from nodes import common_ksampler

STEPS = 4
ONCE = 10  # waits of a run, however many steps it has
TWICE = ("mask", "difference reuse")  # a map says on the device where it is 0; a refresh tells what it has found


@pytest.fixture
def pair(tiny, request, device):  # noqa: F811
    reference = tiny.load(tiny.reference("sd15"))
    if request.param == "LoRA":
        return reference, lora_anchor(reference, lora_file(tiny, "sd15"))
    return reference, tiny.load(tiny.anchor("sd15"))


def swept():
    latent = tiny_models.latent("sd15")["samples"]
    return {"samples": latent.repeat(3, 1, 1, 1), "batch_index": [0] * 3}


WAYS = {
    "plain": {},
    "sweep": {"lambda_schedule": Sweep((0.0, 0.5, 1.0))},
    "schedule": {"lambda_schedule": LambdaSchedule(start=0.2, end=0.8)},
    "mask": {"lambda_mask": torch.linspace(0, 1, 64).reshape(1, 8, 8)},
    "difference reuse": {"fewer_calls": REUSE, "calls_per_step": 1.5},
}


def run(node, pair, way):
    options, conds = WAYS[way], conds_of("sd15")
    latent = swept() if way == "sweep" else tiny_models.latent("sd15")
    if node == "sampler":
        return realign(pair, *conds, latent, 0.5, "ddpm", steps=STEPS, **options)[0]
    if node == "guider":
        return sampled(realign_guider(pair, *conds, 0.5, **options), latent, "euler", steps=STEPS)
    reference, anchor = pair
    model = RealignModel.execute(reference, anchors_of(anchor), 0.5, **options).args[0]
    return common_ksampler(model, 42, STEPS, 7.0, "dpmpp_2m", "normal", *conds, latent)[0]


def test_the_device(device):  # noqa: F811
    """It counts what waits, and refuses what such a device cannot do."""
    x = torch.ones(2, 3).to(DEVICE)
    assert x.device == DEVICE
    assert x.cpu().device.type == "cpu"
    assert (x + 1).device == (2 * x).sum().device == torch.zeros(3, device=DEVICE).device == DEVICE
    with pytest.raises(TypeError, match="float64"):
        x.double()
    with pytest.raises(RuntimeError, match="same device"):
        x + torch.ones(2, 3)
    assert (x + torch.ones(())).device == DEVICE  # a number
    assert not device.waits  # of the pack
    NoiseLevel(1.0, x[0, 0]).log_snr  # noqa: B018
    assert device.waits.total() == 1


def cases():
    """Every way through Realign Sampler, every node in one of them; the rest is thorough."""
    for pair, node, way in itertools.product(["full", "LoRA"], ["sampler", "guider", "model"], WAYS):
        first = (pair == "full" and node == "sampler") or way == "plain"
        yield pytest.param(pair, node, way, marks=() if first else pytest.mark.thorough)


@pytest.mark.parametrize(("pair", "node", "way"), cases(), indirect=["pair"])
def test_a_run_waits_at_most_once_a_step(pair, device, node, way):  # noqa: F811
    out = run(node, pair, way)["samples"]
    assert not isinstance(out, Away)
    assert torch.isfinite(out).all()
    device.waits.clear()  # of what is made once
    run(node, pair, way)
    print(node, way, *(f"\n  {count} {line}" for line, count in device.waits.most_common()))
    assert device.waits.total() <= ONCE + STEPS * (1 + (way in TWICE)), device.waits
    assert not any("on_layer" in line or "adapters" in line for line in device.waits)
