"""Rewards without networks: against other computations, their gradients, and what of a reward is refused."""

from __future__ import annotations

import colorsys
import io
from pathlib import Path

import comfy.model_management
import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image
from realign.nodes.combine_rewards import RealignCombineRewards, RealignKeepAtLeast
from realign.nodes.picture_reward import LARGE, SMALL, RealignPictureReward
from realign.nodes.reward.combined import KeepAtLeast, WeightedSum, scored
from realign.nodes.reward.jpeg import JpegSize
from realign.nodes.reward.picture import PICTURE_REWARDS
from realign.nodes.reward.protocol import AT_ONCE, RewardError, gradient, is_reward, scores


def pictures(count=5, height=24, width=40, seed=0, dtype=torch.float32):
    """Smooth ones, of which each is another."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(count, 3, 4, 4, generator=generator, dtype=dtype)
    out = torch.nn.functional.interpolate(small, size=(height, width), mode="bilinear")
    return out.movedim(1, -1).contiguous() * torch.linspace(0.3, 1, count, dtype=dtype)[:, None, None, None]


def made(name, **options):
    return RealignPictureReward.execute(name, **options).args[0]


class Given:
    """A reward of another pack: the least that is one."""

    def __init__(self, answer, name="given"):
        self.name, self.answer, self.calls = name, answer, []

    def score(self, images, prompts):
        self.calls.append((tuple(images.shape), list(prompts)))
        return self.answer(images) if callable(self.answer) else self.answer


def test_colourfulness_is_the_papers():
    images = pictures()
    for picture, ours in zip(images.numpy().astype(np.float64), scores(made("colourfulness"), images)):
        r, g, b = (255 * picture[..., i] for i in range(3))
        rg, yb = r - g, (r + g) / 2 - b
        wanted = np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())
        assert float(ours) == pytest.approx(wanted, rel=1e-5)
    grey = torch.full((1, 8, 8, 3), 0.5)
    assert float(scores(made("colourfulness"), grey)) == pytest.approx(0, abs=1e-3)


def test_sharpness_is_the_variance_of_the_laplacian():
    images = pictures() + 0.05 * torch.rand(5, 24, 40, 3, generator=torch.Generator().manual_seed(1))
    for picture, ours in zip(images.numpy().astype(np.float64), scores(made("sharpness"), images)):
        luma = 255 * picture @ np.array([0.299, 0.587, 0.114])
        assert float(ours) == pytest.approx(scipy.ndimage.laplace(luma, mode="mirror").var(), rel=1e-4)


def test_brightness_is_the_mean_luminance():
    images = pictures()
    wanted = [
        np.mean([255 * colorsys.rgb_to_yiq(*pixel)[0] for pixel in one.reshape(-1, 3).tolist()]) for one in images
    ]
    assert scores(made("brightness"), images).tolist() == pytest.approx(wanted, rel=0.01)  # colorsys rounds its weights
    assert scores(made("brightness"), torch.ones(1, 4, 4, 3)).tolist() == pytest.approx([255], rel=1e-5)


@pytest.mark.parametrize("quality", [10, 95])
def test_jpeg_is_the_size_of_real_files(tmp_path, quality):
    images = pictures(3) + 0.2 * torch.rand(3, 24, 40, 3, generator=torch.Generator().manual_seed(1))
    small, large = (scores(made(name, jpeg_quality=quality), images) for name in (SMALL, LARGE))
    assert small.tolist() == (-large).tolist()
    for i, picture in enumerate(images):
        path = tmp_path / f"{i}.jpg"
        array = np.rint(picture.clamp(0, 1).double().numpy() * 255).astype(np.uint8)
        Image.fromarray(array).save(path, quality=quality)
        assert float(large[i]) == pytest.approx(path.stat().st_size / 1000, rel=1e-6)


def test_jpeg_quality_counts():
    images = pictures()
    assert (scores(JpegSize(1, 95), images) > scores(JpegSize(1, 10), images)).all()
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=95)
    assert float(scores(JpegSize(1), torch.zeros(1, 8, 8, 3))) == pytest.approx(file.tell() / 1000, rel=1e-6)


@pytest.mark.parametrize("name", PICTURE_REWARDS)
def test_gradients_are_the_finite_differences(name):
    reward = made(name)
    with torch.inference_mode(False), torch.enable_grad():
        images = pictures(2, 6, 5, dtype=torch.float64).clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda x: scores(reward, x), images)


@pytest.mark.parametrize("name", PICTURE_REWARDS)
@pytest.mark.parametrize("picture", [torch.full((1, 6, 6, 3), 0.5), torch.zeros(1, 1, 1, 3)], ids=["grey", "a pixel"])
def test_gradients_are_finite_everywhere(name, picture):
    values, slopes = gradient(made(name), picture)
    assert torch.isfinite(values).all()
    assert torch.isfinite(slopes).all()


def test_a_gradient_is_had_in_inference_mode_and_for_each_picture_its_own():
    assert torch.is_inference_mode_enabled()
    images, reward = pictures(9), made("colourfulness")
    values, slopes = gradient(reward, images)
    assert values.tolist() == pytest.approx(scores(reward, images).tolist(), rel=1e-6)
    assert slopes.shape == images.shape
    one = gradient(reward, images[6:7])[1]
    assert torch.equal(slopes[6:7], one)
    assert not images.requires_grad


ALL = [*PICTURE_REWARDS, SMALL, LARGE]


@pytest.mark.parametrize("name", ALL)
def test_pictures_of_every_kind(name):
    """Batches, half precision, one channel and four; a picture's score is its own, whatever is beside it."""
    reward, images = made(name), pictures(AT_ONCE + 3)
    together = scores(reward, images)
    assert together.shape == (AT_ONCE + 3,)
    alone = torch.cat([scores(reward, images[i : i + 1]) for i in (0, 4, AT_ONCE)])
    assert together[[0, 4, AT_ONCE]].tolist() == pytest.approx(alone.tolist(), rel=1e-5)
    half = images[:5].half()
    assert torch.equal(scores(reward, half), scores(reward, half.float()))
    assert scores(reward, half).dtype == torch.float32
    assert torch.equal(scores(reward, torch.cat([images, images[..., :1]], -1)), together)
    grey = images[..., :1]
    assert torch.equal(scores(reward, grey), scores(reward, grey.expand(-1, -1, -1, 3)))


