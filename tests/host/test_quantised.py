"""Quantised and packed weights: a LoRA needs no weight copy on them, and λ = 1 is one thing, however it is asked."""

import json

import comfy.model_management
import comfy.ops
import comfy.sd
import pytest
import tiny_models
import torch
from comfy.quant_ops import QUANT_ALGOS, QuantizedTensor
from host_runs import conds_of, everywhere, realign_guider, sampled, stock_guider
from realign.nodes.load_anchor import LoadAnchorModel
from realign.nodes.models.anchor import Anchor
from realign.nodes.run.fewer_calls import CONTROL
from realign.nodes.run.sharing import injected, joined
from realign.realign_core import Sweep
from safetensors.torch import save_file

from nodes import LoraLoaderModelOnly

ONE = {"sd15": dict(scheduler="normal", steps=1), "sd3": dict(scheduler="simple", steps=1)}
ONE["flux"] = ONE["sd3"]


def rms(a, b):
    """The difference in the latent's standard deviations."""
    a, b = a["samples"].double(), b["samples"].double()
    return ((a - b).square().mean().sqrt() / b.std()).item()


def mean(a, b):
    return {"samples": (a["samples"] + b["samples"]) / 2}


def lora_file(tiny, kind, strength=1.0):
    path = tiny.dir / "loras" / f"{kind}_machines_{strength}.safetensors"
    if not path.exists():
        out = {}
        for layer, (up, down) in tiny.lora_weights(kind, strength=strength).items():
            name = "lora_unet_" + layer.replace(".", "_")
            out |= {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down.contiguous()}
        save_file(out, path)
    return path.name


def lora_anchor(reference, name):
    return LoadAnchorModel.execute(reference, f"loras/{name}", 1.0, "from file", 0.0).args[0]


def lora_from_stock(reference, name):
    return LoraLoaderModelOnly().load_lora_model_only(reference, name, 1.0)[0]


def one_step(kind, model):
    """The stock run; after one Euler step a mixture of models is the mixture of their pictures."""
    return sampled(stock_guider(model, *conds_of(kind), 4.0), tiny_models.latent(kind), **ONE[kind])


def one_step_at(kind, pair, lam, latent=None, **options):
    latent = latent or tiny_models.latent(kind)
    return sampled(realign_guider(pair, *conds_of(kind), lam, 4.0, **options), latent, **ONE[kind])


def quantised(tiny, kind, form):
    """A MODEL of the host's mixed-precision kind: the layers of `lora_file` quantised, the rest bf16."""
    path = tiny.dir / "diffusion_models" / f"{kind}_{form}.safetensors"
    if not path.exists():
        layout, sd, layers = QUANT_ALGOS[form]["comfy_tensor_layout"], {}, {}
        ours = set(tiny.lora_weights(kind))
        for key, value in tiny.weights(kind).items():
            layer = key.removesuffix(".weight")
            if layer in ours and key.endswith(".weight"):
                scale = {"scale": "recalculate"} if form.startswith(("float8", "nvfp4")) else {}
                sd |= QuantizedTensor.from_float(value.bfloat16(), layout, **scale).state_dict(key)
                layers[layer] = {"format": form}
            else:
                sd[key] = value.bfloat16()
        metadata = {"_quantization_metadata": json.dumps({"layers": layers})}
        save_file({key: value.contiguous() for key, value in sd.items()}, path, metadata=metadata)
    return comfy.sd.load_diffusion_model(str(path))


# Quantised checkpoints: scaled fp8, NVFP4, int8. Their Linear is no torch.nn.Linear.


@pytest.mark.parametrize(  # of those that this host knows
    ("kind", "form"),
    [
        pair
        for pair in (("sd15", "float8_e4m3fn"), ("flux", "float8_e4m3fn"), ("sd15", "int8_tensorwise"))
        if pair[1] in QUANT_ALGOS
    ],
)
def test_a_lora_anchor_on_a_quantised_model_needs_no_weight_copy(tiny, kind, form):
    """“A LoRA anchor needs no second model”: just these models are chosen because a second one does not fit."""
    reference = quantised(tiny, kind, form)
    anchor = lora_anchor(reference, lora_file(tiny, kind))
    ends = [one_step(kind, model) for model in (reference, anchor[0].patcher)]
    assert rms(one_step_at(kind, (reference, anchor), 0.5), mean(*ends)) < 0.25 * rms(*ends)
    assert "weights" not in anchor[0].kept, "the anchor got a second copy of all weights"


def test_a_lora_file_fits_a_model_of_packed_weights(tiny):
    """NVFP4 keeps two weights in a byte: the stored shape says nothing of the layer's."""
    reference = quantised(tiny, "flux", "nvfp4")
    name = lora_file(tiny, "flux")
    assert len(lora_from_stock(reference, name).patches) == 8
    patcher = lora_anchor(reference, name)[0].patcher
    assert len(joined([patcher.patches, *(one.patches for one in injected(patcher))])) == 8


