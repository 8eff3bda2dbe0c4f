"""What an artist reads first is about the picture; the page's tables of words have all that nodes and templates say."""

from __future__ import annotations

import ast
import json
import re

import pytest
from conftest import PACK
from particle_traces import record
from realign.nodes import NODES
from realign.nodes.pictures.particle_words import told
from realign.nodes.reward.picture import PICTURE_REWARDS

from tools.docs.make_locales import HOST_LISTS, TRANSLATED, inputs_of, page_path
from tools.docs.page_words import page_words

INFO = {node.define_schema().node_id: node.GET_NODE_INFO_V1() for node in NODES}
EXPERT = re.compile(r"\b(?:reference|anchors?|KL|eta|posteriors?|Gaussian)\b|[βησ]")
NAMES = {*HOST_LISTS, "sampler_name"}  # lists of names, which are the same in all languages
WORKFLOWS = sorted((PACK / "workflows").glob("*.json"))
MARKS = re.compile(r"^(# |\d+\\\. |• )?(.*?)(\\?)$")  # as web/lib/templates.js has it
PLACEHOLDER = re.compile(r"\{(\w+)\}")

translations = pytest.mark.parametrize("language", TRANSLATED)


def first_sentence(text):
    return re.split(r"(?<=[.:])\s", text, maxsplit=1)[0]


@pytest.mark.parametrize("node_id", sorted(INFO))
def test_the_first_sentence_is_about_the_picture(node_id):
    page = page_path(node_id, "en").read_text(encoding="utf-8")
    for text in (INFO[node_id]["description"], page.split("\n\n")[1]):
        assert not EXPERT.search(first_sentence(text)), text


def test_so_is_the_readmes_first_screen():
    text = (PACK / "README.md").read_text(encoding="utf-8").partition("How it works")[0]
    assert "picture" in text
    assert not EXPERT.search(text)


def lists():
    """Values of the nodes' lists, “input value”."""
    for info in INFO.values():
        for name, (kind, options, _) in inputs_of(info).items():
            values = kind if isinstance(kind, list) else options.get("options")
            if values is not None and name not in NAMES:
                yield name, values


@translations
def test_every_list_has_labels(language):
    """And no two of a list the same, which nobody could tell apart."""
    labels = page_words("choice_words", language)
    assert {f"{name} {value}" for name, values in lists() for value in values} == labels.keys()
    for name, values in lists():
        assert len({labels[f"{name} {value}"] for value in values}) == len(values), name


def texts_of(path):
    """Lines of the notes, titles of groups and of nodes."""
    workflow = json.loads(path.read_text(encoding="utf-8"))
    for node in workflow["nodes"]:
        if node["type"] == "MarkdownNote":
            yield from (MARKS.match(line)[2] for line in node["widgets_values"][0].split("\n"))
        yield node.get("title") or ""
    yield from (group["title"] for group in workflow["groups"])


def key_of(text, keys):
    """The table's key for a text, as web/lib/sentences.js finds it; None where there is none."""
    if text in keys:
        return text
    for key in sorted(keys, key=lambda key: -len(PLACEHOLDER.sub("", key))):
        parts = [re.escape(part) if i % 2 == 0 else ".+" for i, part in enumerate(PLACEHOLDER.split(key))]
        if len(parts) > 1 and re.fullmatch("".join(parts), text):
            return key
    return None


@translations
def test_templates_are_translated_whole_and_nothing_else_is(language):
    keys = page_words(f"template_words_{language}", language)
    found = {text: key_of(text, keys) for path in WORKFLOWS for text in texts_of(path) if text not in ("", "---")}
    assert [text for text, key in found.items() if key is None] == []
    inner = {key for key in keys if key.startswith("{file}")}  # parts of lines about files
    assert set(keys) - set(found.values()) - inner == set()


RUNS = [
    record(),
    record(4, 4),
    record(1, 1, kl=[3.5]),
    record(1, 4, 1, held_out="other"),
    record(2, kl=[1.0, 1.5]),
    record(1, 1, reward=None, corrected=True),
    record(4, reward=None, corrected=True, log_z=[0.0, 0.0, 0.0, 50.0]),
]


@translations
def test_what_is_said_of_particles_is_translated(language):
    keys = page_words("run_words", language)
    said = [text for run in RUNS for text in told(run)]
    assert len(said) > 12
    assert [text for text in said if (key_of(text, keys) or "{reward} {n}") == "{reward} {n}"] == []


@translations
def test_what_is_said_of_a_run_is_in_words_of_the_nodes(language):
    """A sentence that is reworded in a node is missed in the table."""
    files = [*(PACK / "nodes").rglob("*.py"), PACK / "realign_core" / "search.py"]  # which says why it ends
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    strings = [one.value for tree in trees for one in ast.walk(tree) if isinstance(one, ast.Constant)]
    said = {word for one in strings if isinstance(one, str) for word in re.findall("[A-Za-z]{3,}", one)}
    said |= {name for name in PICTURE_REWARDS} | {"layers", "weights"}  # not written out, or by the number
    for key in page_words("run_words", language):
        assert set(re.findall("[A-Za-z]{3,}", PLACEHOLDER.sub(" ", key))) <= said, key


@pytest.mark.parametrize("name", ["run_words", "choice_words", "template_words"])
def test_tables_agree(name):
    """The same texts in both languages, with the same numbers in them."""
    zh, ja = (page_words(f"{name}_{one}" if name == "template_words" else name, one) for one in TRANSLATED)
    assert zh.keys() == ja.keys()
    for text, *others in ((text, zh[text], ja[text]) for text in zh):
        for other in others:
            assert sorted(PLACEHOLDER.findall(other)) == sorted(PLACEHOLDER.findall(text)), text
