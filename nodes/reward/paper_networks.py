"""The networks of published rewards: imscore's, in the sizes that a file's weights have.

Each class of imscore brings other models from the web when it is made. So its objects are put together here from the
package's own parts, and nothing is brought; what is asked is the package's `score`, unchanged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import comfy.sd1_clip
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from .files import HEAD_WIDTH, as_host, configs
from .vision import CLIP_MEAN, CLIP_STD

HEAD = 64  # numbers of an attention head, in all of these but some image towers
HOST_TOKENIZERS = Path(comfy.sd1_clip.__file__).parent
CLIP_TOKENS, IMAGE_REWARD_TOKENS, CYCLE_TOKENS, T5_TOKENS = 77, 35, 128, 512  # of a prompt that count
IMAGE_REWARD = (0.16717362830052426, 1.0333394966054072)  # mean and spread of the published scores
# What MPS judges by, as published for its overall score (Zhang et al. 2024, arXiv 2405.14705).
MPS_CONDITION = (
    "light, color, clarity, tone, style, ambiance, artistry, shape, face, hair, hands, limbs, structure, instance, "
    "texture, quantity, attributes, position, number, location, word, things."
)

Weights = Mapping[str, torch.Tensor]
Import = Callable[[str], ModuleType]  # a module of what is installed


@dataclass(frozen=True)
class Network:
    """module: has imscore's `score`. tokens: how many tokens a prompt has, of which `length` count."""

    module: nn.Module
    tokens: Callable[[str], int]
    length: int


