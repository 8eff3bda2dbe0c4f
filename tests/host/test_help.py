"""Help pages and translations: complete in three languages, and what the schemas say."""

from __future__ import annotations

import re

import pytest
from conftest import PACK
from PIL import Image
from realign.nodes import NODES

from tools.docs.glossary import GLOSSARY, rows
from tools.docs.make_locales import (
    DOCS,
    LOCALES,
    MAIN,
    TRANSLATED,
    as_text,
    beyond_schemas,
    breakable,
    locale,
    page_path,
    read,
    with_table,
    with_tables,
)

LANGUAGES = ("en", *TRANSLATED)
INFO = {node.define_schema().node_id: node.GET_NODE_INFO_V1() for node in NODES}
NAMES = {language: locale(language, INFO) for language in LANGUAGES}
SHORTEST, LONGEST = 40, 90  # lines of a page without the rows of its tables, as many as a node has inputs
LINK = re.compile(r"!\[([^\]]+)\]\(([^)]+)\)")
NUMBER = re.compile(r"\d+(?:\.\d+)?")
KANA, HAN = re.compile("[\u3040-\u30ff]"), re.compile("[\u4e00-\u9fff]")

pages = pytest.mark.parametrize("language", LANGUAGES)
of_nodes = pytest.mark.parametrize("node_id", INFO)
translations = pytest.mark.parametrize("language", TRANSLATED)


def text_of(node_id, language):
    return page_path(node_id, language).read_text(encoding="utf-8")


def tooltips(names):
    """Every sentence of a node's part of nodeDefs.json, by its place."""
    out = {"description": names["description"]}
    for group in ("inputs", "outputs"):
        out |= {f"{group}.{key}": told["tooltip"] for key, told in names[group].items()}
    return out


@pages
@of_nodes
def test_page_is_there_and_of_a_useful_length(node_id, language):
    text = text_of(node_id, language)
    assert SHORTEST <= sum(not line.startswith("|") for line in text.splitlines()) <= LONGEST
    assert text.startswith(f"# {NAMES[language][node_id]['display_name']}\n")


@pages
@of_nodes
def test_page_names_every_input_and_output(node_id, language):
    text, names = text_of(node_id, language), NAMES[language][node_id]
    for group in ("inputs", "outputs"):
        for key, told in names[group].items():
            assert f"\n| **{breakable(told['name'])}**" in text, key


@pages
@of_nodes
def test_tables_are_those_of_the_schema(node_id, language):
    """Run tools/docs/make_locales.py after a change of inputs, tooltips or translations."""
    text = text_of(node_id, language)
    assert "<!-- inputs -->" in text
    assert "<!-- words -->" in text
    assert "<!-- outputs -->" in text or not INFO[node_id]["output"]
    assert with_tables(text, INFO[node_id], NAMES[language][node_id], language) == text


def test_the_readme_has_the_same_words():
    text = (PACK / "README.md").read_text(encoding="utf-8")
    assert "<!-- words -->" in text
    assert with_table(text, "words", rows(GLOSSARY, "en"), "en") == text
    assert len(GLOSSARY) == 10


@pages
@of_nodes
def test_pictures_are_there(node_id, language):
    """The page resolves them against /extensions/<pack>/docs/, whatever the language."""
    links = LINK.findall(text_of(node_id, language))
    assert links
    for described, link in links:
        assert described.strip()
        with Image.open(DOCS / link) as picture:
            assert picture.width >= 300


def test_every_picture_is_used_and_small():
    used = {link for node_id in INFO for _, link in LINK.findall(text_of(node_id, "en"))}
    files = {f"img/{path.name}": path.stat().st_size for path in (DOCS / "img").iterdir()}
    assert set(files) == used
    assert max(files.values()) <= 60_000
    assert sum(files.values()) <= 700_000


@translations
@of_nodes
def test_translated_pages_have_what_the_english_one_has(node_id, language):
    ours, theirs = text_of(node_id, language), text_of(node_id, "en")
    for part in (r"^## ", r"^- \*\*", r"^\d+\. ", r"^\| ", r"https?://[^)\s]+"):
        assert len(re.findall(part, ours, re.MULTILINE)) == len(re.findall(part, theirs, re.MULTILINE)), part
    assert [link for _, link in LINK.findall(ours)] == [link for _, link in LINK.findall(theirs)]
    assert (KANA if language == "ja" else HAN).search(ours)
    assert language == "ja" or not KANA.search(ours)


@translations
@of_nodes
def test_translated_pages_name_other_nodes_as_the_page_does(node_id, language):
    """Names of the pack's nodes in *italics* on the English page are on the translated one, in its language."""
    ours, names = text_of(node_id, language), NAMES[language]
    for other, told in NAMES["en"].items():
        if f"*{told['display_name']}*" in re.sub(r"\s+", " ", text_of(node_id, "en")):
            assert f"*{names[other]['display_name']}*" in ours


def test_no_page_is_left_over():
    wanted = {page_path(node_id, language) for node_id in INFO for language in LANGUAGES}
    assert set(DOCS.rglob("*.md")) == wanted


def test_english_is_what_the_schemas_say():
    """Run tools/docs/make_locales.py after a change of a schema."""
    assert read("en", "nodeDefs") == beyond_schemas(INFO)
    assert read("en", "main") == MAIN


@translations
def test_translations_are_complete(language):
    """The same nodes, inputs and outputs in the same order, each with a name, and a tooltip where English has one."""

    def keys(names):
        return {
            node_id: [(key, *told) for group in ("inputs", "outputs") for key, told in names[node_id][group].items()]
            for node_id in names
        }

    ours = NAMES[language]
    assert keys(ours) == keys(NAMES["en"])
    for names in ours.values():
        assert names["display_name"]
        assert all(told["name"] for group in ("inputs", "outputs") for told in names[group].values())
        assert all((KANA if language == "ja" else HAN).search(text) for text in tooltips(names).values())


@translations
@of_nodes
def test_translations_keep_the_numbers(node_id, language):
    ours = tooltips(NAMES[language][node_id])
    for place, text in tooltips(NAMES["en"][node_id]).items():
        assert set(NUMBER.findall(text)) <= set(NUMBER.findall(ours[place])), place


@pages
def test_nothing_is_read_as_a_placeholder(language):
    """The page's translator gives { } | @ a meaning of their own."""
    files = [path.read_text(encoding="utf-8") for path in sorted((LOCALES / language).glob("*.json"))]
    for text in (*files, as_text(NAMES[language])):
        strings = re.findall(r'"((?:[^"\\]|\\.)*)"', text)
        assert not [one for one in strings if set("{}|@") & set(one)]


@pages
def test_names_of_inputs_differ_within_a_node(language):
    for node_id, names in NAMES[language].items():
        told = [one["name"] for one in names["inputs"].values()]
        assert len(set(told)) == len(told), node_id


@translations
def test_category_is_named(language):
    """In English it is the schema's own."""
    assert set(read(language, "main")["nodeCategories"]) == {info["category"] for info in INFO.values()}
