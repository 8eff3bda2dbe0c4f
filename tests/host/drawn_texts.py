"""What is drawn, watched: every text's box, and the bounds of a strip."""

from __future__ import annotations

import io

import numpy as np
from PIL import ImageDraw

WHITE = (255, 255, 255)


class Recorder:
    """Draws, and keeps the box of every text."""

    def __init__(self, image):
        self.own = ImageDraw.ImageDraw(image)
        self.boxes = []
        self.image = image
        RECORDED.append(self)

    def text(self, place, text, **options):
        self.boxes.append(self.own.textbbox(place, text, font=options["font"], anchor=options.get("anchor")))
        self.own.text(place, text, **options)

    def __getattr__(self, name):
        return getattr(self.own, name)

    def check(self):
        width, height = self.image.size
        assert all(box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height for box in self.boxes)
        rows = sorted(self.boxes, key=lambda box: (box[1], box[0]))
        for i, one in enumerate(rows):
            for other in rows[i + 1 :]:
                if other[1] >= one[3]:
                    break
                assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


RECORDED = []


def recorded(monkeypatch):
    """A list to which everything that is drawn on from now on is added, with the boxes of its texts."""
    RECORDED.clear()
    monkeypatch.setattr(ImageDraw, "Draw", Recorder)
    return RECORDED


def bounded(picture):
    assert max(picture.size) <= 2048
    picture.save(io.BytesIO(), format="JPEG", quality=95)
    return np.asarray(picture).astype(int)
