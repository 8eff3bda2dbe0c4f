"""A node behind Realign MODEL acts on every model as if it stood before each; the truth has it on each of two."""

import sys
import tempfile
import types
from pathlib import Path

import comfy.patcher_extension
import comfy.sd
import comfy.utils
import pytest
import tiny_models
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_model_advanced import ModelSamplingSD3, RescaleCFG
from patched_pairs import LAMBDA, STEPS, conditionings, pairs, with_lora
from realign.nodes.run.attach import Attached
from test_patches import caching
from truth import distance, k_sampled, mixture, near, realign_model, sigmas_of

PACK = "/custom_nodes/sd-perturbed-attention.nag_nodes"  # as the host names the file of such a pack


def style(tiny, model, kind):
    return with_lora(tiny, model, kind, 33, 0.6)


def bypassed(tiny, model, kind):
    """As LoraLoaderBypassModelOnly."""
    style(tiny, model, kind)  # the file
    weights = comfy.utils.load_torch_file(str(tiny.dir / "loras" / f"{kind}_third_33.safetensors"), safe_load=True)
    return comfy.sd.load_bypass_lora_for_models(model, None, weights, 0.6, 0)[0]


def damped(tiny, model, kind):
    model = model.clone()
    model.set_model_attn2_output_patch(lambda out, options: 0.5 * out)
    return model


def rescaled(tiny, model, kind):
    return RescaleCFG().patch(model, 0.7)[0]


def wrapped(tiny, model, kind):
    model = model.clone()
    for stage, factor in (("DIFFUSION_MODEL", 0.9), ("PREDICT_NOISE", 1.05)):

        def wrapper(executor, *args, factor=factor, **more):
            return factor * executor(*args, **more)

        model.add_wrapper_with_key(getattr(comfy.patcher_extension.WrappersMP, stage), "a_pack", wrapper)
    return model


def compiled(tiny, model, kind):
    model = rescaled(tiny, model, kind)
    set_torch_compile_wrapper(model=model, backend="eager")
    return model


def cached(tiny, model, kind):
    return caching(model)


def shifted(tiny, model, kind):
    return ModelSamplingSD3().patch(model, 1.3)[0]


NODES = {
    "a style LoRA": (style, "sd15"),
    "a bypass LoRA": (bypassed, "sd15"),
    "a patch": (damped, "sd15"),
    "a cfg function": (rescaled, "sd15"),
    "wrappers": (wrapped, "sd15"),
    "a cache": (cached, "sd15"),
    "a shift": (shifted, "sd3"),
    "a compiled model": (compiled, "sd3"),
}


@pytest.mark.parametrize("lam", [LAMBDA, 1.0])
@pytest.mark.parametrize("anchor", ["full", "lora"])
@pytest.mark.parametrize("node", NODES)
def test_behind_realign(tiny, node, anchor, lam):
    (put, kind), latent = NODES[node], tiny_models.latent(NODES[node][1])
    conds = conditionings(kind)
    (ours, other), plain = pairs(tiny, kind, anchor, lambda model: model)
    true = [put(tiny, model, kind) for model in plain]
    sigmas = sigmas_of(true[0], STEPS)
    want = mixture(true, lam, conds, latent, "euler", sigmas)
    before = k_sampled(ours, conds, latent, STEPS, "euler")
    got = k_sampled(put(tiny, realign_model(ours, other, lam), kind), conds, latent, STEPS, "euler")
    near(f"{node} behind Realign MODEL, {anchor}, λ {lam}", got, want)
    assert distance(k_sampled(ours, conds, latent, STEPS, "euler"), before) == 0


def test_the_truth_of_each_node_is_another(tiny):
    for node, (put, kind) in NODES.items():
        conds, latent = conditionings(kind), tiny_models.latent(kind)
        model = tiny.load(tiny.reference(kind))
        plain = k_sampled(model, conds, latent, STEPS, "euler")
        assert distance(k_sampled(put(tiny, model, kind), conds, latent, STEPS, "euler"), plain) > 1e-3, node


def on_the_network(model):
    """A cache that is kept on the network that it was made for, by its own reference (TeaCache and others)."""
    model = model.clone()
    network = model.get_model_object("diffusion_model")

    class ACache:
        def __call__(self, apply_model, args):
            out = apply_model(args["input"], args["timestep"], **args["c"])
            before, network.kept_by_a_pack = getattr(network, "kept_by_a_pack", None), out
            return out if before is None else out + 0.3 * (out - before)

    model.set_model_unet_function_wrapper(ACache())
    return model


