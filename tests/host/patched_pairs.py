"""A reference and its anchor as graphs give them, with a patch on each, for the tests beside other packs."""

import tiny_models
from safetensors.torch import save_file

import nodes as host_nodes

STEPS, LAMBDA = 5, 0.45


def with_lora(tiny, model, kind, seed=31, strength=0.7):
    """The stock LoRA loader's clone, from a file."""
    name, parts = f"{kind}_third_{seed}.safetensors", {}
    if not (tiny.dir / "loras" / name).exists():
        for layer, (up, down) in tiny.lora_weights(kind, seed).items():
            key = "diffusion_model." + layer if kind == "sd3" else "lora_unet_" + layer.replace(".", "_")
            parts |= {key + ".lora_up.weight": up, key + ".lora_down.weight": down}
        save_file(parts, tiny.dir / "loras" / name)
    return host_nodes.LoraLoaderModelOnly().load_lora_model_only(model, name, strength)[0]


def pairs(tiny, kind, anchor, patch):
    """(reference, anchor) to be mixed, and the same two on weights of their own."""

    def load(path):
        return patch(tiny.load(path(kind)))

    if anchor == "full":
        return (load(tiny.reference), load(tiny.anchor)), (load(tiny.reference), load(tiny.anchor))
    plain = tiny.load(tiny.reference(kind))
    ours = patch(plain)
    other = with_lora(tiny, ours, kind) if anchor == "lora" else patch(with_lora(tiny, plain, kind))
    return (ours, other), (load(tiny.reference), with_lora(tiny, load(tiny.reference), kind))


def conditionings(kind):
    return tiny_models.conditioning(kind, 51), tiny_models.conditioning(kind, 52)
