"""A plan that is not right is refused in one sentence with its line, before anything runs."""

from __future__ import annotations

import json

import pytest
import yaml
from conftest import ENVIRONMENT, PACK, PLAN, realign

from realign_study.errors import PlanError
from realign_study.plan import Hosts, PlanFile
from realign_study.prompts import read_prompts
from realign_study.rows import Study

GOOD = """\
study: test
workflow: Realign SDXL - Diffusion-DPO
prompts: [a fox, a bear]
lambda: [0, 0.5, 1]
seeds: [1, 2]
settings:
  - {steps: 30}
  - {steps: 50, cfg: 5}
"""
WRONG = {
    "not yaml": ("seeds: [1, 2]", "seeds: [1, 2", 6, ""),
    "a key twice": ("seeds: [1, 2]", "study: again", 5, "“study” stands here a second time"),
    "a key of braces": ("study: test", "study: {{name}}", 1, "before a colon stands one word or number"),
    "a key that is a list": ("study: test", "? [a, b]\n: c", 1, "before a colon stands one word or number"),
    "half an emoji": ("a fox", r'"a fox \ud83e"', 3, r"half a letter (\ud83e), as where it was cut"),
    "half an emoji in a key": ("{steps: 30}", r'{"\udd8a": 30}', 7, r"half a letter (\udd8a)"),
    "a name of dots": ("study: test", "study: '..'", 1, "a study's name has a letter or a digit"),
    "an unknown key": ("seeds: [1, 2]", "seed: [1, 2]", 5, "seed is not known here; a plan has anchors, back_end,"),
    "missing": ("lambda: [0, 0.5, 1]\n", "", 1, "lambda is missing"),
    "no number": ("[0, 0.5, 1]", "[0, half, 1]", 4, "'half'"),
    "not finite": ("[0, 0.5, 1]", "[0, .nan, 1]", 4, "nan"),
    "too large a λ": ("[0, 0.5, 1]", "[0, 0.5, 99]", 4, "99"),
    "a λ twice": ("[0, 0.5, 1]", "[0, 0.5, 0.50]", 4, "lambda: 0.5 stands there twice"),
    "no prompts": ("[a fox, a bear]", "[]", 3, "prompts: list should have at least 1 item"),
    "a prompt twice": ("[a fox, a bear]", "[a fox, a fox]", None, "Two rows would be the same picture: “a fox”"),
    "a file that is not there": ("[a fox, a bear]", "none.txt", None, "none.txt cannot be read: No such file"),
    "a file of another kind": ("[a fox, a bear]", "plan.yaml", None, "come from a .txt, .csv or .jsonl file"),
    "an unknown workflow": ("Realign SDXL - Diffusion-DPO", "Realign SDXL", 2, "no shared workflow is called"),
    "a workflow that is not there": ("Realign SDXL - Diffusion-DPO", "x.json", 2, "x.json cannot be read"),
    "a setting that goes nowhere": ("  - {steps: 30}", "  - {stepz: 30}", 7, "nothing in the workflow takes “stepz”"),
    "a setting that is an axis": ("  - {steps: 30}", "  - {seed: 30}", 7, "“seed” has a place of its own"),
    "an axis beside a prompt": ("a bear]", "{prompt: a bear, lambda: 9}]", 3, "the column “lambda” has a place"),
    "β without the anchor's": ("[0, 0.5, 1]", "{betas: [5000]}", 4, "need the β of every anchor"),
    "a range": ("[0, 0.5, 1]", "{from: 0, to: 1}", 4, "count is missing"),
    "two kinds of host": ("seeds", "hosts: {servers: [http://a], comfyui: b}\nseeds", 5, "not both"),
    "a host that is no address": ("seeds", "hosts: {servers: [file:///etc]}\nseeds", 5, "an address is such as"),
    "a password": ("seeds", "hosts: {servers: ['http://a:b@c']}\nseeds", 5, "holds no user or password"),
    "an input that is not there": (
        "seeds",
        "inputs: {prompt: 3.words}\nseeds",
        5,
        "no input “3.words”; node 3 has text",
    ),
    "an input that is a link": ("seeds", "inputs: {prompt: 3.clip}\nseeds", 5, "is connected to another node"),
    "an input for nothing": ("seeds", "inputs: {size: 5.width}\nseeds", 5, "nothing in the plan says what “size” is"),
    "an output that is not there": ("seeds", "outputs: {picture: '99'}\nseeds", 5, "the workflow has no node 99"),
    "a reward that is no node": ("seeds", "rewards: {x: {reward: y}}\nseeds", 5, "say which node it is"),
    "a hash": ("seeds", "files: {x: abc}\nseeds", 5, "abc"),
}


