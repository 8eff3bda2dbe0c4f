"""A reward that draws particles towards it: DAS / SMCAlign (Kim et al. 2025, arXiv 2501.05803), Feynman-Kac steering
(Singhal et al. 2025, arXiv 2501.06848).

The target is p(x_0) exp(r(x_0)/α_r), p being what the models sample. On the way a particle is judged by its predicted
x_0: its twist is φ = τ r(D)/α_r, with a temper τ that rises to 1. Where r has a gradient, the proposal is shifted
towards it and the weight pays for that exactly. docs/mathematics.md (19) to (25).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange, reduce, repeat
from torch import Tensor

from .correction import Memory
from .gaussian import at_least_float32
from .posterior import NoiseLevel

Reward = Callable[[Tensor], Tensor]  # predicted x_0, (B, C, ...), fp32 or better -> (B,), the higher the better

REWARD, FULL, NONE = "reward", "full", "none"
CURVATURE, ONE, STEPS = "curvature", "one", "steps"
DIFFERENCE, MAX, SUM = "difference", "max", "sum"
GRADIENTS, TEMPERINGS, POTENTIALS = (REWARD, FULL, NONE), (CURVATURE, ONE, STEPS), (DIFFERENCE, MAX, SUM)
TINY = 1e-9
LATENTS = 1.0  # the variance of most models' latents: what is taken for one particle, which has none to be measured by
REACHED = 0.87  # the share of the steps after which DAS' schedule has reached 1: γ = 0.008 at 100 steps


@dataclass(frozen=True)
class Tilt:
    """How a reward tilts what is sampled: p(x) → p(x) exp(r(x)/strength)."""

    reward: Reward  # may say by an attribute `differentiable` (bool) whether it has a gradient; else it is found out
    strength: float  # α_r > 0, the KL coefficient, in units of the reward: the smaller, the stronger
    # "reward": ∇r at D, with the dD/dx_t of Gaussian data, so that nothing goes back through the models; "full": back
    # through them; "none". None: "reward" where the reward is differentiable.
    gradient: str | None = None
    # "curvature": τ by how fast ∇r changes between a group's particles; "one": τ = 1; "steps": min((1 + γ)^i - 1, 1) at
    # step i, as DAS does. None: by curvature with a gradient, else 1.
    tempering: str | None = None
    potential: str = DIFFERENCE  # "difference" of the twists, "max" or "sum" of the rewards so far (FK steering)
    every: int = 1  # ask the reward at every n-th step (and the last); in between the twist is kept, without gradient
    interval: tuple[float, float] = (0.0, 1.0)  # … of those of the run, 0 its first step and 1 its end
    at_once: int | None = None  # elements per call of the reward, where all of them at once would not fit
    # Of the data per element, for "reward" and "curvature". None: measured between a group's particles at each step.
    variance: float | None = None
    gamma: float | None = None  # of "steps"; None: τ = 1 after 87 % of them, which is DAS' 0.008 at 100

    def __post_init__(self) -> None:
        for value, known, what in (
            (self.gradient, (*GRADIENTS, None), "gradient"),
            (self.tempering, (*TEMPERINGS, None), "tempering"),
            (self.potential, POTENTIALS, "potential"),
        ):
            if value not in known:
                raise ValueError(f"there is no {what} {value!r}: take one of {', '.join(str(name) for name in known)}")
        for number, what in ((self.strength, "strength"), (self.variance, "variance")):
            if number is not None and not (math.isfinite(number) and number > 0):
                raise ValueError(f"a tilt's {what} is a finite number above 0, not {number}")
        if self.gamma is not None and not self.gamma > 0:
            raise ValueError(f"gamma is a number above 0, not {self.gamma}")
        if self.at_once is not None and self.at_once < 1:
            raise ValueError(f"the reward judges at least one element at once, not {self.at_once}")
        if self.every < 1:
            raise ValueError(f"the reward is asked at every n-th step, n ≥ 1, not {self.every}")
        if not 0 <= self.interval[0] <= self.interval[1] <= 1:
            raise ValueError(f"the reward's interval is two rising numbers between 0 and 1, not {self.interval}")
        if self.tempering == CURVATURE and self.gradient == NONE:
            raise ValueError("tempering by curvature needs the reward's gradient: take 'one' or 'steps' without it")

    @property
    def name(self) -> str:
        """Of the reward, for what is said of it."""
        return str(getattr(self.reward, "name", None) or getattr(self.reward, "__name__", type(self.reward).__name__))


class Twist:
    """A tilt in one run of several groups. What it remembers of each particle lies in `memory`; τ is of a group."""

    def __init__(self, tilt: Tilt, levels: Sequence[NoiseLevel], groups: int, particles: int, memory: Memory) -> None:
        self.tilt, self.levels, self.memory, self.groups = tilt, levels, memory, groups
        self.gradient = tilt.gradient
        if self.gradient is None and getattr(tilt.reward, "differentiable", None) is False:
            self.gradient = NONE
        size = groups * particles
        self.tau = torch.zeros(groups, dtype=torch.float64)
        self.rewards: Tensor | None = None  # (B,), fp64, on the CPU: of the step's particles; None: not asked
        memory["twist"] = torch.zeros(size, dtype=torch.float64)  # what the weights hold of the reward by now
        if tilt.potential != DIFFERENCE:
            start = -math.inf if tilt.potential == MAX else 0.0
            memory["potential"] = torch.full((size,), start, dtype=torch.float64)
        # V, (M,): as in Gaussian data, for which D changes by αV/(α²V + σ²) of what x_t does
        self.variance = torch.full((groups,), tilt.variance or LATENTS, dtype=torch.float64)
        self._bend = torch.zeros(2, groups, dtype=torch.float64)  # -Σ⟨Δ∇r, ΔD⟩/α_r and Σ|ΔD|² between particles so far

    def asks(self, i: int) -> bool:
        """Whether the reward is asked at step i."""
        steps = len(self.levels) - 1
        first, end = (share * steps for share in self.tilt.interval)
        return i == steps - 1 or (first <= i <= end and i % self.tilt.every == 0)

    def through_models(self, i: int) -> bool:
        """Whether step i needs a D that remembers how it was made of x_t."""
        return self.gradient == FULL and self.asks(i) and i < len(self.levels) - 2

    def weigh(self, i: int, x: Tensor, denoised: Tensor) -> Tensor:
        """Δlog w of the reward at step i, (B,), fp64, on the CPU. Leaves the shift of the proposal in the memory.

        Raises ValueError where the reward fails, or gives what is no finite number per element.
        """
        self.memory.pop("shift", None)
        self.rewards = None
        if not self.asks(i):
            return torch.zeros_like(self.memory["twist"])
        last = i == len(self.levels) - 2
        try:
            rewards, slope = self._judged(denoised, wanted=not last)
        except ValueError as error:
            where = f"step {i + 1} of {len(self.levels) - 1}"
            if not bool(torch.isfinite(denoised).all()):
                raise ValueError(
                    f"{where}: the models predict values that are no finite numbers (NaN or infinity)"
                ) from error
            known = "" if self.tilt.name in str(error) else f"the reward {self.tilt.name}: "
            raise ValueError(f"{where}: {known}{error}") from error
        self.rewards = rewards
        if slope is not None:
            self._measure(self.levels[i], x, denoised, slope)
        self.tau = torch.ones_like(self.tau) if last else self.temper(i)
        if slope is not None:
            now, then = self.levels[i], self.levels[i + 1]
            ratio = float(now.alpha) / float(then.alpha)  # ∇ is with respect to x_t
            tau = self._each(self.temper(i + 1) / self.tilt.strength, x)
            self.memory["shift"] = ratio * tau * self._through_model(now, x, denoised, slope)
        return self._increment(rewards / self.tilt.strength, last)

    def _increment(self, scaled: Tensor, last: bool) -> Tensor:
        """Of log w. scaled: r/α_r, (B,). Its sum over the run is r(x_0)/α_r for every potential."""
        spent = self.memory["twist"]
        if last:
            total = scaled
        elif self.tilt.potential == DIFFERENCE:
            total = repeat(self.tau, "group -> (group particle)", particle=len(scaled) // self.groups) * scaled
        else:
            met = self.memory["potential"]
            self.memory["potential"] = torch.maximum(met, scaled) if self.tilt.potential == MAX else met + scaled
            total = spent + self.memory["potential"]
        self.memory["twist"] = total
        return total - spent

    # The reward and its gradient.

    def _judged(self, denoised: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        """r, (B,), fp64, on the CPU, and ∇r with respect to D, like D; None: not wanted, or not to be had."""
        pieces = denoised.detach().split(self.tilt.at_once or len(denoised))
        judged = [self._piece(at_least_float32(piece), wanted) for piece in pieces]
        slopes = [slope for _, slope in judged if slope is not None]
        return torch.cat([rewards for rewards, _ in judged]), torch.cat(slopes) if slopes else None

    def _piece(self, denoised: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        if not wanted or self.gradient == NONE:
            with torch.no_grad():
                return self._numbers(self.tilt.reward(denoised), denoised), None
        with torch.inference_mode(False), torch.enable_grad():  # a host may run without
            at = denoised.clone().requires_grad_()
            found = self.tilt.reward(at)
            rewards = self._numbers(found, denoised)
            if self.gradient is None:
                self.gradient = REWARD if found.requires_grad else NONE
            if self.gradient == NONE:
                return rewards, None
            if not found.requires_grad:
                raise ValueError("has no gradient: say gradient='none'")
            (slope,) = torch.autograd.grad(found.sum(), at)
        if not bool(torch.isfinite(slope).all()):
            raise ValueError("has a gradient that is not finite (NaN or infinity)")
        return rewards, slope

    def _through_model(self, level: NoiseLevel, x: Tensor, denoised: Tensor, slope: Tensor) -> Tensor:
        """∇r with respect to x_t: back through the models, or as if the data were Gaussian."""
        if self.gradient != FULL:
            alpha = float(level.alpha)
            return self._each(alpha * self.variance / self._noisy(level), x) * slope
        if not (x.requires_grad and denoised.requires_grad):
            raise ValueError("the full gradient needs a D that was computed from x with gradients on")
        with torch.inference_mode(False), torch.enable_grad():
            (back,) = torch.autograd.grad(denoised, x, slope.to(denoised))
        return at_least_float32(back)

    @staticmethod
    def _numbers(found: Tensor, denoised: Tensor) -> Tensor:
        if not isinstance(found, Tensor) or found.shape != (len(denoised),):
            shape = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"must give one number per element, shape ({len(denoised)},), but gave {shape}")
        numbers = found.detach().cpu().double()
        if not bool(torch.isfinite(numbers).all()):
            raise ValueError("gave a value that is no finite number (NaN or infinity)")
        return numbers

    def _noisy(self, level: NoiseLevel) -> Tensor:
        """The variance of x_t, (M,): α²V + σ²."""
        return float(level.alpha) ** 2 * self.variance + float(level.sigma) ** 2

    # Tempering.

    def temper(self, i: int) -> Tensor:
        """τ of level i, (M,), fp64: 0 to 1."""
        kind = self.tilt.tempering or (ONE if self.gradient == NONE else CURVATURE)
        steps = len(self.levels) - 1
        if kind == ONE or i >= steps:
            return torch.ones_like(self.tau)
        if kind == STEPS:
            gamma = 2 ** (1 / (REACHED * steps)) - 1 if self.tilt.gamma is None else self.tilt.gamma
            return torch.full_like(self.tau, min((1 + gamma) ** i - 1, 1.0))
        level = self.levels[i]
        unknown = self.variance * float(level.sigma) ** 2 / self._noisy(level)  # of x_0 where x_t is known
        return 1 / (1 + unknown * self.curvature)

    @property
    def curvature(self) -> Tensor:
        """Of -r/α_r, (M,), ≥ 0, by the secants between a group's particles so far; 0 where there are none."""
        bend, spread = self._bend
        return torch.where(spread > 0, bend / spread, 0.0).clamp(min=0)

    def _measure(self, level: NoiseLevel, x: Tensor, denoised: Tensor, slope: Tensor) -> None:
        """By the secants between a group's particles: curvature of the reward, and the variance of the data.

        That is the variance along ∇r, since only there x_t is moved: ∇rᵀ (dD/dx_t) ∇r / |∇r|² is the number by which
        c·∇r is nearest to (dD/dx_t)ᵀ ∇r. Of pictures it is far above that of a pixel on average: their colours move
        together. Never below that average, as few particles tell little of one direction.
        """
        if len(x) == self.groups:
            return
        noisy, points, slopes = (self._from_mean(value.detach()) for value in (x, denoised, slope / self.tilt.strength))
        heading = self._grouped(slope).mean(1, keepdim=True)
        noisy_on, points_on = ((values * heading).sum(-1, keepdim=True) for values in (noisy, points))
        products = [-points * slopes, points * points, noisy * points, noisy * noisy]
        products += [noisy_on * points_on, noisy_on * noisy_on]
        bend, spread, *shares = torch.stack([reduce(p, "m n e -> m", "sum") for p in products]).cpu().double()
        self._bend += torch.stack([bend, spread])
        alpha, sigma = float(level.alpha), float(level.sigma)
        along, wide, on_it, of_it = shares
        if self.tilt.variance is None and alpha > 0:
            kept = torch.maximum(*(torch.where(of > 0, on / of, 0) for on, of in ((along, wide), (on_it, of_it))))
            share = (alpha * kept).clamp(0, 1 - TINY)  # of x_t that D keeps: α²V/(α²V + σ²)
            self.variance = torch.where(wide > 0, (sigma / alpha) ** 2 * share / (1 - share), self.variance)

    def _from_mean(self, values: Tensor) -> Tensor:
        """(M, N, elements): less the group's mean."""
        grouped = self._grouped(values)
        return grouped - grouped.mean(1, keepdim=True)

    def _grouped(self, values: Tensor) -> Tensor:
        return rearrange(at_least_float32(values), "(m n) ... -> m n (...)", m=self.groups)

    def _each(self, values: Tensor, x: Tensor) -> Tensor:
        """(M,) as it broadcasts against x."""
        each = repeat(values, "group -> (group particle)", particle=len(x) // self.groups)
        wide = at_least_float32(x)
        return each.to(wide.dtype).to(wide.device).reshape(-1, *[1] * (x.ndim - 1))
