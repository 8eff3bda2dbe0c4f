"""The one-file example and the page of formulas stay true to `realign_core`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from realign_core import NoiseLevel, realigned_sample, separate

PACK = Path(__file__).resolve().parents[2]
sys.path.append(str(PACK / "benchmarks"))

import toy  # noqa: E402


@pytest.fixture(autouse=True)
def fewer_steps(monkeypatch):
    monkeypatch.setattr(toy, "LEVELS", [*toy.LEVELS[:-1:15], toy.LEVELS[-1]])


@pytest.fixture
def pair():
    reference = toy.pinwheel()
    return reference, reference.aligned(1.0)


@pytest.mark.parametrize("lambda_", [0.0, 0.5, 1.5])
def test_the_toys_loop_is_the_cores(pair, lambda_):
    generator = torch.Generator().manual_seed(1)
    start = toy.LEVELS[0].sigma * torch.randn(16, 2, generator=generator)
    want = realigned_sample(
        separate([model.denoise for model in pair]),
        start,
        toy.LEVELS,
        [[lambda_]] * (len(toy.LEVELS) - 1),
        noise=lambda *_: torch.randn(16, 2, generator=generator),
    )
    torch.testing.assert_close(toy.sample(*pair, lambda_, 16), want.x, atol=1e-4, rtol=1e-4)


def test_the_toys_answer_is_the_tilted_density(pair):
    """log p_β - log p_ref - r/β is one constant, and densities integrate to 1."""
    reference, _ = pair
    for strength in (0.5, 1.5):
        aligned, x = reference.aligned(strength), 3 * torch.randn(64, 2)
        rest = aligned.log_density(x) - reference.log_density(x) - strength * x @ toy.REWARD
        assert float(rest.max() - rest.min()) < 1e-3
        mass = aligned.log_density(toy.grid(200)).exp().mean() * toy.SIDE**2
        assert float(mass) == pytest.approx(1, abs=5e-3)


def test_the_toys_denoiser_is_the_score_of_its_noisy_density(pair):
    level, (plane, _) = NoiseLevel(0.7, 0.9), pair
    noisy = toy.Plane(
        plane.log_weights, level.alpha * plane.means, level.alpha**2 * plane.covs + level.sigma**2 * torch.eye(2)
    )
    x = torch.randn(16, 2, requires_grad=True)
    (score,) = torch.autograd.grad(noisy.log_density(x).sum(), x)
    want = (x + level.sigma**2 * score) / level.alpha
    torch.testing.assert_close(plane.denoise(x, level), want, atol=1e-4, rtol=1e-4)


def test_the_formulas_are_numbered_and_live_where_their_page_says():
    page = (PACK / "docs" / "mathematics.md").read_text(encoding="utf-8")
    numbers = re.findall(r"^\*\*\((\d+)\)", page, flags=re.MULTILINE)
    assert numbers == [str(i + 1) for i in range(len(numbers))]
    places = [
        place
        for code in page.split("Code: ")[1:]
        for place in re.findall(r"([^()]+)\(([\w/]+\.py)\)", code.split("\n\n")[0])
    ]
    assert len(places) >= 15
    for names, file in places:
        text = (PACK / ("" if "/" in file else "realign_core") / file).read_text(encoding="utf-8")
        known = set(re.findall(r"(?:def|class) (\w+)", text))
        named = {part for name in re.findall(r"`([\w.]+)`", names) for part in name.split(".")}
        assert named
        assert named <= known, file
