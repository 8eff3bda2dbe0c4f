"""A study's folder: its pictures, its records, and one table of both. Nothing in it is ever overwritten by a guess.

plan.yaml             a copy of the plan as it last ran
study.json            the keys that it had, and the SHA-256 of that copy
workflows/            a workflow of the pack as it was when the study began
pictures/ab/ab….png   a picture, by its row's key
rows/, scores/        records (parts.py)
table.parquet         all rows of the plan with their scores, written at the end of a run
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout

from .errors import FolderError
from .parts import Parts, Record, whole, write_table
from .plan import PlanFile
from .rows import Study
from .workflow import Workflow

TEXT, REAL, WHOLE = pa.string(), pa.float64(), pa.int64()
ROWS = pa.schema(
    [
        ("key", TEXT),
        ("study", TEXT),
        ("prompt", TEXT),
        ("inputs", TEXT),  # what else the prompt's line set, JSON
        ("anchor", TEXT),
        ("setting", TEXT),  # JSON
        ("lambda", REAL),
        ("seed", TEXT),  # up to 2⁶⁴ − 1, which no signed number holds
        ("beta_anchor", REAL),  # what the anchor was trained with; null: unknown
        ("beta", REAL),  # what λ makes of it, β/λ; null at λ 0
        ("kl", REAL),  # KL(realigned ‖ reference) of the run, nats; null: unknown
        ("model_calls", REAL),
        ("seconds", REAL),  # by the host's clock
        ("picture", TEXT),  # path in the folder
        ("bytes", WHOLE),
        ("width", WHOLE),
        ("height", WHOLE),
        ("pixels", TEXT),  # SHA-256 of the decoded picture
        ("host", TEXT),
        ("host_realign", TEXT),  # version of the pack that sampled it; null: unknown
        ("worker", TEXT),
        ("files", TEXT),  # model files' SHA-256 as the plan names them, JSON
        ("realign", TEXT),  # version of the pack that asked for it; null: older than this column
        ("error", TEXT),  # "" where there is a picture
    ]
)
SCORES = pa.schema([("key", TEXT), ("reward", TEXT), ("asked", TEXT), ("score", REAL), ("error", TEXT)])


PLAN, STUDY = "plan.yaml", "study.json"


def _hash(file: bytes) -> str:
    return hashlib.sha256(file).hexdigest()


def picture_of(key: str) -> str:
    """The path of a row's picture in the folder."""
    return f"pictures/{key[:2]}/{key}.png"


