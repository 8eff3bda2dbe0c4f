"""Everything that imports the host: one file per node group, thin over `realign_core`."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .anchor import RealignAddAnchor, RealignAnchorFromModel, RealignAnchorLambda
from .compare import RealignCompare
from .demo import RealignDemoModels
from .grid import RealignGrid
from .guider import RealignGuider, RealignModel, RealignTrace
from .lambda_schedule import LambdaSchedule
from .load_anchor import LoadAnchorModel
from .report import RealignReport
from .sampler import RealignSampler
from .sweep import RealignSweep

NODES: list[type[io.ComfyNode]] = [
    LoadAnchorModel,
    RealignAnchorFromModel,
    RealignAddAnchor,
    RealignAnchorLambda,
    LambdaSchedule,
    RealignSampler,
    RealignGuider,
    RealignModel,
    RealignTrace,
    RealignSweep,
    RealignCompare,
    RealignGrid,
    RealignReport,
    RealignDemoModels,
]


class RealignExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES


async def comfy_entrypoint() -> RealignExtension:
    return RealignExtension()
