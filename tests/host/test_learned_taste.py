"""Learned Taste and Pick: what is learned, kept, refused; a simulated artist; which λ is liked."""

from __future__ import annotations

import json

import folder_paths
import pytest
import reward_files
import torch
from realign.nodes.learned_taste import MEAN, UCB, RealignLearnedTaste
from realign.nodes.models import whole_files
from realign.nodes.pick import RealignPick
from realign.nodes.reward.features import ColoursAndShapes, Encoded
from realign.nodes.reward.learned import SCALE
from realign.nodes.reward.picks import lambda_picks, parse_picks
from realign.nodes.reward.protocol import gradient, scores
from realign.nodes.reward.session import LEARNED, WAITING, Session
from realign.realign_core import Sweep

SIDE = 32


@pytest.fixture(autouse=True)
def user(tmp_path, monkeypatch):
    """The host's user folder, in an empty place."""
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path / "user"))
    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    return tmp_path / "user" / "realign" / "preferences"


def coloured(count, seed=0):
    """Pictures of one colour each, with a square of another."""
    generator = torch.Generator().manual_seed(seed)
    out = torch.rand(count, 1, 1, 3, generator=generator).expand(-1, SIDE, SIDE, -1).clone()
    out[:, 8:24, 8:24] = torch.rand(count, 1, 1, 3, generator=generator)
    return out


def redness(images):
    return (images[..., 0] - images[..., 1:].mean(-1)).mean((1, 2))


def learned(name="taste", picks=None, **options):
    return RealignLearnedTaste.execute(name, picks=json.dumps(picks) if picks else "", **options).args


def seen(preference, images, **inputs):
    """Its run's id, as the page gets it."""
    out = RealignPick.execute(images, preference, **inputs)
    return out.ui["realign_compare"][0]


def rounds_of(taste, count=3, size=12, best=3, **options):
    """After so many rounds, in which the best by `taste` were picked."""
    picks = {}
    for number in range(count):
        _, preference = learned(**options)
        images = coloured(size, 10 * number)
        run = seen(preference, images)["run"]
        picks[run] = {"picked": taste(images).topk(best).indices.tolist()}
    return picks


@pytest.mark.parametrize("judge", [MEAN, UCB])
@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_a_taste_is_learned_and_draws_towards_it(judge, kernel):
    picks = rounds_of(redness)
    reward, _ = learned(picks=picks, judge=judge, kernel=kernel)
    new = coloured(40, 99)
    told = scores(reward, new)
    ranks = torch.stack([told.argsort().argsort(), redness(new).argsort().argsort()]).double()
    assert torch.corrcoef(ranks)[0, 1] > 0.6
    _, slope = gradient(reward, new[:6])
    step = (new[:6] + 0.05 * slope / slope.flatten(1).norm(dim=1)[:, None, None, None]).clamp(0, 1)
    assert (scores(reward, step) > scores(reward, new[:6])).all()


def test_before_the_first_star_all_pictures_count_the_same():
    reward, _ = learned()
    value, slope = gradient(reward, coloured(3))
    assert value.tolist() == [0.5 * SCALE] * 3
    assert not slope.any()


def test_boldness_adds_what_is_not_known():
    picks = rounds_of(redness, 1)
    plain, bold = (learned(picks=picks, judge=judge, boldness=2.0)[0] for judge in (MEAN, UCB))
    near, far = coloured(12, 0)[:1], torch.zeros(1, SIDE, SIDE, 3)
    more = [float(scores(bold, one) - scores(plain, one)) for one in (near, far)]
    assert more[1] > more[0] > 0


