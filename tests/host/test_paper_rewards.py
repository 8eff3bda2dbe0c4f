"""Rewards that need a package of their own, without it: what is said where it lacks, and what is made of it, with a
stand-in for the package. With the packages themselves: rewards/, `make test-rewards`."""

from __future__ import annotations

import logging
import sys

import comfy.model_management
import folder_paths
import huggingface_hub.constants
import pytest
import stand_in_packages
import torch
from realign.nodes.paper_reward import RealignPaperReward
from realign.nodes.reward import ocr, papers
from realign.nodes.reward.files import FOLDER
from realign.nodes.reward.paper_networks import Network, unfilled
from realign.nodes.reward.papers import PAPERS, Paper, WholeModel
from realign.nodes.reward.protocol import RewardError, gradient, scores
from realign.nodes.text_reward import RealignTextReward
from safetensors.torch import save_file


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The host's folder of reward models, and what Hugging Face's library has kept, in empty places."""
    (tmp_path / FOLDER).mkdir()
    there = ([str(tmp_path / FOLDER)], folder_paths.folder_names_and_paths[FOLDER][1])
    monkeypatch.setitem(folder_paths.folder_names_and_paths, FOLDER, there)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    folder_paths.filename_list_cache.clear()
    yield tmp_path / FOLDER
    folder_paths.filename_list_cache.clear()


@pytest.fixture
def absent(monkeypatch):
    """Takes the names of the modules that are not there."""
    return stand_in_packages.hidden(monkeypatch)


class Toy(torch.nn.Module):
    """A stand-in for a network of imscore's: what it is asked, and one number for a picture and its prompt."""

    def __init__(self, together=False):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(3).normal_())
        self.register_buffer("table", torch.arange(3).float() / 7, persistent=False)
        self.asked, self.together = [], together

    def score(self, pixels, prompts):
        self.asked.append((tuple(pixels.shape), pixels.dtype, tuple(prompts)))
        one = torch.einsum("bchw,c->b", pixels.square().to(self.weight), self.weight) / pixels[0, 0].numel()
        one = one + torch.tensor([len(prompt) for prompt in prompts])
        return one.mean() if self.together else one[:, None]


def toy_paper(**options):
    def build(weights, vocabulary, package):
        weights["weight"], module = weights["weight"], Toy(options.get("alone", False))
        return Network(module, lambda text: len(text.split()), 4)

    return Paper(build, "somebody/toy", **options)


@pytest.fixture
def toy(folder, absent, monkeypatch):
    """The weights of a stand-in, which is chosen as “toy”."""
    weight = torch.tensor([0.25, -1.5, 2.0])
    monkeypatch.setitem(PAPERS, "toy", toy_paper())
    (folder / "toy").mkdir()
    save_file({"weight": weight, "more": torch.ones(2)}, folder / "toy" / "model.safetensors")
    return weight


def pictures(count=5, seed=0):
    return torch.rand(count, 8, 6, 3, generator=torch.Generator().manual_seed(seed))


def loaded(prompt="", kind="toy", **options):
    return RealignPaperReward.execute(kind, prompt, **options).args[0]


def by_hand(weight, images, prompts):
    return (images.square() * weight).sum(-1).mean((1, 2)) + torch.tensor([float(len(one)) for one in prompts])


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_score_is_what_the_package_gives_for_each_picture(toy, monkeypatch, dtype, alone):
    monkeypatch.setitem(PAPERS, "toy", toy_paper(alone=alone))
    monkeypatch.setattr(comfy.model_management, "should_use_fp16", lambda device=None, **_: dtype == torch.float16)
    reward, images, prompts = loaded(), pictures(), ["a", "cat", "a cat", "x", "no"]
    assert {one.dtype for one in (*reward.network.module.parameters(), *reward.network.module.buffers())} == {dtype}
    given = scores(reward, images, prompts)
    assert given.dtype == torch.float32
    assert torch.allclose(given, by_hand(toy, images, prompts), rtol=4 * torch.finfo(dtype).eps)
    asked = reward.network.module.asked
    assert [one[0][0] for one in asked] == ([1] * 5 if alone else [5])
    assert {one[0][1:] for one in asked} == {(3, 8, 6)}
    assert {one[1] for one in asked} == {torch.float32}  # the first layer casts them, when they have their size
    values, slopes = gradient(reward, images, prompts)
    assert torch.allclose(values, given)
    assert torch.allclose(slopes, 2 * images * toy / 48, atol=4 * torch.finfo(dtype).eps / 48)


