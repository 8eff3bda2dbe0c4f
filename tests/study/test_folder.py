"""A study's folder: what is in it is whole at whatever moment its writer is killed, and is never overwritten."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ENVIRONMENT, PACK, realign, records, same, started, table_of

from realign_study import cli, workflow
from realign_study import parts as parts_module
from realign_study.errors import FolderError
from realign_study.parts import Parts, whole

SCHEMA = pa.schema([("key", pa.string()), ("value", pa.float64())])


def parts_of(folder):
    parts = Parts(folder, SCHEMA)
    parts.open()
    parts.settle()
    return parts


def keys(folder):
    return [record["key"] for record in Parts(folder, SCHEMA).records()]


def test_what_is_appended_is_there_at_once_and_stays(tmp_path):
    parts = parts_of(tmp_path)
    for name in "abc":
        parts.append({"key": name, "value": 1.5})
    assert keys(tmp_path) == ["a", "b", "c"]  # before anything is closed
    parts = parts_of(tmp_path)  # another run
    assert [file.suffix for file in tmp_path.iterdir()] == [".parquet"]
    parts.append({"key": "d", "value": None})
    parts.close()
    assert keys(tmp_path) == ["a", "b", "c", "d"]


def test_a_line_that_was_being_written_is_left_out_and_the_next_is_whole(tmp_path):
    parts_of(tmp_path).append({"key": "a"})
    (journal,) = tmp_path.glob("*.jsonl")
    journal.write_bytes(journal.read_bytes() + b'{"key": "b", "val')
    assert keys(tmp_path) == ["a"]
    parts_of(tmp_path).append({"key": "c"})
    assert keys(tmp_path) == ["a", "c"]


def test_a_journal_that_is_kept_already_is_not_read_again(tmp_path):
    """As where the writer died between writing the Parquet file and removing the journal."""
    parts_of(tmp_path).append({"key": "a"})
    (journal,) = tmp_path.glob("*.jsonl")
    text = journal.read_bytes()
    parts_of(tmp_path)
    journal.write_bytes(text)
    assert keys(tmp_path) == ["a"]
    parts_of(tmp_path)
    assert keys(tmp_path) == ["a"]
    assert not journal.exists()


def test_full_journals_are_kept_as_they_fill(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "ROWS", 3)
    parts = parts_of(tmp_path)
    for number in range(8):
        parts.append({"key": str(number)})
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "part-000001.parquet",
        "part-000002.parquet",
        "part-000003.jsonl",
    ]
    assert keys(tmp_path) == [str(number) for number in range(8)]


def test_a_table_of_an_older_form_is_read(tmp_path):
    pq.write_table(pa.table({"key": ["a"]}), tmp_path / "part-000001.parquet")
    assert list(Parts(tmp_path, SCHEMA).records()) == [{"key": "a", "value": None}]


@pytest.mark.parametrize(("name", "content"), [("part-000001.parquet", b"PAR1"), ("part-000001.jsonl", b"}{\n{}\n")])
def test_what_is_damaged_is_said_and_left_as_it_is(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FolderError, match="is damaged"):
        list(Parts(tmp_path, SCHEMA).records())
    assert (tmp_path / name).read_bytes() == content


def test_a_file_takes_its_place_whole_or_not_at_all(tmp_path):
    file = tmp_path / "x"
    file.write_text("old")

    def fail():
        with whole(file) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert file.read_text() == "old"


# The command on a folder.


@pytest.fixture
def study(fake, write_plan, tmp_path):
    """study(*arguments, **changes): the command on a plan whose pictures a stand-in makes."""
    host = fake()

    def run(*arguments, **changes):
        return realign("study", write_plan(**changes), "--server", host.url, "--out", tmp_path / "out", *arguments)

    return run


def test_a_plan_that_grows_goes_on_and_says_so(study, tmp_path):
    assert study().returncode == 0
    before = table_of(tmp_path / "out")
    done = study(seeds=[1, 2, 3])
    assert done.returncode == 0
    assert "6 rows are new, 0 are no longer in it" in done.stderr
    assert len(table_of(tmp_path / "out")) == 18
    assert [row for row in same(table_of(tmp_path / "out")) if row[3] != "3"] == same(before)


def test_a_plan_that_drops_rows_is_refused_and_nothing_is_destroyed(study, tmp_path):
    assert study().returncode == 0
    table = table_of(tmp_path / "out")
    done = study(**{"lambda": [0, 0.7]})
    assert done.returncode == 2
    assert "The plan has changed: 6 rows" in done.stderr
    assert table_of(tmp_path / "out") == table
    assert study("--changed-plan", **{"lambda": [0, 0.7]}).returncode == 0
    assert len(table_of(tmp_path / "out")) == 12
    assert study("--changed-plan").returncode == 0
    assert table_of(tmp_path / "out") == table  # the first plan's rows were all still there


def test_a_picture_that_is_gone_or_cut_short_is_made_again(study, tmp_path):
    assert study().returncode == 0
    table = table_of(tmp_path / "out")
    (tmp_path / "out" / table[0]["picture"]).unlink()
    (tmp_path / "out" / table[5]["picture"]).write_bytes(b"")
    done = study()
    assert done.returncode == 0, done.stderr
    assert same(table_of(tmp_path / "out")) == same(table)
    assert (tmp_path / "out" / table[5]["picture"]).stat().st_size == table[5]["bytes"]


def test_two_studies_in_one_folder_are_refused(fake, write_plan, tmp_path):
    host = fake(delay=60)  # longer than the second takes to start
    arguments = ("study", write_plan(), "--server", host.url, "--out", tmp_path / "out")
    first = started(*arguments)
    try:
        while not (tmp_path / "out" / "study.json").exists():
            assert first.poll() is None
        second = realign(*arguments)
        assert second.returncode == 2
        assert "Another study is running" in second.stderr
    finally:
        first.kill()
        first.communicate()


@pytest.mark.parametrize("where", ["plan.yaml/out", "/proc/realign"])
def test_a_folder_that_cannot_be_made_is_a_sentence(fake, write_plan, tmp_path, where):
    done = realign("study", write_plan(), "--server", fake().url, "--out", tmp_path / where)
    assert done.returncode == 2
    assert "cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_that_is_full_is_a_sentence_and_what_was_there_goes_on(fake, write_plan, tmp_path):
    """The kernel refuses to write more, in the middle of a record, as it does where no room is left."""
    arguments = ("study", write_plan(seeds=[1, 2, 3, 4]), "--server", fake().url, "--out", tmp_path / "out")
    small = (resource.RLIMIT_FSIZE, (4000, 4000))  # bytes of a file: a few records
    done = realign(*arguments, first=lambda: resource.setrlimit(*small))
    assert done.returncode == 2
    assert "What was finished is kept" in done.stderr
    assert "Traceback" not in done.stderr
    kept = sum(1 for _ in (tmp_path / "out" / "rows").glob("*"))
    assert kept
    done = realign(*arguments)
    assert done.returncode == 0, done.stderr
    rows = table_of(tmp_path / "out")
    assert len({row["key"] for row in rows}) == len(rows) == 24
    assert len(records(tmp_path / "out")) == 24  # those that were there were not made again


def test_the_study_ends_with_its_plan_beside_its_results(study, tmp_path):
    done = study()
    assert done.stdout.startswith("12 of 12 rows are there, 0 failed")
    out = tmp_path / "out"
    assert (out / "plan.yaml").read_bytes() == (tmp_path / "plan.yaml").read_bytes()
    rows = table_of(out)
    assert len(json.loads((out / "study.json").read_text())["keys"]) == 12
    assert [(row["kl"], row["model_calls"], row["seconds"], row["beta_anchor"]) for row in rows[:1]] == [
        (0.5, 2.0, 0.5, 500.0)
    ]
    assert [row["beta"] for row in rows[:2]] == [None, 1000.0]
    assert not list(out.rglob("*.tmp"))


def test_a_file_that_no_study_wrote_is_not_overwritten_by_the_plans_copy(study, write_plan, tmp_path):
    own = tmp_path / "out" / "plan.yaml"
    own.parent.mkdir()
    own.write_text("study: my own\n")
    for arguments in ((), ("--dry-run",)):
        done = study(*arguments)
        assert done.returncode == 2
        assert f"{own} is another file than {tmp_path / 'plan.yaml'}, and no study wrote it" in done.stderr
        assert [file.name for file in own.parent.iterdir()] == ["plan.yaml"]
    assert own.read_text() == "study: my own\n"
    own.unlink()
    assert study().returncode == 0
    assert study(seeds=[1, 2, 3]).returncode == 0  # its own copy it may
    assert own.read_bytes() == (tmp_path / "plan.yaml").read_bytes()
    own.write_text("study: edited\n")
    assert "no study wrote it" in study().stderr
    assert own.read_text() == "study: edited\n"


def test_a_plan_may_lie_in_its_studys_folder(fake, write_plan, tmp_path):
    host = fake()
    plan = write_plan(out=".", seeds=[1])
    assert realign("study", plan, "--server", host.url).returncode == 0
    text = write_plan(out=".").read_text()
    assert realign("study", plan, "--server", host.url).returncode == 0
    assert len(table_of(tmp_path)) == 12
    other = tmp_path / "other.yaml"
    other.write_text(text.replace("a fox", "a hare"))
    done = realign("study", other, "--server", host.url, "--changed-plan")
    assert done.returncode == 2
    assert "no study wrote it" in done.stderr
    assert plan.read_text() == text


def test_a_study_goes_on_with_the_workflow_that_it_began_with(fake, write_plan, tmp_path, monkeypatch, capsys):
    """Whatever another version of the pack adds to it, or where that has none of this name."""
    log, out = tmp_path / "log", tmp_path / "out"
    arguments = ["study", str(write_plan(seeds=[1])), "--server", fake(log=log).url, "--out", str(out)]
    assert cli.main(arguments) == 0
    assert "by now" not in capsys.readouterr().err
    table, accepted = table_of(out), log.read_text()
    (kept,) = (out / "workflows").iterdir()
    newer = json.loads(kept.read_text(encoding="utf-8"))
    newer["6"]["inputs"]["new"] = 1
    for text in (json.dumps(newer), None):
        monkeypatch.setattr(workflow, "shipped", lambda _, text=text: text)
        assert cli.main(arguments) == 0
        assert f"The study goes on with the one that it began with, {kept}." in capsys.readouterr().err
        assert table_of(out) == table
        assert log.read_text() == accepted
    monkeypatch.setattr(workflow, "shipped", lambda _: json.dumps(newer))
    assert cli.main([*arguments[:-1], str(tmp_path / "new")]) == 0
    assert not {row["key"] for row in table_of(tmp_path / "new")} & {row["key"] for row in table}


def test_a_row_knows_which_version_asked_for_it(study, tmp_path):
    assert study(seeds=[1]).returncode == 0
    (found,) = re.findall(r'^version = "(.+)"$', (PACK / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert {row["realign"] for row in table_of(tmp_path / "out")} == {found}


def test_the_package_needs_neither_torch_nor_a_host():
    code = "import sys, realign_study.cli; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "pyarrow" in loaded
    assert not loaded & {"torch", "comfy", "nodes", "einops"}
