"""What the thumbnail of each workflow shows: which runs of the demo models, which of their pictures, and what is said.

A workflow on the demo models shows what it gives itself. Where its own models cannot be had here, the demo models stand
in, in the same arrangement, and the card says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Graph = dict[str, Any]  # in API format
Indices = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Run:
    """A run of a workflow on the demo models."""

    workflow: str  # in TITLES
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the kind of a node; of several the first
    added: Graph = field(default_factory=dict)  # nodes


@dataclass(frozen=True)
class Card:
    """A table of pictures. shown: indices among the pictures of all runs."""

    runs: Sequence[Run]
    shown: Indices
    heads: Sequence[str] = ()
    sides: Sequence[str] = ()
    stands_in: bool = False  # the pictures are not of the workflow's own models
    sliced: bool = False  # the columns are parts of one picture
    curve: bool = False  # of λ over the run is drawn on the first row


def table(across: int, rows: int, columns: Sequence[int]) -> Indices:
    """Some columns of a table of pictures."""
    return [[row * across + column for column in columns] for row in range(rows)]


def sweep(shape: str, listed: str, seeds: int, seed: int, **demo: str) -> Run:
    """λ over the columns, seeds over the rows, of one of the demo's shapes."""
    swept = dict(values="list", listed=listed, seeds=seeds)
    return Run(
        "realign_demo_sweep",
        {"RealignDemoModels": dict(shape=shape, **demo), "RealignSweep": swept, "RealignSampler": dict(seed=seed)},
    )


def pair(shape: str, seed: int) -> Card:
    """One seed at three λ: a reference and an anchor, and what is between."""
    return Card([sweep(shape, "0, 0.5, 1", 1, seed)], [[0, 1, 2]], ["λ 0", "λ 0.5", "λ 1"], stands_in=True)


def one(lam: float, seed: int) -> Run:
    """The picture of one λ."""
    changes = {"EmptyLatentImage": dict(batch_size=1), "RealignSampler": dict(lambda_=lam, seed=seed)}
    return Run("realign_demo", changes)


def of_two_anchors(first: float, second: float, seed: int) -> Run:
    """Two anchors at λ 1 with these shares: the demo's, and its difference to the reference turned round."""
    added = {
        "difference": ("ModelMergeSubtract", dict(model1=["1", 0], model2=["1", 5], multiplier=1.0)),
        "turned": ("ModelMergeAdd", dict(model1=["1", 0], model2=["difference", 0])),
        "second": (
            "RealignAnchorFromModel",
            dict(model=["turned", 0], beta_source="unknown / no KL term", beta=5000.0),
        ),
        "both": (
            "RealignAddAnchor",
            dict(anchor=["1", 1], add=["second", 0], anchor_share=first, add_share=second),
        ),
    }
    changes = {
        "RealignDemoModels": dict(shape="square"),
        "EmptyLatentImage": dict(batch_size=2),
        "RealignSampler": dict(lambda_=1.0, seed=seed, anchor=["both", 0]),
    }
    nodes = {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in added.items()}
    return Run("realign_demo", changes, nodes)


REWARD = {
    "RealignDemoModels": dict(shape="star"),
    "RealignPictureReward": dict(reward="colourfulness"),
    "RealignParticles": dict(strength=3.0, particles=4, seed=9),
    "KSampler": dict(seed=9),
}
EVERYWHERE = {
    "everywhere": {"class_type": "SolidMask", "inputs": dict(value=1.0, width=64, height=64)},
    "seen everywhere": {"class_type": "MaskPreview", "inputs": {"mask": ["everywhere", 0]}},
}
CARDS = {
    "realign_demo_sweep": Card(
        [Run("realign_demo_sweep")], table(7, 3, (0, 1, 2, 4, 6)), ["λ 0", "λ 0.25", "λ 0.5", "λ 1", "λ 1.5"]
    ),
    "realign_demo": Card([one(lam, 9) for lam in (0.0, 0.5, 1.5)], [[0, 1, 2]], ["λ 0", "λ 0.5", "λ 1.5"], sliced=True),
    "realign_any_sampler": Card(
        [Run("realign_any_sampler")], table(4, 2, (0, 1, 2)), sides=["GUIDER · λ 1.2", "MODEL · λ 0.5"]
    ),
    "lambda_curve": Card([Run("lambda_curve")], table(4, 2, (0, 1, 2)), sides=["λ by a curve", "λ 0.8"], curve=True),
    "lambda_mask": Card(
        [Run("lambda_mask", added=EVERYWHERE)],
        [[8, 0, 2], [9, 4, 6]],
        sides=["λ within the mask", "λ everywhere"],
    ),
    "rescue_over_optimised": Card([Run("rescue_over_optimised")], [[4, 2]], ["λ 1: overdone", "λ 0.5: rescued"]),
    "colourful_hearts": Card([Run("colourful_hearts")], [[0, 1], [2, 3]], sides=["", "towards a reward, no anchor"]),
    "smaller_jpegs": Card([Run("smaller_jpegs")], table(4, 2, (0, 1, 2, 3)), sides=["small JPEGs wanted", "as usual"]),
    "two_rewards": Card([Run("two_rewards")], [range(4), range(8, 12)], sides=["colourful and light", "as usual"]),
    "corrected_sweep": Card(
        [Run("corrected_sweep")],
        [range(5), range(10, 15)],
        ["λ 0", "λ 0.25", "λ 0.5", "λ 0.75", "λ 1"],
        ["as usual", "corrected"],
    ),
    "find_lambda": Card(
        [Run("find_lambda", {"RealignSearch": dict(seeds=2)})],
        table(4, 2, (0, 1, 2, 3)),
        ["λ 0", "λ 0.5", "λ 1", "λ 1.5"],
    ),
    "my_taste": Card([Run("my_taste")], [range(4), range(4, 8)], sides=["", "star what you like, and run again"]),
    "sd15_dpo": pair("square", 12),
    "sdxl_dpo": pair("star", 5),
    "sd15_paper": pair("moon", 6),
    "sdxl_paper": pair("flower", 4),
    "sd35_flow_grpo": pair("ball", 8),
    "sdxl_dpo_sweep": Card(
        [sweep("star", "0, 0.25, 0.5, 1, 1.5", 3, 21)],
        table(5, 3, range(5)),
        ["λ 0", "λ 0.25", "λ 0.5", "λ 1", "λ 1.5"],
        stands_in=True,
    ),
    "sd35_rlg": Card(
        [sweep("triangle", "0, 1, 1.5, 2, 3", 3, 11)],
        table(5, 3, range(5)),
        ["λ 0", "λ 1", "λ 1.5", "λ 2", "λ 3"],
        stands_in=True,
    ),
    "sdxl_two_anchors": Card(
        [of_two_anchors(*shares, 4) for shares in ((1.0, 0.0), (0.5, 0.5), (0.0, 1.0))],
        [[0, 2, 4], [1, 3, 5]],
        ["one anchor", "half of each", "the other"],
        stands_in=True,
    ),
    "sdxl_particles": Card(
        [Run("smaller_jpegs", REWARD)], [[4, 0], [5, 1]], ["as usual", "towards a reward"], stands_in=True
    ),
}