class Folder:
    """`with Folder(path) as folder:` locks it for one process."""

    def __init__(self, path: Path):
        self.path = path
        self.rows, self.scores = Parts(path / "rows", ROWS), Parts(path / "scores", SCORES)
        self._lock = FileLock(str(path / ".lock"))

    def __enter__(self) -> Folder:
        """Raises FolderError where it cannot be made or written, and where another study runs in it."""
        with said(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "pictures").mkdir(exist_ok=True)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise FolderError(
                    f"Another study is running in {self.path}: wait for it, or name another folder."
                ) from None
            try:
                for parts in (self.rows, self.scores):
                    parts.open()
                    parts.settle()
            except BaseException:
                self._lock.release()
                raise
        return self

    def __exit__(self, *_: Any) -> None:
        try:
            with said(self.path):
                self.rows.close()
                self.scores.close()
        finally:
            self._lock.release()

    # Rows

    def made(self) -> dict[str, str]:
        """The keys of the rows that are made or have failed, and their error, "" for none."""
        table, newest = self._newest()
        errors = table["error"]
        return {key: errors[index].as_py() for key, index in newest.items()}

    def _newest(self) -> tuple[pa.Table, dict[str, int]]:
        """All records, and by key where its newest one is; without those whose picture is gone or cut short."""
        with said(self.path):
            table = pa.concat_tables([ROWS.empty_table(), *self.rows.tables()])
            there = self._sizes()
        newest = {key: index for index, key in enumerate(table["key"].to_pylist())}
        told = zip(*(table[name].to_pylist() for name in ("error", "picture", "bytes")))
        good = [bool(error) or there.get(picture) == size for error, picture, size in told]
        return table, {key: index for key, index in newest.items() if good[index]}

    def _sizes(self) -> dict[str, int]:
        """Of all pictures, by their path in the folder."""
        found = {}
        for folder in os.scandir(self.path / "pictures"):
            if folder.is_dir():
                for file in os.scandir(folder.path):
                    found[f"pictures/{folder.name}/{file.name}"] = file.stat().st_size
        return found

    def keep_picture(self, key: str, file: bytes) -> str:
        """Its path in the folder. The row's record is appended after it: a record always has its picture."""
        relative = picture_of(key)
        path = self.path / relative
        with said(self.path):
            path.parent.mkdir(exist_ok=True)
            with whole(path) as temporary:
                temporary.write_bytes(file)
        return relative

    def append(self, parts: Parts, record: Record) -> None:
        with said(self.path):
            parts.append(record)

    # Plans

    def refuse_others(self, plan_file: PlanFile) -> None:
        """Raises FolderError where the plan's copy would take the place of a file that no study wrote. Before anything
        is written."""
        copy, before = self.path / PLAN, self._before()
        with said(self.path):
            there = copy.read_bytes() if copy.exists() else None
            if there is None or there == plan_file.path.read_bytes():
                return
        if before is None or before.get("plan", _hash(there)) != _hash(there):
            raise FolderError(
                f"{copy} is another file than {plan_file.path}, and no study wrote it: a study keeps a copy of its "
                "plan under that name. Name another folder by --out, or rename that file."
            )

    def _before(self) -> dict[str, Any] | None:
        """What the last run wrote of itself, {} where that cannot be read; None: there was none."""
        file = self.path / STUDY
        with said(self.path):
            try:
                found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
            except ValueError:
                found = {}
        return found if found is None or (isinstance(found, dict) and isinstance(found.get("keys"), list)) else {}

    def keep_workflow(self, workflow: Workflow) -> str:
        """So that later versions of the pack go on with these rows. A sentence where theirs is another, else ""."""
        path = workflow.kept_at
        if path is None:
            return ""
        with said(path.parent):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                with whole(path) as temporary:
                    temporary.write_text(workflow.text, encoding="utf-8")
        if not workflow.older:
            return ""
        return (
            f"The pack's workflow “{path.stem}” is another by now. The study goes on with the one that it began with, "
            f"{path}. For the pack's new one name another folder by --out."
        )

    def _keep_plan(self, plan: Path, before: str | None) -> str | None:
        """Copy the plan, unless it lies where its copy would. The hash of the copy that a study wrote last; None where
        none did. before: that hash until now."""
        copy = self.path / PLAN
        if copy.exists() and copy.samefile(plan):
            return before
        file = plan.read_bytes()
        with whole(copy) as temporary:
            temporary.write_bytes(file)
        return _hash(file)

    def check_plan(self, study: Study, go_on: bool) -> str:
        """Whether the plan is the one that the folder is of, and a sentence on what has changed, "" for nothing.

        A plan may grow. Raises FolderError where rows that are there would no longer belong to it, unless go_on.
        """
        keys, before = [row.key for row in study.rows], self._before() or {}
        with said(self.path):
            known, had = set(keys), set(before.get("keys", keys))  # only tells what has changed
            gone = {key for table in self.rows.tables() for key in table["key"].to_pylist()} - known
            if gone and had != known and not go_on:
                raise FolderError(
                    f"The plan has changed: {len(gone)} rows that {self.path} has are no longer in it. They stay "
                    "there. To go on with the new plan in this folder add --changed-plan; else undo the change, or "
                    "name another folder by --out."
                )
            told = {"keys": keys, "plan": self._keep_plan(study.plan_file.path, before.get("plan"))}
            if told != before:
                with whole(self.path / STUDY) as temporary:
                    temporary.write_text(json.dumps(told), encoding="utf-8")
        new = len(known - had)
        if not new and not gone:
            return ""
        return f"The plan has changed since the last run: {new} rows are new, {len(gone)} are no longer in it and stay."

    # Tables

    def table(self, study: Study) -> pa.Table:
        """A line for each row of the plan that was made or has failed, in the plan's order, and a column
        score_<reward> for each reward of it (null: not asked, or it failed)."""
        records, newest = self._newest()
        rows = [row for row in study.rows if row.key in newest]
        table = records.take(pa.array([newest[row.key] for row in rows], WHOLE))
        scored = self.scored()
        for name, asked in study.rewards.items():
            values = [scored.get((row.key, asked), {}).get("score") for row in rows]
            table = table.append_column(f"score_{name}", pa.array(values, REAL))
        return table

    def scored(self) -> dict[tuple[str, str], Record]:
        """The newest record of each row's key and what was asked about it (rows.Study.rewards)."""
        return {(record["key"], record["asked"]): record for record in self.scores.records()}

    def write_table(self, study: Study) -> Path:
        path = self.path / "table.parquet"
        with said(self.path):
            write_table(self.table(study), path)
        return path


@contextmanager
def said(folder: Path) -> Iterator[None]:
    """What a disk says, as a sentence."""
    try:
        yield
    except OSError as error:
        why = {
            errno.ENOSPC: "the disk is full: make room",
            errno.EDQUOT: "your share of the disk is used up: make room",
            errno.EFBIG: "a file would be larger than is allowed here",
            errno.EROFS: "the disk is read-only: name another folder by --out",
            errno.EACCES: "it may not be written: name another folder by --out",
            errno.EPERM: "it may not be written: name another folder by --out",
            errno.ENOTDIR: "a part of its path is a file: name another folder by --out",
            errno.EEXIST: "there is a file of that name: name another folder by --out",
        }.get(error.errno or 0, error.strerror or str(error))
        raise FolderError(
            f"{folder} cannot be used: {why}. What was finished is kept; the same command goes on from there."
        ) from error