def test_a_session_goes_on_tomorrow_and_in_another_workflow(user):
    """What is in the user folder is enough; and what the page takes back is taken back there."""
    picks = rounds_of(redness)
    first, _ = learned(picks=picks)
    assert {path.name for path in user.iterdir()} == {"taste.json", "taste.safetensors"}
    again, _ = learned()
    new = coloured(5, 7)
    torch.testing.assert_close(scores(again, new), scores(first, new))
    fingerprint = RealignLearnedTaste.fingerprint_inputs(name="taste")
    assert fingerprint == RealignLearnedTaste.fingerprint_inputs(name="taste", picks=json.dumps(picks))
    run = next(iter(picks))
    taken = {run: {"picked": []}}
    assert RealignLearnedTaste.fingerprint_inputs(name="taste", picks=json.dumps(taken)) != fingerprint
    learned(picks=taken)
    assert Session.open("taste", ColoursAndShapes.name).rounds[0].picked == ()
    other, _ = learned("another")
    assert scores(other, new).unique().tolist() == [0.5 * SCALE]


def test_pictures_seen_elsewhere_are_told():
    def said(**options):
        return RealignLearnedTaste.execute("taste", **options).ui["realign_text"][0]

    assert "do not count (rounds: 1)" in said(picks=json.dumps({"abc": {"picked": [1]}}))
    assert "do not count" not in said(picks=json.dumps({"abc": {"picked": []}}))


def test_the_same_pictures_are_one_round_however_often_they_are_shown():
    _, preference = learned()
    images = coloured(4)
    assert seen(preference, images)["run"] == seen(preference, images)["run"]
    assert len(Session.open("taste", ColoursAndShapes.name).rounds) == 1


def test_rounds_without_a_star_make_room():
    session = Session("taste", "x")
    for number in range(WAITING + 5):
        session = session.saw(f"{number:x}", torch.rand(2, 3))
        if number == 1:
            session = session.picked(parse_picks('{"1": {"picked": [0]}}'))
    assert len(session.rounds) == WAITING + 1
    assert session.rounds[0].run == "1"


