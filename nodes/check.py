"""RealignCheck: is λ right on this machine, with these models and the nodes on them?"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import comfy.samplers
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from .checked import Node
from .inputs import cfg_input, number, pair_inputs, prompt_inputs
from .models.anchor import Anchors
from .models.described import formats, in_memory, patches_on, versions
from .page import show_text
from .run.check import Check, Finding, Mixed, Runs
from .types import ALIASES, CATEGORY, Conditioning

MARKS = {True: "✓", False: "✗", None: "?"}
RIGHT = "All is right: λ does on these models what it should."
UNSURE = "Nothing is wrong, but not everything can be told here"


class RealignCheck(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignCheck",
            display_name="Realign Check",
            category=CATEGORY,
            description=(
                "Tells whether λ makes the pictures that it should with your models, on this machine, with the nodes "
                "that are on them. Compares a few steps at λ 0, 0.5 and 1 with stock runs of the same models, and says "
                "what is wrong. Sends nothing."
            ),
            search_aliases=[*ALIASES, "diagnose", "self test", "bug report", "realign wrong", "troubleshoot"],
            inputs=[
                *pair_inputs(),
                *prompt_inputs(),
                io.Latent.Input("latent", tooltip="The size to check at: as you sample, or smaller to be faster."),
                number("steps", 4, 1, 100, optional=True)(
                    "Steps of each run (1–100). The check makes about 12 runs; 4 steps find what is wrong."
                ),
                _cfg(),
            ],
            outputs=[
                io.String.Output(
                    display_name="report",
                    tooltip=(
                        "The table with versions and the names of the nodes on the models, to copy into a bug report. "
                        "It holds no prompts and no paths."
                    ),
                )
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        anchor: Anchors,
        positive: Conditioning,
        negative: Conditioning,
        latent: dict[str, Any],
        steps: int = 4,
        cfg: float = 7.0,
    ) -> io.NodeOutput:
        began = time.perf_counter()
        node_id = getattr(cls.hidden, "unique_id", None)
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", steps)
        memory: list[str] = []
        runs = Runs(positive, negative, latent, cfg, sigmas, lambda what: show_text(node_id, f"checking: {what} …"))
        check = Check(model, anchor, runs, lambda: memory.extend(loaded(model, anchor)) if not memory else None)
        findings = check.go()
        table = [verdict(findings), *map(line, findings), *facts(model, anchor, check.mixed, memory)]
        report = "\n".join([*table, "", *about(model, anchor, steps, cfg)])
        logging.info("Realign Check:\n%s", report)
        show_text(node_id, f"checked in {time.perf_counter() - began:.3g} s")
        return io.NodeOutput(report, ui={"realign_check": [{"table": "\n".join(table), "report": report}]})


def verdict(findings: Sequence[Finding]) -> str:
    """In words: is all right, or what is wrong and what to do."""
    wrong = [one for one in findings if one.right is False]
    unsure = [one for one in findings if one.right is None]
    if not wrong and not unsure:
        return RIGHT
    one = (wrong or unsure)[0]
    said = f"Not right at {one.what}: {one.said}" if wrong else UNSURE
    return said.rstrip(".") + "." + (f" What to do: {one.advice}." if one.advice else "")


def line(finding: Finding) -> str:
    return f"{MARKS[finding.right]} {finding.what}: {finding.said}"


def facts(model: ModelPatcher, anchors: Anchors, mixed: Mixed | None, memory: Sequence[str]) -> list[str]:
    """What is neither right nor wrong: number formats, memory, time."""
    out = [f"· reference: {formats(model)}"]
    out += [f"· anchor “{anchor.name}”: {formats(anchor.patcher)}" for anchor in anchors]
    if memory:
        out.append(f"· memory at λ 0.5: {'; '.join(memory)}")
    if mixed is not None:
        stock, ours = mixed.models[0].seconds, mixed.ours.seconds
        times = f"{ours / stock:.2g} times" if stock else "as long as"
        out.append(f"· a step at λ 0.5: {mixed.calls:.3g} model calls, {times} a stock step of {stock:.2g} s")
    return out


def loaded(model: ModelPatcher, anchors: Anchors) -> list[str]:
    """What of both is on the device now. An anchor may have a weight copy of its own, made for it."""
    others = [patcher for one in anchors for patcher in (one.patcher, one.kept.get("weights")) if patcher is not None]
    out = in_memory("reference", [model])
    return out + (
        in_memory("anchor", [o for o in others if not o.is_clone(model)]) or ["the anchor runs on these weights"]
    )


def about(model: ModelPatcher, anchors: Anchors, steps: int, cfg: float) -> list[str]:
    """Of the machine and what is on the models, for a report."""
    out = [versions(model), f"{type(model.model.model_config).__name__}, {steps} steps of euler, cfg {cfg:g}"]
    out.append(f"on the reference: {patches_on(model)}")
    return out + [f"on the anchor “{anchor.name}”: {patches_on(anchor.patcher)}" for anchor in anchors]


def _cfg() -> io.Input:
    item = cfg_input()
    item.optional = True
    return item


NODES = [RealignCheck]