def test_a_weighted_sum_a_negation_and_at_least():
    images = pictures()
    bright, colour, small = (made(name) for name in ("brightness", "colourfulness", SMALL))
    both = RealignCombineRewards.execute(bright, 0.5, colour, -2.0).args[0]
    wanted = 0.5 * scores(bright, images) - 2 * scores(colour, images)
    assert scores(both, images).tolist() == pytest.approx(wanted.tolist(), rel=1e-6)
    minus = RealignCombineRewards.execute(colour, -1.0).args[0]
    assert torch.equal(scores(minus, images), -scores(colour, images))
    floor = float(scores(bright, images).median())
    kept = RealignKeepAtLeast.execute(bright, floor).args[0]
    wanted = [min(value - floor, 0) for value in scores(bright, images).tolist()]
    assert scores(kept, images).tolist() == pytest.approx(wanted, abs=1e-4)
    assert wanted.count(0) >= 3
    named = RealignCombineRewards.execute(both, 1.0, small, 0.1).args[0]
    assert both.name == "0.5 × brightness − 2 × colourfulness"
    assert minus.name == "− colourfulness"
    assert named.name == "(0.5 × brightness − 2 × colourfulness) + 0.1 × JPEG compressibility"
    assert kept.name == f"brightness ≥ {floor:g}"


def test_the_parts_of_a_combined_reward_are_told_and_asked_once():
    bright, other = made("brightness"), Given(lambda images: images.mean((1, 2, 3)))
    reward = WeightedSum((KeepAtLeast((other,), 0.5), bright, other), (1.0, 0.01, 1.0))
    images = pictures()
    total, parts = scored(reward, images)
    assert total.tolist() == pytest.approx(scores(reward, images).tolist(), rel=1e-6)
    assert [name for name, _ in parts] == ["given", "brightness"]
    assert len(other.calls) == 1 + 2
    assert scored(bright, images)[1] == []


def test_a_sum_has_the_gradient_of_the_parts_that_have_one():
    images, colour = pictures(), made("colourfulness")
    both = WeightedSum((colour, made(SMALL)), (2.0, 1.0))
    values, slopes = gradient(both, images)
    assert torch.allclose(slopes, 2 * gradient(colour, images)[1])
    assert values.tolist() == pytest.approx(scores(both, images).tolist(), rel=1e-6)
    assert not WeightedSum((made(SMALL),), (1.0,)).differentiable
    kept = KeepAtLeast((colour,), float(scores(colour, images).median()) + 0.1)
    short = gradient(kept, images)[1].flatten(1).abs().sum(1) > 0
    assert short.tolist() == (scores(colour, images) < kept.least).tolist()


