"""`make demo`: the demo's λ sweep in a real ComfyUI, as one labelled grid; then one of its λ as a clean picture.

    python -m tools.host.run_demo --host FOLDER [--out out]

Progress goes to standard error; standard output is two paths, the grid's and the picture's. Both hold the workflow that
made them: dropped onto ComfyUI's page they open it. The trace of the sweep is written beside them.
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
from tools.workflows.workflow_api import to_api, widgets
from tools.workflows.workflow_names import workflow_file

SWEEP, SINGLE = "realign_demo_sweep", "realign_demo"
LAMBDA = 0.5  # of the single picture, which is the sweep's of that λ and its first seed


def node_of(graph: dict[str, Any], kind: str) -> str:
    return next(node_id for node_id, node in graph.items() if node["class_type"] == kind)


def workflow_of(name: str) -> dict[str, Any]:
    """The workflow as it is shared."""
    workflow: dict[str, Any] = json.loads(workflow_file(name).read_text(encoding="utf-8"))
    return workflow


def run(host: Host) -> tuple[bytes, dict[str, Any]]:
    """The sweep. Returns the saved grid's file and the trace."""
    workflow = workflow_of(SWEEP)
    graph = to_api(workflow, host.get("/object_info"))
    graph["trace"] = {"class_type": "PreviewAny", "inputs": {"source": [node_of(graph, "RealignSampler"), 2]}}
    shown = host.run(graph, workflow=workflow)
    (file,) = host.files(shown[node_of(graph, "SaveImage")])
    return file, json.loads(shown["trace"]["text"][0])


def run_single(host: Host) -> bytes:
    """One clean picture. Returns the file that the host saved."""
    workflow = workflow_of(SINGLE)
    known = host.get("/object_info")
    set_widget(workflow, known, "EmptyLatentImage", "batch_size", 1)
    set_widget(workflow, known, "RealignSampler", "lambda_", LAMBDA)
    graph = to_api(workflow, known)
    (file,) = host.files(host.run(graph, workflow=workflow)[node_of(graph, "SaveImage")])
    return file


def set_widget(workflow: dict[str, Any], known: dict[str, Any], kind: str, name: str, value: Any) -> None:
    """Set an input of the first node of that kind."""
    node = next(node for node in workflow["nodes"] if node["type"] == kind)
    node["widgets_values"][widgets(known[kind]).index(name)] = value


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
            say(f"Running {workflow_file(SWEEP).name}")
            start = time.monotonic()
            grid, trace = run(host)
            took = time.monotonic() - start
            say(f"Running {workflow_file(SINGLE).name} for one picture of λ {LAMBDA}")
            picture = run_single(host)
    except HostError as error:
        say(f"make demo: {error}")
        return 1
    except KeyboardInterrupt:
        say("make demo: stopped")
        return 130
    count, calls = len(trace["sweep"]["cells"]), trace["model_calls"]
    say(f"{count} pictures, {calls:g} model calls each on average, in {took:.1f} s")
    trace_file = out / "realign_demo_trace.json"
    trace_file.write_text(json.dumps(trace, ensure_ascii=False, indent=1), encoding="utf-8")
    say(f"The trace is in {trace_file}; the grid, and the clean picture:")
    for name, file in (("realign_demo.png", grid), ("realign_demo_picture.png", picture)):
        (out / name).write_bytes(file)
        print(out / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
