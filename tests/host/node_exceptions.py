"""What of the host Realign does not serve, and what no test can show: one place, with reasons.

README's Limits has the line of every Limit. test_every_node.py and test_every_network.py hold that what is in no table
is served.
"""

from __future__ import annotations

from dataclasses import dataclass

TABLES_OF = (0, 30)  # the host whose nodes the tables name

# Networks of the host's list that no test builds, and why.
NOT_BUILT = {
    "RT_DETR_v4": "finds objects: it is no diffusion model",
    "SAM3": "finds and segments objects: it is no diffusion model",
    "SAM31": "finds and segments objects: it is no diffusion model",
    "DepthAnything3": "estimates depth: it is no diffusion model",
}

# Nodes that no test feeds, and why.
NOT_FED = {
    "SUPIRApply": "its control network exists in the full size of SDXL only",
}

# Nodes whose picture is the stock picture, so that a case shows that they do no harm, and why.
WITHOUT_EFFECT = {
    "ARVideoI2V": "read by the host's sampler ar_video alone",
    "MultiGPU_WorkUnits": "divides the work over GPUs",
    "SelectModelDevice": "the picture is the same on every device",
    "TorchCompileModel": "the picture is the same",
    "TripoSplatSamplingPreview": "shows a preview",
    "wanBlockSwap": "does nothing any more",
}


@dataclass(frozen=True)
class Limit:
    """Nodes that Realign refuses: where they stand, what is in the refusal, and what README's Limits says."""

    nodes: frozenset[str]
    where: tuple[str, ...]  # parts of a case's name: “on reference”, “sampler” …
    phrase: str
    line: str

    def refuses(self, node: str, case: str, refusal: str) -> bool:
        return node in self.nodes and any(part in case for part in self.where) and self.phrase in refusal


LIMITS = (
    Limit(
        frozenset(
            f"ModelSampling{kind}" for kind in ("AuraFlow", "ContinuousEDM", "ContinuousV", "Discrete", "Flux", "SD3")
        ),
        ("on reference", "on anchor"),
        "apply the same ModelSampling node to it",
        "A ModelSampling node that changes what a model predicts must be on both models; on one alone it is refused.",
    ),
    Limit(
        frozenset({"ModelSamplingContinuousEDM", "ModelSamplingDiscrete"}),
        ("sampler",),
        "Realign cannot sample a",
        "*Realign Sampler* draws from the mixed posteriors",
    ),
    Limit(
        frozenset({"DifferentialDiffusion"}),
        ("on reference", "on anchor"),
        "while a step has one mask for both",
        "*Differential Diffusion* with a noise mask must be on both models, with the same strength; on one alone it is "
        "refused.",
    ),
)

# Nodes with which a picture depends on the others of its batch, and why: a sweep's pictures are then sampled alone.
COUPLES = {
    "EasyCache": "one change of the whole batch decides whether a step is skipped",
    "LazyCache": "one change of the whole batch decides whether a step is skipped",
    "Mahiro": "its similarity is the mean over the batch",
    "PerpNeg": "its norm is that of the whole batch",
    "UNetTemporalAttentionMultiply": "the elements are a video's frames",
    "VideoLinearCFGGuidance": "the elements are a video's frames, each with a cfg of its own",
    "VideoTriangleCFGGuidance": "the elements are a video's frames, each with a cfg of its own",
}

# Nodes with which the host itself cannot sample several pictures at once, and what it raises.
ONE_PICTURE = {
    "ContextWindowsManual": "out of bounds",
    "LTXVContextWindows": "out of bounds",
    "MiniMaxH3SigmaShift": "MiniMax H3 supports batch size 1",
    "RenormCFG": "Boolean value of Tensor with more than one value is ambiguous",
    "TemporalScoreRescaling": "Boolean value of Tensor with more than one value is ambiguous",
    "USOStyleReference": "Sizes of tensors must match",
    "WanContextWindowsManual": "out of bounds",
    "WanInfiniteTalkToVideo": "is invalid for input of size",
}
