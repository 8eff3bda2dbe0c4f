"""`pip install .` brings `realign_core` alone, and README's example runs with it. Built without network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PACK = Path(__file__).parents[2]
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "build", "out", "demo", "shots", "*.egg-info")
ASK = """
import json, realign_core
print(json.dumps({"file": realign_core.__file__, "mean": float(out.x.mean()), "std": float(out.x.std())}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Of a copy of the clone: pip builds in the source's own folder."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(PACK, folder / "clone", ignore=NOT_COPIED)
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", "."]
    done = subprocess.run([*pip, "./clone"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


def example():
    """README's block of code that imports realign_core."""
    blocks = re.findall(r"```python\n(.*?)```", (PACK / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if "realign_core" in block]
    return found


def test_the_wheel_holds_the_core_and_its_metadata(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == {file.relative_to(PACK).as_posix() for file in (PACK / "realign_core").rglob("*.py")}


def test_the_wheel_asks_for_torch_and_einops(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    lines = archive.read(metadata).decode().splitlines()
    assert [line.split(": ")[1] for line in lines if line.startswith("Requires-Dist: ")] == ["torch", "einops"]


def test_the_example_of_the_readme_runs_with_the_wheel_alone(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport torch; torch.manual_seed(0)\n{example()}{ASK}"
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert Path(told["file"]).is_relative_to(tmp_path)
    assert told["mean"] == pytest.approx(1.0, abs=0.1)  # of 1,000 draws
    assert told["std"] == pytest.approx(1.0, abs=0.15)
