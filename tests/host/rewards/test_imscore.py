"""imscore itself: each reward on small random weights of the true layout, beside code of others."""

from __future__ import annotations

import pytest
import torch
from paper_files import SIDE, made, save
from realign.nodes.paper_reward import RealignPaperReward
from realign.nodes.reward.papers import PAPERS
from realign.nodes.reward.protocol import gradient, scores
from realign.nodes.reward.vision import CLIP_MEAN, CLIP_STD

PROMPTS = ["a red heart", "a photo of two cat"]
kinds = pytest.mark.parametrize("kind", list(PAPERS))


def pictures(count=2, height=SIDE, width=SIDE, seed=0):
    return torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(seed))


def prepared(images):
    return ((images - images.new_tensor(CLIP_MEAN)) / images.new_tensor(CLIP_STD)).movedim(-1, 1)


def loaded(folder, kind, prompt="", model=None):
    save((model or made(kind)).weights(), folder / PAPERS[kind].folder)
    return RealignPaperReward.execute(kind, prompt).args[0]


@kinds
def test_it_gives_what_the_paper_says(folder, kind):
    model = made(kind)
    reward, images = loaded(folder, kind, model=model), pictures(4)
    prompts = [PROMPTS[0], PROMPTS[1], PROMPTS[1], PROMPTS[0]]
    ours = scores(reward, images, prompts)
    with torch.inference_mode(False), torch.no_grad():
        wanted = model.score(prepared(images.clone()), prompts)
    print(kind, ours, wanted)
    assert (ours - wanted).abs().max() < 1e-4 * wanted.abs().max()
