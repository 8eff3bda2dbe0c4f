"""The second stage: rewards of pictures that are there. Rewards are the pack's nodes, and run on a host as it does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .backends.interface import Task, Wanted
from .errors import PlanError
from .hosts import loaded_as
from .slots import Graph


def reward_graph(name: str, reward: Mapping[str, Any]) -> Graph:
    """A reward of the plan as nodes, the last of which is `name`: {"node": class, input: value …}, where a value may be
    such a node itself. Raises PlanError where it is none."""
    graph: Graph = {}
    _add(graph, f"reward {name}", reward)
    return graph


def _add(graph: Graph, node: str, wanted: Mapping[str, Any]) -> None:
    kind = wanted.get("node")
    if not isinstance(kind, str):
        raise PlanError(f"{node}: say which node it is, as node: RealignPictureReward.")
    inputs: dict[str, Any] = {}
    for key, value in wanted.items():
        if isinstance(value, Mapping):
            _add(graph, f"{node}.{key}", value)
            inputs[key] = [f"{node}.{key}", 0]
        elif key != "node":
            inputs[key] = value
    graph[node] = {"class_type": kind, "inputs": inputs}


def asked(reward: Mapping[str, Any]) -> str:
    """What identifies a reward of the plan: the hash of its nodes, whatever it is called."""
    return hashlib.sha256(json.dumps(reward, sort_keys=True).encode()).hexdigest()[:32]


def score_task(key: str, picture: Path, prompt: str, rewards: Mapping[str, Graph]) -> Task:
    """One picture with all rewards that are missing; one by one, where that fails. Raises OSError where it cannot be
    read."""
    alone = [_task(key, {name: nodes}, prompt) for name, nodes in rewards.items()] if len(rewards) > 1 else []
    return replace(_task(key, rewards, prompt), uploads={f"{key}.png": picture.read_bytes()}, parts=tuple(alone))


def _task(key: str, rewards: Mapping[str, Graph], prompt: str) -> Task:
    name = f"{key}.png"
    graph: Graph = {"picture": {"class_type": "LoadImage", "inputs": {"image": loaded_as(name)}}}
    wanted = {}
    for reward, nodes in rewards.items():
        graph |= nodes
        score, told = f"score {reward}", f"told {reward}"
        inputs = {"reward": [f"reward {reward}", 0], "images": ["picture", 0], "prompt": prompt}
        graph[score] = {"class_type": "RealignScore", "inputs": inputs}
        graph[told] = {"class_type": "PreviewAny", "inputs": {"source": [score, 1]}}
        wanted[reward] = Wanted(told, "number")
    return Task(key, graph, None, wanted)
