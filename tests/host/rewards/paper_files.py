"""Small random weights in the layouts of the papers' files, and what they give by code of others: transformers' own
models where it has them, and plain tensors where not."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import reward_files
import torch
from safetensors.torch import save_file
from transformers import (
    BlipTextConfig,
    BlipVisionConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    T5Config,
    T5ForConditionalGeneration,
    T5TokenizerFast,
)
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

SIDE, WIDTH, LAYERS, PATCH = 28, 64, 2, 14
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "heart", "cat", "photo", "of", "two", "##s", ","]
MLP_PLACES = {"ImageReward": (0, 2, 4, 6, 7), "CycleReward": (0, 2, 4, 6, 8)}
HOST = Path(os.environ["REALIGN_HOST"]) / "comfy"


def save(weights, folder, name="model.safetensors"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    save_file({key: value.detach().clone().contiguous() for key, value in weights.items()}, folder / name)
    return folder / name


def drawn(module, seed):
    """A module of random weights that are large enough that every layer counts, and exact in half precision."""
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False):
        for name, weight in module.named_parameters():
            one = torch.randn(weight.shape, generator=generator)
            norm = name.endswith("weight") and weight.ndim == 1
            weight.data = 1.5 * one / weight[0].numel() ** 0.5 if weight.ndim > 1 else float(norm) + 0.1 * one
        return module.eval().requires_grad_(False).half().float()


def linear(generator, *shape):
    return (torch.randn(shape, generator=generator) / shape[-1] ** 0.5).half().float()


class Hps:
    """A CLIP: the cosine, by transformers' CLIPModel."""

    def __init__(self, seed=1):
        self.model = reward_files.tiny_clip(seed)

    def weights(self):
        return {f"model.{key}": value for key, value in reward_files.as_open_clip(self.model).items()}

    def score(self, x, prompts):
        tokens = CLIPTokenizer.from_pretrained(HOST / "sd1_tokenizer")(prompts, padding=True, return_tensors="pt")
        out = self.model(pixel_values=x, **{key: value.clone() for key, value in tokens.items()})
        return out.logits_per_image.diagonal() / self.model.logit_scale.exp()


class Blip:
    """BLIP's image tower, its text tower that looks at it, and a head on the first token."""

    def __init__(self, kind, seed=1):
        self.kind = kind
        vision = BlipVisionConfig(
            hidden_size=WIDTH, intermediate_size=128, num_hidden_layers=LAYERS, num_attention_heads=1, image_size=SIDE,
            patch_size=PATCH, layer_norm_eps=1e-6, hidden_act="gelu",
        )  # fmt: skip
        text = BlipTextConfig(
            vocab_size=len(WORDS) + 2, hidden_size=128, encoder_hidden_size=WIDTH, intermediate_size=192,
            num_hidden_layers=LAYERS, num_attention_heads=2, max_position_embeddings=160, pad_token_id=0,
            layer_norm_eps=1e-12, hidden_act="gelu",
        )  # fmt: skip
        self.vision = drawn(BlipVisionModel(vision), seed)
        self.text = drawn(BlipTextModel(text, add_pooling_layer=False), seed + 1)
        generator = torch.Generator().manual_seed(seed + 2)
        sizes = [128, 1024, 128, 64, 16, 1]
        self.head = [(linear(generator, b, a), 0.1 * torch.ones(b)) for a, b in pairwise(sizes)]

    def weights(self):
        image, text = "blip.visual_encoder.", "blip.text_encoder."
        names = {"self_attn.qkv": "attn.qkv", "self_attn.projection": "attn.proj", "mlp.fc1": "mlp.fc1"}
        names |= {"mlp.fc2": "mlp.fc2", "layer_norm1": "norm1", "layer_norm2": "norm2"}
        out, theirs = {}, self.vision.state_dict()
        for i in range(LAYERS):
            for old, new in names.items():
                for end in ("weight", "bias"):
                    out[f"{image}blocks.{i}.{new}.{end}"] = theirs[f"encoder.layers.{i}.{old}.{end}"]
        for end in ("weight", "bias"):
            out[f"{image}patch_embed.proj.{end}"] = theirs[f"embeddings.patch_embedding.{end}"]
            out[f"{image}norm.{end}"] = theirs[f"post_layernorm.{end}"]
        out[f"{image}cls_token"] = theirs["embeddings.class_embedding"]
        out[f"{image}pos_embed"] = theirs["embeddings.position_embedding"]
        out |= {f"{text}{key}": value for key, value in self.text.state_dict().items()}
        out[f"{text}embeddings.position_ids"] = torch.arange(160)[None]
        for name, into in (("vision_proj", WIDTH), ("text_proj", 128)):
            out |= {f"blip.{name}.weight": torch.ones(32, into), f"blip.{name}.bias": torch.ones(32)}
        for place, (weight, bias) in zip(MLP_PLACES[self.kind], self.head):
            out |= {f"mlp.layers.{place}.weight": weight, f"mlp.layers.{place}.bias": bias}
        return out

    def score(self, x, prompts):
        length = {"ImageReward": 35, "CycleReward": 128}[self.kind]
        rows = [[WORDS.index(word) for word in ("[CLS]", *prompt.split(), "[SEP]")] for prompt in prompts]
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
        tokens = torch.tensor([row + [0] * (length - len(row)) for row in rows])
        seen = self.vision(pixel_values=x).last_hidden_state
        y = self.text(input_ids=tokens, attention_mask=mask, encoder_hidden_states=seen).last_hidden_state[:, 0]
        for i, (weight, bias) in enumerate(self.head):
            y = torch.nn.functional.linear(y, weight, bias)
            y = torch.nn.functional.gelu(y) if self.kind == "CycleReward" and i < 4 else y
        return y[:, 0] if self.kind == "CycleReward" else (y[:, 0] - 0.16717362830052426) / 1.0333394966054072