def plan_of(tmp_path, text):
    file = tmp_path / "plan.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def study_of(file):
    study = Study(PlanFile(file))
    return study, study.rows


@pytest.mark.parametrize(("old", "new", "line", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_with_its_line(tmp_path, old, new, line, said):
    assert old in GOOD
    with pytest.raises(PlanError) as raised:
        study_of(plan_of(tmp_path, GOOD.replace(old, new, 1)))
    sentence = str(raised.value)
    assert said in sentence
    assert "\n" not in sentence
    if line is not None:
        assert sentence.startswith(f"plan.yaml, line {line}: ")


def test_a_plan_is_all_its_combinations_in_an_order_that_keeps_what_is_loaded(tmp_path):
    study, rows = study_of(plan_of(tmp_path, GOOD))
    assert len(rows) == 2 * 2 * 2 * 3
    assert [row.place for row in rows] == list(range(24))
    assert [(row.lambda_, row.seed) for row in rows[:6]] == [(0, 1), (0.5, 1), (1, 1), (0, 2), (0.5, 2), (1, 2)]
    graph = study.graph(rows[-1])
    assert graph["6"]["inputs"] | {"seed": 2, "lambda_": 1.0, "steps": 50, "cfg": 5} == graph["6"]["inputs"]
    assert graph["3"]["inputs"]["text"] == "a bear"
    assert "8" not in graph  # Save Image and the trace's text make no picture


def test_each_prompt_may_have_seeds_of_its_own(tmp_path):
    _, rows = study_of(plan_of(tmp_path, GOOD.replace("[1, 2]", "{from: 7, count: 2, own: true}")))
    assert {(row.prompt, row.seed) for row in rows} == {(0, 7), (0, 8), (1, 9), (1, 10)}
    file = plan_of(tmp_path, GOOD.replace("[1, 2]", f"{{from: {2**64 - 3}, count: 2, own: true}}"))
    with pytest.raises(PlanError, match="line 5: seeds go up to"):
        study_of(file)


@pytest.mark.parametrize("name", ["seed", "lambda", "anchor", "beta"])
def test_a_column_that_the_plan_has_a_place_for_is_refused(tmp_path, name):
    """The table would name the plan's value, and the picture would be of the column's."""
    (tmp_path / "p.csv").write_text(f"prompt,{name}\na fox,7\n", encoding="utf-8")
    with pytest.raises(PlanError, match=f"^plan.yaml, line 3: the column “{name}” has a place of its own in the plan"):
        study_of(plan_of(tmp_path, GOOD.replace("[a fox, a bear]", "p.csv")))


def test_betas_are_lambdas(tmp_path):
    text = GOOD.replace("[0, 0.5, 1]", "{betas: [2000, 5000, 10000]}") + "anchors: {name: x.safetensors, beta: 5000}\n"
    study, rows = study_of(plan_of(tmp_path, text))
    assert [row.lambda_ for row in rows[:3]] == [2.5, 1, 0.5]
    loader = study.graph(rows[0])["2"]["inputs"]
    assert (loader["anchor_name"], loader["beta"], loader["beta_source"]) == ("x.safetensors", 5000, "typed")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "a fox\n\n  an owl, red  \n"),
        ("p.csv", 'prompt,steps\na fox,30\n"an owl, red",30\n'),
        ("p.jsonl", '{"prompt": "a fox", "steps": 30}\n\n{"prompt": "an owl, red", "steps": 30}\n'),
    ],
)
def test_prompts_come_from_three_kinds_of_files(tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8-sig")
    found = read_prompts(file)
    assert [prompt.text for prompt in found] == ["a fox", "an owl, red"]
    assert [prompt.inputs for prompt in found] == [{} if name == "p.txt" else {"steps": 30}] * 2


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.csv", "text\na fox\n", "line 1: a column is to be called “prompt”"),
        ("p.csv", "prompt,a\nx\n", "line 2: 1 fields where the head has 2"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": 3}\n', "line 2: a line is an object"),
        ("p.jsonl", '{"prompt": "a", "x": NaN}\n', "line 1: this is not JSON"),
        ("p.jsonl", '{"prompt": "a", "x": 1e999}\n', "line 1: this is not JSON"),
        ("p.jsonl", '{"prompt": "a", "x": [1]}\n', "line 1: “x” is to be a text"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": "\\ud83e"}\n', "line 2: a text holds half a letter"),
        ("p.jsonl", '{"prompt": "a", "x": "\\ud83e"}\n', "line 1: a text holds half a letter"),
        ("p.txt", "\n \n", "holds no prompt"),
    ],
)
def test_prompts_that_are_none_are_refused(tmp_path, name, text, said):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(PlanError, match=said):
        read_prompts(tmp_path / name)


def test_a_workflow_of_two_anchor_files_is_a_study_of_both(tmp_path):
    """Which of them the plan's anchor and β would be is not clear; without these it need not be."""
    graph = json.loads((PACK / "realign_study" / "workflows" / "Realign SDXL - Diffusion-DPO.json").read_text("utf-8"))
    graph["both"] = {"class_type": "Both", "inputs": {"a": ["2", 0], "b": ["second", 0]}}
    graph["second"] = {**graph["2"], "inputs": {**graph["2"]["inputs"], "anchor_name": "second.safetensors"}}
    graph["6"]["inputs"]["anchor"] = ["both", 0]
    (tmp_path / "own.json").write_text(json.dumps(graph), encoding="utf-8")
    text = GOOD.replace("Realign SDXL - Diffusion-DPO", "own.json")
    study, rows = study_of(plan_of(tmp_path, text))
    assert study.facts(rows[0])["anchor"] == ""
    for anchor, name in (("a.safetensors", "anchor"), ("{beta: 5}", "beta")):
        said = f"^plan.yaml, line 9: several inputs of the workflow could take “{name}”"
        with pytest.raises(PlanError, match=said):
            study_of(plan_of(tmp_path, f"{text}anchors: [{anchor}]\n"))


class Counted(int):
    """A number that counts how often one like it is compared."""

    compared = 0

    def __eq__(self, other):
        Counted.compared += 1
        return int(self) == other

    __hash__ = int.__hash__


def test_to_look_for_what_stands_twice_takes_one_look_at_each(tmp_path):
    file, values = PlanFile(plan_of(tmp_path, GOOD)), [Counted(value) for value in range(1000)]
    file._twice("seeds", values)
    assert Counted.compared < 1000
    with pytest.raises(PlanError, match="seeds: 7 stands there twice"):
        file._twice("seeds", [*values, Counted(7)])


@pytest.mark.parametrize("name", ["plan.yaml", "p.jsonl"])
def test_the_two_halves_of_a_letter_are_one(tmp_path, name):
    """JSON escapes an emoji as two; YAML takes JSON."""
    (tmp_path / "p.jsonl").write_text(r'{"prompt": "a \ud83e\udd8a"}', encoding="utf-8")
    prompts = {"plan.yaml": r'["a \ud83e\udd8a"]', "p.jsonl": "p.jsonl"}[name]
    study, _ = study_of(plan_of(tmp_path, GOOD.replace("[a fox, a bear]", prompts)))
    assert [prompt.text for prompt in study.prompts] == ["a 🦊"]


def test_a_workflow_with_half_a_letter_is_refused(tmp_path):
    graph = json.loads((PACK / "realign_study" / "workflows" / "Realign SDXL - Diffusion-DPO.json").read_text("utf-8"))
    graph["3"]["inputs"]["text"] = "\ud83e"
    (tmp_path / "own.json").write_text(json.dumps(graph), encoding="utf-8")
    with pytest.raises(PlanError, match=r"^plan.yaml, line 2: own.json: a text holds half a letter"):
        study_of(plan_of(tmp_path, GOOD.replace("Realign SDXL - Diffusion-DPO", "own.json")))


@pytest.mark.parametrize("name", ["example", "demo", "paper-sdxl", "paper-sd15"])
def test_the_plans_that_ship_are_plans(tmp_path, name):
    file = plan_of(tmp_path, (PACK / "realign_study" / "plans" / f"{name}.yaml").read_text(encoding="utf-8"))
    (tmp_path / "prompts.txt").write_text("\n".join(f"prompt {i}" for i in range(500)), encoding="utf-8")
    study, rows = study_of(file)
    assert len(rows) == {"example": 12, "demo": 72, "paper-sdxl": 3000, "paper-sd15": 3000}[name]
    assert study.workflow.trace is not None
    assert all(0 <= row.lambda_ <= 3 for row in rows)  # what the node takes


def test_the_example_is_written_and_nothing_is_touched(tmp_path):
    done = realign("study", "--example", cwd=tmp_path)
    assert done.returncode == 0
    assert yaml.safe_load(done.stdout)["study"] == "my first study"
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_without_our_letters_gets_the_same_file_and_readable_lines(tmp_path, monkeypatch):
    monkeypatch.setitem(ENVIRONMENT, "PYTHONIOENCODING", "cp1252")
    done = realign("study", "--example", cwd=tmp_path)
    assert done.stdout == (PACK / "realign_study" / "plans" / "example.yaml").read_text(encoding="utf-8"), done.stderr
    done = realign("--help")
    assert done.returncode == 0, done.stderr
    assert "find the ? that a reward likes best" in done.stdout


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ("ftp://127.0.0.1", "an address is such as http://127.0.0.1:8188, not 'ftp://127.0.0.1'"),
        ("http://a:b@c", "an address holds no user or password"),
    ],
)
def test_a_wrong_server_is_one_sentence(write_plan, server, said):
    done = realign("study", write_plan(), "--server", server, "--dry-run")
    assert done.returncode == 2
    assert done.stderr.startswith(f"--server, --comfyui, --ray: {said}")
    assert len(done.stderr.splitlines()) == 1


def test_an_address_may_leave_out_http(write_plan):
    done = realign("study", write_plan(), "--server", "127.0.0.1:8188", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "where: http://127.0.0.1:8188 " in done.stdout


def test_a_dry_run_tells_what_it_costs_and_touches_nothing(write_plan, tmp_path):
    done = realign("study", write_plan(seconds_per_call=0.5), "--dry-run")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "rows: 12, 12 to be made"
    assert lines[1] == "model calls: about 540"  # 30 steps: 6 rows of λ 0 with one call each, 6 with two
    assert lines[2] == "hours: 0.07 (a guess: the first rows will tell)"  # 270 s
    assert lines[3] == "disk: about 24 MB (a guess: the first rows will tell)"  # 12 × 1024² px × 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["plan.yaml"]


def test_a_wrong_plan_is_one_sentence_of_the_command(write_plan):
    done = realign("study", write_plan(lambda_=["x"]))
    assert done.returncode == 2
    assert done.stderr.startswith("plan.yaml, line ")
    assert "Traceback" not in done.stderr


def test_the_defaults_name_no_address_that_the_plan_does_not():
    assert Hosts().servers == []
    assert "servers" not in PLAN["hosts"]
