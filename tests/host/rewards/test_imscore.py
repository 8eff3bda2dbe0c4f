"""imscore itself: each reward on small random weights of the true layout, beside code of others."""

from __future__ import annotations

import logging
import socket

import comfy.model_management
import folder_paths
import pytest
import torch
from paper_files import SIDE, made, save
from realign.nodes.paper_reward import RealignPaperReward
from realign.nodes.reward.papers import PAPERS
from realign.nodes.reward.protocol import RewardError, gradient, scores
from realign.nodes.reward.vision import CLIP_MEAN, CLIP_STD

PROMPTS = ["a red heart", "a photo of two cat", "a photo of two cat", "a red heart"]
CLOSE = 1e-4  # of the scores' size: the rounding of a few layers in fp32
WHOLE = ("HPS v2.1", "VQAScore")  # these see all of a picture, with bars; the others its middle
kinds = pytest.mark.parametrize("kind", list(PAPERS))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The host's folder of reward models, in an empty place."""
    there = ([str(tmp_path)], folder_paths.folder_names_and_paths["reward_models"][1])
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "reward_models", there)
    folder_paths.filename_list_cache.clear()
    yield tmp_path
    folder_paths.filename_list_cache.clear()


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Nothing is brought from the web, and nothing tries to."""
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was opened"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("an address was looked up"))


def pictures(count=4, height=SIDE, width=SIDE, seed=0):
    return torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(seed))


def loaded(folder, kind, prompt="", seed=1):
    """The node's reward, and the model whose weights are in its file."""
    model = made(kind, seed)
    save(model.weights(), folder / PAPERS[kind].folder)
    return RealignPaperReward.execute(kind, prompt).args[0], model


def wanted(model, kind, images, prompts=PROMPTS):
    x = ((images - images.new_tensor(CLIP_MEAN)) / images.new_tensor(CLIP_STD)).movedim(-1, 1)
    x = x.half().float() if kind == "MPS" else x  # imscore rounds it so, whatever the weights are
    return model.score(x, prompts)


def near(ours, theirs, close=CLOSE):
    assert (ours - theirs).abs().max() < close * theirs.abs().max()


@kinds
def test_it_gives_what_the_paper_says(folder, kind):
    reward, model = loaded(folder, kind)
    images = pictures()
    with torch.inference_mode(False), torch.no_grad():
        theirs = wanted(model, kind, images.clone())
    assert theirs.std() > 0.05 * theirs.abs().max()
    near(scores(reward, images, PROMPTS), theirs)
    near(scores(reward, images[:1], PROMPTS[0]), theirs[:1])
    near(scores(RealignPaperReward.execute(kind, PROMPTS[0]).args[0], images, PROMPTS)[::3], theirs[::3])


@kinds
def test_gradients_are_those_of_the_paper(folder, kind):
    reward, model = loaded(folder, kind)
    images = pictures(2).clamp(0.01, 0.99)
    values, slopes = gradient(reward, images, PROMPTS[:2])
    near(values, scores(reward, images, PROMPTS[:2]))
    with torch.inference_mode(False), torch.enable_grad():
        x = images.clone().requires_grad_()
        (theirs,) = torch.autograd.grad(wanted(model, kind, x, PROMPTS[:2]).sum(), x)
    assert theirs.abs().max() > 0
    assert (slopes - theirs).norm() < (2e-3 if kind == "MPS" else 1e-4) * theirs.norm()  # MPS rounds it to half


@kinds
def test_half_precision_is_that_of_its_rounding(folder, kind, monkeypatch):
    exact, _ = loaded(folder, kind)
    for name in ("should_use_fp16", "should_use_bf16"):
        monkeypatch.setattr(comfy.model_management, name, lambda device=None, **_: True)
    half = RealignPaperReward.execute(kind).args[0]
    dtype = torch.bfloat16 if kind == "VQAScore" else torch.float16
    assert {one.dtype for one in half.patcher.model.parameters()} == {dtype}
    images = pictures()
    ours, theirs = scores(half, images, PROMPTS), scores(exact, images, PROMPTS)
    assert ours.dtype == torch.float32
    assert not torch.equal(ours, theirs)
    ours, theirs = (ours.log(), theirs.log()) if kind == "VQAScore" else (ours, theirs)  # what rounding adds to
    near(ours, theirs, 8 * torch.finfo(dtype).eps)
    assert torch.isfinite(gradient(half, images[:1], PROMPTS[0])[1]).all()