def test_the_newest_pictures_are_learned_from():
    session = Session("taste", "x")
    for number in range(10):
        session = session.saw(f"{number:x}", torch.full((LEARNED // 4, 3), float(number)))
        session = session.picked(parse_picks(json.dumps({f"{number:x}": {"picked": [0]}})))
    assert session.picks.features[:, 0].unique().tolist() == [6, 7, 8, 9]


def test_an_image_encoder_is_part_of_what_was_learned():
    clip_vision = reward_files.clip_vision_of(reward_files.tiny_clip(1))
    features = Encoded.by(clip_vision, "center")
    images = coloured(3)
    assert features.of(images).shape[0] == 3
    torch.testing.assert_close(features.of(images).norm(dim=1), torch.ones(3))
    picks = rounds_of(redness, 1, clip_vision=clip_vision)
    reward, _ = learned(picks=picks, clip_vision=clip_vision)
    assert reward.models == (clip_vision.patcher,)
    assert gradient(reward, images)[1].abs().sum() > 0
    with pytest.raises(ValueError, match=r"was learned by .* and now it would be asked by “colours and shapes”"):
        learned()
    with pytest.raises(ValueError, match="type another name to start anew"):
        learned(clip_vision=reward_files.clip_vision_of(reward_files.tiny_clip(5)))


def test_colours_and_shapes_have_a_gradient_everywhere_and_a_size_of_their_own():
    for images in (torch.full((1, 7, 5, 3), 0.5), torch.rand(1, 64, 64, 3), torch.rand(1, 1, 1, 3)):
        with torch.inference_mode(False), torch.enable_grad():
            x = images.double().clone().requires_grad_()
            features = ColoursAndShapes().of(x)
            (slope,) = torch.autograd.grad(features.sum(), x)
        assert features.shape == (1, 57)
        assert slope.isfinite().all()
        assert features.abs().max() <= 1


def test_names_and_damaged_files_are_refused(user):
    for name in ("", "../taste", "a/b", "x" * 65, "con", ".hidden", "a\\b", "trailing."):
        with pytest.raises(ValueError, match=r"“name” is .* but must be one for a file"):
            learned(name)
    rounds_of(redness, 1)
    for damage in (b"", b"{}", b'{"format": 2}', b"[" * 100_000, b"\xff\xfe"):
        (user / "taste.json").write_bytes(damage)
        with pytest.raises(ValueError, match="cannot be read: it is damaged"):
            learned()
    (user / "taste.json").unlink()
    rounds_of(redness, 1)
    (user / "taste.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="cannot be read: it is damaged"):
        learned()


def test_a_session_that_another_process_reads_is_waited_for(monkeypatch):
    """As Windows has it: a file that is open is not replaced."""
    _, preference = learned()
    seen(preference, coloured(2))
    real, tried = whole_files.os.replace, []

    def replace(source, target):
        tried.append(target)
        if tried.count(target) == 1:
            raise PermissionError(13, "The process cannot access the file because it is being used", str(target))
        return real(source, target)

    monkeypatch.setattr(whole_files.os, "replace", replace)
    monkeypatch.setattr(whole_files.time, "sleep", lambda seconds: None)
    seen(preference, coloured(3, 1))
    assert len(Session.open("taste", ColoursAndShapes.name).rounds) == 2
    assert len(tried) == 2 * len(set(tried)) == 4


def test_a_folder_that_cannot_be_written_is_told(user):
    user.parent.mkdir(parents=True)
    user.write_text("a file where the folder would be")
    _, preference = learned()
    with pytest.raises(ValueError, match="could not be saved"):
        seen(preference, coloured(2))


@pytest.mark.parametrize(
    "text",
    [
        "x", "[]", '{"a": 1}', '{"../x": {"picked": []}}', '{"a": {"picked": [-1]}}', '{"a": {"picked": [1e9]}}',
        '{"a": {"picked": ["0"]}}', '{"a": {"picked": [2], "lambda": [0, 1]}}', '{"a": {"lambda": [1e999]}}',
        '{"a": {"lambda": [0, 1, 2], "rows": 2}}', '{"a": {"picked": [], "more": 1}}', "[" * 100_000,
    ],
)  # fmt: skip
def test_stars_that_no_page_writes_are_refused(text):
    with pytest.raises(ValueError, match="“picks” is not what the page writes"):
        parse_picks(text)


def test_the_nodes_give_what_was_starred():
    images = coloured(4)
    sweep = Sweep((0.0, 0.5, 1.0, 1.5))
    record = seen(None, images, sweep=sweep)
    picked = {"picked": [2, 1], "lambda": [0.0, 0.5, 1.0, 1.5], "rows": 1}
    out, lam, text = RealignPick.execute(images, None, sweep, picks=json.dumps({record["run"]: picked})).args
    torch.testing.assert_close(out, images[[2, 1]])
    assert 0.5 <= lam <= 1.0
    assert text.startswith("2 of 4 pictures starred\nλ ")
    everything, lam, _ = RealignPick.execute(images, None, sweep).args
    assert len(everything) == 4
    assert lam == 0.0


def test_stars_of_sweeps_know_lambda_within_their_rows():
    """Of a run without λ, of a row with all or none starred, nothing is known of λ."""
    told = {
        "a": {"picked": [1], "lambda": [0.0, 0.5, 1.0, 0.0, 0.5, 1.0], "rows": 2},
        "b": {"picked": [0, 1], "lambda": [0.0, 1.0], "rows": 1},
        "c": {"picked": [0]},
        "d": {"picked": [0], "lambda": [0.5, 0.5], "rows": 1},
    }
    picks = lambda_picks(parse_picks(json.dumps(told)))
    assert picks.features[:, 0].tolist() == [0.0, 0.5, 1.0]
    assert picks.picked.tolist() == [False, True, False]


def test_what_a_preference_thinks_of_a_picture_is_told():
    picks = rounds_of(redness, 2)
    _, preference = learned(picks=picks)
    record = seen(preference, coloured(3, 5))
    assert all(line[-1].startswith("liked ") and " ± " in line[-1] for line in record["scores"])
