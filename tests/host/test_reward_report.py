"""Reward Report: its numbers beside scipy's and numpy's, the front on the sheet, and a report read again."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

import comfy.model_management
import numpy as np
import pytest
import scipy.stats
import torch
from realign.nodes.pictures.colours import AXIS, BLUE, FRONT
from realign.nodes.pictures.reported import Reported, parse_report
from realign.nodes.pictures.reward_panels import lambda_panels, pair_panels, reward_plots
from realign.nodes.reward.protocol import RewardError
from realign.nodes.reward_report import ALL, MOST, OPTIMISED, RealignRewardReport
from realign.realign_core import LambdaSchedule, Sweep


@pytest.fixture(autouse=True)
def temp_folder(tmp_path, monkeypatch):
    """Where the host keeps what a node shows."""
    monkeypatch.setattr("folder_paths.temp_directory", str(tmp_path))


@dataclass(frozen=True)
class Told:
    """A reward that gives what the pictures hold in a channel, times a number."""

    name: str
    channel: int
    scale: float = 100.0
    needs_prompt: bool = False

    def score(self, images, prompts):
        if self.needs_prompt:
            return torch.tensor([float(len(text)) for text in prompts])
        return self.scale * images[:, 0, 0, self.channel]


R, G, B = (Told(name, channel) for channel, name in enumerate(("red", "green", "blue")))


def pictures(rows, size=12):
    """(B, size, size, 3), each of one colour."""
    return torch.tensor(rows)[:, None, None].expand(-1, size, size, -1).clone()


RANDOM = torch.rand(9, 3, generator=torch.Generator().manual_seed(3)).tolist()
OTHERS = torch.rand(5, 3, generator=torch.Generator().manual_seed(4)).tolist()


def reported(images, *rewards, **options):
    more = {f"reward_{place}": reward for place, reward in enumerate(rewards[1:], 2)}
    out = RealignRewardReport.execute(pictures(images), rewards[0], **more, **options).args
    return (*out[:4], json.loads(out[4]))


def test_the_numbers_are_scipys_and_numpys():
    table, *_, told = reported(RANDOM, R, G, B, optimised=2, reference=pictures(OTHERS))
    ours, theirs = 100 * np.float32(RANDOM).astype(float), 100 * np.float32(OTHERS).astype(float)
    assert told["rewards"] == ["red", "green", "blue"]
    assert np.allclose(told["scores"], ours, rtol=1e-6)
    assert np.allclose(told["reference"], theirs, rtol=1e-6)
    for r, summary in enumerate(told["summary"]["rewards"]):
        column = ours[:, r]
        wanted = [column.mean(), column.std(ddof=1), column.std(ddof=1) / 3, column.max(), column.argmax()]
        assert list(summary.values()) == pytest.approx(wanted, rel=1e-6)
    assert np.allclose(told["summary"]["correlation"], scipy.stats.spearmanr(ours).statistic, rtol=1e-9)
    lines = [line for line in table.splitlines() if line.startswith("| red | optimised ")]
    change = ours[:, 0].mean() - theirs[:, 0].mean()
    error = math.hypot(scipy.stats.sem(ours[:, 0]), scipy.stats.sem(theirs[:, 0]))
    assert len(lines) == 1
    cells = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert float(cells[2]) == pytest.approx(ours[:, 0].mean(), rel=1e-3)
    assert float(cells[3]) == pytest.approx(ours[:, 0].std(ddof=1), rel=1e-3)
    assert [float(one) for one in cells[-1].split(" ± ")] == pytest.approx([change, error], rel=0.05)
    assert "| blue | held out |" in table


def test_ties_have_their_mean_rank():
    rows = [[0.1, 0.3, 0], [0.1, 0.1, 0], [0.5, 0.1, 0], [0.7, 0.2, 0], [0.7, 0.9, 0]]
    told = reported(rows, R, G)[-1]["summary"]["correlation"]
    ranks = [scipy.stats.rankdata([row[c] for row in rows]) for c in (0, 1)]
    assert told[0][1] == told[1][0] == pytest.approx(np.corrcoef(*ranks)[0, 1], rel=1e-9)
    assert told[0][0] == told[1][1] == pytest.approx(1)


def test_where_all_are_equal_there_is_no_correlation():
    table, *_, told = reported([[0.5, x, 0] for x in (0.1, 0.2, 0.3)], R, G)
    assert told["summary"]["correlation"] == [[None, None], [None, pytest.approx(1)]]
    assert "| red | – | – |" in table
    assert "| green | – | 1.00 |" in table
    assert "nan" not in table.lower()


def test_of_one_picture_what_cannot_be_known_is_not_said():
    table, plot, sheet, places, told = reported([[0.2, 0.4, 0.6]], R, G)
    assert told["summary"]["rewards"][0] | {"mean": 20, "spread": None, "error": None} == pytest.approx(
        {"mean": 20, "spread": None, "error": None, "best": 20, "best_picture": 0}
    )
    assert places == [0]
    assert "| red | optimised | 20 | – | 20 (picture 1) |" in table
    assert sheet.shape[1] > sheet.shape[2] * 0.9  # with its labels below
    assert not marked(sheet)
    assert plot.shape[0] == 1


def test_one_reward_alone():
    table, plot, sheet, places, told = reported(RANDOM, R, reference=pictures(OTHERS))
    assert places == [int(np.argmax(np.float32(RANDOM)[:, 0]))]
    assert "correlation" not in table
    assert not marked(sheet)
    assert told["rewards"] == ["red"]
    assert min(plot.shape[1:3]) > 300


def marked(sheet):
    return bool(((sheet[0] - torch.tensor(FRONT) / 255).abs().amax(-1) < 1e-6).any())


ROWS = [[0.9, 0.1, 0.5], [0.1, 0.9, 0.5], [0.5, 0.5, 0.9], [0.4, 0.4, 0.1], [0.9, 0.1, 0.5]]  # the last as the first


def test_the_front_is_framed_on_the_sheet():
    _, _, sheet, places, told = reported(ROWS, R, G, cell_size=48)
    assert places == told["front"] == [0, 1, 2, 4]
    assert marked(sheet)
    green = (sheet[0] - torch.tensor(FRONT) / 255).abs().amax(-1) < 1e-6
    for picture, row in enumerate(ROWS[:4]):
        found = (sheet[0] - torch.tensor(row)).abs().amax(-1) < 1e-6
        assert int(found.sum()) == 48 * 48 * ROWS.count(row)  # the frame covers no picture
        top, left = (int(found.any(dim).nonzero()[0]) for dim in (1, 0))
        above = green[top - 1, left : left + 48]
        assert bool(above.all()) == (picture in places)
        assert bool(above.any()) == (picture in places)


@pytest.mark.parametrize(("front_of", "wanted"), [(ALL, [0, 1, 2, 4]), (OPTIMISED, [2])])
def test_which_rewards_the_front_is_of(front_of, wanted):
    assert reported(ROWS, B, R, G, front_of=front_of)[3] == wanted


SWEEP = Sweep((0.0, 0.5, 1.0), seeds=3)


def test_over_a_sweep_there_is_a_row_for_each_lambda():
    table, plot, sheet, _, told = reported(RANDOM, R, G, sweep=SWEEP, reference=pictures(OTHERS))
    assert told["lambda"] == [0.0, 0.5, 1.0] * 3
    ours = 100 * np.float32(RANDOM).reshape(3, 3, 3).astype(float)  # seed, λ, reward
    for column, row in enumerate(told["by_lambda"]):
        assert row["lambda"] == SWEEP.values[column]
        assert row["pictures"] == 3
        for r, summary in enumerate(row["rewards"]):
            assert summary["mean"] == pytest.approx(ours[:, column, r].mean(), rel=1e-6)
            assert summary["error"] == pytest.approx(scipy.stats.sem(ours[:, column, r]), rel=1e-5)
    assert sum(line.startswith(("| 0 | 3 |", "| 0.5 | 3 |", "| 1 | 3 |")) for line in table.splitlines()) == 3
    assert "| without | 5 |" in table
    scheduled = reported(RANDOM, R, sweep=replace(SWEEP, schedule=LambdaSchedule()))
    assert "| ×0.5 | 3 |" in scheduled[0]
    assert scheduled[-1]["scheduled"]


def panel_lines(panel):
    return {line.label: line for line in panel.lines}


def test_the_plot_over_lambda_has_each_mean_and_its_error():
    report = Reported.of(["a", "b"], torch.tensor(RANDOM)[:, :2], [0, 1], optimised=1, lambdas=[0.0, 0.5, 1.0] * 3)
    first, second, pair = lambda_panels(report)
    (line,) = first.lines
    ours = np.float64(report.scores).reshape(3, 3, 2)
    assert [y for _, y in line.points] == pytest.approx(ours.mean(0)[:, 0])
    assert list(line.errors) == pytest.approx(scipy.stats.sem(ours)[:, 0])
    assert (first.name, second.name) == ("a, optimised", "b, held out")
    found = panel_lines(pair)
    assert len(found["front"].points) == len(report.front)
    assert len(found["front"].points) + len(found["pictures"].points) == 9
    assert found["front"].joined
    assert not found["pictures"].joined


def test_one_reward_against_another():
    scores = torch.tensor(RANDOM)
    report = Reported.of("abc", scores, [0, 1, 2], optimised=1, lambdas=[None] * 9, reference=OTHERS)
    panels = pair_panels(report)
    assert [panel.name[0] for panel in panels] == ["b", "c"]
    assert not panel_lines(panels[0])["front"].joined  # it is the front of three
    assert panel_lines(panels[0])["without"].points == sorted((row[0], row[1]) for row in OTHERS)
    only = Reported.of("abc", scores, [1, 2], optimised=3, lambdas=[None] * 9)
    first = pair_panels(only)[0]
    assert first.axis.startswith("b")
    assert panel_lines(first)["front"].joined


@pytest.mark.parametrize("rewards", range(1, MOST + 1))
@pytest.mark.parametrize("swept", [False, True])
def test_the_plots_fit_a_screen(rewards, swept):
    scores = torch.rand(12, rewards, generator=torch.Generator().manual_seed(rewards))
    lambdas = [0.0, 0.5, 1.0] * 4 if swept else [None] * 12
    more = dict(optimised=1, lambdas=lambdas, reference=torch.rand(4, rewards).tolist())
    report = Reported.of(["a long name of a reward" * 3] * rewards, scores, range(rewards), **more)
    plots = reward_plots(report)
    assert plots.shape[2] <= 1440
    assert plots.shape[1] <= 900
    pixels = (plots[0] * 255).round()
    colours = [AXIS, *([FRONT] if rewards > 1 and (not swept or rewards == 2) else [])]
    colours += [BLUE] if swept or len(report.front) < len(scores) else []
    for colour in colours:
        assert bool((pixels - torch.tensor(colour)).abs().sum(-1).lt(12).any())


def test_equal_scores_everywhere_are_drawn():
    table, plot, *_ = reported([[0.5, 0.5, 0.5]] * 4, R, G, sweep=Sweep((0.0, 1.0), seeds=2))
    assert "± 0" in table
    assert torch.isfinite(plot).all()


def test_what_falls_while_the_reward_rises_is_said():
    rows = [[0.8 + i / 100, 0.2 + i / 100, 0.5] for i in range(5)]
    plain = pictures([[0.3 + i / 100, 0.6 + i / 100, 0.5 + (i - 2) / 5] for i in range(5)])
    assert "green, held out, fell by 40.0 ± 1.0" in reported(rows, R, G, reference=plain)[0]
    assert "fell by" not in reported(rows, R, G, reference=plain, optimised=2)[0]  # it was asked for
    assert "fell by" not in reported(rows, B, G, reference=plain)[0]  # nothing rose for certain
    wide = pictures([[0.3, 0.3 + (i - 2) / 5, 0.5] for i in range(5)])
    assert "fell by" not in reported(rows, R, G, reference=wide)[0]  # less of it, but within twice the error


def test_names_are_told_apart_and_cannot_break_the_table():
    odd = Told("a | b\nc", 1)
    table, *_, told = reported(RANDOM, R, Told("red", 1), odd, Told("red", 2))
    assert told["rewards"] == ["red", "red 2", "a | b c", "red 3"]
    assert "| a \\| b c | held out |" in table


def test_a_row_of_prompts_reaches_the_reward():
    words = Told("words", 0, needs_prompt=True)
    swept = Sweep((0.0, 1.0), prompts=("a", "four"))
    assert [row[0] for row in reported(RANDOM[:4], words, sweep=swept)[-1]["scores"]] == [1, 1, 4, 4]
    typed = reported(RANDOM[:4], words, sweep=swept, prompt="fifth", reference=pictures(OTHERS))[-1]
    assert [row[0] for row in typed["scores"]] == [1, 1, 4, 4]  # what is typed is of the reference alone
    assert [row[0] for row in typed["reference"]] == [5] * len(OTHERS)
    without = Sweep((0.0, 1.0), prompts=("", "four"))
    assert [row[0] for row in reported(RANDOM[:4], words, sweep=without, prompt="two")[-1]["scores"]] == [3, 3, 4, 4]
    with pytest.raises(RewardError, match="there is none: type what they should show"):
        reported(RANDOM[:4], words)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(optimised=3), "“optimised” is 3, but 2 rewards are connected: set it to 0–2, or connect the others."),
        (dict(optimised=0, front_of=OPTIMISED), "set “front_of” to “all rewards”"),
        (dict(sweep=Sweep((0.0, 1.0))), "There are 9 images, but the λ sweep has 2 cells"),
        (dict(trace="{}"), "not a trace"),
        (dict(reference=torch.zeros(0, 4, 4, 3)), "“reference” is a tensor"),
    ],
)
def test_what_does_not_go_together_is_refused_before_a_reward_is_asked(monkeypatch, options, sentence):
    def load(*_, **__):
        raise AssertionError("a model was loaded before the refusal")

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", load)
    monkeypatch.setattr(Told, "score", load)
    with pytest.raises(ValueError, match=sentence):
        reported(RANDOM, R, G, **options)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (lambda images: images.mean((1, 2)), "gave the shape"),
        (lambda images: 1 / 0, "“wrong” failed: "),
        (lambda images: images[:, 0, 0, 0] * math.nan, "gave no finite number"),
    ],
)
def test_a_reward_that_fails_is_named(given, sentence):
    class Wrong:
        name = "wrong"

        def score(self, images, prompts):
            return given(images)

    with pytest.raises(RewardError, match=sentence) as error:
        reported(RANDOM, R, Wrong())
    assert "“wrong”" in str(error.value)


def text_of(**changes):
    out = RealignRewardReport.execute(pictures(ROWS), R, reward_2=G, reference=pictures(OTHERS)).args[4]
    return json.dumps(json.loads(out) | changes)


def test_a_report_is_read_again():
    report = parse_report(text_of())
    assert report.rewards == ["red", "green"]
    assert report.front == [0, 1, 2, 4]
    assert report.lambdas == [None] * 5
    assert report.to_json() == text_of()


@pytest.mark.parametrize(
    "changes",
    [
        dict(rewards=["red"]),
        dict(rewards=["red", "red"]),
        dict(rewards=[]),
        dict(optimised=3),
        dict(optimised=True),
        dict(scores=[]),
        dict(scores=[[1.0, "2"]] * 5),
        dict(scores=[[1.0, 1e301]] * 5),
        dict(scores=[[1.0]] * 5),
        dict(front=[5]),
        dict(front=[-1]),
        dict(front=[]),
        dict(front=[0, 0]),
        dict(front=[0.5]),
        dict(front_of=[2]),
        {"lambda": [0.5]},
        {"lambda": ["0"] * 5},
        dict(reference=[[1.0]]),
        dict(reference=[]),
    ],
    ids=str,
)
def test_what_is_no_report_is_refused_in_a_sentence(changes):
    with pytest.raises(ValueError, match=r"^This is not a reward report: .*\. Connect Reward Report's") as error:
        parse_report(text_of(**changes))
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("text", ["", "[]", "{}", "NaN", "x" * 1000, '{"rewards": NaN}'])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="not a reward report"):
        parse_report(text)
