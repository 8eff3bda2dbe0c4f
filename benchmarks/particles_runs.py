"""How benchmarks/particles.py samples and measures: a run, the methods of the table, means over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from particles_toys import COORDINATE, TOYS, Mixture, Product, Quadratic, levels_of, quadratic
from torch import Tensor

from realign_core import NoiseLevel, Particles, Tilt, gaussian_noise, particle_sample, pool, separate

SEEDS = range(5)
STUDENT = 2.776  # of five values: half the 95 % interval of their mean is this times their standard error
Toy = tuple[Mixture, Quadratic]


@dataclass(frozen=True)
class Measured:
    """A mean over the seeds and half its 95 % interval."""

    mean: float
    half: float = 0.0

    @classmethod
    def of(cls, values: Sequence[float]) -> Measured:
        half = STUDENT * statistics.stdev(values) / len(values) ** 0.5 if len(values) == len(SEEDS) else 0.0
        return cls(statistics.mean(values), half)

    def text(self, digits: int = 3) -> str:
        return f"{self.mean:.{digits}f} ± {self.half:.{digits}f}"


def over_seeds(once: Callable[[int], Sequence[float]]) -> list[Measured]:
    """once: seed -> figures."""
    return [Measured.of(values) for values in zip(*(once(seed) for seed in SEEDS))]


def run(
    models: Sequence[Mixture | Product],
    levels: Sequence[NoiseLevel],
    groups: int,
    particles: int,
    seed: int,
    lambdas: Sequence[float] = (),
    d: int = 2,
    device: str = "cpu",
    **options: Any,
) -> Particles:
    generator = torch.Generator().manual_seed(7919 * seed + 1)
    x = levels[0].sigma * torch.randn(groups * particles, d, generator=generator).to(device)
    return particle_sample(
        separate([model.denoise for model in models]),
        x,
        levels,
        [list(lambdas)] * (len(levels) - 1),
        groups=groups,
        particles=particles,
        noise=gaussian_noise(x, 7919 * seed + 2),
        generator=generator,
        **options,
    )


def drawn_each(out: Particles, seed: int) -> Tensor:
    """One weighted draw of each group."""
    return out.x[out.draw_each(torch.Generator().manual_seed(seed))]


def drawn_pooled(out: Particles, together: int, seed: int) -> tuple[Tensor, float]:
    """As many draws as groups, from so many groups together; the share of a batch's draws that are distinct."""
    groups, particles = out.log_weights.shape
    z, weights = out.log_z.reshape(-1, together), out.log_weights.reshape(-1, together, particles)
    index = pool(z, weights, together, generator=torch.Generator().manual_seed(seed))
    distinct = statistics.mean(len(set(batch)) / together for batch in index.tolist())
    return out.x[(index + torch.arange(len(index))[:, None] * together * particles).flatten()], distinct


def nearness(exact: Mixture, reward: Quadratic, x: Tensor) -> tuple[float, float, float]:
    """Mean reward, total variation, sliced Wasserstein distance."""
    return float(reward(x).mean()), exact.total_variation(x), exact.sliced_wasserstein(x)


# The methods: (toy, steps, particles, draws, seed) -> samples. α_r is 1 throughout.

Method = Callable[[Toy, int, int, int, int], Tensor]
KARRAS = "ve"


def guided(gradient: str | None, times: int = 1) -> Method:
    """One particle: no weights, so that what the gradient adds is never paid for. times: so many times the steps."""

    def sample(toy: Toy, steps: int, particles: int, draws: int, seed: int) -> Tensor:
        tilt = Tilt(toy[1], 1.0, gradient=gradient, tempering="one") if gradient else None
        levels = levels_of(KARRAS, steps * (particles if times > 1 else 1))
        return run([toy[0]], levels, draws, 1, seed, tilt=tilt).x

    return sample


def best_of(argmax: bool) -> Method:
    """Unguided pictures, weighed at the end."""

    def sample(toy: Toy, steps: int, particles: int, draws: int, seed: int) -> Tensor:
        tilt = Tilt(toy[1], 1.0, gradient="none")
        out = run([toy[0]], levels_of(KARRAS, steps), draws, particles, seed, tilt=tilt, threshold=0.0)
        if not argmax:
            return drawn_each(out, seed)
        return out.x.reshape(draws, particles, -1)[torch.arange(draws), out.log_weights.argmax(-1)]

    return sample