def hps(weights: Weights, vocabulary: Path | None, package: Import) -> Network:
    """HPS v2.1 (Wu et al. 2023, arXiv 2306.09341): the cosine between picture and text, by a CLIP of open_clip's."""
    imscore, clip = package("imscore.hps.model"), package("open_clip.model")
    tokenizer = package("open_clip").get_tokenizer("ViT-H-14")
    patch, width = weights["model.visual.conv1.weight"].shape[-1], weights["model.visual.conv1.weight"].shape[0]
    size = _side(weights["model.visual.positional_embedding"].shape[0]) * patch
    vision = clip.CLIPVisionCfg(
        image_size=size,
        patch_size=patch,
        width=width,
        head_width=HEAD_WIDTH.get(width, HEAD),
        layers=_layers(weights, "model.visual.transformer.resblocks."),
        mlp_ratio=weights["model.visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0] / width,
    )
    vocabulary_size, inner = weights["model.token_embedding.weight"].shape
    text = clip.CLIPTextCfg(
        context_length=weights["model.positional_embedding"].shape[0],
        vocab_size=vocabulary_size,
        width=inner,
        heads=inner // HEAD,
        layers=_layers(weights, "model.transformer.resblocks."),
        mlp_ratio=weights["model.transformer.resblocks.0.mlp.c_fc.weight"].shape[0] / inner,
    )
    model = clip.CLIP(weights["model.text_projection"].shape[1], vision, text, output_dict=True)
    _in_its_own_format(model.visual.conv1)
    parts = {"model": model, "tokenizer": tokenizer, "resize": imscore.ResizeMaxSize(size)}
    module = _made(imscore.HPSv2, **parts, normalize=_normalize(package))
    return Network(module, lambda text: len(tokenizer.encode(text)) + 2, CLIP_TOKENS)


def image_reward(weights: Weights, vocabulary: Path | None, package: Import) -> Network:
    """ImageReward (Xu et al. 2023, arXiv 2304.05977): a BLIP that reads the text while it looks; about -2 to 2."""
    imscore = package("imscore.imreward.model")
    mean, std = IMAGE_REWARD
    return _blip(imscore.ImageReward, imscore, weights, vocabulary, package, IMAGE_REWARD_TOKENS, mean=mean, std=std)


def cycle_reward(weights: Weights, vocabulary: Path | None, package: Import) -> Network:
    """CycleReward (Bahng et al. 2025, arXiv 2506.02095): a BLIP, taught which picture leads back to its text."""
    imscore = package("imscore.cyclereward.model")
    return _blip(imscore.CycleReward, imscore, weights, vocabulary, package, CYCLE_TOKENS)


def _blip(
    kind: type,
    imscore: ModuleType,
    weights: Weights,
    vocabulary: Path | None,
    package: Import,
    length: int,
    **more: Any,
) -> Network:
    folder = imscore.__name__.rpartition(".")[0]
    blip, bert = imscore.BLIP, package(f"{folder}.bert")
    image, text = "blip.visual_encoder.", "blip.text_encoder."
    width, patch = (
        weights[f"{image}patch_embed.proj.weight"].shape[0],
        weights[f"{image}patch_embed.proj.weight"].shape[-1],
    )
    size = _side(weights[f"{image}pos_embed"].shape[1]) * patch
    encoder = package(f"{folder}.vit").VisionTransformer(
        img_size=size,
        patch_size=patch,
        embed_dim=width,
        depth=_layers(weights, f"{image}blocks."),
        num_heads=width // HEAD,
        mlp_ratio=weights[f"{image}blocks.0.mlp.fc1.weight"].shape[0] / width,
    )
    _in_its_own_format(encoder.patch_embed.proj)
    words, inner = weights[f"{text}embeddings.word_embeddings.weight"].shape
    config = package("transformers").BertConfig(
        vocab_size=words,
        hidden_size=inner,
        num_hidden_layers=_layers(weights, f"{text}encoder.layer."),
        num_attention_heads=inner // HEAD,
        intermediate_size=weights[f"{text}encoder.layer.0.intermediate.dense.weight"].shape[0],
        max_position_embeddings=weights[f"{text}embeddings.position_embeddings.weight"].shape[0],
        pad_token_id=0,
    )
    config.encoder_width = width
    tokenizer = package("transformers").BertTokenizer.from_pretrained(str(vocabulary), local_files_only=True)
    parts = {"visual_encoder": encoder, "text_encoder": bert.BertModel(config), "tokenizer": tokenizer}
    for name, into in (("vision_proj", width), ("text_proj", inner)):  # of the training; the score needs neither
        parts[name] = nn.Linear(into, weights[f"blip.{name}.weight"].shape[0])
    transforms = package("torchvision.transforms")
    bicubic = transforms.InterpolationMode.BICUBIC
    seen = [transforms.Resize(size, interpolation=bicubic), transforms.CenterCrop(size), _normalize(package)]
    module = _made(kind, blip=_made(blip, **parts), preprocess=transforms.Compose(seen), mlp=imscore.MLP(inner), **more)
    return Network(module, lambda text: len(tokenizer(text)["input_ids"]), length)


def mps(weights: Weights, vocabulary: Path | None, package: Import) -> Network:
    """MPS (Zhang et al. 2024, arXiv 2405.14705): a CLIP whose picture is read by the text, under a condition."""
    imscore, cross = package("imscore.mps.model"), package("imscore.mps.cross")
    transformers, transforms = package("transformers"), package("torchvision.transforms")
    vision, text = configs(as_host(_below(weights, "mps.model.")), None)
    width = vision["projection_dim"]
    # 2: the pooled token is the one of the largest number, as when these weights were trained.
    config = transformers.CLIPConfig(
        text_config={**text, "eos_token_id": 2, "projection_dim": width, "vocab_size": _words(weights, "mps.model.")},
        vision_config=vision,
        projection_dim=width,
    )
    clip = imscore.XCLIPModel(config)
    for tower in (clip.text_model, clip.vision_model):
        tower.register_forward_pre_hook(_without_options, with_kwargs=True)
    first = "mps.cross_model.layers.0.0.fn."
    head = weights[f"{first}to_kv.weight"].shape[0] // 2
    read = cross.CrossModel(
        dim=width,
        layer_num=_layers(weights, "mps.cross_model.layers."),
        dim_head=head,
        heads=weights[f"{first}to_q.weight"].shape[0] // head,
        ff_mult=weights[f"{first}ff.0.weight"].shape[0] // (2 * width),
    )
    tokenizer = transformers.CLIPTokenizer.from_pretrained(
        str(HOST_TOKENIZERS / "sd1_tokenizer"), model_max_length=CLIP_TOKENS, local_files_only=True
    )
    size = vision["image_size"]
    module = _made(
        imscore.MPS,
        tokenizer=tokenizer,
        condition=MPS_CONDITION,
        mps=_made(imscore.CLIPModel, model=clip, cross_model=read),
        resize=transforms.Resize(size, interpolation=transforms.InterpolationMode.BICUBIC),
        crop=transforms.CenterCrop(size),
        normalize=_normalize(package),
    )
    return Network(module, lambda text: len(tokenizer(text)["input_ids"]), CLIP_TOKENS)


def vqa_score(weights: Weights, vocabulary: Path | None, package: Import) -> Network:
    """VQAScore (Lin et al. 2024, arXiv 2404.01291): how likely CLIP-FlanT5 says that the picture shows the text."""
    imscore, transformers = package("imscore.vqascore.model"), package("transformers")
    bias = weights["t5.encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
    ff = weights["t5.encoder.block.0.layer.1.DenseReluDense.wi_0.weight"]
    config = transformers.T5Config(
        vocab_size=weights["t5.lm_head.weight"].shape[0],
        d_model=ff.shape[1],
        d_ff=ff.shape[0],
        d_kv=weights["t5.encoder.block.0.layer.0.SelfAttention.q.weight"].shape[0] // bias.shape[1],
        num_heads=bias.shape[1],
        num_layers=_layers(weights, "t5.encoder.block."),
        num_decoder_layers=_layers(weights, "t5.decoder.block."),
        relative_attention_num_buckets=bias.shape[0],
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    )
    t5 = transformers.T5ForConditionalGeneration(config)
    # The likelihood of one word has more digits than half precision.
    t5.lm_head.register_forward_hook(lambda module, given, out: out.float())
    vision = _image_tower(weights, "v.vision_model.")
    projector = [weights[f"mm_projector.{place}.weight"] for place in (0, 2)]
    tokenizer = transformers.T5TokenizerFast.from_pretrained(
        str(HOST_TOKENIZERS / "text_encoders" / "t5_tokenizer"), model_max_length=T5_TOKENS, local_files_only=True
    )
    transforms, side = package("torchvision.transforms"), vision["image_size"]
    module = _made(
        imscore.VQAScore,
        t5=t5,
        tokenizer=tokenizer,
        v=transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**vision)),
        normalize=_normalize(package),
        resize=transforms.Resize((side, side), interpolation=transforms.InterpolationMode.BICUBIC),
        mm_projector=nn.Sequential(_linear(projector[0]), nn.GELU(), _linear(projector[1])),
    )
    return Network(module, lambda text: len(module.get_input_ids(module.format(text))), T5_TOKENS)


