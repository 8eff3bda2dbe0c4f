"""What the page finds for the words of the field: by its search box, and in its node library."""

from __future__ import annotations

import pytest
from graphs import until

FIRST = {"LoadAnchorModel", "RealignSampler"}
WORDS = ["dpo", "rlg", "alignment", "preference"]
# The pack's nodes by the name that the page shows: in its own language.
OURS = """() => Object.values(window.LiteGraph.registered_node_types)
  .map(type => type.nodeData).filter(def => def?.python_module === 'custom_nodes.realign')
  .map(def => [def.display_name, def.name])"""
# How long the list stands still before it is what was typed, in ms.
SETTLED = 500


def typed(tab, field, word, results):
    """Ids of the pack's nodes, in the order in which a search shows them for a word."""
    ours = dict(tab.page.evaluate(OURS))
    assert len(ours) == 30
    field.fill(word)
    tab.page.wait_for_timeout(SETTLED)
    lines = [text.split("\n")[0].strip() for text in results.all_inner_texts()]
    return [ours[line] for line in lines if line in ours]


@pytest.fixture
def found(tab):
    """found(word): what the search box lists, which a double click on the empty canvas opens."""
    yield search_box(tab)
    close(tab)


def close(tab):
    tab.page.keyboard.press("Escape")
    tab.page.get_by_test_id("result-item").first.wait_for(state="hidden")


def search_box(tab):
    tab.page.evaluate("() => window.app.graph.clear()")
    results = tab.page.get_by_test_id("result-item")
    until(lambda: tab.page.mouse.dblclick(700, 450), results.first)
    field = tab.page.get_by_role("dialog").get_by_role("combobox").first
    return lambda word: typed(tab, field, word, results)


@pytest.mark.parametrize("word", WORDS)
def test_the_two_nodes_that_one_needs_come_first(tab, found, word):
    names = found(word)
    tab.shot(f"search_{word}")
    assert set(names[:2]) == FIRST
    assert len(names) == 30 or word == "preference"  # the box lists 64 nodes at most


def test_other_words(found):
    assert set(found("deradiff")[:2]) == FIRST
    assert set(found("rlg")[2:5]) == {"RealignGuider", "RealignModel", "RealignTrace"}
    assert found("lambda")[:2] == ["LambdaSchedule", "RealignAnchorLambda"]
    assert {"LoadAnchorModel", "RealignAddAnchor", "RealignAnchorFromModel"} < set(found("anchor"))
    assert found("ksampler")[0] == "RealignSampler"
    assert found("kl")[0] == "RealignReport"
    for word in ("smc", "particles", "fk", "steering"):
        assert found(word)[0] == "RealignParticles", word
    assert "RealignParticles" in found("das")[:2]  # LambdaSchedule has these letters in its id
    assert "RealignParticles" in found("reward")[:8]


def test_the_node_library_lists_them_as_the_search_box_does(tab):
    button = tab.page.get_by_role("button", name="Node Library").first
    button.click()
    field = tab.page.get_by_placeholder("Search").first
    for word in WORDS:
        names = typed(tab, field, word, tab.page.get_by_role("treeitem"))
        assert set(names[:2]) == FIRST, word
    tab.shot("search_library")
    field.fill("")
    button.click()


@pytest.mark.parametrize(("language", "alignment"), [("zh", "对齐"), ("ja", "アライメント")])
def test_in_chinese_and_japanese(page_in, language, alignment):
    """Where the nodes have other names, the same words and the language's own find the same two."""
    tab = page_in(language)
    found = search_box(tab)
    assert "Load Anchor Model" not in dict(tab.page.evaluate(OURS))
    for word in (*WORDS, alignment):
        assert set(found(word)[:2]) == FIRST, word
    tab.shot(f"search_{language}")
    close(tab)
