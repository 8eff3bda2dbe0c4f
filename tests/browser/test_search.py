"""What the page finds for the words of the field: by its search box, and in its node library."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from conftest import Page

FIRST = {"LoadAnchorModel", "RealignSampler"}
WORDS = ["dpo", "rlg", "alignment", "preference"]
# The pack's nodes by the name that the page shows: in its own language.
OURS = """() => Object.values(window.LiteGraph.registered_node_types)
  .map(type => type.nodeData).filter(def => def?.python_module === 'custom_nodes.realign')
  .map(def => [def.display_name, def.name])"""
# How long the list stands still before it is what was typed, in ms.
SETTLED = 500


def typed(tab, field, word, results):
    """The lines that a search shows for a word."""
    field.fill(word)
    tab.page.wait_for_timeout(SETTLED)
    return [text.split("\n")[0].strip() for text in results.all_inner_texts()]


@pytest.fixture
def found(tab):
    """found(word): ids of the pack's nodes in the order in which the search box lists them."""
    yield search_box(tab)
    tab.page.keyboard.press("Escape")


def search_box(tab):
    tab.page.evaluate("() => window.app.graph.clear()")
    results = tab.page.get_by_test_id("result-item")
    for _ in range(10):  # a page that has only just opened does not hear it at once
        tab.page.mouse.dblclick(700, 450)
        tab.page.wait_for_timeout(SETTLED)
        if results.count():
            break
    field = tab.page.get_by_role("dialog").get_by_role("combobox").first
    ours = dict(tab.page.evaluate(OURS))
    assert len(ours) == 14
    return lambda word: [ours[line] for line in typed(tab, field, word, results) if line in ours]


@pytest.mark.parametrize("word", WORDS)
def test_the_two_nodes_that_one_needs_come_first(tab, found, word):
    names = found(word)
    tab.shot(f"search_{word}")
    assert set(names[:2]) == FIRST
    assert len(names) == 14 or word == "preference"  # the box lists 64 nodes at most


def test_other_words(found):
    assert set(found("deradiff")[:2]) == FIRST
    assert set(found("rlg")[2:5]) == {"RealignGuider", "RealignModel", "RealignTrace"}
    assert found("lambda")[:2] == ["LambdaSchedule", "RealignAnchorLambda"]
    assert {"LoadAnchorModel", "RealignAddAnchor", "RealignAnchorFromModel"} < set(found("anchor"))
    assert found("ksampler")[0] == "RealignSampler"
    assert found("kl")[0] == "RealignReport"
