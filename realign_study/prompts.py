"""Prompts from a file: a line each (.txt), or rows with more inputs of the workflow beside them (.csv, .jsonl)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import PlanError
from .texts import read_json

LARGEST = 256 * 2**20  # bytes of a file
Value = str | int | float | bool


@dataclass(frozen=True)
class Prompt:
    """What differs from picture to picture by content."""

    text: str
    inputs: dict[str, Value] = field(default_factory=dict)  # more inputs of the workflow, by name
    line: int = 0  # in its file, from 1; 0: in the plan itself


def read_prompts(path: Path) -> list[Prompt]:
    """Raises PlanError, with the line, for a file that cannot be read so."""
    try:
        if path.stat().st_size > LARGEST:
            raise PlanError(f"{path} is larger than {LARGEST >> 20} MB: that is no file of prompts.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise PlanError(f"The prompts in {path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise PlanError(f"The prompts in {path} are not UTF-8: save the file as UTF-8.") from None
    readers = {".txt": _lines, ".csv": _csv, ".jsonl": _jsonl}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise PlanError(f"{path}: prompts come from a .txt, .csv or .jsonl file.")
    found = list(reader(text, path.name))
    if not found:
        raise PlanError(f"{path} holds no prompt.")
    return found


def _lines(text: str, name: str) -> Iterator[Prompt]:
    for line, prompt in enumerate(text.split("\n"), 1):
        if prompt.strip():
            yield Prompt(prompt.strip(), line=line)


def _csv(text: str, name: str) -> Iterator[Prompt]:
    table = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        head = next(table, [])
        if "prompt" not in head:
            raise PlanError(f"{name}, line 1: a column is to be called “prompt”; here are {', '.join(head) or 'none'}.")
        if len(set(head)) < len(head):
            raise PlanError(f"{name}, line 1: two columns have the same name.")
        for row in table:
            if not row:
                continue
            if len(row) != len(head):
                raise PlanError(f"{name}, line {table.line_num}: {len(row)} fields where the head has {len(head)}.")
            values: dict[str, Value] = {key: _typed(value) for key, value in zip(head, row) if key != "prompt"}
            yield Prompt(row[head.index("prompt")], values, table.line_num)
    except csv.Error as error:
        raise PlanError(f"{name}, line {table.line_num}: {error}.") from None


def _jsonl(text: str, name: str) -> Iterator[Prompt]:
    for line, one in enumerate(text.split("\n"), 1):
        if not one.strip():
            continue
        try:
            row: Any = read_json(one)
        except PlanError as error:
            raise PlanError(f"{name}, line {line}: {error}") from None
        if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
            raise PlanError(f'{name}, line {line}: a line is an object such as {{"prompt": "a red fox"}}.')
        for key, value in row.items():
            if not isinstance(value, (str, int, float)):
                raise PlanError(f"{name}, line {line}: “{key}” is to be a text, a number, true or false.")
        yield Prompt(row.pop("prompt"), row, line)


def _typed(text: str) -> Value:
    """A field of a CSV file as the number that it writes, else as the text that it is."""
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if str(value) == text:  # not “007” or “nan”
            return value
    return text
