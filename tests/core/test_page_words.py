"""All that the page's widgets say through `words` has an entry in both languages, and no entry is left over."""

from __future__ import annotations

import re

import pytest

from tools.cache import PACK
from tools.docs.page_words import page_words

WEB = PACK / "web"
SOURCES = {path: path.read_text(encoding="utf-8") for path in sorted(WEB.rglob("*.js")) if path.name != "words.js"}
EXPORTED = "\n".join(re.findall(r"^export (const \w+ = [^;]*;)", "\n".join(SOURCES.values()), re.M))
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
PLACEHOLDER = re.compile(r"\{\w+\}")
LANGUAGES = ("zh", "ja")


def first_arguments(source):
    """The text between `words(` and the comma or bracket that ends its first argument."""
    for found in re.finditer(r"\bwords\(", source):
        depth, quote, i = 0, "", found.end()
        while quote or depth or source[i] not in ",)":
            one = source[i]
            if quote:
                i += one == "\\"
                quote = "" if one == quote else quote
            elif one in "\"'`":
                quote = one
            else:
                depth += (one in "([{") - (one in ")]}")
            i += 1
        yield source[found.end() : i].strip()


def branches(expression):
    """What `a ? b : c ? d : e` may be: b, d and e."""
    masked = STRING.sub(lambda found: '"' + "_" * len(found[1]) + '"', expression)
    marks = [*re.finditer(r"\s[?:]\s", masked)]
    ends = [0, *(mark.end() for mark in marks)], [*(mark.start() for mark in marks), len(expression)]
    parts = [expression[start:end].strip() for start, end in zip(*ends)]
    return [part for part, mark in zip(parts, [*(mark[0].strip() for mark in marks), ""]) if mark != "?"]


def constant(name, source):
    return re.search(rf"\bconst {name} = ([^;]*);", source)


def texts(expression, source):
    """The texts that an expression may be, by the constants of its file or others'. Fails where that is unknown."""
    found = set()
    for part in branches(expression):
        if STRING.fullmatch(part):
            found.add(STRING.fullmatch(part)[1])
            continue
        name = re.fullmatch(r"(\w+)(\[\w+\])?", part)
        value = name and (constant(name[1], source) or constant(name[1], EXPORTED))
        assert value, f"words({expression}): no constant"
        if name[2]:
            found |= set(STRING.findall(value[1]))
        else:
            found |= texts(value[1], source)
    return found - {""}


def preset_names():
    """What λ Schedule's menu gives to `words`, one after the other."""
    source = SOURCES[WEB / "lib" / "presets.js"]
    keys = re.findall(r'^  (?:"([^"]+)"|(\w+)): \[', source.partition("PRESETS = {")[2].partition("\n};")[0], re.M)
    return {"preset…", *(quoted or plain for quoted, plain in keys)}


def said():
    out = set()
    for path, source in SOURCES.items():
        for argument in first_arguments(source):
            of_menu = (path.name, argument) == ("schedule_widget.js", "name")
            out |= preset_names() if of_menu else texts(argument, source)
    return out


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_has_words_and_no_words_are_left_over(language):
    told, known = said(), page_words("words", language).keys()
    assert len(told) > 80
    assert told - known == set()
    assert known - told == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_keep_the_placeholders(language):
    for text, other in page_words("words", language).items():
        assert sorted(PLACEHOLDER.findall(other)) == sorted(PLACEHOLDER.findall(text)), text


def test_the_reading_of_the_sources():
    source = 'const A = on ? "x, y" : "z";\nconst B = { a: "one", b: "two" };'
    calls = 'say(words(B[kind], { n })); words(\n  "a (b", {}); words(A); words(n === "q" ? "1" : n < 0 ? "2" : "");'
    found = [texts(one, source) for one in first_arguments(calls)]
    assert found == [{"one", "two"}, {"a (b"}, {"x, y", "z"}, {"1", "2"}]
    with pytest.raises(AssertionError):
        texts("unknown", source)
