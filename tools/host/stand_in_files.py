"""Empty files under the names that the workflows load, so that a host without the models accepts their graphs."""

from __future__ import annotations

import json
from pathlib import Path

# Where each loader looks; the names of ours begin with their folder.
FOLDERS = {
    "CheckpointLoaderSimple": "checkpoints",
    "CLIPVisionLoader": "clip_vision",
    "TripleCLIPLoader": "text_encoders",
    "LoadAnchorModel": "",
    "RealignRewardModel": "",
}
KINDS = (".safetensors", ".pt", ".pth")


def stand_in_files(models: Path, workflows: Path) -> None:
    """models: the host's folder of that name. workflows: a folder of workflow files in UI format."""
    for path in sorted(workflows.glob("*.json")):
        for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]:
            if node["type"] not in FOLDERS:
                continue
            for value in node.get("widgets_values", []):
                if str(value).endswith(KINDS):
                    file = models / FOLDERS[node["type"]] / value
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.touch()