def test_the_prompt_is_the_rewards_own_or_the_askers(toy, caplog):
    images = pictures(2)
    own = loaded("a cat")
    assert not own.needs_prompt
    assert torch.equal(scores(own, images, "other"), scores(loaded(), images, "a cat"))
    with pytest.raises(RewardError, match="“toy” compares pictures with a text, and there is none"):
        scores(loaded(), images)
    with caplog.at_level(logging.WARNING):
        scores(own, images)
        assert "only the first" not in caplog.text
        for _ in range(2):
            scores(own.__class__(**{**vars(own), "prompt": "one more than four words"}), images)
    assert caplog.text.count("only the first 4 tokens of the prompt count") == 1  # `warned` is shared, and says it once


def test_its_network_is_on_the_device_as_a_whole(toy):
    """What the host moves part by part are its own layers."""
    patcher = loaded().patcher
    assert isinstance(patcher, WholeModel)
    patcher.patch_model(patcher.load_device, lowvram_model_memory=1)
    assert patcher.loaded_size() == patcher.model_size() > 0
    assert patcher.partially_unload(patcher.offload_device, 1) == 0
    patcher.detach()
    reward = loaded("a")
    scores(reward, pictures(1))
    assert reward.patcher in [one.model for one in comfy.model_management.current_loaded_models]


def test_networks_are_made_in_a_number_format_and_undrawn():
    before = torch.get_default_dtype()
    with unfilled(torch.bfloat16):
        state = torch.get_rng_state()
        layers = [torch.nn.Linear(5, 5), torch.nn.Embedding(5, 5), torch.nn.LayerNorm(5), Toy()]
        assert torch.equal(torch.get_rng_state(), state)
    assert {one.dtype for layer in layers for one in layer.parameters()} == {torch.bfloat16}
    assert layers[2].weight.eq(1).all()
    assert layers[3].table.tolist() == pytest.approx([0, 1 / 7, 2 / 7], rel=1e-2)
    assert torch.get_default_dtype() == before
    with pytest.raises(RuntimeError, match="inside"), unfilled(torch.float16):
        raise RuntimeError("inside")
    assert torch.get_default_dtype() == before


def test_weights_that_do_not_fit_are_refused(toy, folder):
    path = folder / "toy" / "model.safetensors"
    for weights, words in (
        ({"weight": torch.ones(4)}, "no toy, or not all of one (1 weights lack or do not fit, weight for one): take "),
        ({"other": torch.ones(3)}, "no toy: take model.safetensors of somebody/toy on huggingface.co"),
        ({"weight": torch.tensor([1, torch.nan, 1])}, "damaged: its weight weight is not finite"),
    ):
        save_file(weights, path)
        with pytest.raises(ValueError, match=r"“model\.safetensors”") as error:
            loaded()
        assert words in str(error.value)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match="truncated or corrupt"):
        loaded()


@pytest.mark.parametrize("kind", list(PAPERS))
def test_missing_weights_say_their_place_and_where_they_can_be_had(folder, absent, kind):
    repository, name = PAPERS[kind].repository, PAPERS[kind].folder
    for chosen in ("auto", "reward_models/no such.safetensors", "loras/x.safetensors", "", "reward_models/\0"):
        with pytest.raises(ValueError, match=kind) as error:
            loaded(kind=kind, reward_name=chosen)
        assert f"model.safetensors of {repository} on huggingface.co into {folder / name}" in str(error.value)
        assert RealignPaperReward.validate_inputs(reward=kind, reward_name=chosen) == str(error.value)
    assert RealignPaperReward.validate_inputs(reward="HPS v9").startswith(
        "“reward” is “HPS v9”, but must be one of HPS v2.1"
    )
    assert RealignPaperReward.validate_inputs(reward=None) is True  # it comes by a link


