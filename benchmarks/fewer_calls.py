"""How far the evaluators that save model calls end from the exact run: python benchmarks/fewer_calls.py

Trains a small network on nine Gaussians (spread 1, as latents have) and a low-rank anchor of it on the same data under
a strong reward, a minute on one CPU core, then prints a table. `compare` does the measuring, for any models.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean, pstdev

import torch
from einops import rearrange
from tables import table as markdown
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parents[1]))

from realign_core import (
    MERGED,
    Ask,
    ControlVariate,
    DifferenceReuse,
    Evaluator,
    Exact,
    NoiseLevel,
    Prediction,
    combine,
    even_span,
    gaussian_noise,
    posterior_variance,
    realigned_sample,
)

EXTRA = (2, 3, 5, 10)  # k: about 1 + 1/k calls per step
ADAPTIVE = ((8, 0.4), (8, 0.2), (5, 0.4), (5, 0.2), (5, 0.1))
LAMBDAS, ETAS = (0.25, 0.75, 1.5), (0.0, 1.0)


@dataclass(frozen=True)
class Row:
    """One method at one setting. calls: per step of the full schedule. distances: of each element of the batch, the
    root mean square over its pixels of its final sample's difference from the exact run with the same noise."""

    method: str
    calls: float
    distances: tuple[float, ...]


def compare(
    ask: Ask,
    x: Tensor,
    levels: Sequence[NoiseLevel],
    lambdas: Sequence[Sequence[float | Tensor]],
    *,
    eta: float,
    can_merge: bool = False,
    seed: int = 0,
    extra: Sequence[int] = EXTRA,
    adaptive: Sequence[tuple[int, float]] = ADAPTIVE,
    sigma_data: float = 1.0,
) -> list[Row]:
    """The distance of every method to the exact run, all from x and with the same step noise.

    x: (B, C, ...) at levels[0]. levels: T + 1, T even. lambdas: T rows of K, as `realigned_sample`'s. eta: 0 … 1.
    can_merge: weight interpolation and the control variate too. extra: each k gives every method a
    budget of about 1 + K/k calls per step. adaptive: (every, tolerance) of one run of adaptive reuse each.
    """
    anchors, steps = len(lambdas[0]), len(levels) - 1

    def run(evaluator: Evaluator, every_other: bool = False) -> tuple[Tensor, float]:
        stride = 2 if every_other else 1
        noise = gaussian_noise(x, seed)
        if every_other:
            noise = _joined(noise, levels, eta)
        options = {"noise": noise, "eta": eta, "evaluator": evaluator}
        done = realigned_sample(ask, x, levels[::stride], lambdas[::stride], **options)
        return done.x.float(), done.trace.model_calls / steps

    methods: dict[str, Callable[[], Evaluator]] = {}
    if can_merge:
        methods["weight interpolation"] = WeightInterpolation
    methods["a model drawn per step"] = partial(Drawn, seed)
    for k in extra:
        methods[f"raw reuse, every {k}"] = partial(RawReuse, k)

    def reuse(every: int, by_noise: bool, tolerance: float | None = None) -> DifferenceReuse:
        span = even_span(levels, every) if by_noise else None
        return DifferenceReuse(every, tolerance, span=span, sigma_data=sigma_data)

    for by_noise in (False, True):
        for k in extra:
            name = f"scaled + extrapolated reuse, {'span as ' if by_noise else ''}every {k}"
            methods[name] = partial(reuse, k, by_noise)
    for k, tolerance in adaptive:
        methods[f"adaptive reuse, span as every {k}, tolerance {tolerance:g}"] = partial(reuse, k, True, tolerance)

    def control(every: int, by_noise: bool) -> ControlVariate:
        span = even_span(levels, every) if by_noise else None
        return ControlVariate(every, span=span, sigma_data=sigma_data)

    for by_noise in (False, True) if can_merge else ():
        for k in extra:
            every = round(k * (anchors + 1) / anchors)  # a refresh calls the reference too
            methods[f"control variate, {'span as ' if by_noise else ''}every {every}"] = partial(
                control, every, by_noise
            )

    exact, calls = run(Exact())
    rows = [Row("exact", calls, (0.0,) * len(x))]
    halved, calls = run(Exact(), every_other=True)
    rows.append(Row("exact, half the steps", calls, _distance(halved, exact)))
    for name, make in methods.items():
        sample, calls = run(make())
        rows.append(Row(name, calls, _distance(sample, exact)))
    return rows