class Packed(torch.Tensor):
    """As the tensors of GGUF packs: rows of bytes, whose `shape` is the weight's own."""

    @staticmethod
    def __new__(cls, weight):
        scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
        out = torch.cat([(weight / scale).round().to(torch.int8), scale.float().view(torch.int8)], 1)
        out = out.as_subclass(cls)
        out.logical = weight.shape
        return out

    def unpacked(self, dtype):
        plain = self.as_subclass(torch.Tensor)
        return (plain[:, :-4].float() * plain[:, -4:].contiguous().view(torch.float32)).to(dtype)

    def to(self, *args, **kwargs):
        return self

    clone = detach = to

    @property
    def shape(self):
        return getattr(self, "logical", None) or self.size()


class PackedOps(comfy.ops.manual_cast):
    class Linear(comfy.ops.manual_cast.Linear):
        def _load_from_state_dict(self, state_dict, prefix, *args):
            for name in ("weight", "bias"):
                if prefix + name in state_dict:
                    setattr(self, name, torch.nn.Parameter(state_dict[prefix + name], requires_grad=False))

        def _save_to_state_dict(self, destination, prefix, keep_vars):
            for name in ("weight", "bias"):
                value = getattr(self, name)
                if value is not None:
                    destination[prefix + name] = torch.zeros(value.size(), dtype=value.dtype, device="meta")

        def forward_comfy_cast_weights(self, input):
            weight = self.weight.unpacked(input.dtype) if isinstance(self.weight, Packed) else self.weight
            return torch.nn.functional.linear(input, weight, self.bias)


def packed(tiny, kind):
    layers = {f"{layer}.weight" for layer in tiny.lora_weights(kind)}
    sd = {key: Packed(value) if key in layers else value.clone() for key, value in tiny.weights(kind).items()}
    return comfy.sd.load_diffusion_model_state_dict(sd, model_options={"custom_operations": PackedOps})


def test_a_lora_file_fits_a_model_of_a_gguf_pack(tiny):
    """Its layers report packed sizes in state_dict(), and their own through `weight.shape`."""
    reference, name = packed(tiny, "sd15"), lora_file(tiny, "sd15")
    by_stock = lora_from_stock(reference, name)
    from_model = one_step_at("sd15", (reference, (Anchor(by_stock, "from MODEL"),)), 0.5)
    anchor = lora_anchor(reference, name)
    assert len(anchor[0].patcher.patches) == len(by_stock.patches)
    assert rms(one_step_at("sd15", (reference, anchor), 0.5), from_model) < 1e-5


# Number formats: what λ = 1 is must not depend on how it is asked for.


def fp8(tiny, kind):
    """As UNETLoader with weight_dtype fp8_e4m3fn."""
    return comfy.sd.load_diffusion_model(str(tiny.reference(kind)), model_options={"dtype": torch.float8_e4m3fn})


def test_lambda_one_of_a_sweep_is_the_single_run_on_fp8_weights(tiny):
    """“λ = 0 and λ = 1 … are that model's stock run; in a sweep too, picture by picture”."""
    reference = fp8(tiny, "sd15")
    anchor = lora_anchor(reference, lora_file(tiny, "sd15", 0.1))
    latent = tiny_models.latent("sd15")
    swept = {"samples": latent["samples"].repeat(3, 1, 1, 1), "batch_index": [0] * 3}
    cells = one_step_at("sd15", (reference, anchor), 1.0, swept, lambda_schedule=Sweep((0.0, 0.5, 1.0)))["samples"]
    single = [one_step_at("sd15", (reference, anchor), lam) for lam in (0.0, 1.0)]
    gap = rms(*single)
    assert rms({"samples": cells[:1]}, single[0]) < 0.01 * gap
    assert rms({"samples": cells[2:]}, single[1]) < 0.01 * gap


def test_lambda_near_one_is_near_lambda_one_on_fp8_weights(tiny):
    reference = fp8(tiny, "sd15")
    anchor = lora_anchor(reference, lora_file(tiny, "sd15", 0.1))
    below, one = (one_step_at("sd15", (reference, anchor), lam) for lam in (0.999, 1.0))
    zero = one_step_at("sd15", (reference, anchor), 0.0)
    assert rms(below, one) < 0.02 * rms(zero, one)


def test_an_anchor_file_is_loaded_in_the_number_format_of_the_reference(tiny):
    """A reference in fp8 is one that would not fit otherwise; and anchor - reference must not hold the rounding."""
    reference = fp8(tiny, "flux")
    choice = f"checkpoints/{tiny.anchor('flux').name}"
    anchor = LoadAnchorModel.execute(reference, choice, 1.0, "from file", 0.0).args[0]
    assert anchor[0].patcher.model_size() < 1.5 * reference.model_size()