def keep(folder, repository, name, text=b"x"):
    """As Hugging Face's library keeps a file."""
    base = folder.parent / "hub" / f"models--{repository.replace('/', '--')}"
    for path, held in ((base / "refs" / "main", b"abc"), (base / "snapshots" / "abc" / name, text)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(held)
    return base / "snapshots" / "abc" / name


def test_weights_are_found_in_the_folder_first_and_else_where_they_were_downloaded(folder, absent):
    kept = keep(folder, PAPERS["MPS"].repository, "model.safetensors")
    assert papers.find_weights("MPS", "auto") == kept
    own = folder / "mpsv1" / "model.safetensors"
    own.parent.mkdir()
    own.touch()
    assert papers.find_weights("MPS", "auto") == own
    assert papers.find_weights("HPS v2.1", f"{FOLDER}/mpsv1/model.safetensors") == own
    options = RealignPaperReward.define_schema().inputs[2].options
    assert options[0] == "auto"
    assert len(options) == 2


def test_a_missing_list_of_words_is_said(folder, absent):
    own = folder / "ImageReward" / "model.safetensors"
    own.parent.mkdir()
    own.touch()
    said = RealignPaperReward.validate_inputs(reward="ImageReward")
    assert "ImageReward reads its prompt by a list of words, which is not on this machine: download vocab.txt" in said
    assert str(own.parent) in said
    kept = keep(folder, "bert-base-uncased", "vocab.txt")
    assert papers.find_vocabulary("ImageReward", own) == kept.parent
    (own.parent / "vocab.txt").touch()
    assert papers.find_vocabulary("ImageReward", own) == own.parent
    assert RealignPaperReward.validate_inputs(reward="ImageReward") is True


@pytest.mark.parametrize(
    ("node", "options", "lacks", "told"),
    [
        (RealignPaperReward, {"reward": "MPS"}, ["imscore", "timm"], "imscore, and imscore and timm are not installed"),
        (RealignTextReward, {}, ["onnxruntime"], "rapidocr, and onnxruntime is not installed"),
    ],
)
def test_an_absent_package_is_told_with_the_command_before_anything_runs(folder, absent, node, options, lacks, told):
    ocr.reader.cache_clear()
    absent |= set(lacks)
    said = node.validate_inputs(**options)
    assert told in said
    assert f'run "{sys.executable}" -m pip install --no-deps {" ".join(lacks)} in a terminal' in said
    assert "\n" not in said
    with pytest.raises(ValueError, match="This reward needs the package") as error:
        node.execute(**options)
    assert str(error.value) == said


def test_what_lacks_brings_nothing_else(absent):
    """pip's names, of which one may pin what ComfyUI has: without that, nothing that is there is exchanged."""
    for package in (papers.IMSCORE, ocr.RAPIDOCR):
        absent |= set(package.modules)
        with pytest.raises(ValueError, match="--no-deps") as error:
            package.check()
        assert str(error.value).count(" install ") == 1
        assert all(name in str(error.value) for name in package.modules.values())


def test_a_broken_package_is_said_in_a_sentence(folder, absent, tmp_path, monkeypatch):
    text = "from transformers import what_is_gone\n"
    stand_in_packages.stand_in(
        tmp_path / "site", monkeypatch, {"imscore/__init__.py": "", "imscore/hps/model.py": text}
    )
    (folder / "hpsv21").mkdir()
    save_file({"x": torch.ones(1)}, folder / "hpsv21" / "model.safetensors")
    with pytest.raises(ValueError, match="The package imscore is installed, but cannot be used here") as error:
        loaded(kind="HPS v2.1")
    assert "what_is_gone" in str(error.value)
    assert "-m pip install --no-deps --upgrade imscore in a terminal" in str(error.value)
