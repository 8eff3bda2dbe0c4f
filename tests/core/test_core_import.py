"""`realign_core` never imports the host, and needs torch and einops alone. Asked of a clean interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROBE = """
import json, sys
import einops, torch
before = set(sys.modules)
import realign_core
missing = [name for name in realign_core.__all__ if not hasattr(realign_core, name)]
print(json.dumps({"missing": missing, "new": sorted(set(sys.modules) - before)}))
"""


def test_importing_the_core_loads_torch_einops_and_the_standard_library_alone():
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", PROBE], cwd=root, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["missing"] == []
    packages = {name.split(".")[0] for name in found["new"]}
    assert "realign_core" in packages
    assert packages <= {"realign_core", "einops", *sys.stdlib_module_names}, "the core needs torch and einops only"


def test_no_file_of_the_core_names_a_host_module():
    for file in sorted((Path(__file__).parents[2] / "realign_core").rglob("*.py")):
        for line in file.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]):
                assert words[1].split(".")[0] not in {"comfy", "comfy_api", "folder_paths", "nodes", "server"}, line
                assert not words[1].startswith(".."), line  # nothing above realign_core
