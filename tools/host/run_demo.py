"""`make demo`: the demo's λ sweep in a real ComfyUI, as one labelled picture and the trace of the run.

    python -m tools.host.run_demo --host FOLDER [--out out]

Progress goes to standard error; the last line of standard output is the picture's path. The picture holds the workflow:
dropped onto ComfyUI's page it opens the graph that made it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from tools.cache import say
from tools.host.host_process import Host, HostError
from tools.workflows.workflow_api import to_api
from tools.workflows.workflow_names import workflow_file

WORKFLOW = workflow_file("realign_demo_sweep")


def node_of(graph: dict[str, Any], kind: str) -> str:
    return next(node_id for node_id, node in graph.items() if node["class_type"] == kind)


def run(host: Host) -> tuple[bytes, dict[str, Any]]:
    """The workflow as it is shared. Returns the saved picture's file and the trace."""
    workflow = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    graph = to_api(workflow, host.get("/object_info"))
    graph["trace"] = {"class_type": "PreviewAny", "inputs": {"source": [node_of(graph, "RealignSampler"), 2]}}
    shown = host.run(graph, workflow=workflow)
    (file,) = host.files(shown[node_of(graph, "SaveImage")])
    return file, json.loads(shown["trace"]["text"][0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--host", required=True, help="the ComfyUI folder")
    parser.add_argument("--out", default="out", help="where the picture and the trace go")
    options = parser.parse_args()
    out = Path(options.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    try:
        say(f"Starting ComfyUI from {options.host}")
        with Host(sys.executable, options.host) as host:
            say(f"Running {WORKFLOW.name}")
            start = time.monotonic()
            picture, trace = run(host)
    except HostError as error:
        say(f"make demo: {error}")
        return 1
    except KeyboardInterrupt:
        say("make demo: stopped")
        return 130
    count, calls = len(trace["sweep"]["cells"]), trace["model_calls"]
    say(f"{count} pictures, {calls:g} model calls each on average, in {time.monotonic() - start:.1f} s")
    (out / "realign_demo_trace.json").write_text(json.dumps(trace, ensure_ascii=False, indent=1), encoding="utf-8")
    (out / "realign_demo.png").write_bytes(picture)
    say(f"The trace is in {out / 'realign_demo_trace.json'}; the picture is")
    print(out / "realign_demo.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
