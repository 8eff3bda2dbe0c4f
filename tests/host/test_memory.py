"""What the host is told of a run's memory, and what a weight copy has of it."""

import ctypes

import comfy.model_management
import pytest
import tiny_models
import torch
from host_runs import conds_of, realign_guider, sampled, stock_guider
from realign.nodes.models.pair import with_own_weights
from test_quantised import block_compiled, lora_anchor, lora_file, one_step, one_step_at, rms
from toy_models import PerPixel, toy_model
from toy_models import with_lora as with_toy_lora


def test_the_host_is_told_the_rows_that_run(tiny, monkeypatch):
    """Reference and anchor are asked one after the other: a call has the rows of a stock one."""
    asked, load = [], comfy.model_management.load_models_gpu
    monkeypatch.setattr(
        comfy.model_management,
        "load_models_gpu",
        lambda models, memory_required=0, **more: (
            asked.append(memory_required) or load(models, memory_required, **more)
        ),
    )
    reference, conds, latent = tiny.load(tiny.reference("sd15")), conds_of("sd15"), tiny_models.latent("sd15")
    anchor, rows = lora_anchor(reference, lora_file(tiny, "sd15")), []
    network = reference.model.diffusion_model
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        forward = network.forward
        patch.setattr(network, "forward", lambda x, *args, **more: rows.append(len(x)) or forward(x, *args, **more))
        sampled(stock_guider(reference, *conds, 4.0), latent, steps=1)
        (alone,), stock = asked, max(rows)
        sampled(realign_guider((reference, anchor), *conds, 0.5, 4.0), latent, steps=1)
    assert max(rows) == stock
    assert asked[-1] == alone


class Range:
    """The host's, of device memory."""

    def __deepcopy__(self, memo):
        raise AssertionError("device memory was copied")


def test_a_weight_copy_shares_no_device_memory():
    """Dynamic VRAM keeps an address range on the model and a place in it on each layer; copied, both models would load
    their weights into the same place, and it would be freed twice."""
    model = toy_model(PerPixel)
    layer = model.model.diffusion_model.layer
    model.model.dynamic_vbars, model.model.dynamic_pins = {"cuda:0": Range()}, {"cuda:0": Range()}
    layer._v, layer.dynamic_img_pad = (Range(), 789, 64), True
    layer._v_signature, layer._pin_state, layer._pins = (ctypes.c_uint32 * 2)(1, 1), Range(), [Range()]
    kept = dict(vars(layer)), dict(vars(model.model))
    copy = with_own_weights(with_toy_lora(model)).model
    names = ("dynamic_vbars", "dynamic_pins", "_v", "_v_signature", "_pin_state", "_pins")
    assert not any(hasattr(module, name) for module in copy.modules() for name in names)
    assert copy.diffusion_model.layer.dynamic_img_pad  # a layer's own
    assert (vars(layer), vars(model.model)) == kept  # the first has what it had


def test_a_stock_run_between_two_changes_nothing_on_compiled_blocks(tiny):
    torch._dynamo.reset()
    plain, name = tiny.load(tiny.reference("sd3")), lora_file(tiny, "sd3")
    want = one_step_at("sd3", (plain, lora_anchor(plain, name)), 0.5)
    reference = block_compiled(tiny.load(tiny.reference("sd3")))
    pair = reference, lora_anchor(reference, name)
    assert rms(one_step_at("sd3", pair, 0.5), want) < 1e-4
    one_step("sd3", reference)
    assert rms(one_step_at("sd3", pair, 0.5), want) < 1e-4