def _distance(a: Tensor, b: Tensor) -> tuple[float, ...]:
    return tuple((a - b).flatten(1).square().mean(1).sqrt().tolist())


def _joined(
    noise: Callable[[float, float], Tensor], levels: Sequence[NoiseLevel], eta: float
) -> Callable[[float, float], Tensor]:
    """Noise for every other level that is the same path: of a step's two draws, what reaches its end (D held)."""
    pending = iter(zip(levels[::2], levels[1::2], levels[2::2]))

    def draw(sigma: float, sigma_next: float) -> Tensor:
        start, middle, end = next(pending)
        first, second = (float(posterior_variance(a, b, eta)) for a, b in ((start, middle), (middle, end)))
        kept = math.sqrt(max(float(end.sigma) ** 2 - second, 0)) / float(middle.sigma)
        a, b = kept * math.sqrt(first), math.sqrt(second)
        one = noise(float(start.sigma), float(middle.sigma))
        return (a * one + b * noise(float(middle.sigma), float(end.sigma))) / math.hypot(a, b)

    return draw


class RawReuse:
    """What caches commonly do: D_anchor - D_ref as it was at the last refresh."""

    def __init__(self, every: int) -> None:
        self.every, self.calls = every, 0
        self.kept: list[Tensor] = []

    def __call__(self, ask: Ask, x: Tensor, level: NoiseLevel, weights: Tensor) -> Prediction:
        due = self.calls % self.every == 0
        self.calls += 1
        everyone = torch.ones(len(weights), len(x), dtype=torch.bool)
        called = everyone.clone()
        called[1:] = due
        answers = ask(x, level, called, None)
        if due:
            self.kept = [answers[k] - answers[0] for k in range(1, len(weights))]
        denoised = [answers[0], *(answers[0] + d for d in self.kept)]
        return Prediction(denoised, everyone, combine(denoised, weights), 1 + due * (len(weights) - 1))


class WeightInterpolation:
    """D(θ_ref + Σ λ_k Δθ_k) as it is."""

    def __call__(self, ask: Ask, x: Tensor, level: NoiseLevel, weights: Tensor) -> Prediction:
        nobody = torch.zeros(len(weights), len(x), dtype=torch.bool)
        mixed = ask(x, level, nobody, list(weights[1:]))[MERGED]
        return Prediction([None] * len(weights), nobody, mixed, 1)


class Drawn:
    """One model for each element and step, drawn with its weight as the probability (Diffusion Blend's LS, arXiv
    2505.18547).

    A weight beyond 0 … 1 is no probability: the answer is then NaN.
    """

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, ask: Ask, x: Tensor, level: NoiseLevel, weights: Tensor) -> Prediction:
        chances = rearrange(weights, "model ... -> model (...)")[:, 0].cpu().float()
        called = torch.zeros(len(weights), len(x), dtype=torch.bool)
        if bool((chances < 0).any()):
            return Prediction([None] * len(weights), called, torch.full_like(x, torch.nan), 0)
        drawn = torch.multinomial(chances, len(x), replacement=True, generator=self.generator)
        called[drawn, torch.arange(len(x))] = True
        answers = ask(x, level, called, None)
        mixed = torch.zeros_like(x)
        for k, answer in answers.items():
            mixed[called[k]] = answer[called[k]]
        return Prediction([answers.get(k) for k in range(len(weights))], called, mixed, 1)


# The toy


CENTRES = 1.2 * torch.cartesian_prod(torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0]))
WIDTH = 0.14
REWARD = torch.tensor([1.5, 1.0])  # the anchor's data is that of the reference times exp(REWARD · x_0)


