"""The nodes of the screen, a file per entry of the node library; the rooms beside them do the work."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import (
    best_of,
    check,
    combine_anchors,
    combine_rewards,
    compare,
    demo,
    grid,
    guider,
    lambda_schedule,
    learned_taste,
    likeness,
    load_anchor,
    load_reward,
    paper_reward,
    particles,
    pick,
    picture_reward,
    prompts,
    report,
    reward_report,
    sampler,
    score,
    search,
    sweep,
    text_reward,
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
    prompts,
    compare,
    grid,
    report,
    check,
    picture_reward,
    load_reward,
    paper_reward,
    text_reward,
    likeness,
    combine_rewards,
    learned_taste,
    pick,
    score,
    best_of,
    reward_report,
    particles,
    search,
    demo,
)
NODES: list[type[io.ComfyNode]] = [node for part in PARTS for node in part.NODES]


class RealignExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES


async def comfy_entrypoint() -> RealignExtension:
    return RealignExtension()
