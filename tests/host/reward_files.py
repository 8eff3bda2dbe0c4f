"""Small random reward models in the layouts that people have, and the host's CLIP vision models."""

from __future__ import annotations

import json

import comfy.clip_vision
import comfy.utils
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

WIDTH, LAYERS, PATCH, SIDE = 64, 2, 14, 28


def tiny_clip(seed=0, act="gelu", heads=1, projection=WIDTH, vision_width=WIDTH, vision_heads=None):
    """transformers' CLIPModel, with weights large enough that every layer counts."""
    text = dict(hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=LAYERS, num_attention_heads=heads)
    text |= dict(hidden_act=act, projection_dim=projection, eos_token_id=49407, bos_token_id=49406, pad_token_id=49407)
    vision = dict(hidden_size=vision_width, intermediate_size=2 * vision_width, num_hidden_layers=LAYERS)
    vision |= dict(num_attention_heads=vision_heads or heads)
    vision |= dict(hidden_act=act, patch_size=PATCH, image_size=SIDE, projection_dim=projection)
    with torch.inference_mode(False):
        generator = torch.Generator().manual_seed(seed)
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=projection)).eval()
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.data = 1.5 * torch.randn(weight.shape, generator=generator) / weight[0].numel() ** 0.5
            elif name != "logit_scale":
                middle = float(name.endswith("weight"))  # of a norm; biases and the class are about 0
                weight.data = middle + 0.1 * torch.randn(weight.shape, generator=generator)
        model.text_model.embeddings.token_embedding.weight.data *= 8
        model.logit_scale.data.fill_(4.5)
        model.half().float()  # the host keeps them in half precision
    return model


def save_single(model, path, dtype=torch.float32):
    """One file, as PickScore_v1's model.safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {key: value.detach().clone() for key, value in model.state_dict().items()}
    save_file({key: value.to(dtype) if value.is_floating_point() else value for key, value in weights.items()}, path)
    return path


def save_folder(model, folder, dtype=torch.float32):
    """config.json beside model.safetensors, as the Hub has it: the file's path."""
    path = save_single(model, folder / "model.safetensors", dtype)
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()), encoding="utf-8")
    return path


def as_open_clip(model):
    """The same weights under the names of open_clip and OpenAI."""
    out, weights = {}, model.state_dict()
    names = {
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
    }
    for tower, prefix in (("vision_model.", "visual."), ("text_model.", "")):
        for i in range(LAYERS):
            old, new = f"{tower}encoder.layers.{i}.", f"{prefix}transformer.resblocks.{i}."
            for kind in ("weight", "bias"):
                out |= {f"{new}{names[one]}.{kind}": weights[f"{old}{one}.{kind}"] for one in names}
                parts = [weights[f"{old}self_attn.{one}_proj.{kind}"] for one in "qkv"]
                out[f"{new}attn.in_proj_{kind}"] = torch.cat(parts)
    visual = {"pre_layrnorm": "ln_pre", "post_layernorm": "ln_post"}
    for kind in ("weight", "bias"):
        out |= {f"visual.{new}.{kind}": weights[f"vision_model.{old}.{kind}"] for old, new in visual.items()}
        out[f"ln_final.{kind}"] = weights[f"text_model.final_layer_norm.{kind}"]
    embeddings = "vision_model.embeddings."
    out["visual.class_embedding"] = weights[f"{embeddings}class_embedding"]
    out["visual.conv1.weight"] = weights[f"{embeddings}patch_embedding.weight"]
    out["visual.positional_embedding"] = weights[f"{embeddings}position_embedding.weight"]
    out["visual.proj"] = weights["visual_projection.weight"].T
    out["token_embedding.weight"] = weights["text_model.embeddings.token_embedding.weight"]
    out["positional_embedding"] = weights["text_model.embeddings.position_embedding.weight"]
    out["text_projection"] = weights["text_projection.weight"].T
    out["logit_scale"] = weights["logit_scale"]
    return {key: value.clone().contiguous() for key, value in out.items()}


def clip_vision_of(model):
    """The host's CLIP_VISION on a CLIPModel's image tower, made in inference mode as its loader makes it."""
    config = model.config.vision_config.to_dict() | {"model_type": "clip_vision_model", "num_channels": 3}
    out = comfy.clip_vision.ClipVisionModel(config)
    missing, _ = out.load_sd({key: value for key, value in model.state_dict().items() if key.startswith("vis")})
    assert not missing
    return out


def aesthetic_head(seed=0, width=WIDTH, sizes=(1024, 128, 64, 16, 1), places=(0, 2, 4, 6, 7)):
    """A state dict as sac+logos+ava1-l14-linearMSE.pth has it, and the same as the published module builds it."""
    generator = torch.Generator().manual_seed(seed)
    out, inner = {}, width
    for place, outer in zip(places, sizes):
        out[f"layers.{place}.weight"] = torch.randn(outer, inner, generator=generator) / inner**0.5
        out[f"layers.{place}.bias"] = torch.randn(outer, generator=generator)
        inner = outer
    return out


def weights_of(path):
    return comfy.utils.load_torch_file(str(path))