class LowRankLinear(nn.Module):
    def __init__(self, inputs: int, outputs: int, rank: int = 4) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs)
        self.down = nn.Parameter(torch.randn(rank, inputs) / math.sqrt(inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, x: Tensor, strength: float | Tensor) -> Tensor:
        return self.base(x) + strength * (x @ self.down.T @ self.up.T)


class Network(nn.Module):
    """D(x_t; α, σ) of 2-D data of spread 1, preconditioned so that VE and flow matching are one network."""

    def __init__(self, width: int = 96, depth: int = 3) -> None:
        super().__init__()
        sizes = [2 + 9, *[width] * depth, 2]
        self.layers = nn.ModuleList(LowRankLinear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor, level: NoiseLevel, strength: float | Tensor) -> Tensor:
        alpha, sigma = (torch.as_tensor(v, dtype=x.dtype).expand(len(x), 1) for v in level)
        norm = torch.hypot(alpha, sigma)
        angle = 2 * torch.atan2(sigma, alpha)
        noise = [torch.log(sigma / (alpha + 0.01 * sigma)) / 4]
        noise += [wave(k * angle) for k in (1, 2, 3, 4) for wave in (torch.sin, torch.cos)]
        hidden = torch.cat([x / norm, *noise], 1)
        for layer in self.layers[:-1]:
            hidden = nn.functional.silu(layer(hidden, strength))
        return alpha / norm**2 * x + sigma / norm * self.layers[-1](hidden, strength)

    def ask(self, x: Tensor, level: NoiseLevel, called: Tensor, merged: Sequence[Tensor] | None) -> dict[int, Tensor]:
        answers = {k: self(x, level, float(k)) for k, elements in enumerate(called) if bool(elements.any())}
        return answers if merged is None else {**answers, MERGED: self(x, level, merged[0])}


def train(seed: int, steps: int = 3000, anchor_steps: int = 1500, batch: int = 512) -> Network:
    torch.manual_seed(seed)
    network = Network()
    base = [p for layer in network.layers for p in layer.base.parameters()]
    low_rank = [p for layer in network.layers for p in (layer.down, layer.up)]
    for parameters, strength, count in ((base, 0.0, steps), (low_rank, 1.0, anchor_steps)):
        tilt = strength * REWARD
        shares = torch.softmax(CENTRES @ tilt, 0)
        optimizer = torch.optim.Adam(parameters, 2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, count)
        for _ in range(count):
            centre = CENTRES[torch.multinomial(shares, batch, True)]
            x_0 = centre + WIDTH**2 * tilt + WIDTH * torch.randn(batch, 2)
            sigma = torch.exp(torch.empty(batch, 1).uniform_(math.log(0.01), math.log(40)))
            level = NoiseLevel(torch.ones(1), sigma)
            error = network(x_0 + sigma * torch.randn(batch, 2), level, strength) - x_0
            loss = (error**2 * (1 + sigma**-2)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.requires_grad_(False)


def schedule(space: str, steps: int) -> list[NoiseLevel]:
    """steps + 1 levels: VE of Stable Diffusion's range, evenly in log σ, or flow matching with a shift of 3."""
    if space == "flow":
        times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
        return [NoiseLevel(1 - s, s) for s in (3 * times / (1 + 2 * times)).tolist()]
    sigmas = torch.logspace(math.log10(14.6), math.log10(0.03), steps).tolist()
    return [NoiseLevel(1.0, s) for s in [*sigmas, 0.0]]


def table(columns: dict[tuple[float, float], list[Row]]) -> str:
    """Markdown. columns: the rows of `compare` by (η, λ). Calls are the mean over λ where they depend on it. Distances:
    mean ± standard deviation over the elements; “–” where the method has none there."""
    etas = sorted({eta for eta, _ in columns})
    heads, lines = ["method"], []
    for eta in etas:
        heads += [f"calls, η {eta:g}", *(f"λ {lam:g}" for e, lam in columns if e == eta)]
    for i, first in enumerate(next(iter(columns.values()))):
        cells = [first.method]
        for eta in etas:
            rows = [rows[i] for (e, _), rows in columns.items() if e == eta]
            calls = [row.calls for row in rows if not math.isnan(row.distances[0])]
            cells += [f"{fmean(calls):.2f}", *map(_spread, rows)]
        lines.append(cells)
    return markdown([heads, *lines])


def _spread(row: Row) -> str:
    if any(map(math.isnan, row.distances)):
        return "–"
    return f"{fmean(row.distances):.4f} ± {pstdev(row.distances):.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=("ve", "flow"), nargs="+", default=["ve"])
    parser.add_argument("--steps", type=int, default=50, help="an even number (default 50)")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="of the training and of the noise")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = train(options.seed)
    start = torch.randn(options.samples, 2, generator=torch.Generator().manual_seed(options.seed))
    for space in options.space:
        levels = schedule(space, options.steps)
        x = start * levels[0].sigma
        columns = {
            (eta, lam): compare(
                network.ask, x, levels, [[lam]] * options.steps, eta=eta, can_merge=True, seed=options.seed
            )
            for eta in ETAS
            for lam in LAMBDAS
        }
        print(f"\n{space}, {options.steps} steps: distance to the exact run (the data's spread is 1)\n")
        print(table(columns), flush=True)


if __name__ == "__main__":
    main()
