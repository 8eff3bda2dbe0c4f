"""The nodes of the screen, a file per entry of the node library; the rooms beside them do the work."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import (
    check,
    combine_anchors,
    compare,
    demo,
    grid,
    guider,
    lambda_schedule,
    load_anchor,
    report,
    sampler,
    sweep,
    trace,
)

PARTS = (
    load_anchor,
    combine_anchors,
    lambda_schedule,
    sampler,
    guider,
    trace,
    sweep,
    compare,
    grid,
    report,
    check,
    demo,
)
NODES: list[type[io.ComfyNode]] = [node for part in PARTS for node in part.NODES]


class RealignExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES


async def comfy_entrypoint() -> RealignExtension:
    return RealignExtension()
