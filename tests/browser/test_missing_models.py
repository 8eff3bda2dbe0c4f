"""A workflow for public models on a host without them: the page names each file, its folder and where to get it."""

from __future__ import annotations

import json

import pytest
from graphs import until_true
from test_page import drop
from test_search import search_box

from tools.host.stand_in_files import KINDS
from tools.workflows.model_files import HOSTED
from tools.workflows.workflow_names import TITLES, workflow_file

# The folder in which each loader looks; the files of ours have theirs in their name.
FOLDERS = {
    "CheckpointLoaderSimple": "checkpoints",
    "CLIPVisionLoader": "clip_vision",
    "TripleCLIPLoader": "text_encoders",
}
HUB = "https://huggingface.co/"
AWAY = ".away"


def wanted(name):
    """{file as its loader names it: its folder} of a workflow."""
    found = {}
    for node in json.loads(workflow_file(name).read_text(encoding="utf-8"))["nodes"]:
        for value in node.get("widgets_values", []):
            if str(value).endswith(KINDS):
                found[value] = FOLDERS.get(node["type"]) or value.partition("/")[0]
    return found


PUBLIC = [name for name in TITLES if wanted(name)]
SHOWN = ["sd15_dpo", "sd35_rlg", "sdxl_two_anchors", "sdxl_particles"]  # together they need all files


def note_of(name):
    nodes = json.loads(workflow_file(name).read_text(encoding="utf-8"))["nodes"]
    return next(node["widgets_values"][0] for node in nodes if node["type"] == "MarkdownNote")


def test_those_shown_need_every_file():
    assert {file for name in SHOWN for file in wanted(name)} == set(HOSTED)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_workflow_says_where_its_files_are(name):
    """As the page takes it: by what a loader's widget says, in that node's properties."""
    told = {}
    for node in json.loads(workflow_file(name).read_text(encoding="utf-8"))["nodes"]:
        for model in node.get("properties", {}).get("models", []):
            assert model["name"] in node["widgets_values"]
            told[model["name"]] = model["directory"]
    assert told == wanted(name)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_note_and_the_links_say_the_same(name):
    for file, folder in wanted(name).items():
        kept, repository, path = HOSTED[file]
        (row,) = [line for line in note_of(name).splitlines() if file.rpartition("/")[2] in line]
        assert kept == folder
        assert f"({HUB}{repository})" in row
        assert f"models/{folder}" in row
        assert path.rpartition("/")[2] in row


def test_nothing_is_missing_where_the_files_are(tab):
    drop(tab, workflow_file("sd35_rlg"))
    tab.page.wait_for_timeout(1500)
    assert tab.page.get_by_test_id("error-overlay").count() == 0
    assert tab.page.get_by_test_id("missing-model-importable-rows").count() == 0


def refresh(tab):
    tab.page.evaluate("() => window.app.refreshComboInNodes()")


@pytest.fixture(scope="module")
def bare(one_tab, host):
    """The tab, of a host that has none of the files."""
    tab = one_tab
    files = sorted(file for file in (host.base / "models").rglob("*") if file.name.endswith(KINDS))
    assert len(files) >= len(HOSTED)
    for file in files:
        file.rename(file.with_name(file.name + AWAY))
    refresh(tab)
    tab.page.context.route(f"{HUB}**", lambda route: route.fulfill(status=204))
    yield tab
    tab.page.context.unroute(f"{HUB}**")
    for opened in tab.page.context.pages[1:]:
        opened.close()
    for file in files:
        file.with_name(file.name + AWAY).rename(file)
    refresh(tab)


@pytest.fixture
def missing(bare):
    """missing(name): the rows of what the page misses in a workflow."""
    bare.page.evaluate("() => window.app.graph.clear()")

    def missing(name):
        drop(bare, workflow_file(name))
        details = bare.page.get_by_test_id("error-overlay-see-errors")
        details.wait_for()
        details.click()
        rows = bare.page.get_by_test_id("missing-model-importable-rows").locator("> div")
        rows.first.wait_for()
        return rows

    yield missing
    bare.page.get_by_role("button", name="Toggle properties panel").first.click()
    bare.page.evaluate("() => window.app.graph.clear()")


@pytest.mark.parametrize("name", SHOWN)
def test_every_missing_file_has_folder_and_link(bare, missing, name):
    rows = missing(name)
    bare.shot(f"missing_{name}")
    told = [row.split("\n") for row in rows.all_inner_texts()]
    assert {file: folder for file, folder, *_ in told} == wanted(name)
    assert [button for *_, button in told] == ["Download"] * len(told)
    asked = []

    def heard(request):
        if HUB in request.url and request.method == "GET":  # it asks for their sizes before, by HEAD
            asked.append(request.url)

    bare.page.context.on("request", heard)
    bare.page.get_by_test_id("missing-model-download-all").click()
    for _ in range(50):
        if len(asked) >= len(told):
            break
        bare.page.wait_for_timeout(100)
    bare.page.context.remove_listener("request", heard)
    links = [HOSTED[file] for file in wanted(name)]
    assert set(asked) == {f"{HUB}{repository}/resolve/main/{path}" for _, repository, path in links}


def test_a_file_saved_under_the_name_that_the_page_has_for_it_is_found(bare, missing, host):
    """A page that downloads into the host's folders saves "diffusion_models/x" in diffusion_models."""
    file = next(name for name in wanted("sdxl_dpo") if name.startswith("diffusion_models/"))
    saved = host.base / "models" / "diffusion_models" / file
    saved.parent.mkdir(parents=True, exist_ok=True)
    saved.touch()
    refresh(bare)
    try:
        rows = missing("sdxl_dpo")
        assert [row.inner_text().split("\n")[0] for row in rows.all()] == ["sd_xl_base_1.0.safetensors"]
    finally:
        saved.unlink()
        saved.parent.rmdir()
        refresh(bare)


def test_the_subgraph_misses_no_file_before_one_is_chosen(bare):
    found = search_box(bare)
    assert found("realign")
    first = bare.page.get_by_test_id("result-item").first
    assert first.inner_text().split("\n")[0] == "Realign"
    first.click()
    first.wait_for(state="hidden")

    def put_down():
        """It hangs on the pointer until then, once the page has it."""
        bare.page.mouse.move(700, 400)
        bare.page.mouse.move(700, 450)
        bare.page.mouse.click(700, 450)

    until_true(put_down, bare, "() => window.app.graph.nodes.length === 1")
    bare.page.wait_for_timeout(1500)
    bare.shot("missing_subgraph")
    names = bare.page.evaluate("() => window.app.graph.nodes[0].widgets.map(widget => widget.name)")
    assert "anchor_name" in names
    assert bare.page.get_by_test_id("error-overlay").count() == 0
    bare.page.evaluate("() => window.app.graph.clear()")
