"""Templates, lists and what a run says, in the page's language; what is stored stays English."""

from __future__ import annotations

import json
import re

import pytest
from graphs import compare_graph, js, press_run, schedule_graph, sent, text_on
from test_layout import open_at_once

from tools.docs.page_words import page_words
from tools.workflows.workflow_names import TITLES, workflow_file

LANGUAGES = ("zh", "ja")
OWN = {"zh": re.compile("[\u4e00-\u9fff]"), "ja": re.compile("[\u3040-\u30ff\u4e00-\u9fff]")}

STATE = """() => {
  const graph = window.app.graph, workflow = window.app.extensionManager.workflow.activeWorkflow;
  const note = (node) => node.type === 'MarkdownNote';
  return {
    shown: graph.nodes.filter(note).map((node) => node.widgets[0].value),
    drawn: [...document.querySelectorAll('.comfy-markdown .tiptap, .comfy-markdown-content')].map((e) => e.innerText),
    groups: graph.groups.map((group) => group.title),
    titles: graph.nodes.map((node) => node.title),
    saved: graph.serialize(),
    states: [workflow.changeTracker.initialState, workflow.changeTracker.activeState],
  };
}"""
HIDDEN = """() => [...document.querySelectorAll('.comfy-markdown .tiptap, .comfy-markdown-content')]
  .filter((e) => e.clientHeight).map((e) => [e.scrollHeight - e.clientHeight, e.scrollWidth - e.clientWidth])"""
# As the page looks for changes after every click.
LOOK = "() => window.app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState?.()"


def stored(workflow):
    """Texts of a workflow's JSON that the page translates: notes, titles of groups and nodes."""
    notes = [node["widgets_values"] for node in workflow["nodes"] if node["type"] == "MarkdownNote"]
    return notes, [one["title"] for one in workflow["groups"]], [node.get("title") for node in workflow["nodes"]]


def without_sizes(state):
    """A state of the page's undo, but for the sizes of nodes: in the new renderer those of folded nodes change as it
    opens, in English too."""
    return {**state, "nodes": [{k: v for k, v in node.items() if k != "size"} for node in state["nodes"]]}


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request):
    return request.param


@pytest.fixture
def spoken(language, page_in, new_renderer):
    return page_in(language, new_renderer)


@pytest.mark.parametrize("name", TITLES)
def test_a_template_is_translated_and_stays_as_it_is(spoken, name):
    open_at_once(spoken, name)
    spoken.page.wait_for_timeout(600)
    spoken.page.evaluate(LOOK)
    now, file = spoken.page.evaluate(STATE), json.loads(workflow_file(name).read_text(encoding="utf-8"))
    own = OWN[spoken.language]
    assert now["shown"]
    assert all(own.search(note) for note in now["shown"])
    assert now["drawn"]
    assert all(own.search(text) for text in now["drawn"])
    assert all(map(own.search, now["groups"]))
    notes, groups, _ = stored(file)
    assert stored(now["saved"])[:2] == (notes, groups)
    theirs = {node["id"]: node["title"] for node in file["nodes"] if node.get("title")}
    ours = {int(node["id"]): node.get("title") for node in now["saved"]["nodes"]}
    assert {key: ours[key] for key in theirs} == theirs
    before, after = map(without_sizes, now["states"])
    assert before == after
    assert spoken.page.evaluate(HIDDEN) == [[0, 0]], name
    spoken.shot(f"template_{name}_{spoken.language}")


LABELS = """(name) => window.made[name].widgets.filter((w) => w.type === 'combo')
  .map((w) => [w.name, w.value, w.options.getOptionLabel?.(w.value) ?? null, w._displayValue])"""
CHANGE = "(text) => { window.app.graph.nodes.find((n) => n.type === 'MarkdownNote').widgets[0].value = text; }"
LINE = text_on("RealignSampler")


def test_lists_are_shown_translated_and_stay_english(spoken):
    tab, words = spoken, page_words("choice_words", spoken.language)
    compare_graph(tab)
    for name, value, label, drawn in tab.page.evaluate(LABELS, "demo"):
        assert label == drawn == words[f"{name} {value}"]
    assert [value for _, value, *_ in tab.page.evaluate(LABELS, "demo")] == ["heart", "any", "any"]
    assert tab.page.evaluate(LABELS, "sampler")[1][2] is None  # the sampler's name is the host's
    assert sent(tab, "RealignDemoModels", "shape", "colour") == ("heart", "any")
    if tab.new_renderer:
        text = tab.page.locator(".lg-node").all_inner_texts()
        assert any(words["shape heart"] in one for one in text)
        assert not any("heart" in one for one in text)


def test_what_a_run_says_is_translated(spoken):
    tab = spoken
    seed = (
        100 + 2 * LANGUAGES.index(tab.language) + tab.new_renderer
    )  # what has run before, the host does not run again
    compare_graph(tab, sampler={"seed": seed})
    press_run(tab)
    own = {"zh": "第 2/2 步", "ja": "ステップ 2/2"}[tab.language]
    tab.page.wait_for_function(f"(text) => ({LINE})().includes(text)", arg=own)
    said = tab.page.evaluate(LINE)
    assert "model calls" not in said
    assert "step" not in said
    assert "λ" in said
    assert {"zh": "次模型调用", "ja": "モデル呼び出し"}[tab.language] in said
    tab.shot(f"run_{tab.language}")
    assert tab.errors == []


def test_the_plot_says_what_is_wrong(spoken):
    tab = spoken
    schedule_graph(tab)
    code = """() => {
      const { prototype } = CanvasRenderingContext2D, { fillText } = prototype;
      window.drawn = [];
      prototype.fillText = function (text, ...at) { window.drawn.push(text); return fillText.call(this, text, ...at); };
      for (const [name, value] of [['begin', 0.8], ['stop', 0.2]]) {
        window.made.schedule.widgets.find((one) => one.name === name).value = value;
      }
    }"""
    js(tab, code)
    wanted = page_words("words", tab.language)["begin must not lie after stop"]
    tab.page.wait_for_function("(text) => window.drawn.includes(text)", arg=wanted)
    assert tab.errors == []


def test_a_note_that_was_changed_is_its_writers(spoken):
    open_at_once(spoken, "realign_demo")
    spoken.page.wait_for_timeout(300)
    (english,), *_ = stored(json.loads(workflow_file("realign_demo").read_text(encoding="utf-8")))
    own = english[0] + "\n\nmine"
    spoken.page.evaluate(CHANGE, own)
    state = spoken.page.evaluate(STATE)["saved"]
    assert stored(state)[0] == [[own]]
    spoken.page.evaluate("(graph) => window.app.loadGraphData(graph)", state)
    spoken.page.wait_for_timeout(300)
    now = spoken.page.evaluate(STATE)
    assert now["shown"] == [own]
    assert stored(now["saved"])[0] == [[own]]
    assert OWN[spoken.language].search(now["groups"][0])  # the heading is the template's still
    mine = {**state, "nodes": [node for node in state["nodes"] if node["type"] != "MarkdownNote"], "links": []}
    spoken.page.evaluate("(graph) => window.app.loadGraphData(graph)", mine)
    spoken.page.wait_for_timeout(300)
    assert spoken.page.evaluate(STATE)["groups"] == [group["title"] for group in state["groups"]]  # a user's own words
