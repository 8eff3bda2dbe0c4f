"""The real page of a real host in a real browser, with nothing reachable but this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright
from xdist.scheduler import LoadScopeScheduling

PACK = Path(__file__).parents[2]
SHOTS = Path(__file__).parent / "shots"
sys.path.insert(0, str(PACK))
from tools.host.host_process import Host  # noqa: E402
from tools.host.stand_in_files import stand_in_files  # noqa: E402

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
FLAGS += ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]  # nothing but this machine can be reached
RENDERERS = ("classic", "new-renderer")
FAILED = pytest.StashKey[bool]()
OTHER_TABS = {}  # in other languages, by language
PATIENCE = 60_000  # ms, of every wait: a busy machine is slow, and only a fault waits in vain
# Known nodes are not enough: a page that has just opened puts its first workflow in the place of what is on its canvas.
READY = """() => !!(window.app && window.app.graph && window.LiteGraph?.registered_node_types?.RealignSampler
  && window.app.extensionManager?.workflow?.activeWorkflow?.isLoaded)"""


@pytest.fixture(scope="session")
def host():
    folder = os.environ.get("REALIGN_HOST") or os.environ.get("COMFYUI_PATH")
    if not folder:
        raise pytest.UsageError("tests/browser need a ComfyUI: run `make test`, or set REALIGN_HOST to its folder")
    with Host(sys.executable, folder) as host:
        stand_in_files(host.base / "models", PACK / "workflows")
        host.post("/settings", {"Comfy.TutorialCompleted": True})  # no templates dialog over the first page
        yield host


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        path = os.environ.get("REALIGN_CHROMIUM") or playwright.chromium.executable_path
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Page:
    """One tab: `page` is Playwright's, `errors` the console errors that name this pack."""

    def __init__(self, browser, host, new_renderer, language="en"):
        self.browser, self.host, self.new_renderer, self.language = browser, host, new_renderer, language
        self.open()

    def open(self):
        host, language = self.host, self.language
        self.page = self.browser.new_page(viewport={"width": 1440, "height": 900})
        self.page.set_default_timeout(PATIENCE)
        self.errors = []
        self.holds = None
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)) if "realign" in str(error) else None)
        # As the page's own setting does it: the host keeps the language, which a page reads when it opens.
        host.post("/settings", {"Comfy.Locale": language})
        self.page.goto(host.url)
        self.page.wait_for_function(READY)
        host.post("/settings", {"Comfy.Locale": "en"})
        self.render(self.new_renderer)

    def reopen(self):
        """After a test that has failed, which may leave anything on the page: the next one is to fail of its own."""
        self.page.close()
        self.open()

    def render(self, new_renderer):
        self.new_renderer = new_renderer
        setting = "(on) => window.app.ui.settings.setSettingValueAsync('Comfy.VueNodes.Enabled', on)"
        self.page.evaluate(setting, new_renderer)

    def _heard(self, message):
        where = (message.location or {}).get("url", "")
        if message.type == "error" and ("realign" in where.lower() or "realign" in message.text.lower()):
            self.errors.append(f"{message.text} ({where})")

    def shot(self, name):
        SHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}{'_new' if self.new_renderer else ''}.png")


@pytest.fixture(scope="session", params=[False, True], ids=RENDERERS)
def new_renderer(request):
    return request.param


@pytest.fixture(scope="session")
def one_tab(new_renderer, browser, host):
    tab = Page(browser, host, new_renderer)
    yield tab
    tab.page.close()


@pytest.fixture
def tab(one_tab):
    return one_tab


@pytest.fixture(autouse=True)
def _each_of_its_own(request):
    """Nothing that comes late from the test before; after one that has failed, which may leave anything, a new page."""
    tab = request.getfixturevalue("one_tab") if "one_tab" in request.fixturenames else None
    if tab:
        tab.errors.clear()
    yield
    if request.node.stash.get(FAILED, False):
        for one in filter(None, (tab, *OTHER_TABS.values())):
            one.reopen()


@pytest.fixture(scope="module")
def once():
    """What the tests of a file share on a page: `tab.holds` is it while the page is the one on which it was built."""
    return object()


class ByFileAndRenderer(LoadScopeScheduling):
    """A file in one renderer stays with one worker, which has a host, a browser and a page of each renderer."""

    def _split_scope(self, nodeid):
        file, _, test = nodeid.partition("::")
        return f"{file} {next((name for name in RENDERERS if name in test), '')}"


def pytest_xdist_make_scheduler(config, log):
    return ByFileAndRenderer(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture(scope="module")
def page_in(browser, host):
    """page_in(language, new_renderer=False): a tab in Chinese or Japanese, which all that ask in a row share."""

    def page_in(language, new_renderer=False):
        if language not in OTHER_TABS:
            close_others()  # a page that nobody looks at is drawn all the same
            OTHER_TABS[language] = Page(browser, host, new_renderer, language)
        OTHER_TABS[language].render(new_renderer)
        return OTHER_TABS[language]

    yield page_in
    close_others()


def close_others():
    for tab in OTHER_TABS.values():
        tab.page.close()
    OTHER_TABS.clear()