def steered(rarely: bool = False, **options: Any) -> Method:
    """Particles. rarely: as in FK steering, at every tenth of the run from 0.2 to 0.8."""

    def sample(toy: Toy, steps: int, particles: int, draws: int, seed: int) -> Tensor:
        told = options | ({"every": steps // 10, "interval": (0.2, 0.8)} if rarely else {})
        tilt = Tilt(toy[1], 1.0, **told)
        return drawn_each(run([toy[0]], levels_of(KARRAS, steps), draws, particles, seed, tilt=tilt), seed)

    return sample


# name -> (method, model calls per picture in T, whether it goes back through the model)
METHODS: dict[str, tuple[Method, str, bool]] = {
    "unguided": (guided(None), "1", False),
    "gradient guidance (DPS), one picture": (guided("full"), "1", True),
    "the same at equal calls: N times the steps": (guided("full", times=2), "N", True),
    "best of N, the best": (best_of(True), "N", False),
    "best of N, a weighted draw": (best_of(False), "N", False),
    "FK steering, difference": (steered(rarely=True, gradient="none"), "N", False),
    "FK steering, max": (steered(rarely=True, gradient="none", potential="max"), "N", False),
    "FK steering, sum": (steered(rarely=True, gradient="none", potential="sum"), "N", False),
    "DAS: full gradient, its schedule": (steered(gradient="full", tempering="steps"), "N", True),
    "DAS without a gradient": (steered(gradient="none", tempering="steps"), "N", False),
    "ours: reward-only gradient, by curvature": (steered(), "N", False),
    "the same, V given as 1": (steered(variance=1.0), "N", False),
    "full gradient, by curvature": (steered(gradient="full"), "N", True),
    "ours without a gradient": (steered(gradient="none"), "N", False),
}
FLOOR = "exact draws (the floor)"
OURS = "ours: reward-only gradient, by curvature"
GUIDED, GUIDED_EQUAL = "gradient guidance (DPS), one picture", "the same at equal calls: N times the steps"


def table(steps: int, particles: int, draws: int) -> dict[str, dict[str, list[Measured]]]:
    """toy -> method, or FLOOR -> mean reward, total variation, sliced Wasserstein distance."""
    return {name: _table_of(name, toy, steps, particles, draws) for name, toy in TOYS.items()}


def _table_of(name: str, toy: Toy, steps: int, particles: int, draws: int) -> dict[str, list[Measured]]:
    model, reward = toy
    exact = model.tilted(reward)[1]
    rows = {FLOOR: over_seeds(lambda seed: nearness(exact, reward, exact.draw(draws, 900 + seed)))}
    for method, (sample, _, _) in METHODS.items():

        def once(seed: int, sample: Method = sample) -> tuple[float, float, float]:
            return nearness(exact, reward, sample(toy, steps, particles, draws, seed))

        rows[method] = over_seeds(once)
        print(f"{name} N {particles} {method}: {', '.join(m.text() for m in rows[method])}", flush=True)
    return rows


# The product of d coordinates.


@dataclass(frozen=True)
class Goal:
    """The product tilted by a reward of the same kind in each coordinate."""

    d: int
    curve: float = 0.25

    @property
    def one(self) -> Quadratic:
        return Goal(1, self.curve).reward

    @property
    def reward(self) -> Quadratic:
        return quadratic([self.curve] * self.d, [1.0] * self.d)

    @property
    def log_z(self) -> float:
        return self.d * COORDINATE.tilted(self.one)[0]

    @property
    def means(self) -> tuple[float, float]:
        """Of the reward, under the models and the target."""
        target = COORDINATE.tilted(self.one)[1]
        return self.d * COORDINATE.mean_reward(self.one), self.d * target.mean_reward(self.one)

    @property
    def kl(self) -> float:
        """KL(target ‖ models), nats."""
        return self.means[1] - self.log_z


def covered(goal: Goal, particles: int, groups: int, steps: int, **options: Any) -> list[Measured]:
    """Share of the gap in mean reward, error of log Z (of the mean over the groups of log Ẑ), unique ancestors."""
    threshold = options.pop("threshold", 0.5)

    def once(seed: int) -> tuple[float, float, float]:
        tilt = Tilt(goal.reward, 1.0, **options)
        model, levels = Product(COORDINATE, goal.d), levels_of("flow", steps)
        out = run([model], levels, groups, particles, seed, d=goal.d, tilt=tilt, threshold=threshold)
        low, high = goal.means
        share = (float(goal.reward(drawn_each(out, seed)).mean()) - low) / (high - low)
        return share, float(out.log_z.mean()) - goal.log_z, float(out.unique()[-1].double().mean())

    return over_seeds(once)
