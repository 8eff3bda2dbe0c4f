"""`pip install .` brings `realign_core` and the command `realign`; README's example runs. Built without network."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PACK = Path(__file__).parents[2]
CORE, STUDY = PACK / "realign_core", PACK / "realign_study"
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


def test_the_wheel_holds_the_core_the_command_and_their_metadata(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    code = [file for room in ("realign_core", "realign_study") for file in (PACK / room).rglob("*.py")]
    kinds = ("py.typed", "plans/*.yaml", "workflows/*.json", "report/*.html")
    data = [file for kind in kinds for file in STUDY.glob(kind)]
    assert {file.suffix for file in data} == {".typed", ".yaml", ".json", ".html"}
    assert names == {file.relative_to(PACK).as_posix() for file in [*code, *data]}


def name_of(requirement):
    return re.split(r"[^\w-]", requirement)[0]


def test_the_wheel_asks_for_what_its_code_imports(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    lines = archive.read(metadata).decode().splitlines()
    asked = [line.split(": ")[1] for line in lines if line.startswith("Requires-Dist: ")]
    always = {name_of(line) for line in asked if "extra ==" not in line}
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in [*CORE.rglob("*.py"), *STUDY.rglob("*.py")]]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    named = {"PIL": "pillow", "yaml": "pyyaml"}
    packages = {module.split(".")[0] for module in modules} - sys.stdlib_module_names - {CORE.name, STUDY.name}
    packages = {named.get(package, package) for package in packages}
    assert always <= packages <= {name_of(line) for line in asked}


def test_the_command_runs_from_the_wheel_alone(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (script,) = (tmp_path / "site").glob("*.dist-info/entry_points.txt")
    assert "realign = realign_study.cli:main" in script.read_text(encoding="utf-8")
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); from realign_study.cli import main; "
    example = [sys.executable, "-I", "-c", code + "main(['study', '--example', 'demo'])"]
    plan = subprocess.run(example, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    (tmp_path / "plan.yaml").write_text(plan, encoding="utf-8")
    dry = [sys.executable, "-I", "-c", code + "main(['study', 'plan.yaml', '--dry-run'])"]
    told = subprocess.run(dry, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert told.startswith("rows: 72, 72 to be made\n")


def test_the_example_of_the_readme_runs_with_the_wheel_alone(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport torch; torch.manual_seed(0)\n{example()}{ASK}"
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert Path(told["file"]).is_relative_to(tmp_path)
    assert told["mean"] == pytest.approx(1.0, abs=0.1)  # of 1,000 draws
    assert told["std"] == pytest.approx(1.0, abs=0.15)