def test_a_node_that_holds_on_to_the_references_weights(tiny):
    """A LoRA anchor has the same; another is refused, and the next stock run is as before."""
    conds, latent = conditionings("sd15"), tiny_models.latent("sd15")
    (ours, other), true = pairs(tiny, "sd15", "lora", lambda model: model)
    want = mixture([on_the_network(model) for model in true], LAMBDA, conds, latent, "euler", sigmas_of(ours, STEPS))
    got = k_sampled(on_the_network(realign_model(ours, other, LAMBDA)), conds, latent, STEPS, "euler")
    near("a cache on the network, behind Realign MODEL", got, want)
    (ours, other), _ = pairs(tiny, "sd15", "full", lambda model: model)
    before = k_sampled(ours, conds, latent, STEPS, "euler")
    with pytest.raises(ValueError, match=r"“on_the_network” holds on to the weights that it was put on"):
        k_sampled(on_the_network(realign_model(ours, other, LAMBDA)), conds, latent, STEPS, "euler")
    assert distance(k_sampled(ours, conds, latent, STEPS, "euler"), before) == 0


def of_weights(model):
    """What a layer makes of a prompt when the graph runs (sd-perturbed-attention's Normalized Attention Guidance)."""
    model = model.clone()
    made = model.get_model_object("diffusion_model").time_embed[0].bias.detach().mean().item()

    def scaled(args):
        return args["denoised"] * (1 + made)

    scaled.__module__, scaled.__qualname__ = PACK, "nag_attn2_replace_wrapper.<locals>.scaled"
    model.set_model_sampler_post_cfg_function(scaled)
    return model


@pytest.fixture
def known_pack(monkeypatch):
    pack = types.ModuleType(PACK)
    pack.__file__ = str(Path(tempfile.gettempdir()) / "nag_nodes.py")
    monkeypatch.setitem(sys.modules, PACK, pack)


@pytest.mark.usefixtures("known_pack")
@pytest.mark.parametrize(("place", "anchor"), [("before", "full"), ("before", "lora"), ("behind", "lora")])
def test_what_weights_made_for_a_node(tiny, place, anchor):
    conds, latent = conditionings("sd15"), tiny_models.latent("sd15")
    (ours, other), true = pairs(tiny, "sd15", anchor, of_weights)
    want = mixture(true, LAMBDA, conds, latent, "euler", sigmas_of(ours, STEPS))
    if place == "behind":
        ours, other = pairs(tiny, "sd15", anchor, lambda model: model)[0]
    realigned = realign_model(ours, other, LAMBDA)
    got = k_sampled(of_weights(realigned) if place == "behind" else realigned, conds, latent, STEPS, "euler")
    near(f"what weights made, {place}, {anchor}", got, want)


@pytest.mark.usefixtures("known_pack")
def test_a_node_that_holds_what_the_references_weights_made(tiny):
    """No walk tells it from any other number: it is known by its name."""
    conds, latent = conditionings("sd15"), tiny_models.latent("sd15")
    ours, other = pairs(tiny, "sd15", "full", lambda model: model)[0]
    realigned = of_weights(realign_model(ours, other, LAMBDA))
    with pytest.raises(ValueError, match="“Normalized Attention Guidance” holds on to the weights"):
        k_sampled(realigned, conds, latent, STEPS, "euler")


@pytest.mark.parametrize("anchor", ["full", "lora"])
def test_the_next_run_finds_the_same_anchor(tiny, anchor):
    """So that the host need not patch its weights again; without a node behind, it is the one that was connected."""
    (ours, other), _ = pairs(tiny, "sd15", anchor, lambda model: model)
    realigned = realign_model(ours, other, LAMBDA)
    models = Attached.behind(realigned).models
    assert models.swap(1)(realigned) is other
    assert models.swap(1)(realigned.clone()) is other
    styled = style(tiny, realigned, "sd15")
    assert models.swap(1)(styled) is models.swap(1)(styled)
    assert models.swap(1)(styled) is not other
    assert models.swap(1)(styled).patches_uuid != other.patches_uuid


def test_a_node_that_takes_something_away(tiny):
    """As ModelPatcher.remove_wrappers_with_key: from every model."""
    kinds = comfy.patcher_extension.WrappersMP

    def wrapper(executor, *args, **more):
        return 0.9 * executor(*args, **more)

    def put(model):
        model = model.clone()
        model.add_wrapper_with_key(kinds.DIFFUSION_MODEL, "a_pack", wrapper)
        return model

    conds, latent = conditionings("sd15"), tiny_models.latent("sd15")
    (ours, other), true = pairs(tiny, "sd15", "lora", lambda model: model)
    realigned = realign_model(put(ours), put(other), LAMBDA).clone()
    realigned.remove_wrappers_with_key(kinds.DIFFUSION_MODEL, "a_pack")
    want = mixture(true, LAMBDA, conds, latent, "euler", sigmas_of(ours, STEPS))
    near("a wrapper that was taken away", k_sampled(realigned, conds, latent, STEPS, "euler"), want)