def test_masked_ends_are_stock_on_quantised_models(tiny):
    """λ 0 and 1 as maps over pixels, which are mixed as any λ is."""
    reference = quantised(tiny, "sd15", "float8_e4m3fn")
    anchor = lora_anchor(reference, lora_file(tiny, "sd15"))
    for end, model in enumerate((reference, anchor[0].patcher)):
        got = one_step_at("sd15", (reference, anchor), 1.0, lambda_mask=everywhere(end))
        assert rms(got, one_step("sd15", model)) < 1e-5


@pytest.fixture
def nothing_loaded():
    comfy.model_management.unload_all_models()


FORMS = ["fp8 weights", *(form for form in QUANT_ALGOS if form != "convrot_w4a4")]  # which rounds on CUDA alone


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("source", ["file", "MODEL"])
def test_lambda_one_is_one_thing(tiny, nothing_loaded, form, source):
    """Alone, near 1, in a sweep and as a map; of a file it is the stock run of the MODEL that comes out, too."""
    kind, name = "flux", lora_file(tiny, "flux", 0.1)
    reference = fp8(tiny, kind) if form == "fp8 weights" else quantised(tiny, kind, form)
    before = one_step(kind, reference)
    anchor = lora_anchor(reference, name) if source == "file" else lora_from_stock(reference, name)
    pair, latent = (reference, anchor), tiny_models.latent(kind)
    zero, one = (one_step_at(kind, pair, lam) for lam in (0.0, 1.0))
    gap = rms(zero, one)
    assert gap > 1e-3
    assert torch.equal(zero["samples"], before["samples"])
    assert rms(one_step_at(kind, pair, 0.999), one) < 0.02 * gap
    swept = {"samples": latent["samples"].repeat(2, 1, 1, 1), "batch_index": [0] * 2}
    cells = one_step_at(kind, pair, 1.0, swept, lambda_schedule=Sweep((0.0, 1.0)))["samples"]
    for cell, single in zip(cells.split(1), (zero, one)):
        assert rms({"samples": cell}, single) < 0.01 * gap
    assert rms(one_step_at(kind, pair, 1.0, lambda_mask=everywhere(1)), one) < 0.01 * gap
    if source == "file":
        assert rms(one_step(kind, anchor[0].patcher), one) < 0.01 * gap
    assert torch.equal(one_step(kind, reference)["samples"], before["samples"])


def test_loras_of_two_strengths_in_turn(tiny, nothing_loaded):
    """The host asks only for the names of what is put into the network, to tell two MODELs of one model apart."""
    reference, name = fp8(tiny, "sd15"), f"loras/{lora_file(tiny, 'sd15', 0.1)}"
    models = [LoadAnchorModel.execute(reference, name, by, "from file", 0.0).args[1] for by in (0.5, 1.0, 0.5)]
    half, whole, again = (one_step("sd15", model) for model in models)
    assert torch.equal(half["samples"], again["samples"])
    assert rms(half, whole) > 0.2 * rms(one_step("sd15", reference), whole)


def test_fewer_calls_on_fp8_weights(tiny, nothing_loaded):
    """The control variate mixes the weights of a LoRA that is not merged: it is as near as in fp32."""

    def missed(reference):
        anchor = lora_anchor(reference, lora_file(tiny, "sd15", 0.1))
        run, conds, latent = dict(scheduler="normal", steps=6), conds_of("sd15"), tiny_models.latent("sd15")
        exact, saved = (
            sampled(realign_guider((reference, anchor), *conds, 0.5, 4.0, **options), latent, **run)
            for options in ({}, dict(fewer_calls=CONTROL, calls_per_step=1.5))
        )
        return rms(saved, exact) / rms(sampled(stock_guider(reference, *conds, 4.0), latent, **run), exact)

    assert 0 < missed(fp8(tiny, "sd15")) < 1.5 * missed(tiny.load(tiny.reference("sd15")))


def test_compiled_fp8_weights(tiny, nothing_loaded):
    """A compiled model runs no hooks on its layers: the LoRA reaches it all the same, or the node is refused."""
    torch._dynamo.reset()
    reference, name = fp8(tiny, "sd3"), lora_file(tiny, "sd3", 0.1)
    want = one_step_at("sd3", (reference, lora_anchor(reference, name)), 0.5)
    gap = rms(one_step("sd3", reference), want)
    compiled = block_compiled(reference)
    assert rms(one_step_at("sd3", (compiled, lora_anchor(compiled, name)), 0.5), want) < 0.5 * gap
    behind = (Anchor(block_compiled(lora_anchor(reference, name)[0].patcher), "a"),)
    with pytest.raises(ValueError, match="holds on to the weights that it was put on"):
        one_step_at("sd3", (compiled, behind), 0.5)


def block_compiled(model):
    """As packs compile transformers."""
    model = model.clone()
    for i, block in enumerate(model.get_model_object("diffusion_model").joint_blocks):
        model.add_object_patch(f"diffusion_model.joint_blocks.{i}", torch.compile(block, backend="eager"))
    return model
