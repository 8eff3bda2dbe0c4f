"""A reward report as plots: each reward over λ, or one against another, and the front among them."""

from __future__ import annotations

import torch

from .colours import AMBER, AXIS, BLUE, FRONT, INK
from .labels import number
from .plot import Line, Panel, Point, drawn
from .reported import Column, Reported
from .reward_words import correlation_line, front_sentence
from .text import Text, as_image, drawable, drawn_labels, font, shortened, wrapped

WIDTH, MARGIN = 1000, (72, 44, 24, 56)  # px; of the plots in one column, and around each
HEIGHTS = {1: 460, 2: 380, 3: 256}  # px of a plot, by how many stand below one another: with the words, a screen
BESIDE = 700  # px: a column's width where there are two
TEXT, LEFT, MOST_LINES = 16, 32, 2  # px: of the words below the plots, and their margin; lines of a sentence
WITHOUT = "without"
ROOM = 460  # px of a panel's name, in the font's size there


def reward_plots(report: Reported) -> torch.Tensor:
    """IMAGE (1, H, W, 3): the plots in one column, from four on in two; below them front and rank correlations."""
    panels = lambda_panels(report) if report.by_lambda else pair_panels(report)
    if len(panels) <= max(HEIGHTS):
        plots = drawn(panels, WIDTH, HEIGHTS[len(panels)], MARGIN)
    else:
        rows = (len(panels) + 1) // 2
        columns = [drawn(half, BESIDE, HEIGHTS[rows], MARGIN) for half in (panels[:rows], panels[rows:])]
        plots = torch.cat([_as_high(one, columns[0].shape[1]) for one in columns], 2)
    width = plots.shape[2]
    said = [front_sentence(report), f"rank correlation: {correlation_line(report)}"] if len(report.rewards) > 1 else []
    lines = [line for one in said for line in wrapped(one, font(TEXT), width - 2 * LEFT, MOST_LINES)]
    if not lines:
        return plots
    text = Text(lines, TEXT, INK)
    below = drawn_labels((width, text.height + 2 * TEXT), [(text, LEFT, TEXT / 2, "l")])
    return torch.cat([plots, as_image(below)], 1)


def lambda_panels(report: Reported) -> list[Panel]:
    """Mean ± standard error of each reward over λ, and the reference pictures' mean across it. Where the front is of
    two rewards: it, too."""
    values = [lam for lam, _ in report.by_lambda]
    ticks = [(lam, number(lam)) for lam in values]
    panels = []
    for r in range(len(report.rewards)):
        columns = [columns[r] for _, columns in report.by_lambda]
        points = [(lam, column.mean) for lam, column in zip(values, columns)]
        errors = [column.error for column in columns]
        lines = [Line(points, _colour(report, r), "mean ± standard error", errors)]
        if report.reference_columns:
            mean = report.reference_columns[r].mean
            lines.insert(0, Line([(values[0], mean), (values[-1], mean)], AXIS, WITHOUT))
        axis = "how much of the λ schedule" if report.scheduled else "λ"
        panels.append(Panel(_name(report, r), lines, axis, fits=True, ticks=ticks))
    return [*panels, pair_panel(report, *report.front_of)] if len(report.front_of) == 2 else panels


def pair_panels(report: Reported) -> list[Panel]:
    """Each other reward against the first; of a single one, the pictures from the best down."""
    if len(report.rewards) > 1:
        pairs = [(0, r) for r in range(1, len(report.rewards))]
        if len(report.front_of) == 2 and tuple(report.front_of) not in pairs:
            pairs.insert(0, (report.front_of[0], report.front_of[1]))
        return [pair_panel(report, *pair) for pair in pairs]
    lines = [Line(_ranked(report.columns[0]), BLUE, "pictures", joined=False)]
    if report.reference_columns:
        lines.insert(0, Line(_ranked(report.reference_columns[0]), AXIS, WITHOUT, joined=False))
    axis = "pictures, the best first"
    return [Panel(_name(report, 0), lines, axis, fits=True, across=True)]


def pair_panel(report: Reported, across: int, up: int) -> Panel:
    """A dot for each picture, of one reward against another; those on the front stand out, and are joined where the
    front is of these two alone."""

    def points(rows: list[list[float]]) -> list[Point]:
        return sorted((row[across], row[up]) for row in rows)

    best = set(report.front)
    rest = [row for place, row in enumerate(report.scores) if place not in best]
    lines = [Line(points(report.reference), AXIS, WITHOUT, joined=False)] if report.reference else []
    lines += [Line(points(rest), BLUE, "pictures", joined=False)] if rest else []
    joined = set(report.front_of) == {across, up}
    lines.append(Line(points([report.scores[place] for place in report.front]), FRONT, "front", joined=joined))
    axis = shortened(drawable(_name(report, across)), font(14), ROOM)
    name = f"{report.rewards[up]} against {report.rewards[across]}"
    return Panel(shortened(drawable(name), font(18), ROOM), lines, axis, fits=True, across=True)


def _ranked(column: Column) -> list[Point]:
    return [*enumerate(column.values.sort(descending=True).values.tolist(), 1)]


def _name(report: Reported, reward: int) -> str:
    return shortened(drawable(f"{report.rewards[reward]}, {report.role(reward)}"), font(18), ROOM)


def _colour(report: Reported, reward: int) -> tuple[int, int, int]:
    return BLUE if reward < report.optimised else AMBER


def _as_high(image: torch.Tensor, height: int) -> torch.Tensor:
    """IMAGE (1, H, W, 3), its background below."""
    rest = image[:, :1, :1].expand(-1, height - image.shape[1], image.shape[2], -1)
    return torch.cat([image, rest], 1)
