"""Texts of plans, prompts and workflows as they can be sent on: hosts and files speak UTF-8, which has no half letters.

JSON, and YAML as JSON does, may write a letter beyond U+FFFF as its two halves in UTF-16, "\\ud83e\\udd8a". Whoever
cuts a text in the middle of one leaves a half.
"""

from __future__ import annotations

import json
from typing import Any

from .errors import PlanError

HALF = "a text holds half a letter ({half}), as where it was cut in the middle of an emoji: mend it, or leave it out"


def joined(text: str) -> str:
    """With its letters whole. Raises PlanError for a half that is alone."""
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        half = next(letter for letter in text if "\ud800" <= letter <= "\udfff")
        raise PlanError(f"{HALF.format(half=ascii(half)[1:-1])}.") from None


def read_json(text: str) -> Any:
    """Raises PlanError, in a sentence that names no place, for what is no JSON or holds half a letter."""
    try:
        value = json.loads(text, parse_constant=_no_number)
        joined(json.dumps(value, ensure_ascii=False, allow_nan=False))  # 1e999 is an infinity, too
    except (ValueError, RecursionError):
        raise PlanError("this is not JSON.") from None
    return value


def _no_number(word: str) -> Any:
    raise ValueError(word)  # NaN and infinities, which JSON does not have
