"""Particles beside what is known: `make particles`. Writes benchmarks/results/particles.md; ten minutes on one core.

Models of which every tilted version has a closed form (particles_toys.py), so that a method is measured by its distance
from the exact target and not by a score that it has climbed itself. Bars that are not met end it with an error.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from particles_correction import ETAS, LAMBDAS, in_dimensions, on_the_plane
from particles_runs import (
    FLOOR,
    GUIDED,
    GUIDED_EQUAL,
    KARRAS,
    METHODS,
    OURS,
    Goal,
    Measured,
    covered,
    drawn_each,
    drawn_pooled,
    nearness,
    over_seeds,
    run,
    table,
)
from particles_toys import COORDINATE, TOYS, levels_of
from tables import table as markdown

from realign_core import Tilt

RESULTS = Path(__file__).resolve().parent / "results"
DIMENSIONS = (8, 128, 512, 2048)
HEAD = """# Particles

Printed by `make particles` (benchmarks/particles.py) in {minutes:.0f} minutes on one thread. Every figure is the mean
of five seeds and half its 95 % interval.

Grid and ring are those of DAS (arXiv 2501.05803): nine Gaussians at {{-4, 0, 4}}², r = -x²/100 - y², and eight on a
circle of radius 4, r = -x² - (y - 1)²/10, covariance 0.3, α_r = 1. Total variation is counted in cells of 0.5; it is
never 0 for finitely many draws, so the same number of exact draws stands beside it (the floor). Sliced Wasserstein: 32
directions. V, the data's variance per coordinate, is measured unless given; η 1, VE levels from σ 40 to 0.03.
"""


@dataclass(frozen=True)
class Bar:
    """A bar of the plan, and what was measured."""

    number: int
    what: str
    figure: Measured
    digits: int
    wanted: str
    met: bool

    def row(self) -> str:
        met = "yes" if self.met else "**no**"
        return f"| {self.number} | {self.what} | {self.figure.text(self.digits)} | {self.wanted} | {met} |"


def within(number: int, what: str, figure: Measured, truth: float, most: float) -> Bar:
    wanted = f"{truth:.3f} ± {most:g}"
    return Bar(number, what, figure, 3, wanted, abs(figure.mean - truth) <= most)


def below(number: int, what: str, figure: Measured, most: float, why: str) -> Bar:
    return Bar(number, what, figure, 3, f"≤ {most:.3f} ({why})", figure.mean <= most)


def many_particles(bars: list[Bar]) -> None:
    """Bar 3."""
    steps, particles, draws = 100, 64, 1024
    for name, (model, reward) in TOYS.items():
        exact = model.tilted(reward)[1]

        def once(seed: int, model=model, reward=reward, exact=exact) -> tuple[float, ...]:
            tilt = Tilt(reward, 1.0)
            out = run([model], levels_of(KARRAS, steps), draws, particles, seed, tilt=tilt)
            floor = exact.total_variation(exact.draw(draws, 900 + seed))
            return *nearness(exact, reward, drawn_each(out, seed)), floor

        gained, distance, _, floor = over_seeds(once)
        what = f"{name}, N {particles}, T {steps}, {draws} draws, one a group"
        most = {"grid": 0.03, "ring": 0.06}[name]
        bars.append(within(3, f"{what}: mean reward", gained, exact.mean_reward(reward), most))
        bars.append(below(3, f"{what}: total variation", distance, 1.25 * floor.mean, f"1.25 × {floor.mean:.3f}"))


def four_particles(bars: list[Bar]) -> None:
    """Bar 4, one draw a group: of both gradients, and of more pictures than the table has, as the bar is near."""
    steps, particles, draws, sets = 50, 4, 1024, 4
    for name, (model, reward) in TOYS.items():
        exact = model.tilted(reward)[1]
        most, factor = {"grid": (0.06, 1.3), "ring": (0.2, 1.9)}[name]
        floor = statistics.mean(exact.total_variation(exact.draw(draws, 900 + one)) for one in range(40))
        for gradient in ("reward", "full"):

            def once(seed: int, model=model, reward=reward, exact=exact, gradient=gradient) -> tuple[float, ...]:
                tilt = Tilt(reward, 1.0, gradient=gradient)
                out = run([model], levels_of(KARRAS, steps), sets * draws, particles, 50 + seed, tilt=tilt)
                figures = [nearness(exact, reward, x) for x in drawn_each(out, seed).split(draws)]
                return tuple(statistics.mean(column) for column in zip(*figures))

            gained, distance, _ = over_seeds(once)
            kind = {"reward": "reward-only", "full": "full"}[gradient]
            what = f"{name}, N 4, T {steps}, {sets} times {draws} draws, one a group, {kind} gradient"
            bars.append(within(4, f"{what}: mean reward", gained, exact.mean_reward(reward), most))
            bars.append(below(4, f"{what}: total variation", distance, factor * floor, f"{factor} × {floor:.4f}"))


def pooled_groups(bars: list[Bar]) -> str:
    """Bar 4, pooled, on both toys; the bar is on the ring."""
    steps, particles, draws, together = 50, 4, 2048, 8
    rows = []
    for name, (model, reward) in TOYS.items():
        exact = model.tilted(reward)[1]

        def once(seed: int, model=model, reward=reward, exact=exact) -> tuple[float, ...]:
            tilt = Tilt(reward, 1.0)
            out = run([model], levels_of(KARRAS, steps), draws, particles, seed, tilt=tilt)
            x, distinct = drawn_pooled(out, together, seed)
            full = Tilt(reward, 1.0, gradient="full", tempering="one")
            alone = run([model], levels_of(KARRAS, steps * particles), draws, 1, seed, tilt=full).x
            floor = nearness(exact, reward, exact.draw(draws, 900 + seed))
            each = nearness(exact, reward, drawn_each(out, seed))
            return *each, *nearness(exact, reward, x), distinct, *nearness(exact, reward, alone), *floor

        figures = over_seeds(once)
        each, pooled, guided, floor = figures[:3], figures[3:7], figures[7:10], figures[10:]
        for what, found in (
            (FLOOR, floor),
            ("one draw a group", each),
            (f"{together} groups pooled", pooled),
            ("gradient guidance, one picture at equal calls", guided),
        ):
            rows.append([name, what, *(m.text() for m in found[:3]), pooled[3].text() if found is pooled else ""])
        if name == "ring":
            what = f"ring, {together} groups of {particles} pooled, T {steps}, {draws} draws"
            bars.append(within(4, f"{what}: mean reward", pooled[0], exact.mean_reward(reward), 0.05))
            bars.append(
                below(4, f"{what}: total variation", pooled[1], 1.4 * floor[1].mean, f"1.4 × {floor[1].mean:.3f}")
            )
            bars.append(
                below(4, f"{what}: sliced Wasserstein", pooled[2], guided[2].mean, "gradient guidance at equal calls")
            )
            bars.append(Bar(4, f"{what}: share of distinct pictures", pooled[3], 3, "≥ 0.95", pooled[3].mean >= 0.95))
    head = ["toy", "drawn", "mean reward", "total variation", "sliced Wasserstein", "distinct"]
    return f"## Groups pooled\n\nT {steps}, groups of {particles}, {draws} draws.\n\n{markdown([head, *rows])}\n"


def dimensions(bars: list[Bar]) -> str:
    """Bar 5, and the same over KL."""
    steps, particles, groups, rows = 50, 16, 256, []
    spread = COORDINATE.spread
    methods = {
        "gradient guidance (DPS), one picture": (1, {"gradient": "full", "tempering": "one"}),
        "best of N, a weighted draw": (particles, {"gradient": "none", "threshold": 0.0}),
        "ours without a gradient": (particles, {"gradient": "none"}),
        "DAS: full gradient, its schedule": (particles, {"gradient": "full", "tempering": "steps"}),
        "full gradient, by curvature": (particles, {"gradient": "full"}),
        OURS: (particles, {}),
        f"the same, V given ten times too small ({spread / 10:g})": (particles, {"variance": spread / 10}),
    }
    for d in (8, 32, 128):
        goal = Goal(d)
        for name, (size, options) in methods.items():
            count = groups if size > 1 else groups * 8
            share, error, unique = covered(goal, size, count, steps, **options)
            print(f"d {d} {name}: {share.text()}, {error.text()}, {unique.text(1)}", flush=True)
            rows.append([f"{d}, {goal.kl:.1f}", name, share.text(2), error.text(2), unique.text(1)])
            what = f"product, d {d}, N {particles}, T {steps}, {groups} draws"
            if d == 32 and name == OURS:
                bars.append(Bar(5, f"{what}: share of the gap", share, 3, "0.9 … 1.1", 0.9 <= share.mean <= 1.1))
                bars.append(Bar(5, f"{what}: error of log Z", error, 3, "≤ 0.4 either way", abs(error.mean) <= 0.4))
            if d == 32 and name.startswith("best"):
                bars.append(below(5, f"{what}: share of the gap, best of N", share, 0.75, "beside it"))
    head = ["d, KL in nats", "method", "share of the gap", "error of log Z", "unique ancestors"]
    text = (
        "Each coordinate is ±1 with variance 0.2, r = -Σ (x - 1)²/4; flow matching, T 50, N 16 (guidance: 1). The "
        f"share of the way from the models' mean reward to the target's, one draw of each of {groups} groups "
        f"(guidance: {8 * groups} pictures), and the mean of log Ẑ - log Z. What decides is the KL, not "
        "the number of dimensions."
    )
    return f"## Many dimensions\n\n{text}\n\n{markdown([head, *rows])}\n"


def correction(bars: list[Bar]) -> str:
    """Bar 6."""
    steps, particles, draws, rows = 50, 4, 2048, []
    for toy in TOYS:
        for lam in LAMBDAS:
            for eta in ETAS:
                floor, plain, corrected = on_the_plane(toy, lam, eta, steps, particles, draws)
                print(f"{toy} λ {lam} η {eta}: {plain.text()} → {corrected.text()} ({floor.text()})", flush=True)
                rows.append([toy, f"{lam:g}", f"{eta:g}", plain.text(), corrected.text(), floor.text()])
                most, why = (
                    (0.65 * plain.mean, f"0.65 × {plain.mean:.3f}")
                    if lam <= 0.5
                    else (plain.mean + 0.01, "step by step + 0.01")
                )
                what = (
                    f"{toy}, λ {lam:g}, η {eta:g}, N {particles}, T {steps}, {draws} draws: total variation, corrected"
                )
                bars.append(below(6, what, corrected, most, why))
    head = ["toy", "λ", "η", "step by step", "corrected", "floor"]
    text = (
        "The anchor is the toy's target; λ stands for exp(λ r). Total variation, "
        f"T {steps}, groups of {particles}, {draws} draws."
    )
    return f"## The correction of the mixture\n\n{text}\n\n{markdown([head, *rows])}\n"


def fading() -> str:
    """How bar 6 fades."""
    steps, particles, rows = 50, 4, []
    for lam in (0.25, 0.5, 1.5):
        for d in DIMENSIONS:
            groups = max(64, 16_384 // d)
            stepwise, alone, together, unique = in_dimensions(d, lam, steps, particles, groups)
            print(f"d {d} λ {lam}: {stepwise.text()}, {alone.text(2)}, {together.text(2)}", flush=True)
            rows.append(
                [f"{lam:g}", str(d), str(groups), stepwise.text(), alone.text(2), together.text(2), unique.text(1)]
            )
    head = [
        "λ",
        "d",
        "groups",
        "error step by step",
        "removed, a draw a group",
        "removed, 8 groups pooled",
        "unique ancestors",
    ]
    text = (
        "Each coordinate is ±1 with variance 0.2, the anchor tilted by -(x - 1)²: 0.55 nats a coordinate. Flow "
        f"matching, T {steps}, groups of {particles}; the error is that of a coordinate's mean against the exact "
        "model's own run with the same noise, and what is removed a share of it. In a picture's dimensions four "
        "particles correct little: a partial correction shows in the ESS and in how few ancestors are left."
    )
    return f"### It fades with dimension\n\n{text}\n\n{markdown([head, *rows])}\n"


def methods(rows: dict[str, dict[str, list[Measured]]], steps: int, particles: int, draws: int) -> str:
    body = []
    for name in (FLOOR, *METHODS):
        calls, back = METHODS[name][1:] if name in METHODS else ("", False)
        figures = [figure.text() for toy in rows.values() for figure in toy[name]]
        body.append([name, f"{calls}·T" if calls else "", "yes" if back else "", *figures])
    head = ["method", "calls", "back through the model"]
    head += [f"{toy}: {figure}" for toy in rows for figure in ("mean reward", "total variation", "sliced Wasserstein")]
    exact = ", ".join(
        f"{toy} {model.tilted(reward)[1].mean_reward(reward):.3f}" for toy, (model, reward) in TOYS.items()
    )
    text = f"N {particles}, T {steps}, {draws} pictures each. Exact mean reward: {exact}."
    return f"## Methods, N = {particles}\n\n{text}\n\n{markdown([head, *body])}\n"


def honest(rows: dict[str, dict[str, list[Measured]]]) -> str:
    """Where one picture by gradient guidance is as near as ours."""
    said = []
    for toy, figures in rows.items():
        ours, one, many = (figures[name][1] for name in (OURS, GUIDED, GUIDED_EQUAL))
        best = min((one, many), key=lambda figure: figure.mean)
        near = "is as near" if best.mean <= ours.mean + ours.half + best.half else "is further from the target"
        said.append(
            f"On the {toy}, one picture by gradient guidance {near}: total variation {one.text()}, at equal calls "
            f"{many.text()}, ours {ours.text()}."
        )
    return " ".join(said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder that particles.md is written to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began, bars = time.monotonic(), list[Bar]()
    steps, draws = 50, 1024
    tables = {particles: table(steps, particles, draws) for particles in (4, 16)}
    many_particles(bars)
    four_particles(bars)
    sections = [methods(rows, steps, particles, draws) for particles, rows in tables.items()]
    sections[0] += f"\n{honest(tables[4])}\n"
    sections += [pooled_groups(bars), dimensions(bars), correction(bars), fading()]
    head = ["bar", "what", "measured", "wanted", "met"]
    shown = "\n".join([f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *(bar.row() for bar in bars)])
    minutes = (time.monotonic() - began) / 60
    text = "\n".join([HEAD.format(minutes=minutes), f"## Bars\n\n{shown}\n", *sections])
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "particles.md").write_text(text, encoding="utf-8")
    print(text)
    missed = [bar for bar in bars if not bar.met]
    if missed:
        raise SystemExit(f"{len(missed)} of {len(bars)} bars are not met")


if __name__ == "__main__":
    main()
