"""The shared workflows that a study can be made on, in API format: package data of realign_study.

Those that make pictures of one λ: a study has its own λ, seeds and prompts, so a sweep in the workflow would be in its
way.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tools.workflows.workflow_api import to_api
from tools.workflows.workflow_graph import write_json
from tools.workflows.workflow_names import TITLES, workflow_file

NAMES = ("realign_demo", "sd15_dpo", "sdxl_dpo", "sd35_flow_grpo")


def api_forms(known: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The graphs by their titles. known: the host's /object_info."""
    files = {TITLES[name]: workflow_file(name) for name in NAMES}
    return {title: to_api(json.loads(file.read_text(encoding="utf-8")), known) for title, file in files.items()}


def write(known: dict[str, Any], folder: Path) -> None:
    for title, graph in api_forms(known).items():
        write_json(folder / f"{title}.json", graph)
