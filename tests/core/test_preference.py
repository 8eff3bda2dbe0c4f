"""A preference learned from picks, beside Bayesian linear regression in its own form and torch's densities."""

from __future__ import annotations

import pytest
import torch

from realign_core import KERNELS, Picks, Preference
from realign_core.preference import NOISES, OFFSET, SIGNALS
from realign_core.regression import LINEAR, RBF

SIZE = 5


def seen(rounds, count, taste, seed=0, size=SIZE, best=3):
    """Rounds of `count` pictures, of which the `best` are picked by a hidden taste."""
    generator = torch.Generator().manual_seed(seed)
    picks = Picks.none(size)
    for _ in range(rounds):
        features = torch.randn(count, size, generator=generator, dtype=torch.float64)
        good = taste(features).topk(best).indices
        picks = picks.add(features, torch.isin(torch.arange(count), good))
    return picks, torch.randn(200, size, generator=generator, dtype=torch.float64)


def along(features):
    return features @ torch.tensor([1.0, -0.5, 0.2, 0.0, 0.0], dtype=torch.float64)


def peak(features):
    return -(features[:, 0] - 0.5).abs()


def test_the_linear_kernel_is_bayesian_linear_regression():
    """Its weights and the rounds' offsets as one vector of unknowns, solved in their own space."""
    picks, new = seen(3, 8, along)
    mine = Preference(picks, LINEAR, signal=0.7, noise=0.1)
    offsets = torch.nn.functional.one_hot(picks.rounds).double()
    known = torch.cat([picks.features, offsets], 1)
    prior = torch.diag(torch.tensor([0.7] * SIZE + [OFFSET] * 3, dtype=torch.float64))
    covariance = torch.linalg.inv(torch.linalg.inv(prior) + known.T @ known / 0.1)
    weights = covariance @ known.T @ (picks.picked.double() - 0.5) / 0.1
    told = mine.utility(new)
    torch.testing.assert_close(told.mean, new @ weights[:SIZE], rtol=1e-9, atol=1e-9)
    spread = torch.einsum("bi,ij,bj->b", new, covariance[:SIZE, :SIZE], new)
    torch.testing.assert_close(told.variance, spread, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_evidence_is_the_density_of_the_picks(kernel):
    picks, _ = seen(2, 6, along)
    mine = Preference(picks, kernel, 1.3, 0.4, 0.2)
    density = torch.distributions.MultivariateNormal(torch.zeros(12, dtype=torch.float64), mine.regression.covariance())
    assert mine.evidence == pytest.approx(float(density.log_prob(picks.picked.double() - 0.5)), rel=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_is_learned_has_the_largest_evidence_of_the_grid(kernel):
    picks, _ = seen(3, 8, along)
    learned = Preference.learn(picks, kernel)
    for signal in SIGNALS:
        for noise in NOISES:
            other = Preference(picks, kernel, learned.length, signal, noise, learned.scale)
            assert other.evidence <= learned.evidence + 1e-9


@pytest.mark.parametrize("kernel", KERNELS)
def test_features_count_by_how_they_differ(kernel):
    """In other units, with one that never differs, and one that hardly does."""
    picks, new = seen(3, 8, along)
    units = torch.tensor([1.0, 10.0, 0.01, 3.0, 1e-3], dtype=torch.float64)
    told = Preference.learn(picks, kernel).utility(new)
    scaled = Preference.learn(Picks(picks.features * 40, picks.picked, picks.rounds), kernel)
    torch.testing.assert_close(scaled.utility(new * 40), told)
    others = Preference.learn(Picks(picks.features * units, picks.picked, picks.rounds), kernel).utility(new * units)
    assert others.mean.isfinite().all()
    same = Picks(torch.ones(4, 2, dtype=torch.float64), torch.arange(4) < 1, torch.zeros(4).long())
    assert Preference.learn(same, kernel).utility(torch.ones(1, 2)).mean.isfinite().all()


@pytest.mark.parametrize(("kernel", "taste"), [(LINEAR, along), (RBF, along), (RBF, peak)])
def test_more_rounds_know_the_taste_better(kernel, taste):
    """How the order of new pictures agrees with the hidden one, and how unsure the process is of them."""
    found = []
    for rounds in (1, 12):
        picks, new = seen(rounds, 16, taste, best=5)
        told = Preference.learn(picks, kernel).utility(new)
        ranks = torch.stack([told.mean.argsort().argsort(), taste(new).argsort().argsort()]).double()
        found.append(float(torch.corrcoef(ranks)[0, 1]))
    assert found[1] > max(found[0], 0.7)


def test_a_round_of_the_strict_and_one_of_the_generous_are_the_same_taste():
    """Only what differs within a round counts: a round in which all are picked says nothing."""
    picks, new = seen(3, 8, along)
    generous = picks.add(torch.randn(1, SIZE, dtype=torch.float64), torch.tensor([True]))
    mean, wider = Preference(picks, LINEAR).utility(new), Preference(generous, LINEAR).utility(new)
    assert float((mean.mean - wider.mean).abs().max()) < 0.2 * float(mean.mean.std())


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradients_are_those_of_differences(kernel):
    picks, new = seen(2, 8, along)
    mine = Preference(picks, kernel)
    points = new[:4].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tuple(mine.utility(x)), points)


def test_half_precision_is_told_in_single():
    picks, new = seen(2, 8, along)
    mine = Preference(picks)
    half, whole = mine.utility(new.half()), mine.utility(new.half().float())
    assert half.mean.dtype == torch.float32
    torch.testing.assert_close(half, whole)


def test_which_lambda_is_preferred_and_how_surely():
    """Picks of whole sweeps: the feature is λ. Somebody likes 0.6, and sees it better round by round."""
    lambdas = torch.linspace(0, 1.5, 31, dtype=torch.float64)[:, None]
    shares = []
    for rounds in (1, 8):
        picks, generator = Picks.none(1), torch.Generator().manual_seed(3)
        for _ in range(rounds):
            shown = 1.5 * torch.rand(7, 1, generator=generator, dtype=torch.float64)
            near = (shown[:, 0] - 0.6).abs()
            picks = picks.add(shown, near <= near.sort().values[1])
        chances = Preference.learn(picks).likeliest(lambdas, 4000, torch.Generator().manual_seed(0))
        assert float(chances.sum()) == pytest.approx(1)
        shares.append(float(chances[(lambdas[:, 0] - 0.6).abs() <= 0.151].sum()))
    assert shares[1] > max(shares[0], 0.8)


def test_what_cannot_be_learned_is_refused():
    picks, _ = seen(1, 4, along)
    with pytest.raises(ValueError, match="Nothing is picked yet"):
        Preference(Picks.none(SIZE).add(torch.rand(4, SIZE), torch.zeros(4)))
    with pytest.raises(ValueError, match="use the model that the first round was seen with"):
        picks.add(torch.rand(4, SIZE + 1), torch.ones(4))
    with pytest.raises(ValueError, match="not finite"):
        picks.add(torch.full((1, SIZE), torch.nan), torch.ones(1))
    with pytest.raises(ValueError, match="unknown kernel"):
        Preference(picks, "cubic")
