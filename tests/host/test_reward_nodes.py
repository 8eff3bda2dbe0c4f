"""Score and Best Of; and the reward that the help page shows how to write."""

from __future__ import annotations

import re

import comfy.nested_tensor
import pytest
import reward_files
import torch
from conftest import PACK
from realign.nodes.best_of import RealignBestOf
from realign.nodes.combine_rewards import RealignCombineRewards
from realign.nodes.picture_reward import SMALL, RealignPictureReward
from realign.nodes.pictures.sheet import SMALLEST
from realign.nodes.reward.files import text_reward
from realign.nodes.reward.protocol import RewardError, gradient, scores
from realign.nodes.score import RealignScore

LEVELS = [0.2, 0.9, 0.5, 0.9, 0.1]  # of grey, in a batch
BRIGHT = RealignPictureReward.execute("brightness").args[0]


@pytest.fixture(autouse=True)
def temp_folder(tmp_path, monkeypatch):
    """Where the host keeps what a node shows."""
    monkeypatch.setattr("folder_paths.temp_directory", str(tmp_path))


def greys(levels=LEVELS, height=20, width=32):
    return torch.tensor(levels)[:, None, None, None].expand(-1, height, width, 3).clone()


def scored(reward, images, **options):
    return RealignScore.execute(reward, images, **options)


def test_score_gives_a_number_for_each_picture():
    text, values, sheet = scored(BRIGHT, greys()).args
    assert values == pytest.approx([255 * level for level in LEVELS], rel=1e-5)
    assert text.split("\n") == [
        "brightness",
        "1: 51",
        "2: 229.5",
        "3: 127.5",
        "4: 229.5",
        "5: 25.5",
        "best: picture 2 (229.5) · mean 132.6",
    ]
    assert sheet.shape[0] == 1
    assert sheet.shape[2] > 5 * SMALLEST


def test_the_sheet_shows_the_pictures_as_they_are_and_labels_below_each():
    """Each level of grey is in the sheet as often as its pictures have pixels, and text is below them."""
    sheet = scored(BRIGHT, greys(), cell_size=32).args[2]
    for level in set(LEVELS):
        found = (sheet[0] - level).abs().amax(-1) < 1e-6
        assert int(found.sum()) >= LEVELS.count(level) * 20 * 32
    labels = [scored(BRIGHT, greys([level] * 2), cell_size=32).args[2] for level in (0.2, 0.9)]
    below = [
        one[:, int((one[0] - level).abs().amax(-1).lt(1e-6).any(1).nonzero().max()) + 1 :]
        for one, level in zip(labels, (0.2, 0.9))
    ]
    assert not torch.equal(below[0], below[1])


def test_a_combined_reward_tells_its_parts():
    both = RealignCombineRewards.execute(BRIGHT, 0.1, RealignPictureReward.execute(SMALL).args[0], 1.0).args[0]
    out = scored(both, greys([0.5, 0.7]))
    first = out.args[0].split("\n")[1]
    assert re.fullmatch(r"1: [\d.]+ · brightness 127\.5 · JPEG compressibility -[\d.]+", first)
    assert out.ui["text"] == [out.args[0]]
    assert len(out.ui["images"]) == 1


def test_one_picture_is_shown_with_its_score():
    shown = scored(BRIGHT, greys([0.5])).args[2]
    assert shown.shape[1] > shown.shape[2] * 20 / 32


def test_the_prompt_reaches_the_reward(tmp_path):
    path = reward_files.save_single(reward_files.tiny_clip(1), tmp_path / "x.safetensors")
    reward = text_reward(path, "x", reward_files.weights_of(path), "", "center")
    images = torch.rand(3, 28, 28, 3)
    wanted = scores(reward, images, "a cat").tolist()
    assert scored(reward, images, prompt="a cat").args[1] == pytest.approx(wanted)
    kept = RealignBestOf.execute(reward, images, 1, prompt="a cat").args
    assert kept[3] == pytest.approx([max(wanted)])
    with pytest.raises(RewardError, match="there is none: type what they should show"):
        scored(reward, images)


def latent(count=5, **more):
    return {"samples": torch.arange(float(count))[:, None, None, None].expand(-1, 4, 3, 4).clone(), **more}


def test_the_best_come_first_with_their_latents():
    images, latents, indices, values = RealignBestOf.execute(BRIGHT, greys(), 3, latent()).args
    assert indices == [1, 3, 2]  # of equals the first
    assert images[:, 0, 0, 0].tolist() == pytest.approx([0.9, 0.9, 0.5])
    assert latents["samples"][:, 0, 0, 0].tolist() == [1, 3, 2]
    assert latents["batch_index"] == [1, 3, 2]
    assert values == pytest.approx([229.5, 229.5, 127.5], rel=1e-5)
    assert RealignBestOf.execute(BRIGHT, greys(), 1).args[1] is None


def test_of_fewer_pictures_all_are_kept_and_it_is_said():
    out = RealignBestOf.execute(BRIGHT, greys(), 9)
    assert out.args[2] == [1, 3, 2, 0, 4]
    assert out.ui["realign_text"][0].endswith("all 5 pictures: there are no more")


def test_what_belongs_to_a_latent_goes_along():
    own = latent(batch_index=[7, 8, 9, 10, 11], noise_mask=torch.arange(2.0)[:, None, None], other="x")
    out = RealignBestOf.execute(BRIGHT, greys(), 3, own).args[1]
    assert out["batch_index"] == [8, 10, 9]
    assert out["noise_mask"][:, 0, 0].tolist() == [1, 1, 0]  # the host repeats masks over the batch
    assert out["other"] == "x"
    parts = comfy.nested_tensor.NestedTensor([latent()["samples"], latent()["samples"][..., :1]])
    nested = RealignBestOf.execute(BRIGHT, greys(), 2, {"samples": parts}).args[1]["samples"]
    assert [part[:, 0, 0, 0].tolist() for part in nested.unbind()] == [[1, 3], [1, 3]]
    assert type(nested) is type(parts)


def test_latents_of_other_pictures_are_refused():
    with pytest.raises(ValueError, match="“images” are 5 and “latent” holds 4"):
        RealignBestOf.execute(BRIGHT, greys(), 1, latent(4))


def example(language=""):
    page = PACK / "web" / "docs" / (f"RealignScore/{language}.md" if language else "RealignScore.md")
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return code


def test_the_help_shows_a_reward_in_ten_lines_that_works():
    code = example()
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    space = {}
    exec(code, space)  # noqa: S102 (a page of this pack)
    (node,) = space["NODE_CLASS_MAPPINGS"].values()
    assert node.RETURN_TYPES == ("REALIGN_REWARD",)
    assert node.INPUT_TYPES() == {"required": {}}
    (reward,) = getattr(node(), node.FUNCTION)()
    images = torch.zeros(2, 4, 4, 3)
    images[0, ..., 0], images[1, ..., 2] = 1, 1
    assert RealignScore.execute(reward, images).args[1] == pytest.approx([1, -1])
    assert RealignBestOf.execute(reward, images, 1).args[2] == [0]
    slopes = gradient(reward, images)[1]
    assert slopes[0].sum((0, 1)).tolist() == pytest.approx([1, 0, -1])
    assert code == example("zh") == example("ja")
