"""The Templates dialog: the pack's part of it, its titles, and their order."""

from __future__ import annotations

import re

import pytest
from conftest import PACK
from graphs import CARDS, open_templates

from tools.workflows.workflow_names import TITLES

DEMO = "Realign Demo {} - "
SORTS = "Comfy.Templates.SortBy"  # the page keeps what was chosen
SETTLED = 800  # ms
# Of a card: the picture's width, and whether its title is seen in full.
SEEN = """card => {
  const title = card.querySelector('h3');
  return [card.querySelector('img')?.naturalWidth ?? 0, title.scrollHeight <= title.clientHeight];
}"""


@pytest.fixture
def dialog(tab):
    yield open_templates(tab, "Realign")
    tab.page.keyboard.press("Escape")
    tab.page.get_by_role("dialog").wait_for(state="hidden")
    tab.page.evaluate(f"() => window.app.ui.settings.setSettingValueAsync('{SORTS}', 'default')")


def titles_of(dialog):
    return dialog.locator(f"{CARDS} h3").all_inner_texts()


def test_names_are_words_that_any_disk_archive_and_address_takes():
    assert {path.stem for path in (PACK / "workflows").glob("*.json")} == set(TITLES.values())
    assert all(re.fullmatch(r"Realign [A-Za-z0-9 .,-]+", title) for title in TITLES.values())


def test_by_name_the_demos_come_first():
    """The host lists files as the disk has them: by name on NTFS, in an order of its own on ext4."""
    by_name = sorted(TITLES.values())
    assert [title.startswith(DEMO.format(place)) for place, title in enumerate(by_name[:9], 1)] == [True] * 9
    assert by_name[0] == TITLES["realign_demo_sweep"]  # the README's five-minute start
    assert not any(title.startswith("Realign Demo") for title in by_name[9:])


def test_the_dialog_shows_words_and_pictures(tab, dialog):
    tab.errors.clear()
    tab.shot("templates")
    assert sorted(titles_of(dialog)) == sorted(TITLES.values())
    for card in dialog.locator(CARDS).all():
        card.scroll_into_view_if_needed()
        picture = card.locator("img").first
        picture.wait_for()
        picture.evaluate("img => img.decode()")
        width, whole = card.evaluate(SEEN)
        assert width > 300, card.inner_text()
        assert whole, card.inner_text()
    assert tab.errors == []


def test_sorted_by_title_the_demos_come_first(tab, dialog):
    dialog.get_by_text("Default", exact=True).click()
    tab.page.get_by_role("option").last.click()  # A → Z
    tab.page.wait_for_timeout(SETTLED)
    tab.shot("templates_by_title")
    shown = titles_of(dialog)
    assert shown[:9] == [title for place in range(1, 10) for title in shown if title.startswith(DEMO.format(place))]
    assert shown[0] == TITLES["realign_demo_sweep"]


def test_a_word_finds_a_template(tab, dialog):
    field = dialog.get_by_placeholder("Search").first
    for word, least in (("realign", 16), ("dpo", 3), ("lambda", 4), ("demo", 9)):
        field.fill(word)
        tab.page.wait_for_timeout(SETTLED)
        ours = [title for title in titles_of(dialog) if title in TITLES.values()]
        assert len(ours) >= least, word


def test_a_card_opens_its_workflow(tab, dialog):
    dialog.get_by_text(TITLES["lambda_mask"], exact=True).first.click()
    found = "(window.app.graph.nodes ?? window.app.graph._nodes).some(n => n.type === 'FeatherMask')"
    tab.page.wait_for_function(f"() => {found}")
    assert tab.page.get_by_text(TITLES["lambda_mask"]).count()  # its tab in the page


@pytest.mark.parametrize(
    ("language", "category"), [("zh", "Realign（对齐强度）"), ("ja", "Realign（アライメントの強さ）")]
)
def test_in_chinese_and_japanese(page_in, language, category):
    """The page has no other title for a file than its name; the part of the dialog says in words what it is about."""
    tab = page_in(language)
    dialog = open_templates(tab, category)
    tab.shot(f"templates_{language}")
    assert sorted(titles_of(dialog)) == sorted(TITLES.values())
    tab.page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
