"""`make demo`: the demo workflow in a real ComfyUI at six λ, as one labelled picture and the traces.

    python tools/run_demo.py --host FOLDER [--out out]

Progress goes to standard error; the last line of standard output is the picture's path.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from host_process import PACK, Host, HostError, say
from PIL import Image, ImageDraw, ImageFont
from workflow_api import to_api

LAMBDAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
WORKFLOW = PACK / "workflows" / "realign_demo.json"
CELL, GAP, TOP, LEFT, BOTTOM = 176, 8, 128, 24, 64  # px
PAPER, INK, SOFT, ACCENT = (250, 250, 249), (28, 25, 23), (120, 113, 108), (37, 99, 235)


def node_of(graph: dict[str, Any], kind: str) -> str:
    return next(node_id for node_id, node in graph.items() if node["class_type"] == kind)


def sweep(host: Host) -> tuple[list[list[Image.Image]], list[dict[str, Any]], dict[str, Any]]:
    """Run the demo graph once per λ. Returns pictures [λ][batch], traces [λ], and the sampler's inputs."""
    graph = to_api(json.loads(WORKFLOW.read_text(encoding="utf-8")), host.get("/object_info"))
    sampler, save, text = (node_of(graph, kind) for kind in ("RealignSampler", "SaveImage", "PreviewAny"))
    pictures, traces = [], []
    for number, lam in enumerate(LAMBDAS, 1):
        start = time.monotonic()
        graph[sampler]["inputs"]["lambda_"] = lam
        shown = host.run(graph)
        names = shown[save]["images"]
        files = [
            host.get_bytes("/view?" + urlencode({k: n[k] for k in ("filename", "subfolder", "type")})) for n in names
        ]
        pictures.append([Image.open(io.BytesIO(data)).convert("RGB") for data in files])
        traces.append(json.loads(shown[text]["text"][0]))
        calls = traces[-1]["model_calls"]
        say(f"  {number}/{len(LAMBDAS)}  λ = {lam:<4g}  {calls} model calls  {time.monotonic() - start:.1f} s")
    return pictures, traces, graph[sampler]["inputs"]


def labelled(pictures: list[list[Image.Image]], traces: list[dict[str, Any]], settings: dict[str, Any]) -> Image.Image:
    """One column per λ, one row per picture of the batch; λ, β/λ and the KL spent over each column."""

    def font(size: int) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(PACK / "assets" / "RealignSans.ttf", size)

    rows = len(pictures[0])
    width = LEFT * 2 + len(pictures) * (CELL + GAP) - GAP
    sheet = Image.new("RGB", (width, TOP + rows * (CELL + GAP) + BOTTOM), PAPER)
    draw = ImageDraw.Draw(sheet)
    beta = traces[0]["anchors"][0]["beta"]
    title = "λ turns the alignment strength at sampling time"
    draw.text((LEFT, 16), title, fill=INK, font=font(22))
    draw.text((width - LEFT, 22), "reference  ←  blend  →  anchor  →  beyond", fill=SOFT, font=font(14), anchor="ra")
    for column, (lam, trace) in enumerate(zip(LAMBDAS, traces)):
        x = LEFT + column * (CELL + GAP)
        draw.text((x + CELL / 2, 66), f"λ = {lam:g}", fill=ACCENT, font=font(20), anchor="mm")
        draw.text((x + CELL / 2, 90), strength(lam, beta), fill=INK, font=font(14), anchor="mm")
        draw.text((x + CELL / 2, 110), spent(trace), fill=SOFT, font=font(13), anchor="mm")
        for row, picture in enumerate(pictures[column]):
            cell = picture.resize((CELL, CELL), Image.Resampling.LANCZOS)
            sheet.paste(cell, (x, TOP + row * (CELL + GAP)))
    footer = f"anchor: {traces[0]['anchors'][0]['name']}" + (f", trained at β = {beta:g}" if beta else "")
    footer += (
        f" · {settings['sampler_name']}, {settings['scheduler']}, {settings['steps']} steps, cfg {settings['cfg']:g}"
    )
    footer += f" · seed {settings['seed']} · every column starts from the same noise"
    draw.text((LEFT, sheet.height - 42), footer, fill=SOFT, font=font(14))
    return sheet


def strength(lam: float, beta: float | None) -> str:
    if lam == 0:
        return "reference"
    role = "anchor, " if lam == 1 else ""
    return f"{role}β = {beta / lam:.0f}" if beta else f"{role}strength {lam:g}"


def spent(trace: dict[str, Any]) -> str:
    """The KL to the reference, averaged over the batch; unknown where the reference was not called."""
    known = [value for value in trace["kl_reference"] if value is not None]
    return f"KL {sum(known) / len(known):.0f} nats" if known else "KL not measured"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--host", required=True, help="the ComfyUI folder")
    parser.add_argument("--out", default="out", help="where the picture and the traces go")
    options = parser.parse_args()
    out = Path(options.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    try:
        say(f"Starting ComfyUI from {options.host}")
        with Host(sys.executable, options.host) as host:
            say(f"Sampling {WORKFLOW.name} at {len(LAMBDAS)} values of λ")
            pictures, traces, settings = sweep(host)
    except HostError as error:
        say(f"make demo: {error}")
        return 1
    except KeyboardInterrupt:
        say("make demo: stopped")
        return 130
    traced = [{"lambda": lam, **trace} for lam, trace in zip(LAMBDAS, traces)]
    (out / "realign_demo_trace.json").write_text(json.dumps(traced, ensure_ascii=False, indent=1), encoding="utf-8")
    labelled(pictures, traces, settings).save(out / "realign_demo.png")
    say(f"The traces are in {out / 'realign_demo_trace.json'}; the picture is")
    print(out / "realign_demo.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
