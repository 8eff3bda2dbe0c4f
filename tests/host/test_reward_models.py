"""Rewards that networks know: their files in every layout, each against transformers' own CLIPModel; and likeness."""

from __future__ import annotations

import gc
import json
import logging
import os
import weakref
from pathlib import Path
from types import SimpleNamespace

import comfy.clip_model
import comfy.model_management
import folder_paths
import numpy as np
import pytest
import reward_files
import torch
from PIL import Image
from realign.nodes.likeness import RealignLikeness
from realign.nodes.load_reward import RealignRewardModel
from realign.nodes.models.gradients import called
from realign.nodes.reward.files import FOLDER, find_file, list_files
from realign.nodes.reward.protocol import RewardError, gradient, scores
from realign.nodes.reward.vision import CENTRE, CLIP_MEAN, CLIP_STD, WHOLE, prepared
from reward_files import SIDE, WIDTH
from safetensors.torch import save_file
from transformers import CLIPTokenizer

PROMPTS = ["a red heart", "a photo of two cats on a sofa", "x", "seen from above, at night", "!"]
CLOSE = 1e-4  # of the scale: the rounding of a few layers in fp32


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The host's folders of reward models, in an empty place."""
    for name in (FOLDER, "clip_vision", "text_encoders"):
        (tmp_path / name).mkdir()
        there = ([str(tmp_path / name)], folder_paths.folder_names_and_paths[name][1])
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, there)
    folder_paths.filename_list_cache.clear()
    yield tmp_path / FOLDER
    folder_paths.filename_list_cache.clear()


def loaded(name, prompt="", **options):
    return RealignRewardModel.execute(f"{FOLDER}/{name}", prompt, **options).args[0]


def pictures(count=5, height=SIDE, width=SIDE, dtype=torch.float32, seed=0):
    """Of whole 8-bit values, as they come from a file."""
    values = torch.randint(0, 256, (count, height, width, 3), generator=torch.Generator().manual_seed(seed))
    return values.to(dtype) / 255


def tokens_of(prompts):
    folder = Path(os.environ["REALIGN_HOST"]) / "comfy" / "sd1_tokenizer"
    return CLIPTokenizer.from_pretrained(folder)(
        prompts, padding=True, truncation=True, max_length=77, return_tensors="pt"
    )


def by_transformers(model, images, prompts):
    """logits_per_image of each picture with its own prompt. images: (B, SIDE, SIDE, 3)."""
    x = (images - images.new_tensor(CLIP_MEAN)) / images.new_tensor(CLIP_STD)
    with torch.inference_mode(False):
        out = model(
            pixel_values=x.movedim(-1, 1).clone(), **{key: one.clone() for key, one in tokens_of(prompts).items()}
        )
    return out.logits_per_image.diagonal()


def near(ours, theirs, scale=90.0):
    assert (ours - theirs).abs().max() < CLOSE * scale


def layouts(folder):
    """By name: the file's name, and the model that is in it."""
    plain, other = reward_files.tiny_clip(1), reward_files.tiny_clip(2, act="quick_gelu", heads=4)
    reward_files.save_single(plain, folder / "single.safetensors")
    reward_files.save_single(plain, folder / "half.safetensors", torch.float16)
    reward_files.save_folder(other, folder / "PickScore_v1")
    torch.save({"state_dict": reward_files.as_open_clip(plain)}, folder / "HPS_v2.1_compressed.pt")
    return {
        "single": ("single.safetensors", plain),
        "half": ("half.safetensors", plain),
        "folder": ("PickScore_v1/model.safetensors", other),
        "open_clip": ("HPS_v2.1_compressed.pt", plain),
    }


