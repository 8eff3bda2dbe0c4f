"""Makes the pictures of `make evidence` by the studies' command, on real ComfyUIs.

One study for each anchor and way of mixing, in a folder of its own outside the clone, so that a killed run goes on. A
row of it has a caption's pictures of all seeds side by side: a sweep gives each the noise of its own run, and so small
a network takes eight at once in the time of three.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from einops import rearrange
from PIL import Image

from realign_study.report.statistics import Array
from tools.cache import PACK
from tools.host.host_process import Host
from tools.train.demo_data import KINDS

from .learned_cases import CORRECTED, MERGED, PARTICLES, RLG, STEPS, STEPWISE, Asked, Extent

NODES = Path(__file__).resolve().parent / "comfy_nodes"
DDPM, EULER, SCHEDULER = "ddpm", "euler", "normal"
TRACE = "14"
WORDS = ("shape", "colour", "background")
Graph = dict[str, dict[str, Any]]


@contextmanager
def hosts(python: Path, folder: Path, networks: Path, count: int) -> Iterator[list[str]]:
    """Addresses of ComfyUIs that have the pack, and a node for the networks in a folder."""
    with ExitStack() as stack:
        started = []
        for _ in range(count):
            base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="realign-evidence-")))
            (base / "custom_nodes").mkdir()
            (base / "custom_nodes" / "evidence").symlink_to(NODES, target_is_directory=True)
            host = Host(python, folder, base=base)
            host.environment = {"REALIGN_EVIDENCE": str(networks)}
            started.append(stack.enter_context(host).url)
        yield started


def captions(every: int) -> list[dict[str, str]]:
    """One of each so many of all captions, in their order, another one of each: so that no word is left out where the
    number of words divides `every`."""
    whole = list(product(*KINDS))
    places = range(len(whole) // every)
    return [dict(zip(WORDS, whole[place * every + place % every], strict=True)) for place in places]


def graph(extent: Extent, asked: Asked) -> tuple[Graph, list[str]]:
    """The workflow, and its inputs that take λ. Seed n of a study are the noises from n · extent.seeds on."""
    network = extent.network
    nodes: Graph = {
        "1": _node(
            "EvidenceModels",
            network=network.name,
            anchor=asked.anchor.name,
            shape="ball",
            colour="any",
            background="any",
        ),
        "2": _node("RealignAnchorFromModel", model=["1", 1], beta_source="unknown / no KL term", beta=5000.0),
        "3": _node("EmptyLatentImage", width=network.size, height=network.size, batch_size=1),
        "4": _node("EvidenceSeeds", group=0, count=extent.seeds),
        "5": _node(
            "RealignSweep",
            latent=["3", 0],
            **{"values": "range", "start": 0.0, "end": 0.0, "count": 1, "listed": "0"},
            **{"seeds": ["4", 1], "rows": "seed", "row_values": "", "batch_size": ["4", 1]},
            measure_ends=asked.method == STEPWISE and not (asked.anchor.seed or asked.anchor.doubled),
        ),
        "8": _node("VAEDecode", samples=["6", 0], vae=["1", 3]),
        "9": _node("EvidenceStrip", images=["8", 0]),
        "10": _node("SaveImage", images=["9", 0], filename_prefix="evidence"),
    }
    pair = {"model": ["1", 0], "anchor": ["2", 0], "lambda_": 1.0, "lambda_schedule": ["5", 1]}
    both = {"positive": ["1", 2], "negative": ["1", 2], "cfg": 1.0}
    of_lambda = ["5.start", "5.end"]
    if asked.method == RLG:
        nodes["7"] = _node("RealignGuider", **pair, **both, anchor_cfg=-1.0)
        nodes["11"] = _node("RandomNoise", noise_seed=["4", 0])
        nodes["12"] = _node("KSamplerSelect", sampler_name=EULER)
        nodes["13"] = _node("BasicScheduler", model=["1", 0], scheduler=SCHEDULER, steps=STEPS, denoise=1.0)
        wired = {"noise": ["11", 0], "guider": ["7", 0], "sampler": ["12", 0], "sigmas": ["13", 0]}
        nodes["6"] = _node("SamplerCustomAdvanced", **wired, latent_image=["5", 0])
        return nodes, of_lambda
    run = {"seed": ["4", 0], "steps": STEPS, "scheduler": SCHEDULER, "denoise": 1.0, "latent_image": ["5", 0]}
    if asked.method == MERGED:  # a sweep's one λ is 0: the merged model by itself
        nodes["7"] = _node("ModelMergeSimple", model1=["1", 1], model2=["1", 0], ratio=1.0)
        pair["model"], of_lambda = ["7", 0], ["7.ratio"]
    corrected = {"correct": asked.method == CORRECTED, "particles": PARTICLES}
    nodes["6"] = _node("RealignSampler", **pair, **both, **run, sampler_name=DDPM, **corrected)
    nodes[TRACE] = _node("EvidenceMeanTrace", trace=["6", 2])
    return nodes, of_lambda


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def write_plan(extent: Extent, asked: Asked, folder: Path) -> Path:
    """The study's plan and workflow, into its folder; returns the plan."""
    folder.mkdir(parents=True, exist_ok=True)
    workflow, of_lambda = graph(extent, asked)
    (folder / "workflow.json").write_text(json.dumps(workflow), encoding="utf-8")
    plan = {
        "study": asked.name,
        "workflow": "workflow.json",
        "prompts": [{"prompt": " ".join(caption.values()), **caption} for caption in captions(extent.every)],
        "lambda": list(asked.lambdas),
        "seeds": {"from": 0, "count": 1, "own": True},  # pictures of one noise are alike
        "inputs": {"lambda": of_lambda, "seed": "4.group"},
        "outputs": {"trace": f"{TRACE}.0"} if TRACE in workflow else {},
        "out": str(folder),
    }
    file = folder / "asked.yaml"
    file.write_text(yaml.safe_dump(plan, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file


def is_made(extent: Extent, asked: Asked, folder: Path) -> bool:
    """Whether all its pictures are there."""
    table = folder / "table.parquet"
    if not table.exists():
        return False
    good = pc.sum(pc.equal(pq.read_table(table, columns=["error"])["error"], "")).as_py()
    return bool(good == len(asked.lambdas) * len(captions(extent.every)))


def rows_of(folder: Path, value: float) -> list[dict[str, Any]]:
    """A study's rows of this λ that have pictures, one for each caption."""
    rows = pq.read_table(folder / "table.parquet").to_pylist()
    return [row for row in rows if abs(row["lambda"] - value) < 1e-9 and not row["error"]]


def pictures_of(file: Path, seeds: int) -> Array:
    """(seeds, H, W, 3) 0 to 255: the pictures of a row, by their seeds."""
    return rearrange(np.asarray(Image.open(file).convert("RGB")), "h (seed w) c -> seed h w c", seed=seeds)


def make(extent: Extent, asked: Asked, folder: Path, urls: Sequence[str]) -> None:
    """Its pictures and table, into the folder. What is there is kept."""
    command = [sys.executable, "-m", "realign_study", "study", str(write_plan(extent, asked, folder))]
    servers = [part for url in urls for part in ("--server", url)]
    environment = {**os.environ, "PYTHONPATH": str(PACK), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *servers], env=environment, check=True, stdout=subprocess.DEVNULL)
