"""Records in a folder: appended one by one, kept as Parquet, and whole at whatever moment the writer is killed.

The newest records are lines of JSON in a journal, part-000007.jsonl. A full journal, or one that an earlier run left,
is written as part-000007.parquet and then removed: where both are there, the journal is not read, so no record is
there twice. A line that is not whole is the one that was being written when the writer died.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .errors import FolderError

ROWS = 2000  # of a part
Record = dict[str, Any]


class Parts:
    """`records()`, oldest first, and `append`. Raises OSError as the disk does, FolderError for what is damaged."""

    def __init__(self, folder: Path, schema: pa.Schema):
        self.folder, self.schema = folder, schema
        self._journal: FileIO | None = None
        self._count = 0

    def open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def settle(self) -> None:
        """Put away what an earlier run left: journals become Parquet. For who alone writes here."""
        for left in self.folder.glob("*.tmp"):
            left.unlink()
        for journal in sorted(self.folder.glob("part-*.jsonl")):
            self._keep(journal)

    def records(self) -> Iterator[Record]:
        for table in self.tables():
            yield from table.to_pylist()

    def tables(self) -> Iterator[pa.Table]:
        """Each part as a table of the schema; columns that it lacks are null."""
        kept = {path.stem: path for path in self.folder.glob("part-*.parquet")}
        journals = {path.stem: path for path in self.folder.glob("part-*.jsonl") if path.stem not in kept}
        for _, path in sorted({**kept, **journals}.items()):
            yield self._read(path) if path.suffix == ".parquet" else self._table(_lines(path))

    def append(self, record: Record) -> None:
        """Raises OSError, as where the disk is full; what was there before is whole then too."""
        if self._journal is None:
            self._journal = FileIO(self._next(), "ab")
            self._count = 0
        line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n"
        while line:  # a write that stops half-way says so only the next time
            line = line[self._journal.write(line) :]
        self._count += 1
        if self._count >= ROWS:
            self.close()

    def close(self) -> None:
        """Keep the journal as Parquet."""
        if self._journal is not None:
            journal, self._journal = self._journal, None
            path = Path(os.fsdecode(journal.name))
            journal.close()
            self._keep(path)

    def _next(self) -> Path:
        numbers = [int(path.stem.removeprefix("part-")) for path in self.folder.glob("part-*.*")]
        return self.folder / f"part-{max(numbers, default=0) + 1:06d}.jsonl"

    def _keep(self, journal: Path) -> None:
        kept = journal.with_suffix(".parquet")
        records = [] if kept.exists() else _lines(journal)
        if records:
            write_table(self._table(records), kept)
        journal.unlink()

    def _table(self, records: list[Record]) -> pa.Table:
        return pa.Table.from_pylist(records, schema=self.schema)

    def _read(self, path: Path) -> pa.Table:
        try:
            found = pq.read_table(path)
            columns = [
                found[field.name].cast(field.type)
                if field.name in found.column_names
                else pa.nulls(len(found), field.type)
                for field in self.schema
            ]
        except (pa.ArrowException, OSError) as error:
            raise FolderError(
                f"{path} is damaged ({str(error)[:200]}): put it aside to have its rows made again."
            ) from None
        return pa.table(columns, schema=self.schema)


def _lines(journal: Path) -> list[Record]:
    """Its records. Raises FolderError for a line that is none, unless it is the last."""
    *whole, _ = journal.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(whole, 1):
        try:
            records.append(json.loads(line))
        except ValueError:
            raise FolderError(
                f"{journal}, line {number} is damaged: remove that line to have its row made again."
            ) from None
    return records


def write_table(table: pa.Table, path: Path) -> None:
    """All of it or nothing."""
    with whole(path) as temporary:
        pq.write_table(table, temporary)


class whole:
    """`with whole(path) as temporary:` what is written there takes the path's place at the end, or leaves no trace."""

    def __init__(self, path: Path):
        self.path, self.temporary = path, path.with_name(path.name + ".tmp")

    def __enter__(self) -> Path:
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is None:
            os.replace(self.temporary, self.path)
        else:
            self.temporary.unlink(missing_ok=True)
