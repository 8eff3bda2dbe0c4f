"""Where a workflow's nodes lie: in columns, so that the page opens all of it readable on a laptop's screen.

The page opens a template so that its nodes fill three quarters of the window, in width or in height. What would then
lie under its bars or its minimap, or be too small to be read, is refused here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

Node = dict[str, Any]
Group = tuple[str, tuple[int, int, int, int]]  # title; x, y, width, height
View = dict[str, Any]

SCREEN, SHARE = (1440, 900), 0.75  # px: a laptop's window, and how much of it the page fills
AROUND = 10  # units of the graph, which the page adds around all nodes
TOP, MINIMAP = 90, (1183, 642)  # px: the bars end above; the minimap begins here, and goes to the lower right corner
SPARE = 4  # px, to either
READABLE = 0.6  # the page draws no text below 0.57
TALLEST = int(SCREEN[1] * SHARE / READABLE)
START = (40, 60)

# Units of the graph: a node's title, between nodes, and before and after one that is folded; around the nodes of a
# group, its own title, and between groups.
TITLE, GAP, CLOSE, PAD, HEAD, APART = 30, 24, 12, 12, 40, 12

# Heights without the title in the renderer that needs more, after a run: with previews, pictures and texts on the node,
# and with the page's line about an error on those whose file may be missing.
HEIGHTS = {
    "BasicScheduler": 118,
    "CLIPTextEncode": 102,
    "CLIPVisionLoader": 98,
    "CheckpointLoaderSimple": 130,
    "EmptyLatentImage": 118,
    "EmptySD3LatentImage": 118,
    "FeatherMask": 146,
    "ImageScale": 146,
    "KSampler": 574,
    "KSamplerSelect": 62,
    "LambdaSchedule": 830,
    "LoadAnchorModel": 276,
    "MaskComposite": 138,
    "MaskPreview": 266,
    "ModelMergeAdd": 54,
    "ModelMergeSubtract": 82,
    "PreviewAny": 140,
    "RandomNoise": 82,
    "RealignAddAnchor": 134,
    "RealignAnchorFromModel": 114,
    "RealignCombineRewards": 134,
    "RealignCompare": 408,
    "RealignDemoModels": 242,
    "RealignGrid": 426,
    "RealignGuider": 344,
    "RealignLearnedTaste": 190,
    "RealignModel": 240,
    "RealignParticles": 980,
    "RealignPick": 560,
    "RealignPictureReward": 110,
    "RealignReport": 330,
    "RealignRewardModel": 276,
    "RealignRewardReport": 640,
    "RealignSampler": 800,
    "RealignScore": 426,
    "RealignSearch": 1070,
    "RealignSweep": 410,
    "RealignTrace": 98,
    "SamplerCustomAdvanced": 426,
    "SaveImage": 302,
    "SolidMask": 118,
    "TripleCLIPLoader": 146,
    "VAEDecode": 54,
}
LINE = 28  # of an input
# Shares of the room that a column has left.
GROWS = dict.fromkeys(
    (
        "KSampler",
        "MaskPreview",
        "RealignCompare",
        "RealignGrid",
        "RealignPick",
        "RealignReport",
        "RealignSampler",
        "RealignScore",
        "RealignSearch",
    ),
    4,
)
GROWS |= {
    "RealignRewardReport": 4,
    "SamplerCustomAdvanced": 4,
    "SaveImage": 4,
    "CLIPTextEncode": 2,
    "PreviewAny": 2,
    "MarkdownNote": 1,
}


class LayoutError(ValueError):
    """What does not fit the screen, and by how much."""


class Column:
    """Nodes of one width, one below the other."""

    def __init__(self, nodes: Sequence[Node]):
        self.nodes = nodes
        self.heights = [0 if _folded(node) else int(node["size"][1]) for node in nodes]
        self.gaps = [CLOSE if _folded(one) or _folded(next_) else GAP for one, next_ in pairwise(nodes)] + [0]
        self.height = sum(self.heights) + sum(self.gaps) + TITLE * len(nodes)
        self.shares = sum(map(_share, nodes))

    def place(self, x: int, y: int, width: int, height: int = 0) -> None:
        """x, y: the upper left corner, titles included. height: what is to be filled, if it is more than its own."""
        room, shares = max(height - self.height, 0), self.shares
        for node, own, gap in zip(self.nodes, self.heights, self.gaps):
            more = room * _share(node) // shares if _share(node) else 0
            room, shares = room - more, shares - _share(node)
            node["pos"], node["size"] = [x, y + TITLE], [width, own + more]
            y += TITLE + own + more + gap


class Box:
    """A group around columns of one width that lie side by side; without a title, the columns alone."""

    def __init__(self, title: str, *columns: Sequence[Node]):
        self.title, self.columns = title, [Column(nodes) for nodes in columns]
        self.pad, self.head = (PAD, HEAD) if title else (0, 0)
        self.height = max(column.height for column in self.columns) + self.head + self.pad
        self.shares = max(column.shares for column in self.columns)

    def place(self, x: int, y: int, width: int, height: int) -> list[Group]:
        """The sizes are the outer ones. Returns the group."""
        count = len(self.columns)
        own = (width - 2 * self.pad - 2 * PAD * (count - 1)) // count
        for place, column in enumerate(self.columns):
            left = x + self.pad + place * (own + 2 * PAD)
            column.place(left, y + self.head, own, height - self.head - self.pad)
        return [(self.title, (x, y, width, height))] if self.title else []


class Stack:
    """Boxes of one outer width, one below the other."""

    def __init__(self, width: int, *boxes: Box):
        self.width, self.boxes = width, boxes
        self.height = sum(box.height for box in boxes) + APART * (len(boxes) - 1)

    @property
    def nodes(self) -> list[Node]:
        return [node for box in self.boxes for column in box.columns for node in column.nodes]

    def place(self, x: int, y: int, height: int) -> list[Group]:
        groups: list[Group] = []
        room, shares = height - self.height, sum(box.shares for box in self.boxes)
        for box in self.boxes:
            more = room if box is self.boxes[-1] else room * box.shares // (shares or 1)
            room, shares = room - more, shares - box.shares
            groups += box.place(x, y, self.width, box.height + more)
            y += box.height + more + APART
        return groups


def lay_out(*stacks: Stack) -> tuple[list[Group], View]:
    """Place all nodes, in stacks from left to right that end at one height, but above the minimap where it is.

    Where that leaves too little room, everything is made a little higher, so that the page shows it smaller. Returns
    the groups and the page's view at first. Raises LayoutError.
    """
    own = max(stack.height for stack in stacks)
    wrong = ""
    for low in range(own, max(own, TALLEST) + 1, 2):
        _row(stacks, [low] * len(stacks))
        scale, offset = _view([node for stack in stacks for node in stack.nodes])
        if scale < READABLE:
            wrong = wrong or f"{low} high, it opens at {scale:.3f}; {READABLE} can be read"
            break
        heights, wrong = _above_minimap(stacks, low, scale, offset)
        if (START[1] + offset[1]) * scale < TOP + SPARE:
            wrong = "The groups' titles lie under the page's bars: put a note on top of a stack"
        if not wrong:
            return _row(stacks, heights), {"scale": round(scale, 4), "offset": [round(one, 1) for one in offset]}
    raise LayoutError(wrong)


def _row(stacks: Sequence[Stack], heights: Sequence[int]) -> list[Group]:
    groups, x = [], START[0]
    for stack, height in zip(stacks, heights):
        groups += stack.place(x, START[1], height)
        x += stack.width + APART
    return groups


def _above_minimap(
    stacks: Sequence[Stack], low: int, scale: float, offset: tuple[float, float]
) -> tuple[list[int], str]:
    """The stacks' heights, of which `low` is the largest; and what is wrong, if one has not enough room."""
    right, below = ((one - SPARE) / scale - moved for one, moved in zip(MINIMAP, offset))
    heights, wrong, x = [], "", START[0]
    for stack in stacks:
        heights.append(low if x + stack.width <= right else min(low, int(below) - START[1]))
        if stack.height > heights[-1]:
            title = stack.boxes[0].title
            wrong = f"The stack of “{title}” is {stack.height} high; {heights[-1]} are free above the minimap"
        x += stack.width + APART
    return heights, wrong


def _view(nodes: Sequence[Node]) -> tuple[float, tuple[float, float]]:
    """How the page shows all nodes: its scale and offset. A point p of the graph is at (p + offset) · scale px."""
    x, y = (min(node["pos"][i] - (0, TITLE)[i] for node in nodes) for i in (0, 1))
    ends = (max(node["pos"][i] + node["size"][i] for node in nodes) for i in (0, 1))
    sides = [end - start for start, end in zip((x, y), ends)]
    scale = min(SHARE * screen / (side + 2 * AROUND) for screen, side in zip(SCREEN, sides))
    dx, dy = (screen / scale / 2 - start - side / 2 for screen, start, side in zip(SCREEN, (x, y), sides))
    return scale, (dx, dy)


def _folded(node: Node) -> bool:
    return bool(node["flags"].get("collapsed"))


def _share(node: Node) -> int:
    """Of the room that a column has left."""
    return 0 if _folded(node) else GROWS.get(node["type"], 0)
