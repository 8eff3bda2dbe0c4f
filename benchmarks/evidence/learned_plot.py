"""docs/evidence.png, and a sheet of pictures: an anchor that went too far, brought back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from realign_study.report.drawing import COLOURS, GREY

from .learned_cases import STEPWISE, Asked, Case
from .learned_found import BELOW, Found
from .learned_scores import REWARD
from .learned_studies import captions, pictures_of, rows_of
from .paired import Array
from .plots import bland_altman, curve, ecdf, scatter, sheet

ROWS = 3  # captions on the sheet of pictures, of each way


def draw(found: Found, path: Path) -> None:
    ways = list(found.extent.betas)
    with sheet(path, 2, 3) as panels:
        _means(panels[0], found)
        for axes, way in zip(panels[1:], ways):
            _errors(axes, found, way)
        _frontier(panels[2] if len(ways) == 1 else panels[3], found)
        rest = panels[3:] if len(ways) == 1 else panels[4:]
        case = middle(found, ways[0])
        pair = found.beside(case, REWARD)
        named = f"{ways[0]}, β {case.anchor.beta:g} at β {case.target:g}, λ {case.lambda_:.2g}"
        bland_altman(rest[0], pair.retrained, pair.mixed)
        rest[0].set_title(f"Bland–Altman: {named}")
        names = {"reference": pair.reference, "anchor": pair.anchor, "retrained": pair.retrained, "by λ": pair.mixed}
        ecdf(rest[1], names)
        rest[1].set_title(f"Share of pictures below a score: {named}")
        rest[1].set_xlabel(REWARD)
        for axes in rest[2:]:
            scatter(axes, pair.retrained, pair.mixed)
            axes.set_title(f"Every picture: {named}")


def middle(found: Found, way: str) -> Case:
    """From the strongest anchor, about half the way."""
    strongest = found.extent.anchors(way)[0]
    cases = [case for case in found.cases(way, STEPWISE, BELOW) if case.anchor == strongest]
    return min(cases, key=lambda case: abs(case.lambda_ - 0.5))


def _means(axes: Axes, found: Found) -> None:
    """The paper's scatter: a dot for each pair of anchor and target."""
    for place, way in enumerate(found.extent.betas):
        cases = found.cases(way, STEPWISE, BELOW)
        pairs = [found.beside(case, REWARD) for case in cases]
        retrained, mixed = (np.array([getattr(one, name).mean() for one in pairs]) for name in ("retrained", "mixed"))
        ends = [min(retrained.min(), mixed.min()), max(retrained.max(), mixed.max())]
        axes.plot(ends, ends, color=GREY, linewidth=0.8)
        axes.plot(retrained, mixed, "o", markersize=4, color=COLOURS[place], label=f"{way} anchors")
    axes.set(xlabel="retrained", ylabel="by λ", title=f"Mean chroma, all pairs with {BELOW}, step by step")
    axes.legend(frameon=False, fontsize=8)


def _errors(axes: Axes, found: Found, way: str) -> None:
    """Which way each method errs, from the strongest anchor."""
    strongest = found.extent.anchors(way)[0]
    for place, method in enumerate(found.methods(way, BELOW)):
        cases = [case for case in found.cases(way, method, BELOW) if case.anchor == strongest]
        cases.sort(key=lambda case: case.lambda_)
        curve(axes, [case.lambda_ for case in cases], [found.signed(case) for case in cases], method, place)
    noise = found.between_trainings(way, REWARD)
    if noise:
        axes.axhspan(-noise[1].value, noise[1].value, color=GREY, alpha=0.2, linewidth=0, label="two trainings")
    axes.axhline(0, color=GREY, linewidth=0.8)
    title = f"{way.capitalize()} anchor of β {strongest.beta:g}: which way λ errs"
    axes.set(xlabel="λ", ylabel="mean chroma less retrained, of the way", title=title)
    axes.margins(y=0.3)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower left")


def _frontier(axes: Axes, found: Found) -> None:
    """What a nat buys."""
    for place, way in enumerate(found.extent.betas):
        trained = [found.alone(one) for one in (found.extent.reference, *found.extent.anchors(way)[::-1])]
        strongest = found.extent.anchors(way)[0]
        cases = [case for case in found.cases(way, STEPWISE, BELOW) if case.anchor == strongest]
        mixed = [found.by_lambda(case) for case in sorted(cases, key=lambda case: case.lambda_)]
        for runs, name, dash in ((trained, "retrained", "-"), (mixed, "by λ", "--")):
            x = [max(found.nats(run), 0.0) if run is not trained[0] else 0.0 for run in runs]
            curve(axes, x, [found.mean(run, REWARD) for run in runs], f"{way}, {name}", place, dash)
    axes.set(xlabel="KL(it ‖ reference), nats", ylabel=REWARD, title="Reward against KL")
    axes.legend(frameon=False, fontsize=8)


def pictures(found: Found, studies: Path, path: Path) -> None:
    """An anchor that went too far, brought back: by λ from the strongest anchor, and the network of each β below it."""
    extent = found.extent
    prompts = [" ".join(one.values()) for one in captions(extent.every)]
    some = [prompts[place * (len(prompts) - 1) // (ROWS - 1)] for place in range(min(ROWS, len(prompts)))]
    columns = 1 + max(len(betas) for betas in extent.betas.values())
    height = 2.6 * len(some) + 0.5
    figure = Figure(figsize=(1.3 * columns, height * len(extent.betas)), layout="constrained", facecolor="white")
    parts = np.atleast_1d(figure.subfigures(len(extent.betas), 1))
    for part, way in zip(parts, extent.betas, strict=True):
        _block(part, found, studies, way, some)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _block(figure: SubFigure, found: Found, studies: Path, way: str, some: Sequence[str]) -> None:
    """Of each caption a line by λ, and below it one of what was trained."""
    anchors = found.extent.anchors(way)
    strongest = Asked(STEPWISE, anchors[0], ())
    reference = (Asked(STEPWISE, found.extent.first, ()), 0.0)
    targets = anchors[::-1]
    mixed = [reference, *((strongest, round(anchors[0].beta / one.beta, 9)) for one in targets)]
    retrained = [reference, *((Asked(STEPWISE, one, ()), 1.0) for one in targets)]
    lines = [
        [_pictures(studies / asked.name, value, some, found.extent.seeds) for asked, value in line]
        for line in (mixed, retrained)
    ]
    heads = ["reference", *(f"λ {value:.2g}, β {one.beta:g}" for (_, value), one in zip(mixed[1:], targets))]
    panels = figure.subplots(2 * len(some), len(heads), squeeze=False)
    for place, axes in enumerate(panels.flat):
        row, column = divmod(place, len(heads))
        axes.imshow(lines[row % 2][column][row // 2], interpolation="bicubic")
        axes.set(xticks=[], yticks=[], title=heads[column] if row == 0 else "")
        axes.title.set_fontsize(8)
        for edge in axes.spines.values():
            edge.set_visible(False)
        if column == 0:
            axes.set_ylabel(("by λ", "retrained")[row % 2], fontsize=8)
    figure.suptitle(f"{way.capitalize()} anchors: λ from β {anchors[0].beta:g}", fontsize=10)


def _pictures(folder: Path, value: float, prompts: Sequence[str], seeds: int) -> list[Array]:
    """Of some captions, of the first seed of each."""
    own = {row["prompt"]: row for row in rows_of(folder, value)}
    return [pictures_of(folder / own[prompt]["picture"], seeds)[0] for prompt in prompts]
