"""Lists of numbers as people type them: “0, 0.5, 1”, “0,0.5,1”, “0; 0,5; 1”, “0 0.5 1”.

A comma is a decimal comma where only that makes sense of the text, and a separator where only that does. What can be
read both ways is refused rather than guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise

NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)  # not 1_0, inf, 000
WHOLE, DECIMALS = re.compile(r"[+-]?\d+", re.ASCII), re.compile(r"\d+([eE][+-]?\d+)?", re.ASCII)
SEPARATOR = re.compile(r"(?<![^\s,;]),|,(?![^\s,;])")  # a comma beside a space, another separator or an end
GROUPED = re.compile(r"[+-]?\d{1,3}(\.\d{3})+,\d+", re.ASCII)  # 1.000,5
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)  # 10,000
WIDE = {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # as Chinese and Japanese keyboards write
MOST_SHOWN = 40  # characters of what is wrong
ELSEWHERE = str.maketrans({**WIDE, "，": ", ", "、": ", ", "−": "-"})


def listed_values(text: str, what: str = "λ") -> tuple[float, ...]:
    """The numbers of a text. what: they are called this where they are refused.

    Raises ValueError, in a sentence that names the part, for one that is no number or may be several, for a value that
    is listed twice, and where there is none at all.
    """
    plain = text.translate(ELSEWHERE)
    tokens = re.split(r"[\s;]+", SEPARATOR.sub(" , ", plain).strip().strip(", ;\n\t"))
    parts = [token for token in tokens if token and token != ","]
    if not parts:
        raise ValueError(f"The list of {what} is empty: write numbers such as 0, 0.5, 1.")
    alone = len(parts) == 1 and ";" not in plain
    values: list[float] = []
    for part in parts:
        pieces = part.split(",")
        if len(pieces) == 1 or _are_separators(part, pieces, alone, "," in tokens, "." in plain):
            values += [_number(piece, what) for piece in pieces]
        elif not alone and "," not in tokens and "." not in plain and _is_decimal(part, pieces):
            values.append(_number(part.replace(",", "."), what))
        else:
            raise ValueError(_several_readings(part, pieces, what))
    seen: set[float] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"The list of {what} holds {value:g} more than once: write each value once.")
        seen.add(value)
    return tuple(values)


def _are_separators(part: str, pieces: Sequence[str], alone: bool, others: bool, points: bool) -> bool:
    """Whether the commas within a part, no space beside them, can only separate numbers.

    alone: the part is the whole text. others: commas separate the parts, too. points: the text has decimal points.
    """
    if any(re.match(r"[+-]?0\d", piece) for piece in pieces) or GROUPED.fullmatch(part):  # 0,05 and 1,000: no list
        return False
    if not any(WHOLE.fullmatch(left) and DECIMALS.fullmatch(right) for left, right in pairwise(pieces)):
        return True
    if "." in part or (points and others):
        return True
    if not alone or len(pieces) < 3 or not all(WHOLE.fullmatch(piece) for piece in pieces):
        return False
    steps = [float(right) - float(left) for left, right in pairwise(pieces)]  # 3,5,7 but not 0,25,0,5
    return min(steps) > 0 or max(steps) < 0


def _is_decimal(part: str, pieces: Sequence[str]) -> bool:
    """Whether a part with commas can only be one number with a decimal comma."""
    one = len(pieces) == 2 and WHOLE.fullmatch(pieces[0]) and DECIMALS.fullmatch(pieces[1])
    return bool(one) and not THOUSANDS.fullmatch(part)


def plain_number(text: str) -> float | None:
    """The number that a text is, as people write them; None for all else that Python reads: “1_0”, “inf”, “nan”."""
    value = float(text) if NUMBER.fullmatch(text.strip()) else math.nan
    return value if math.isfinite(value) else None


def _number(piece: str, what: str) -> float:
    value = plain_number(piece)
    if value is None:
        raise ValueError(f"“{_short(piece)}” in the list of {what} is not a number: write them as 0, 0.5, 1.")
    return value


def _short(piece: str) -> str:
    """For a sentence."""
    return piece if len(piece) <= MOST_SHOWN else f"{piece[: MOST_SHOWN - 1]}…"


def _several_readings(part: str, pieces: Sequence[str], what: str) -> str:
    few = len(pieces) == 2 and len(part) <= MOST_SHOWN
    readings = f"{part.replace(',', '.')} or {' and '.join(pieces)}" if few else "read in several ways"
    return (
        f"“{_short(part)}” in the list of {what} may be {readings}: write numbers with a decimal point and a semicolon "
        "between them, as 0; 0.5; 1."
    )