@pytest.mark.parametrize("layout", ["single", "half", "folder", "open_clip"])
def test_every_layout_gives_what_transformers_gives(folder, layout):
    name, model = layouts(folder)[layout]
    reward, images = loaded(name), pictures()
    wanted = by_transformers(model, images, PROMPTS)
    assert wanted.std() > 1
    near(scores(reward, images, PROMPTS), wanted)
    near(scores(reward, images[:1], PROMPTS[0]), wanted[:1])
    near(scores(reward, images.half(), PROMPTS), by_transformers(model, images.half().float(), PROMPTS))
    assert reward.name == {"folder": "PickScore_v1"}.get(layout, Path(name).stem)


def test_what_a_files_shapes_do_not_say_is_in_the_config_beside_it(folder):
    """Without it, other attention heads and another activation are taken, which the scores show."""
    model = reward_files.tiny_clip(2, act="quick_gelu", heads=4)
    path = reward_files.save_folder(model, folder / "own")
    images = pictures()
    wanted = by_transformers(model, images, PROMPTS)
    near(scores(loaded("own/model.safetensors"), images, PROMPTS), wanted)
    path.with_name("config.json").unlink()
    assert (scores(loaded("own/model.safetensors"), images, PROMPTS) - wanted).abs().max() > 1
    path.with_name("config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"“config.json” beside “model.safetensors” cannot be read"):
        loaded("own/model.safetensors")


@pytest.mark.parametrize(
    ("width", "heads", "act"),
    [(768, 12, "quick_gelu"), (1280, 16, "gelu")],
    ids=["OpenAI's ViT-B", "PickScore's ViT-H"],
)
def test_known_towers_need_no_config(folder, width, heads, act):
    model = reward_files.tiny_clip(3, act=act, vision_width=width, vision_heads=heads)
    reward_files.save_single(model, folder / "x.safetensors", torch.float16)
    images = pictures(2)
    near(scores(loaded("x.safetensors"), images, PROMPTS[:2]), by_transformers(model, images, PROMPTS[:2]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_weights_are_kept_in_the_hosts_number_format(folder, monkeypatch, dtype):
    monkeypatch.setattr(comfy.model_management, "text_encoder_dtype", lambda device=None: dtype)
    model = reward_files.tiny_clip(1)
    reward_files.save_single(model, folder / "x.safetensors")
    reward = loaded("x.safetensors", "a cat")
    assert reward.patcher.model.text.text_model.encoder.layers[0].mlp.fc1.weight.dtype == dtype
    kept = {key.removeprefix("text."): value.clone() for key, value in reward.patcher.model.state_dict().items()}
    model.load_state_dict(kept | {"logit_scale": model.logit_scale})
    images = pictures(2)
    near(scores(reward, images), by_transformers(model, images, ["a cat"] * 2))


@pytest.mark.parametrize("crop", [CENTRE, WHOLE])
@pytest.mark.parametrize(("height", "width"), [(56, 84), (100, 30), (14, 21)])
def test_pictures_that_are_not_square_are_cut_or_squeezed_as_pillow_does(height, width, crop):
    """Pillow rounds to 8 bits after each of its two passes: half a step each, and the second spreads the first's.

    Of muted pictures, as it also cuts off after each what bicubic weights drive beyond black and white.
    """
    images = (255 * (0.4 + 0.2 * pictures(1, height, width))).round() / 255
    ours = prepared(images, SIDE, crop, [0.0] * 3, [1.0] * 3)[0].movedim(0, -1)
    scale = SIDE / min(height, width)
    sides = (round(scale * width), round(scale * height)) if crop == CENTRE else (SIDE, SIDE)
    resized = Image.fromarray((images[0] * 255).round().byte().numpy()).resize(sides, Image.Resampling.BICUBIC)
    left, top = (sides[0] - SIDE) // 2, (sides[1] - SIDE) // 2
    theirs = np.asarray(resized.crop((left, top, left + SIDE, top + SIDE)), dtype=np.float32) / 255
    assert (ours - torch.from_numpy(theirs)).abs().max() < 1.5 / 255


def test_the_prompt_is_the_rewards_own_or_the_askers(folder, monkeypatch):
    reward_files.save_single(reward_files.tiny_clip(1), folder / "x.safetensors")
    images = pictures()
    own, open_ = loaded("x.safetensors", "a red heart"), loaded("x.safetensors")
    assert not own.needs_prompt
    assert torch.equal(scores(own, images, PROMPTS), scores(open_, images, "a red heart"))
    each = torch.cat([scores(open_, images[i : i + 1], prompt) for i, prompt in enumerate(PROMPTS)])
    near(scores(open_, images, PROMPTS), each)
    monkeypatch.setattr(comfy.model_management, "load_models_gpu", lambda *_, **__: pytest.fail("a model was loaded"))
    for prompts in ("", " \n", [*PROMPTS[:4], ""]):
        with pytest.raises(RewardError, match="“x” compares pictures with a text, and there is none"):
            scores(open_, images, prompts)


def test_of_a_long_prompt_the_first_77_tokens_count_and_it_is_said(folder, caplog):
    model = reward_files.tiny_clip(1)
    reward_files.save_single(model, folder / "x.safetensors")
    images, long = pictures(1), "cat and dog " * 40
    with caplog.at_level(logging.WARNING):
        ours = scores(loaded("x.safetensors", long), images)
    assert "only the first 77 tokens" in caplog.text
    assert len(tokens_of([long])["input_ids"][0]) == 77
    near(ours, by_transformers(model, images, [long]))


def test_gradients_are_those_of_transformers_and_of_finite_differences(folder):
    model = reward_files.tiny_clip(1)
    reward_files.save_single(model, folder / "x.safetensors")
    reward, images = loaded("x.safetensors"), pictures(5).clamp(0.01, 0.99)
    values, slopes = gradient(reward, images, PROMPTS)
    near(values, scores(reward, images, PROMPTS))
    with torch.inference_mode(False), torch.enable_grad():
        x = images.clone().requires_grad_()
        (theirs,) = torch.autograd.grad(by_transformers(model, x, PROMPTS).sum(), x)
    assert (slopes - theirs).norm() < 1e-4 * theirs.norm()
    exact, way = images.double(), torch.randn(images.shape, generator=torch.Generator().manual_seed(1)).double()
    ends = [scores(reward, exact + step * way, PROMPTS) for step in (1e-6, -1e-6)]
    along = (gradient(reward, exact, PROMPTS)[1] * way).sum((1, 2, 3))
    assert torch.allclose((ends[0] - ends[1]) / 2e-6, along, rtol=1e-6, atol=1e-6 * float(along.abs().max()))


def test_gradients_pass_through_the_resizing(folder):
    reward_files.save_single(reward_files.tiny_clip(1), folder / "x.safetensors")
    reward, images = loaded("x.safetensors", "a cat"), pictures(2, 60, 90)
    values, slopes = gradient(reward, images)
    assert (slopes[:, :, 20:70].abs().sum((1, 2, 3)) > 0).all()
    assert slopes[:, :, :10].abs().max() == 0  # what the middle leaves out
    assert gradient(loaded("x.safetensors", "a cat", crop=WHOLE), images)[1][:, :, :10].abs().max() > 0


def published_head(weights):
    """The module that the aesthetic predictor's file is of, with its dropout, as its authors build it."""
    linear, dropout = torch.nn.Linear, torch.nn.Dropout
    sizes = [linear(WIDTH, 1024), dropout(0.2), linear(1024, 128), dropout(0.2), linear(128, 64), dropout(0.1)]
    module = torch.nn.Module()
    module.layers = torch.nn.Sequential(*sizes, linear(64, 16), linear(16, 1)).eval()
    module.load_state_dict(weights)
    return module.layers


@pytest.mark.parametrize("crop", [CENTRE, WHOLE])
def test_the_aesthetic_score_is_the_published_one(folder, crop):
    model, head = reward_files.tiny_clip(1), reward_files.aesthetic_head()
    torch.save(head, folder / "sac+logos+ava1-l14-linearMSE.pth")
    reward = loaded("sac+logos+ava1-l14-linearMSE.pth", clip_vision=reward_files.clip_vision_of(model), crop=crop)
    images = pictures()
    with torch.inference_mode(False):
        x = (images.clone() - images.new_tensor(CLIP_MEAN)) / images.new_tensor(CLIP_STD)
        embeds = model.get_image_features(x.movedim(-1, 1)).pooler_output
        wanted = published_head(head)(embeds / embeds.norm(dim=-1, keepdim=True))[:, 0]
    near(scores(reward, images), wanted, 10)
    assert wanted.std() > 0.02
    values, slopes = gradient(reward, images)
    near(values, wanted, 10)
    assert (slopes.flatten(1).norm(dim=1) > 0).all()


def test_the_first_aesthetic_head_is_one_layer(folder):
    torch.save({"weight": torch.ones(1, WIDTH), "bias": torch.tensor([3.0])}, folder / "sa_0_4_vit_l_14_linear.pth")
    model = reward_files.tiny_clip(1)
    reward, images = loaded("sa_0_4_vit_l_14_linear.pth", clip_vision=reward_files.clip_vision_of(model)), pictures()
    x = (images - images.new_tensor(CLIP_MEAN)) / images.new_tensor(CLIP_STD)
    embeds = model.get_image_features(x.movedim(-1, 1)).pooler_output
    near(scores(reward, images), (embeds / embeds.norm(dim=-1, keepdim=True)).sum(1) + 3, 10)


def likeness(model, picture, **options):
    return RealignLikeness.execute(reward_files.clip_vision_of(model), picture, **options).args[0]


def test_likeness_is_the_cosine_of_what_the_host_encodes():
    model, images = reward_files.tiny_clip(1), pictures()
    reward = likeness(model, images[:1])
    embeds = reward.clip_vision.encode_image(images)["image_embeds"]
    cosines = torch.nn.functional.cosine_similarity(embeds, embeds[:1])
    near(scores(reward, images), 100 * cosines, 100)
    assert float(scores(reward, images)[0]) == pytest.approx(100, abs=1e-3)
    assert float(scores(reward, images)[1:].max()) < 99
    several = likeness(model, images[:3])
    each = torch.stack([scores(likeness(model, images[i : i + 1]), images) for i in range(3)])
    near(scores(several, images), each.mean(0), 100)


def test_a_picture_to_be_like_may_be_transparent_or_grey():
    model, images = reward_files.tiny_clip(1), pictures()
    want = scores(likeness(model, images[:1]), images)
    clear = torch.cat([images[:1], torch.zeros_like(images[:1, ..., :1])], -1)
    assert torch.equal(scores(likeness(model, clear), images), want)
    grey = likeness(model, images[:1, ..., :1])
    assert torch.equal(scores(grey, images), scores(likeness(model, images[:1, ..., :1].repeat(1, 1, 1, 3)), images))


def test_a_picture_to_be_like_is_checked_when_the_reward_is_made():
    """Not after the pictures are sampled that it is to score."""
    bad = pictures(2)
    bad[1, 0, 0, 0] = torch.nan
    with pytest.raises(RewardError, match="cannot measure likeness to picture 2: not finite"):
        likeness(reward_files.tiny_clip(1), bad)


@pytest.mark.parametrize("crop", [CENTRE, WHOLE])
def test_pictures_of_other_shapes_are_seen_as_the_host_sees_them(crop):
    """But for its rounding to 8 bits, half a step at most, which has no gradient."""
    images, plain = pictures(3, 60, 90), ([0.0] * 3, [1.0] * 3)
    hosts = comfy.clip_model.clip_preprocess(images, SIDE, *plain, crop=crop == CENTRE)
    ours = prepared(images, SIDE, crop, *plain)
    assert (ours - hosts).abs().max() < 0.501 / 255
    model, square = reward_files.tiny_clip(1), ours.movedim(1, -1)
    wanted = scores(likeness(model, square[:1]), square)
    near(scores(likeness(model, images[:1], crop=crop), images), wanted, 100)


class BroughtAlong(torch.nn.Module):
    """A network as a host short of memory runs it: each weight is brought into the same room for its layer alone."""

    def __init__(self, weights):
        super().__init__()
        self.weights, self.room = torch.nn.ParameterList(weights), torch.empty_like(weights[0])

    def forward(self, x):
        for weight in self.weights:
            self.room.copy_(weight)
            x = x + 0
            x += torch.nn.functional.linear(x, self.room).tanh()
        return x


def test_weights_that_do_not_stay_and_sums_in_place_keep_the_gradient_right():
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(6, 6, generator=generator) for _ in range(3)]
    patcher = SimpleNamespace(model=BroughtAlong(weights))
    assert patcher.model.room.is_inference()
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.randn(2, 6, generator=generator).requires_grad_()
        (ours,) = torch.autograd.grad(called(patcher, x).square().sum(), x)
        y = x
        for weight in weights:
            y = y + (y @ weight.clone().T).tanh()
        (wanted,) = torch.autograd.grad(y.square().sum(), x)
    assert torch.allclose(ours, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


def test_the_gradient_leads_to_more_likeness():
    images = pictures(2)
    reward = likeness(reward_files.tiny_clip(1), images[:1])
    value, slope = gradient(reward, images[1:])
    step = 1e-3 * slope / slope.norm()
    gained = float(scores(reward, images[1:].double() + step.double()) - scores(reward, images[1:].double()))
    assert gained == pytest.approx(float(1e-3 * slope.norm()), rel=0.02)


def test_the_host_loads_and_frees_it_as_any_model(folder):
    reward_files.save_single(reward_files.tiny_clip(1), folder / "x.safetensors")
    reward = loaded("x.safetensors", "a cat")
    held = weakref.ref(reward.patcher.model)
    for ask in (scores, gradient):
        ask(reward, pictures())
        assert reward.patcher in [one.model for one in comfy.model_management.current_loaded_models]
        comfy.model_management.unload_all_models()
        assert reward.patcher not in [one.model for one in comfy.model_management.current_loaded_models]
    scores(reward, pictures())
    del reward
    gc.collect()
    comfy.model_management.cleanup_models_gc()
    assert held() is None


def test_files_are_listed_from_three_folders(folder):
    for path in (folder / "a.safetensors", folder / "b" / "model.safetensors", folder.parent / "clip_vision" / "c.pt"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (folder / "b" / "config.json").touch()
    assert list_files() == [f"{FOLDER}/a.safetensors", f"{FOLDER}/{Path('b/model.safetensors')}", "clip_vision/c.pt"]


def test_a_file_saved_under_the_name_that_the_page_has_for_it_is_found(folder):
    """A page that downloads into the host's folders saves "reward_models/x" in reward_models."""
    saved = folder / FOLDER / "x.safetensors"
    saved.parent.mkdir()
    saved.touch()
    assert list_files() == [f"{FOLDER}/x.safetensors"]
    assert find_file(f"{FOLDER}/x.safetensors") == saved
    (folder / "x.safetensors").touch()
    assert list_files() == [f"{FOLDER}/x.safetensors"]
    assert find_file(f"{FOLDER}/x.safetensors") == folder / "x.safetensors"


def test_the_folder_is_one_of_the_hosts():
    paths, extensions = folder_paths.folder_names_and_paths[FOLDER]
    assert str(Path(folder_paths.models_dir) / FOLDER) in paths
    assert ".safetensors" in extensions


def test_a_missing_file_says_its_folder_and_where_it_can_be_had(folder):
    for name in ("reward_models/PickScore_v1/model.safetensors", "", "loras/x.safetensors", "reward_models/\0"):
        with pytest.raises(ValueError, match="There is no reward model") as error:
            RealignRewardModel.execute(name)
        assert str(folder) in str(error.value)
        assert "yuvalkirstain/PickScore_v1" in str(error.value)
        assert RealignRewardModel.validate_inputs(reward_name=name) == str(error.value)
    reward_files.save_single(reward_files.tiny_clip(1), folder / "x.safetensors")
    assert RealignRewardModel.validate_inputs(reward_name=f"{FOLDER}/x.safetensors") is True


def broken(folder):
    """By what is wrong: a file's name, and the words that say it."""
    model = reward_files.tiny_clip(1)
    weights = {key: value.detach().clone() for key, value in model.state_dict().items()}
    image_only = {key: value for key, value in weights.items() if key.startswith("vis")}
    files = {
        "image tower": (image_only, "no CLIP with both its image and its text tower"),
        "a LoRA": ({"lora_unet_x.lora_up.weight": torch.ones(4, 4)}, "no CLIP with both"),
        "lacks a layer": (
            {key: value for key, value in weights.items() if "layers.1.mlp.fc2" not in key or "text" in key},
            "2 weights lack, vision_model.encoder.layers.1.mlp.fc2.weight for one",
        ),
        "NaN": (weights | {"visual_projection.weight": torch.full((64, 64), torch.nan)}, "is not finite"),
        "an odd scale": (weights | {"logit_scale": torch.tensor(1000.0)}, "no CLIP with both"),
        "two scales": (weights | {"logit_scale": torch.ones(2)}, "no CLIP with both"),
        "a flat layer": (
            weights | {"vision_model.encoder.layers.0.mlp.fc1.weight": torch.ones(8)},
            "no CLIP with both",
        ),
        "no positions": (
            weights | {"vision_model.embeddings.position_embedding.weight": torch.ones(0, 64)},
            "no CLIP with both",
        ),
        "unknown head": (
            reward_files.aesthetic_head(places=(0, 3, 6, 9, 12)),
            "unknown layout (layers 0, 3, 6, 9, 12)",
        ),
        "head for a wider CLIP": (reward_files.aesthetic_head(width=768), "reads embeddings of 768 numbers"),
    }
    for name, (held, _) in files.items():
        save_file(held, folder / f"{name}.safetensors")
    (folder / "cut.safetensors").write_bytes((folder / "NaN.safetensors").read_bytes()[:5000])
    return {name: words for name, (_, words) in files.items()} | {"cut": "truncated or corrupt"}


def test_files_that_are_no_reward_are_refused_in_a_sentence(folder):
    clip_vision = reward_files.clip_vision_of(reward_files.tiny_clip(1))
    for name, words in broken(folder).items():
        with pytest.raises(ValueError, match=f"“{name}") as error:
            loaded(f"{name}.safetensors", clip_vision=clip_vision)
        assert words in str(error.value), name
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"is an aesthetic head, .* connect Load CLIP Vision"):
        loaded("head for a wider CLIP.safetensors")


@pytest.mark.parametrize("said", [{"hidden_act": "gelu_new"}, {"hidden_act": "none"}])
def test_a_config_that_the_hosts_network_cannot_have(folder, said):
    path = reward_files.save_folder(reward_files.tiny_clip(1), folder)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"] |= said
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"or none that the config.json beside it fits"):
        loaded(path.name)


def test_an_input_without_effect_is_said(folder, caplog):
    model = reward_files.tiny_clip(1)
    reward_files.save_single(model, folder / "x.safetensors")
    save_file(reward_files.aesthetic_head(), folder / "head.safetensors")
    clip_vision = reward_files.clip_vision_of(model)
    with caplog.at_level(logging.INFO):
        loaded("x.safetensors", "a cat", clip_vision=clip_vision)
        loaded("head.safetensors", "a cat", clip_vision=clip_vision)
    assert "x: compares with the prompt; clip_vision has no effect here" in caplog.text
    assert "head: aesthetic score; prompt has no effect here" in caplog.text