def test_another_packs_reward_needs_a_name_and_a_score():
    own = Given(lambda images: images.mean((1, 2, 3)))
    assert is_reward(own)
    assert not is_reward("colourfulness")
    assert not is_reward(Given)  # the class and not an object of it: its name is none
    images = pictures(AT_ONCE + 1)
    assert scores(own, images, "a cat").tolist() == pytest.approx(images.mean((1, 2, 3)).tolist())
    assert own.calls == [((AT_ONCE, 24, 40, 3), ["a cat"] * AT_ONCE), ((1, 24, 40, 3), ["a cat"])]
    scores(own, images[:2], ["a", "b"])
    assert own.calls[-1][1] == ["a", "b"]


def raising(error):
    def answer(images):
        raise error

    return answer


BAD = {
    "raises": (raising(RuntimeError("no such thing\nat all")), "failed: no such thing."),
    "raises an error of Python's": (raising(KeyError("x")), "failed: KeyError."),
    "NaN": (
        lambda images: torch.full((len(images),), torch.nan),
        "no finite number (NaN or infinity) for pictures 1, 2",
    ),
    "infinity for one": (
        lambda images: torch.where(images.mean((1, 2, 3)) > 0.5, torch.inf, 0.0),
        "for picture 18",
    ),
    "one number for all": (lambda images: images.mean(), "gave the shape (), but must give one number a picture"),
    "a column": (lambda images: images.mean((1, 2)), "gave the shape (16, 3), but must give one number a picture"),
    "a list": ([0.0], "gave a list, but must give one number a picture"),
    "nothing": (None, "gave a NoneType, but must give one number a picture"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_reward_that_gives_no_scores_is_named(bad):
    answer, words = BAD[bad]
    images = torch.full((20, 4, 4, 3), 0.25)
    images[17] = 0.75  # in the second call
    with pytest.raises(RewardError) as error:
        scores(WeightedSum((made("brightness"), Given(answer, "other’s")), (1.0, 1.0)), images)
    text = str(error.value)
    assert words in text
    assert text.startswith("The reward “other’s” ")
    assert text.endswith(".")
    assert "\n" not in text


def test_cancelling_and_running_out_of_memory_stay_what_they_are():
    full = comfy.model_management.ACCELERATOR_ERROR("CUDA error: out of memory")
    for error in (comfy.model_management.InterruptProcessingException(), torch.cuda.OutOfMemoryError(), full):
        with pytest.raises(type(error)):
            scores(Given(raising(error)), pictures())


def test_a_full_memory_is_said_as_what_it_is():
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to …")):
        with pytest.raises(RewardError, match="failed: the computer's memory is full"):
            scores(Given(raising(error)), pictures())


def test_a_rewards_own_words_stay():
    """Of an error that came of another one, too."""

    def answer(images):
        try:
            Path("/no such file").read_text()
        except OSError as error:
            raise ValueError("The table of words is not there") from error

    with pytest.raises(RewardError, match="failed: The table of words is not there"):
        scores(Given(answer), pictures())


def test_pictures_that_cannot_be_scored():
    reward = made("brightness")
    bad = pictures()
    bad[1, 3, 3, 0], bad[4] = torch.nan, torch.inf
    for images, words in (
        (bad, "cannot score pictures 2, 5: not finite"),
        (bad[0], "not (24, 40, 3)"),
        ("x", "not str"),
    ):
        with pytest.raises(RewardError, match="The reward “brightness”") as error:
            scores(reward, images)
        assert words in str(error.value)
    with pytest.raises(RewardError, match="got 2 prompts for 5 pictures"):
        scores(reward, pictures(), ["a", "b"])


def test_no_gradient_is_refused_and_never_zero():
    with pytest.raises(RewardError, match="“JPEG compressibility” has no gradient"):
        gradient(made(SMALL), pictures())
    liar = Given(lambda images: images.detach().mean((1, 2, 3)))
    liar.differentiable = True
    with pytest.raises(RewardError, match="says that it is differentiable, but"):
        gradient(liar, pictures())
    steep = Given(lambda images: images.sub(images.detach()).abs().sqrt().sum((1, 2, 3)))
    steep.differentiable = True
    with pytest.raises(RewardError, match="a gradient that is not finite"):
        gradient(steep, pictures())
