"""Reads the page's tables of words in web/lib: a key and its translation a line, or two."""

from __future__ import annotations

import json
import re

from tools.cache import PACK

LIB = PACK / "web" / "lib"
_ENTRY = re.compile(r'^  ("(?:[^"\\]|\\.)*"|\w+):\s+("(?:[^"\\]|\\.)*"),$', re.MULTILINE)


def page_words(name: str, language: str) -> dict[str, str]:
    """What `const <language> = {…};` in web/lib/<name>.js holds, in its order. Raises ValueError for a key twice."""
    found = re.search(
        rf"^(?:export )?const {language} = \{{\n(.*?)^\}};", (LIB / f"{name}.js").read_text("utf-8"), re.DOTALL | re.M
    )
    if found is None:
        raise ValueError(f"web/lib/{name}.js has no words in “{language}”")
    entries = [(json.loads(key) if key[0] == '"' else key, json.loads(said)) for key, said in _ENTRY.findall(found[1])]
    words = dict(entries)
    if len(words) != len(entries):
        raise ValueError(f"web/lib/{name}.js has a key twice in “{language}”")
    return words
