"""RealignReport: a run's trace as plots, as tidy JSON and as CSV."""

from __future__ import annotations

from comfy_api.latest import io, ui

from .checked import Node
from .pictures.facts import facts
from .pictures.panels import report_plots
from .pictures.records import as_csv, as_json
from .pictures.traced import parse_trace
from .types import ALIASES, CATEGORY


class RealignReport(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignReport",
            display_name="λ Report",
            category=CATEGORY,
            description=(
                "Shows how far a run drew its pictures from what the base model would draw, step by step, as plots, "
                "tidy JSON and CSV. λ, β/λ and the KL spent, in nats; for a λ sweep KL against λ; for a run with "
                "particles the reward, the held-out one, how many particles count, and what that comes to in words. "
                "What was not measured is left out."
            ),
            search_aliases=[*ALIASES, "kl", "trace", "plot", "csv", "json", "export", "lambda sweep", "statistics"],
            inputs=[
                io.String.Input(
                    "trace",
                    force_input=True,
                    tooltip="Of Realign Sampler, Realign Particles or Realign Trace, as it is.",
                )
            ],
            outputs=[
                io.Image.Output(display_name="plots", tooltip="The plots, one picture."),
                io.String.Output(
                    display_name="json",
                    tooltip=(
                        "settings, anchors, pictures (λ, β/λ as beta, masked, seed, cfg, η, KL) and steps, one record "
                        "per picture and step; with particles also scores, weights and groups. Counted from 1; null is "
                        "what is not known."
                    ),
                ),
                io.String.Output(
                    display_name="csv",
                    tooltip="One line per picture and step, the same numbers; an empty field is what is not known.",
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, trace: str) -> io.NodeOutput:
        parsed = parse_trace(trace)
        known = facts(parsed.batch, None, parsed)
        plots = report_plots(known)
        return io.NodeOutput(plots, as_json(known), as_csv(known), ui=ui.PreviewImage(plots, cls=cls))


NODES = [RealignReport]
