"""Writes workflows/*.jpg, which the host shows under Templates: pictures of real runs of the demo models.

    python -m tools.workflows.make_thumbnails --host FOLDER [NAME …]

Names as in workflow_names.py; without any, all are made. thumbnail_cards.py says what is on each.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from tools.cache import PACK, say
from tools.host.host_process import Host
from tools.workflows.demo_workflows import CURVE
from tools.workflows.thumbnail_cards import CARDS, Card, Graph, Run
from tools.workflows.workflow_api import to_api
from tools.workflows.workflow_names import workflow_file

SIZE = (512, 320)
LARGEST = 60_000  # bytes
GAP, TEXT, SMALL = 2, 22, 17  # px; a card is seen about 300 wide
BACKGROUND, INK = (24, 24, 27), (244, 244, 245)
SHOWN = ["RealignCompare", "RealignGrid", "RealignReport", "RealignRewardReport", "RealignScore"]
SHOWN += ["SaveImage", "PreviewAny", "PreviewImage"]


def pictures_of(host: Host, run: Run) -> list[Image.Image]:
    """All pictures that a run decodes, then the mask that it shows, if any."""
    graph = to_api(json.loads(workflow_file(run.workflow).read_text(encoding="utf-8")), host.get("/object_info"))
    graph = {node: content for node, content in graph.items() if content["class_type"] not in SHOWN} | run.added
    for kind, inputs in run.changes.items():
        next(content for content in graph.values() if content["class_type"] == kind)["inputs"] |= inputs
    shown = [node for node, content in graph.items() if content["class_type"] == "VAEDecode"]
    seen: Graph = {f"seen {node}": {"class_type": "PreviewImage", "inputs": {"images": [node, 0]}} for node in shown}
    outputs = host.run(graph | seen)
    masks = [node for node, content in graph.items() if content["class_type"] == "MaskPreview"]
    return [picture for node in [*seen, *masks] for picture in host.pictures(outputs[node])]


def drawn(card: Card, pictures: Sequence[Image.Image]) -> Image.Image:
    """The card: its pictures fill it, each cropped to its cell, and the words lie on them."""
    out = Image.new("RGB", SIZE, BACKGROUND)
    rows = len(card.shown)
    for row, indices in enumerate(card.shown):
        top, low = (SIZE[1] * i // rows for i in (row, row + 1))
        for column, index in enumerate(indices):
            left, right = (SIZE[0] * i // len(indices) for i in (column, column + 1))
            box = (left + GAP * (column > 0), top + GAP * (row > 0), right, low)
            if card.sliced:
                cell = ImageOps.fit(pictures[index], SIZE, Image.Resampling.LANCZOS).crop(box)
            else:
                cell = ImageOps.fit(pictures[index], (box[2] - box[0], box[3] - box[1]), Image.Resampling.LANCZOS)
            out.paste(cell, box[:2])
    columns = len(card.shown[0])
    for column, head in enumerate(card.heads):
        out = said(out, head, ((column + 0.5) * SIZE[0] / columns, 6), "mt")
    for row, side in enumerate(card.sides):
        out = said(out, side, (8, (row + 1) * SIZE[1] / rows - 8), "lb")
    if card.curve:
        draw_curve(out, (16, 16, SIZE[0] - 16, SIZE[1] // rows - 46))
    return said(out, "demo models" * card.stands_in, (SIZE[0] - 6, SIZE[1] - 6), "rb", SMALL)


def said(picture: Image.Image, text: str, place: tuple[float, float], anchor: str, size: int = TEXT) -> Image.Image:
    """A word on the picture, on ground of its own. anchor: what of that is at `place`, as Pillow has it."""
    if not text:
        return picture
    face = ImageFont.truetype(str(PACK / "assets" / "RealignSans.ttf"), size)
    width, height = round(face.getlength(text)) + size // 2 * 2, round(1.4 * size)
    left = round(place[0] - width * "lmr".index(anchor[0]) / 2)
    top = round(place[1] - height * "tb".index(anchor[1]))
    ground = Image.new("RGBA", picture.size)
    draw = ImageDraw.Draw(ground)
    draw.rounded_rectangle((left, top, left + width, top + height), size // 3, fill=(*BACKGROUND, 190))
    draw.text((left + width / 2, top + height / 2), text, fill=INK, font=face, anchor="mm")
    return Image.alpha_composite(picture.convert("RGBA"), ground).convert("RGB")


def draw_curve(picture: Image.Image, box: tuple[int, int, int, int]) -> None:
    """λ over the run, as the workflow has it."""
    left, top, right, low = box
    points = [(left + x * (right - left), low + y * (top - low)) for x, y in CURVE["points"]]
    draw = ImageDraw.Draw(picture)
    draw.line(points, fill=INK, width=4, joint="curve")
    for x, y in points:
        draw.ellipse((x - 6, y - 6, x + 6, y + 6), fill=INK)


def save(picture: Image.Image, path: Path) -> None:
    """As a JPEG that is no larger than LARGEST."""
    for quality in range(92, 40, -4):
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=quality, optimize=True)
        if data.tell() < LARGEST:
            break
    path.write_bytes(data.getvalue())
    say(f"wrote {path} ({data.tell()} bytes)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--host", required=True, help="the ComfyUI folder")
    parser.add_argument("names", nargs="*", help="workflows, as in workflow_names.py")
    options = parser.parse_args()
    with Host(sys.executable, options.host) as host:
        for name in options.names or CARDS:
            card = CARDS[name]
            pictures = [picture for run in card.runs for picture in pictures_of(host, run)]
            save(drawn(card, pictures), workflow_file(name).with_suffix(".jpg"))


if __name__ == "__main__":
    main()
