"""The report of a study: what it says, what it never lets through, and that it is there whatever the study is like."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import sys
import warnings
from html.parser import HTMLParser

import pytest
from conftest import realign
from PIL import Image

from realign_study import cli
from realign_study.errors import PlanError
from realign_study.plan import PlanFile
from realign_study.report import write_report
from realign_study.report.csv_files import written
from realign_study.report.pictures import chosen, sheets
from realign_study.results import Folder
from realign_study.rows import Study

PNG = io.BytesIO()
Image.new("RGB", (8, 6)).save(PNG, "PNG")
REWARDS = {"good": {"node": "RealignPictureReward"}, "small": {"node": "RealignPictureReward", "reward": "x"}}
HOSTILE = [
    "<script>alert(1)</script>",
    '"onerror=alert(1) x="',
    "'><img src=x onerror=alert(1)>",
    "](javascript:alert(1))",
    "{{ 7 * 7 }} {% raw %}",
    "</title></style><!--",
    "$x^{$ _ & \\frac",
]


def value_of(row):
    """Of a row without failure: KL, and the two scores; λ 1 has no KL, as where the anchor runs alone."""
    shift = 10 * row.prompt + row.seed
    return {
        "kl": None if row.lambda_ == 1 else 100 * row.lambda_**2,
        "good": shift + 5 * row.lambda_,
        "small": shift - 2 * row.lambda_,
    }


@pytest.fixture
def study(write_plan, tmp_path):
    """study(value_of, **changes): a study whose folder has these rows, (Study, Folder). A row's value: None for one
    that is not made, a text for one that failed, else its KL and scores."""

    def make(value=value_of, host="ComfyUI", host_realign=lambda row: "1.0.0", **changes):
        plan = write_plan(**{"rewards": REWARDS, "lambda": [0, 0.5, 1], **changes})
        made = Study(PlanFile(plan, tmp_path / "out"))
        with Folder(tmp_path / "out") as folder:
            for row in made.rows:
                told = value(row)
                if told is not None:
                    _append(made, folder, row, told, host, host_realign(row))
        return made, folder

    return make


def _append(study, folder, row, told, host, host_realign):
    record = study.facts(row) | {"host": host, "host_realign": host_realign, "worker": "w"}
    record["error"] = told if isinstance(told, str) else ""
    if not record["error"]:
        record |= {"kl": told["kl"], "model_calls": 2.0, "seconds": 0.5, "width": 8, "height": 6}
        record |= {"picture": folder.keep_picture(row.key, PNG.getvalue()), "bytes": len(PNG.getvalue())}
    folder.append(folder.rows, record)
    for name, asked in study.rewards.items():
        if not record["error"] and name in told:
            score = told[name]
            bad = isinstance(score, str)
            scored = {"key": row.key, "reward": name, "asked": asked, "error": score if bad else ""}
            folder.append(folder.scores, scored | {"score": None if bad else score})


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data):
        if self.tags[-1:] != ["style"]:
            self.texts.append(data)

    def of(self, tag, name):
        return [value for one, key, value in self.attributes if (one, key) == (tag, name)]


@pytest.fixture
def page(study):
    """page(…): the page of such a study. A warning fails it, as of numbers that overflow."""

    def make(*args, budgets=(), shown=(), **changes):
        made, folder = study(*args, **changes)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return Page(write_report(made, folder, budgets, shown))

    return make


def lines(folder, name):
    return list(csv.DictReader(io.StringIO((folder / "report" / name).read_text("utf-8-sig"))))


def test_it_says_which_lambda_is_best_and_under_which_budget(page, tmp_path):
    found = page(budgets=[30.0])
    assert "3 prompts × 2 seeds × 3 λ, on Realign SDXL - Diffusion-DPO. 18 of 18 pictures are made." in found.text
    assert "good 1 100% 16.5 +5 5 to 5, over λ 0 – the largest λ asked: more may score better yet" in found.text
    assert "small 0 100% 11.5 – 0 no λ scores better than λ 0" in found.text
    assert "KL ≤ 30 nats good λ 0.5 14, in 100% small λ 0 11.5, in 100%" in found.text
    assert "Not known for λ 1. At λ 1 the anchor runs alone" in found.text
    assert "Failures None." in found.text
    best = {(one["metric"], one["kl_budget"]): one for one in lines(tmp_path / "out", "best.csv")}
    assert [best["good", name]["best_lambda"] for name in ("", "30.0")] == ["1.0", "0.5"]
    assert best["good", ""]["gain_low"] == best["good", ""]["gain"] == "5.0"
    curves = lines(tmp_path / "out", "curves.csv")
    assert len(curves) == 9
    assert curves[2]["metric"] == "KL"
    assert curves[2]["mean"] == ""
    assert len(lines(tmp_path / "out", "rows.csv")) == 18


def test_all_plots_are_drawn_and_said_in_words(page):
    assert [text for text in page().of("img", "alt") if not text.startswith("λ")] == [
        f"{name}: {what}"
        for name in ("good", "small")
        for what in ("mean score over λ", "gain over the base, over λ", "mean score against KL")
    ] + ["mean KL over λ"]


def test_pictures_are_named_by_relative_paths_and_lazy(page, tmp_path):
    found = page(shown=[3, 1])
    sources = [one for one in found.of("img", "src") if not one.startswith("data:image/svg+xml;base64,")]
    assert len(sources) == 6
    assert sources == found.of("a", "href")[:6]
    assert all((tmp_path / "out" / source).read_bytes() == PNG.getvalue() for source in sources)
    assert found.of("img", "loading") == ["lazy"] * 6
    assert found.text.index("an owl prompt 3") < found.text.index("a fox prompt 1")
    assert "a bear" not in found.text
    assert "λ 0.5, seed 1, KL 25, good 23.5, small 20" in found.of("img", "alt")


def test_a_picture_elsewhere_is_not_shown(study):
    made, folder = study()
    table = folder.table(made)
    place = table.column_names.index("picture")
    for path in ("../../x.png", "/etc/passwd", "javascript:alert(1)", "pictures/aa/" + "a" * 32 + ".png\n", None):
        table = table.set_column(place, "picture", [[path] * len(table)])
        (group,) = {cell.picture for sheet in _sheets(made, table) for line in sheet.lines for cell in line.cells}
        assert group == ""


def _sheets(made, table):
    from realign_study.report.findings import find

    return sheets(made, table, find(made, table).groups, [0, 1])


@pytest.mark.parametrize("where", ["prompt", "error", "score", "host", "version", "anchor", "setting", "files"])
def test_a_text_is_shown_as_text_wherever_it_comes_from(page, where):
    def value(row):
        good, text = value_of(row), HOSTILE[row.place % len(HOSTILE)]
        if row.lambda_ == 0 or where not in ("error", "score"):
            return good
        return text if where == "error" else good | {"good": text}

    changes = {
        "prompt": {"prompts": HOSTILE},
        "anchor": {"anchors": HOSTILE},
        "setting": {"settings": [{"negative": text} for text in HOSTILE]},
        "files": {"files": {text: "a" * 64 for text in HOSTILE}},
        "host": {"host": " ".join(HOSTILE)},
        "version": {"host_realign": lambda row: HOSTILE[row.place % len(HOSTILE)]},
    }
    found = page(value, **changes.get(where, {}))
    told = found.text + " ".join(str(value) for _, _, value in found.attributes)
    assert [text for text in HOSTILE if text not in told] == []
    assert not {"script", "iframe", "object", "embed", "link", "form", "base", "svg"} & set(found.tags)
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    ours = r"data:image/svg\+xml;base64,[\w+/=]+|pictures/[0-9a-f/]+\.png|report/\w+\.csv|#failures"
    assert all(re.fullmatch(ours, value) for _, name, value in found.attributes if name in ("src", "href"))
    assert all(re.fullmatch(r"border-top: 3px solid #[0-9a-f]{6}", style) for style in found.of("span", "style"))


def test_it_forbids_itself_scripts_and_network(page):
    found = page()
    (policy,) = [one for one in found.of("meta", "content") if "default-src" in one]
    assert dict(part.split(maxsplit=1) for part in policy.split("; ")) == {
        "default-src": "'none'",
        "img-src": "'self' file: data:",
        "style-src": "'unsafe-inline'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert found.tags.index("meta") < found.tags.index("style")


def test_half_a_letter_in_a_hosts_words_is_written(page):
    assert "it ? failed" in page(lambda row: "it \ud800 failed").text


def test_versions_of_the_pack_are_told_and_where_they_differ_that_is_a_warning(page, monkeypatch):
    warning = "asked for by several versions of Realign"
    monkeypatch.setattr("realign_study.rows.version", lambda: "1.0.0")
    found = page()
    assert "Realign 1.0.0 Realign on the hosts" in found.text
    assert warning not in found.text
    versions = itertools.cycle(["1.0.0", "1.1.0", None])
    monkeypatch.setattr("realign_study.rows.version", lambda: next(versions))
    assert f"{warning} (1.0.0, 1.1.0, older)" in page().text


def test_hosts_that_sample_with_other_versions_of_the_pack_are_a_warning(page):
    warning = "hosts sampled with several versions of Realign"
    found = page(host_realign=lambda row: "1.0.0")
    assert "Realign on the hosts 1.0.0" in found.text
    assert warning not in found.text
    assert f"{warning} (1.0.0, unknown)" in page(host_realign=lambda row: "1.0.0" if row.place else None).text


def test_a_spreadsheet_computes_nothing_of_it():
    text = written(["=x"], [["=HYPERLINK(1)", "@a", -1.5, float("nan"), None], ["a\n=b", '"', "+1", "\tx", "é"]])
    found = list(csv.reader(io.StringIO(text.decode("utf-8-sig"))))
    assert found == [["'=x"], ["'=HYPERLINK(1)", "'@a", "-1.5", "", ""], ["a\n=b", '"', "'+1", "'\tx", "é"]]


def test_what_failed_is_told_by_its_reason_and_left_out_by_pairs(page, tmp_path):
    def value(row):
        if row.prompt == 1 and row.lambda_ == 1:
            return "out of memory"
        return value_of(row) | ({"small": "no reward"} if row.prompt == 0 and row.lambda_ == 0.5 else {})

    found = page(value)
    assert "16 of 18 pictures are made, 2 failed ." in found.text
    assert "2 picture out of memory a bear λ 1, seed 1 a bear λ 1, seed 2" in found.text
    assert "2 score small no reward a fox λ 0.5, seed 1 a fox λ 0.5, seed 2" in found.text
    assert "+5 5 to 5, over λ 0 – the largest λ asked: more may score better yet; from 4 of 6 pairs" in found.text
    failed = lines(tmp_path / "out", "failures.csv")
    assert [(one["stage"], one["error"]) for one in failed] == [
        ("picture", "out of memory"),
        ("picture", "out of memory"),
        ("score small", "no reward"),
        ("score small", "no reward"),
    ]


STUDIES = {
    "nothing made": (lambda row: None, {}, "There is no picture yet, so there is nothing to compare."),
    "all failed": (lambda row: "no", {}, "see below why 18 failed"),
    "no rewards": (value_of, {"rewards": {}}, "The plan names no rewards, so no λ can be called best."),
    "no scores": (lambda row: {"kl": 1.0}, {}, "No picture has this score yet"),
    "one λ": (value_of, {"lambda": [0.5]}, "One λ only has scores: there is no curve to draw."),
    "one λ made": (lambda row: value_of(row) if row.lambda_ else None, {"lambda": [0, 0.5]}, "the only λ with scores"),
    "no KL": (lambda row: value_of(row) | {"kl": None}, {}, "No λ has a KL that is known and not 0"),
    "one picture": (value_of, {"prompts": ["a"], "seeds": [1]}, "One picture at each λ has no interval."),
    "one seed": (value_of, {"seeds": [1]}, "not of other noise"),
    "own seeds": (value_of, {"seeds": {"count": 2, "own": True}}, "the first seed of each"),
    "one prompt": (value_of, {"prompts": ["a"]}, "the intervals tell of other seeds, not of other prompts"),
    "all alike": (lambda row: {"kl": 0.0, "good": 1.0, "small": 1.0}, {}, "all λ score alike: none is better"),
    "λ below 0": (value_of, {"lambda": [-1, 0, 2]}, "Best λ"),
    "many λ": (value_of, {"lambda": {"from": 0, "to": 1, "count": 40}}, "40 λ"),
    "huge": (
        lambda row: {"kl": 1e300, "good": -1e308 if row.seed == 1 else 1e99, "small": 1e99 * row.lambda_},
        {},
        "27 numbers were too large",
    ),
    "some left": (lambda row: value_of(row) if row.seed == 1 else None, {}, "9 are still to be made"),
}


@pytest.mark.parametrize("name", STUDIES)
def test_there_is_a_page_whatever_the_study_is_like(page, name):
    value, changes, sentence = STUDIES[name]
    assert sentence in page(value, **changes).text


def test_anchors_and_settings_are_curves_of_one_plot(page, tmp_path):
    anchors = [{"name": "a/one.safetensors", "beta": 500}, {"name": "b/two.safetensors", "beta": 1000}]
    settings = [{"steps": 4, "cfg": 5.0}, {"steps": 8, "cfg": 5.0}]
    found = page(anchors=anchors, settings=settings, **{"lambda": {"betas": [1000, 2000]}})
    assert "× 4 anchors and settings" in found.text
    assert found.text.count("two · steps 8") >= 3
    assert len(found.of("img", "alt")) == 7 + 2 * 3 * 4
    best = [(one["anchor"], one["setting"], one["best_lambda"]) for one in lines(tmp_path / "out", "best.csv")[:4]]
    assert [(anchor, json.loads(setting)["steps"], value) for anchor, setting, value in best] == [
        ("a/one.safetensors", 4, "0.5"),
        ("a/one.safetensors", 8, "0.5"),
        ("b/two.safetensors", 4, "1.0"),
        ("b/two.safetensors", 8, "1.0"),
    ]


def test_more_curves_than_can_be_told_apart_are_said(page):
    found = page(shown=[1], settings=[{"steps": steps} for steps in range(1, 24)])
    assert "Of 23 curves the first 21 are drawn" in found.text


def test_the_same_study_has_the_same_page(study):
    made, folder = study()
    first = write_report(made, folder).read_bytes()
    assert write_report(made, folder).read_bytes() == first
    assert not list(folder.path.rglob("*.tmp"))


def test_prompts_are_chosen_from_all_over_the_study(study):
    made, _ = study(prompts=[f"prompt {number}" for number in range(100)], seeds=[0], **{"lambda": [0]})
    assert chosen(made) == [0, 14, 28, 42, 57, 71, 85, 99]
    assert chosen(made, [7, 3, 7]) == [6, 2]
    with pytest.raises(PlanError, match="There is no prompt 101: the study’s prompts are 1 to 100"):
        chosen(made, [1, 101])


# The command.


def test_a_study_ends_with_how_to_have_its_report(fake, write_plan, tmp_path):
    plan, out = write_plan(rewards={"good": REWARDS["good"]}), tmp_path / "my out"
    done = realign("study", plan, "--server", fake().url, "--out", out)
    assert done.stdout.splitlines()[-1] == f"What came of it: realign report {plan} --out '{out}'"
    done = realign("report", plan, "--out", out, "--kl-budget", "3", "--prompt", "2")
    assert (done.returncode, done.stdout) == (0, f"The report: {out / 'report.html'}\n"), done.stderr
    found = Page(out / "report.html")
    assert "a bear prompt 2" in found.text
    assert "12 pictures for good" in found.text


@pytest.mark.parametrize(
    ("arguments", "sentence"), [([], "There is no study in"), (["--prompt", "4"], "There is no prompt 4")]
)
def test_what_cannot_be_reported_is_a_sentence(study, write_plan, tmp_path, capsys, arguments, sentence):
    if arguments:
        study()
    assert cli.main(["report", str(write_plan()), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_a_sentence(study, write_plan, tmp_path, capsys):
    _, folder = study()
    (folder.path / "report").write_text("a file of this name")
    assert cli.main(["report", str(write_plan()), "--out", str(tmp_path / "out")]) == 2
    assert "cannot be used: there is a file of that name" in capsys.readouterr().err
    assert not (folder.path / "report.html").exists()


def test_a_page_of_somebody_elses_stays(study, write_plan, tmp_path, capsys):
    _, folder = study()
    (folder.path / "report.html").write_text("<p>mine</p>")
    assert cli.main(["report", str(write_plan()), "--out", str(tmp_path / "out")]) == 2
    assert "report.html is no report of a study: rename it" in capsys.readouterr().err
    assert [file.name for file in folder.path.glob("report*")] == ["report.html"]
    assert (folder.path / "report.html").read_text() == "<p>mine</p>"


def test_without_its_extra_it_says_what_to_install(study, write_plan, tmp_path, capsys, monkeypatch):
    study()
    for name in [name for name in sys.modules if name.startswith("realign_study.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(["report", str(write_plan()), "--out", str(tmp_path / "out")]) == 2
    assert "A report needs matplotlib: pip install 'realign[report]' brings it." in capsys.readouterr().err