class Mps:
    """CLIP's tokens of text and picture, and four layers in which the picture reads the text under a condition."""

    def __init__(self, seed=1):
        self.model = reward_files.tiny_clip(seed, projection=128)
        generator, dim, head = torch.Generator().manual_seed(seed + 1), 128, 64
        self.layers = []
        for _ in range(LAYERS):
            shapes = {"to_q": (2 * head, dim), "to_kv": (2 * head, dim), "to_out": (dim, 2 * head)}
            shapes |= {"ff.0": (8 * dim, dim), "ff.2": (dim, 4 * dim)}
            fused = {"fused_attn_ff_proj": (4 * head + 8 * dim, dim), "attn_out": (dim, 2 * head)}
            fused |= {"ff_out.1": (dim, 4 * dim)}
            one, two = ({name: linear(generator, *shape) for name, shape in all_.items()} for all_ in (shapes, fused))
            one["norm"], two["norm"] = ((1 + 0.1 * torch.randn(dim, generator=generator)).half().float() for _ in "12")
            self.layers.append((one, two))

    def weights(self):
        out = {f"mps.model.{key}": value for key, value in self.model.state_dict().items()}
        for i, pair in enumerate(self.layers):
            for j, part in enumerate(pair):
                out |= {f"mps.cross_model.layers.{i}.{j}.fn.{name}.weight": value for name, value in part.items()}
                out[f"mps.cross_model.layers.{i}.{j}.fn.norm.bias"] = torch.zeros(128)
            out[f"mps.cross_model.layers.{i}.1.fn.rotary_emb.inv_freq"] = 10000 ** (-torch.arange(0, 64, 2) / 64)
        return out

    def score(self, x, prompts):
        return torch.stack([self.one(x[i : i + 1], prompt) for i, prompt in enumerate(prompts)])

    def one(self, x, prompt):
        condition = (
            "light, color, clarity, tone, style, ambiance, artistry, shape, face, hair, hands, limbs, structure, "
            "instance, texture, quantity, attributes, position, number, location, word, things."
        )
        tokenizer = CLIPTokenizer.from_pretrained(HOST / "sd1_tokenizer")
        text, end = self.of_text(tokenizer(prompt, padding="max_length", max_length=77, return_tensors="pt").input_ids)
        about, _ = self.of_text(
            tokenizer(condition, padding="max_length", max_length=77, return_tensors="pt").input_ids
        )
        picture = self.model.visual_projection(self.model.vision_model(pixel_values=x).last_hidden_state)[0]
        near = (text @ about.T).amax(1)
        y, hidden = picture, near / near.max() <= 0.01
        for one, two in self.layers:
            y = y + self.read(one, y, text, hidden)
            y = y + self.think(two, y)
        return self.model.logit_scale.exp() * torch.nn.functional.cosine_similarity(y[0], end, dim=0)

    def of_text(self, tokens):
        last = self.model.text_model(input_ids=tokens.clone()).last_hidden_state[0]
        features = self.model.text_projection(last)
        return features, features[int((tokens[0] == 49407).nonzero()[0])]

    @staticmethod
    def norm(part, y):
        return torch.nn.functional.layer_norm(y, y.shape[-1:]) * part["norm"]

    @staticmethod
    def gated(x):
        value, gate = x.chunk(2, -1)
        return torch.nn.functional.silu(gate) * value

    def read(self, part, y, text, hidden):
        y = self.norm(part, y)
        k, v = (text @ part["to_kv"].T).chunk(2, -1)
        heads = [
            (one @ k.T / 8).masked_fill(hidden, -torch.inf).softmax(-1) @ v
            for one in (y @ part["to_q"].T).split(64, -1)
        ]
        return torch.cat(heads, -1) @ part["to_out"].T + self.gated(y @ part["ff.0"].T) @ part["ff.2"].T

    def think(self, part, y):
        y = self.norm(part, y)
        q, k, v, wide = (y @ part["fused_attn_ff_proj"].T).split((128, 64, 64, 1024), -1)
        k = self.turned(k)
        out = torch.cat([(self.turned(one) @ k.T / 8).softmax(-1) @ v for one in q.split(64, -1)], -1)
        return out @ part["attn_out"].T + self.gated(wide) @ part["ff_out.1"].T

    @staticmethod
    def turned(x):
        """Each pair (i, i + 32) turned by the token's place, times a frequency."""
        angle = torch.arange(len(x))[:, None] * 10000 ** (-torch.arange(0, 64, 2) / 64)
        a, b = x.chunk(2, -1)
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