@kinds
def test_a_picture_that_is_not_square_is_seen_as_published(folder, kind):
    reward, _ = loaded(folder, kind)
    images = pictures(2, 2 * SIDE, 3 * SIDE)
    slopes = gradient(reward, images, PROMPTS[:2])[1].abs().sum((0, 1, 3))  # by columns
    assert slopes[SIDE:-SIDE].min() > 0
    assert (slopes[: SIDE // 4].max() > 0) == (kind in WHOLE)


@kinds
def test_each_picture_counts_by_itself(folder, kind, monkeypatch):
    """imscore joins a batch in two of them: VQAScore's mean, and MPS's best match with the words, of which it hides
    those below a hundredth. So these are asked for one picture at a time."""
    reward, _ = loaded(folder, kind)
    images, sizes, own = pictures(), [], reward.network.module.score
    each = torch.cat([scores(reward, images[i : i + 1], prompt) for i, prompt in enumerate(PROMPTS)])
    monkeypatch.setattr(reward.network.module, "score", lambda x, prompts: (sizes.append(len(x)), own(x, prompts))[1])
    near(scores(reward, images, PROMPTS), each)
    assert sizes == ([1] * 4 if kind in ("MPS", "VQAScore") else [4])
    slopes = gradient(reward, images, PROMPTS)[1]
    alone = gradient(reward, images[2:3], PROMPTS[2])[1]
    assert (slopes[2:3] - alone).norm() < 1e-3 * alone.norm()


@kinds
def test_of_a_long_prompt_it_is_said_that_not_all_counts(folder, kind, caplog):
    reward, _ = loaded(folder, kind)
    long = "a red heart , " * 200
    with caplog.at_level(logging.WARNING):
        scores(reward, pictures(2), [PROMPTS[0], long])
        scores(reward, pictures(1), long)
    assert caplog.text.count(f"only the first {reward.network.length} tokens of the prompt count") == 1


@kinds
def test_the_host_loads_and_frees_it_as_a_whole(folder, kind):
    reward, _ = loaded(folder, kind, "a cat")
    scores(reward, pictures())
    held = [one.model for one in comfy.model_management.current_loaded_models]
    assert reward.patcher in held
    assert reward.patcher.loaded_size() == reward.patcher.model_size()
    comfy.model_management.unload_all_models()
    assert reward.patcher not in [one.model for one in comfy.model_management.current_loaded_models]


@kinds
def test_weights_of_something_else_are_refused_in_a_sentence(folder, kind):
    for other in PAPERS:
        path = save(made(other).weights(), folder / f"of {other}")
        if other != kind:
            with pytest.raises(
                ValueError, match=f"in of {other} is no {kind}[:,] .*(model.safetensors of|not all)"
            ) as error:
                RealignPaperReward.execute(kind, reward_name=f"reward_models/{path.parent.name}/{path.name}")
            assert "\n" not in str(error.value)
    weights = made(kind).weights()
    last = list(weights)[-1]
    for lacking in ({last: torch.ones(3, 3)}, {}):
        save({key: value for key, value in weights.items() if key != last} | lacking, folder / PAPERS[kind].folder)
        with pytest.raises(
            ValueError, match=f"is no {kind}(: take|, or not all of one .1 weights lack or do not fit, )"
        ):
            RealignPaperReward.execute(kind)


def test_a_prompt_must_be_there(folder):
    reward, _ = loaded(folder, "HPS v2.1")
    with pytest.raises(RewardError, match=r"“HPS v2\.1” compares pictures with a text, and there is none"):
        scores(reward, pictures(1))
