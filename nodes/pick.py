"""RealignPick: pictures to mark the better ones of, for a preference that learns from it; the page's part is `web/`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from comfy_api.latest import io

from ..realign_core import LambdaSchedule, Liked, Sweep, liked
from .checked import Node
from .compare import shown
from .inputs import report_input, text
from .page import said
from .pictures.facts import Facts
from .pictures.labels import number
from .reward.learned import Learned
from .reward.picks import lambda_picks, parse_picks
from .reward.protocol import AT_ONCE, checked_pictures, load
from .reward.session import changed
from .types import CATEGORY, REWARD_ALIASES, LambdaType, PreferenceType


class RealignPick(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignPick",
            display_name="Pick",
            category=CATEGORY,
            description=(
                "Shows a batch of pictures, for you to star the better ones: Learned Taste draws the next run "
                "towards what you starred. Of a λ sweep it says which λ you like best, and how surely."
            ),
            search_aliases=[*REWARD_ALIASES, "star", "choose", "rate", "favourite", "favorite", "human feedback"],
            inputs=[
                io.Image.Input("images", tooltip="The decoded pictures: 8 to 24 at a time are easy to choose from."),
                PreferenceType.Input(
                    "preference",
                    optional=True,
                    tooltip="Of Learned Taste, which learns from the stars. Left open: only λ is judged.",
                ),
                LambdaType.Input("sweep", optional=True, tooltip="The λ sweep of that run, if it was one."),
                io.String.Input(
                    "trace",
                    optional=True,
                    force_input=True,
                    tooltip="Of the node that sampled: shows each picture's KL, reward, and β/λ.",
                ),
                text("picks", "", optional=True, extra_dict={"hidden": True})(
                    "The stars, as the page sends them with each run: JSON, by run."
                ),
                report_input(),
            ],
            outputs=[
                io.Image.Output(
                    display_name="picked", tooltip="The pictures that are starred; all of them while none is."
                ),
                io.Float.Output(
                    display_name="λ", tooltip="The λ that you like best; while nothing is starred, the run's."
                ),
                io.String.Output(display_name="text", tooltip="What is known of the λ that you like."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        images: torch.Tensor,
        preference: Learned | None = None,
        sweep: Sweep | LambdaSchedule | None = None,
        trace: str | None = None,
        picks: str = "",
        report: str | None = None,
    ) -> io.NodeOutput:
        hidden = getattr(cls, "hidden", None)
        told = parse_picks(picks)
        batch = shown(images, sweep, trace, report, hidden)
        record, run = batch.record, batch.record["run"]
        if preference is not None:
            record["scores"] = _seen(preference, run, images, record["scores"])
        starred = [i for i in told[run].picked if i < len(images)] if run in told else []
        of_lambda = lambda_picks(told)
        best = liked(of_lambda) if len(of_lambda.features) else None
        lines = _lines(len(starred), batch.known, best)
        value = batch.lambda_ if best is None else round(best.value, 3)
        chosen = images[starred] if starred else images
        return io.NodeOutput(chosen, value, "\n".join(lines), ui={"realign_compare": [record]} | said(cls, lines))


def _seen(
    preference: Learned, run: str, images: torch.Tensor, scores: Sequence[Sequence[str]] | None
) -> list[list[str]]:
    """Has the preference's session know the pictures. What is shown of each, with how well it would be liked."""
    pictures = checked_pictures(preference, images)
    load(preference)
    with torch.no_grad():
        features = torch.cat([preference.features.of(part) for part in pictures.split(AT_ONCE)])
        likely = preference.told(features)
    changed(preference.name, preference.features.name, lambda session: session.saw(run, features))
    lines = [list(one) for one in scores] if scores else [[] for _ in range(len(images))]
    if likely is not None:
        for line, mean, spread in zip(lines, likely.mean.tolist(), likely.variance.sqrt().tolist()):
            line.append(f"liked {number(mean)} ± {number(spread)}")
    return lines


def _lines(starred: int, known: Facts, best: Liked | None) -> list[str]:
    """What this run was told of stars, and of λ."""
    lines = [f"{starred} of {known.count} pictures starred"] if starred else []
    if best is not None:
        lines.append(f"λ {best.value:.2g} is liked best, from {best.low:.2g} to {best.high:.2g} (4 times of 5)")
    elif known.cells:
        lines.append("star the better pictures of a λ sweep, then press Run: it says which λ you like")
    return lines


NODES = [RealignPick]
