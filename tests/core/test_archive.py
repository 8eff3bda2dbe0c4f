"""What the registry gets: the files that git tracks without those that .comfyignore names, an icon and a banner."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from PIL import Image

PACK = Path(__file__).parents[2]
FOLDERS = {"assets", "demo", "locales", "nodes", "realign_core", "subgraphs", "web", "workflows"}
FILES = {"CHANGELOG.md", "LICENSE", "README.md", "__init__.py", "pyproject.toml"}
WITHOUT_WHICH_NOTHING_WORKS = {
    "assets/RealignSans.ttf",
    "assets/RealignSans-LICENSE.txt",
    "demo/anchor.safetensors",
    "demo/reference.safetensors",
    "locales/zh/nodeDefs.json",
    "nodes/__init__.py",
    "nodes/models/anchor.py",
    "realign_core/gaussian.py",
    "subgraphs/Realign.json",
    "web/docs/RealignSampler.md",
    "web/docs/img/sampler.jpg",
    "web/realign.js",
    "workflows/Realign Demo 1 - lambda sweep.jpg",
    "workflows/Realign Demo 1 - lambda sweep.json",
}


def tracked(*options):
    done = subprocess.run(["git", "ls-files", "-z", *options], cwd=PACK, capture_output=True, text=True, check=True)
    return set(done.stdout.split("\0")) - {""}


@pytest.fixture(scope="module")
def archive():
    return tracked() - tracked("--cached", "--ignored", "--exclude-from=.comfyignore")


def test_the_archive_holds_what_a_host_needs_and_no_more(archive):
    top = {name.split("/")[0] for name in archive}
    assert top - {"docs"} == FOLDERS | FILES
    assert archive >= WITHOUT_WHICH_NOTHING_WORKS
    for name in archive - FILES:
        assert name.split("/")[0] in FOLDERS or (name.startswith("docs/") and name.endswith(".md")), name


def test_the_archive_has_these_folders_whole(archive):
    assert {name for name in tracked() if name.split("/")[0] in FOLDERS} <= archive


def test_every_name_is_plain(archive):
    """The client reads git's list line by line, in which other letters are quoted: such files would be left out."""
    assert all(name.isascii() and '"' not in name for name in archive)


def test_the_patterns_mean_the_same_to_the_client_and_to_git():
    patterns = [line for line in (PACK / ".comfyignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    assert all(pattern.startswith("/") for pattern in patterns)


def picture(name):
    """The picture that pyproject.toml names under [tool.comfy], by a path or by an address that ends with it."""
    (named,) = re.findall(rf'^{name} = "(.*)"$', (PACK / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    return Image.open(PACK / named[named.index("docs/") :])


def test_icon_and_banner_are_of_the_registrys_sizes():
    icon, banner = picture("Icon"), picture("Banner")
    assert icon.width == icon.height <= 400
    assert banner.width * 9 == banner.height * 21