def named_as(module: nn.Module, weights: Weights) -> dict[str, torch.Tensor]:
    """A file's weights by the names that the module has for them.

    Releases of transformers differ in whether an image tower is called `vision_model` in itself, and a file keeps one
    name of a weight that has several.
    """
    wanted, out = module.state_dict(), {}
    shared = next((weights[key] for key in SHARED if key in weights), None)
    for key in wanted:
        other = key.replace("v.", "v.vision_model.", 1)
        found = weights.get(key, weights.get(other) if key.startswith("v.") else None)
        found = shared if found is None and key in SHARED else found
        if found is not None:
            out[key] = found
    return out


SHARED = tuple(f"t5.{name}.weight" for name in ("shared", "encoder.embed_tokens", "decoder.embed_tokens"))


@contextmanager
def unfilled(dtype: torch.dtype) -> Iterator[None]:
    """Networks made in it are of `dtype`, and not drawn at random: a file fills them at once, and the draws of a
    network of a billion weights take a minute."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with _Undrawn():
            yield
    finally:
        torch.set_default_dtype(before)


class _Undrawn(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "").endswith(("normal_", "uniform_")):  # kaiming_uniform_, trunc_normal_ …
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _made(kind: type[nn.Module], **parts: Any) -> nn.Module:
    """An object of a package's class, without what its __init__ would bring from the web."""
    out = object.__new__(kind)
    nn.Module.__init__(out)
    for name, part in parts.items():
        setattr(out, name, part)
    return out


def _in_its_own_format(layer: nn.Module) -> None:
    """Pictures are cut and scaled in fp32, and the first layer casts them."""
    layer.register_forward_pre_hook(lambda module, given: (given[0].to(module.weight.dtype), *given[1:]))


def _without_options(module: nn.Module, given: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """imscore tells a tower what is so anyway, and some releases of transformers do not take it (4.57)."""
    told = ("output_attentions", "output_hidden_states", "return_dict")
    return given, {key: value for key, value in named.items() if key not in told}


def _normalize(package: Import) -> Any:
    return package("torchvision.transforms").Normalize(mean=CLIP_MEAN, std=CLIP_STD)


def _linear(weight: torch.Tensor) -> nn.Linear:
    return nn.Linear(weight.shape[1], weight.shape[0])


def _image_tower(weights: Weights, prefix: str) -> dict[str, Any]:
    """transformers' CLIPVisionConfig of OpenAI's image towers."""
    patches = weights[f"{prefix}embeddings.patch_embedding.weight"]
    positions = weights[f"{prefix}embeddings.position_embedding.weight"]
    inner, width = weights[f"{prefix}encoder.layers.0.mlp.fc1.weight"].shape
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": _layers(weights, f"{prefix}encoder.layers."),
        "num_attention_heads": width // HEAD,
        "patch_size": patches.shape[-1],
        "image_size": _side(positions.shape[0]) * patches.shape[-1],
        "hidden_act": "quick_gelu",
    }


def _below(weights: Weights, prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def _words(weights: Weights, prefix: str) -> int:
    return weights[f"{prefix}text_model.embeddings.token_embedding.weight"].shape[0]


def _layers(weights: Weights, prefix: str) -> int:
    layer = re.compile(re.escape(prefix) + r"(\d+)\.")
    return 1 + max(int(found[1]) for key in weights if (found := layer.match(key)))


def _side(positions: int) -> int:
    """Patches along a side, of a square and a class token."""
    return math.isqrt(positions - 1)
