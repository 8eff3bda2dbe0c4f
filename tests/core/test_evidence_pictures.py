"""What `make evidence` makes of pictures: tilted data against plain draws, studies that have all that is compared, and
what it finds where the answer is known. The whole of it, with a host, is in tests/host/test_benchmarks.py."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

PACK = Path(__file__).resolve().parents[2]
sys.path.append(str(PACK / "benchmarks"))

from evidence.learned_cases import CORRECTED, EXTENTS, MERGED, ONE_ANCHOR, RLG, STEPWISE, WHOLE, Asked  # noqa: E402
from evidence.learned_findings import findings  # noqa: E402
from evidence.learned_found import ABOVE, BELOW, Found, Tilt  # noqa: E402
from evidence.learned_networks import PREFERRED, TILTED, pool  # noqa: E402
from evidence.learned_report import text  # noqa: E402
from evidence.learned_scores import CAPTION, DIVERSITY, REWARD, SCORES, Classifier, Scored  # noqa: E402
from evidence.learned_studies import captions, graph  # noqa: E402

from tools.train.demo_data import KINDS, Painter, colourfulness  # noqa: E402

CAPTIONS = 4


@pytest.fixture(scope="module")
def plain():
    """The reward of pictures as they are drawn, and their captions."""
    painter = Painter(32, 5)
    asked = painter.captions(6000)
    return asked, colourfulness(painter.draw(asked)).double()


@pytest.fixture(scope="module")
def data():
    return pool(32, 0, 6000)


@pytest.mark.parametrize("beta", [0.0, 0.2, 0.4])
def test_tilted_pictures_have_the_reward_that_plain_draws_weighed_by_exp_have(plain, data, beta):
    _, reward = plain
    weight = torch.softmax(reward / beta, 0) if beta else torch.full_like(reward, 1 / len(reward))
    mean = float(weight @ reward)
    spread = float((weight.square() @ (reward - mean).square()).sqrt())
    chances = data.chances(beta)
    own = float((chances.square() @ (data.reward.double() - data.mean_reward(beta)).square()).sqrt())
    assert data.mean_reward(beta) == pytest.approx(mean, abs=4 * (spread**2 + own**2) ** 0.5)
    assert abs(data.mean_reward(0.06) - mean) > 20 * spread  # the bound tells one β from another


@pytest.mark.parametrize("beta", [0.1, 0.4])
def test_nats_of_a_tilt(data, beta):
    """KL(p_β ‖ p) = E_β[r]/β − ln E[exp(r/β)], within each caption."""
    kind = data.captions @ torch.tensor([64, 8, 1])
    parts = []
    for one in kind.unique():
        reward, chance = data.reward[kind == one].double(), data.chances(0.0)[kind == one]
        plain, tilted = chance / chance.sum(), data.chances(beta)[kind == one]
        log_z = (plain.log() + reward / beta).logsumexp(0)
        parts.append(float((tilted / tilted.sum()) @ reward / beta - log_z))
    assert Tilt.of(data, beta).nats == pytest.approx(np.mean(parts), rel=1e-6)


def test_a_tilt_leaves_every_caption_as_likely_as_it_was(data):
    kind = data.captions @ torch.tensor([64, 8, 1])
    share = torch.zeros(512, dtype=torch.float64).index_add(0, kind, data.chances(0.06))
    there = share[share > 0]
    torch.testing.assert_close(there, torch.full_like(there, 1 / len(there)))


@pytest.mark.parametrize("extent", EXTENTS.values(), ids=list(EXTENTS))
def test_all_that_is_compared_is_asked_for(extent):
    asked = {(one.method, one.anchor, value) for one in extent.asked() for value in one.lambdas}
    trained = set(extent.all_trained())
    assert len(trained) == len(extent.all_trained())
    found = Found(extent, {}, {})
    first = extent.anchors(TILTED)[0]
    for kind in (STEPWISE, RLG):
        assert (kind, first, 0.0) in asked
    for case in extent.cases():
        kind = RLG if case.method == RLG else STEPWISE
        assert (case.method, case.anchor, case.lambda_) in asked
        assert {case.anchor, found.target(case)} <= trained
        assert {(kind, case.anchor, 1.0), (kind, found.target(case), 1.0)} <= asked
    for way in extent.betas:
        assert all((STEPWISE, one, 1.0) in asked for one in (*extent.anchors(way), *extent.more(way)))


@pytest.mark.parametrize("method", [STEPWISE, CORRECTED, RLG, MERGED])
def test_lambda_goes_where_the_workflow_has_it(method):
    nodes, slots = graph(WHOLE, Asked(method, WHOLE.trained(TILTED, 0), (0.5,)))
    for node, name in (slot.split(".") for slot in slots):
        assert isinstance(nodes[node]["inputs"][name], float)
    assert all(link[0] in nodes for one in nodes.values() for link in one["inputs"].values() if isinstance(link, list))


def test_captions_are_of_all_kinds():
    assert len(captions(1)) == 320
    assert len({tuple(one.values()) for one in captions(1)}) == 320
    assert len(captions(WHOLE.every)) * WHOLE.seeds >= 500


@pytest.mark.parametrize("extent", [WHOLE, ONE_ANCHOR], ids=["whole", "one anchor"])
def test_no_word_is_left_out_of_the_captions_that_are_asked(extent):
    asked = captions(extent.every)
    for word, words in zip(("shape", "colour", "background"), KINDS, strict=True):
        count = Counter(one[word] for one in asked)
        assert set(count) == set(words)
        assert max(count.values()) <= min(count.values()) + len(asked) // 16, word


def invented(short=0.0, noise=0.01):
    """An extent whose networks' mean chroma is 0.2 + 0.012 / β, and λ's, short of its way by a share."""
    extent = WHOLE
    random = np.random.default_rng(0)
    bump = random.normal(0, 0.002, CAPTIONS * extent.seeds)

    def scored(reward):
        level = reward + bump - bump.mean()
        return Scored({REWARD: level, CAPTION: 0.9 - level / 10, DIVERSITY: 5 - level}, 100 * (level - 0.2))

    def of(beta, seed):
        return 0.2 + 0.012 / (beta if beta < 1 else beta / 2000) + noise * seed

    results = {}
    for asked in extent.asked():
        anchor = asked.anchor
        full = of(anchor.beta, anchor.seed)
        results[asked] = {}
        for value in asked.lambdas:
            target = of(anchor.beta / value, anchor.seed) if value else 0.2
            miss = short * (full - 0.2) if value not in (0.0, 1.0) else 0.0
            results[asked][value] = scored(target - miss)
    truth = {beta: Tilt(of(beta, 0) if beta else 0.2, 0.0) for beta in (0.0, *extent.betas[TILTED])}
    return Found(extent, results, truth)


def test_an_error_is_what_it_was_made():
    found = invented(short=0.1)
    for way in (TILTED, PREFERRED):
        for method in found.methods(way, BELOW):
            cases = found.cases(way, method, BELOW)
            _, share = found.error(cases, REWARD)
            assert share.value == pytest.approx(0.1)
            assert found.signed(cases[0]).value == pytest.approx(-0.1)
        assert found.signed(found.cases(way, STEPWISE, ABOVE)[0]).value == pytest.approx(-0.1)
    mean, longest = found.between_trainings(TILTED, REWARD)
    betas = WHOLE.betas[TILTED]
    assert longest.value == pytest.approx(0.01 / (0.012 / betas[0]))
    assert mean.value == pytest.approx(np.mean([0.01 / (0.2 + 0.012 / betas[place]) for place in WHOLE.again]))


@pytest.mark.parametrize(
    ("short", "noise", "said"),
    [
        (0.0, 0.01, ": no more than twice the noise"),
        (0.3, 0.001, ": more than twice the noise"),
        (0.1, 0.01, "so few trainings cannot tell"),
    ],
)
def test_the_sentences_say_what_the_numbers_say(short, noise, said):
    found = invented(short, noise)
    lines = findings(found)
    assert said in lines[0]
    assert f"surely short of the retrained one in {9 if short else 0} " in "".join(lines)
    assert "100%" in next(line for line in lines if "tilted data's gain" in line)
    moved = next(line for line in lines if "twice the steps" in line)
    assert moved.count("+0.0000, less than") == len(WHOLE.doubled[PREFERRED])
    report = text(found, 0.9, 461_000, "docs/evidence.png")
    assert report.count("| tilted |") == len(SCORES) * 5
    assert "nan" not in report


def test_a_classifier_gives_the_chance_of_both_words():
    model = Classifier().eval()
    with torch.no_grad():
        features = model(torch.zeros(2, 3, 32, 32))
        chance = model.chance(features, torch.tensor([[0, 1], [2, 3]]))
        shape, colour = (torch.softmax(head(features), -1) for head in (model.shape, model.colour))
    torch.testing.assert_close(chance, torch.stack([shape[0, 0] * colour[0, 1], shape[1, 2] * colour[1, 3]]))