class Vqa:
    """How likely a T5 that is shown the picture's patches between its words answers "Yes"."""

    def __init__(self, seed=1):
        config = T5Config(
            vocab_size=32100, d_model=WIDTH, d_ff=96, d_kv=16, num_heads=4, num_layers=LAYERS,
            num_decoder_layers=LAYERS, feed_forward_proj="gated-gelu", tie_word_embeddings=False,
            decoder_start_token_id=0,
        )  # fmt: skip
        vision = CLIPVisionConfig(
            hidden_size=WIDTH, intermediate_size=128, num_hidden_layers=LAYERS, num_attention_heads=1, image_size=SIDE,
            patch_size=PATCH, hidden_act="quick_gelu",
        )  # fmt: skip
        self.t5 = drawn(T5ForConditionalGeneration(config), seed)
        for stack in (self.t5.encoder, self.t5.decoder):
            stack.embed_tokens.weight = self.t5.shared.weight
        self.vision = drawn(CLIPVisionModel(vision), seed + 1)
        self.projector = drawn(
            torch.nn.Sequential(torch.nn.Linear(WIDTH, 80), torch.nn.GELU(), torch.nn.Linear(80, WIDTH)), seed + 2
        )

    def weights(self):
        """With one name for what the towers share, and the image tower's older names: as the file was saved."""
        out = {f"t5.{key}": value for key, value in self.t5.state_dict().items() if "embed_tokens" not in key}
        names = {key: key.removeprefix("vision_model.") for key in self.vision.state_dict()}
        out |= {f"v.vision_model.{names[key]}": value for key, value in self.vision.state_dict().items()}
        return out | {f"mm_projector.{key}": value for key, value in self.projector.state_dict().items()}

    def score(self, x, prompts):
        return torch.stack([self.one(x[i : i + 1], prompt) for i, prompt in enumerate(prompts)])

    def one(self, x, prompt):
        tokenizer = T5TokenizerFast.from_pretrained(HOST / "text_encoders" / "t5_tokenizer")
        before = (
            "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
            "detailed, and polite answers to the user's questions. USER: "
        )
        after = f'\n            Does this figure show "{prompt}"? Please answer yes or no. ASSISTANT: '
        words = [self.t5.shared(torch.tensor(tokenizer(part).input_ids)) for part in (before, after)]
        seen = self.projector(self.vision(pixel_values=x, output_hidden_states=True).hidden_states[-2][0])
        hidden = self.t5.encoder(inputs_embeds=torch.cat([words[0], seen, words[1]])[None]).last_hidden_state
        answer = tokenizer("Yes").input_ids
        start = self.t5.shared(torch.tensor([[0, *answer[:-1]]]))
        out = self.t5.decoder(inputs_embeds=start, encoder_hidden_states=hidden).last_hidden_state
        chances = self.t5.lm_head(out)[0].log_softmax(-1)
        return torch.stack([chances[i, token] for i, token in enumerate(answer)]).mean().exp()


def made(kind, seed=1):
    with torch.inference_mode(False):
        return MODELS[kind](seed)


MODELS = {
    "HPS v2.1": Hps,
    "ImageReward": lambda seed: Blip("ImageReward", seed),
    "CycleReward": lambda seed: Blip("CycleReward", seed),
    "MPS": Mps,
    "VQAScore": Vqa,
}
