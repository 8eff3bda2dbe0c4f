"""λ over a run, as data: a shape with a start and an end, scaled and shifted, over steps or over noise levels."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

Points = tuple[tuple[float, float], ...]


def _linear(u: float) -> float:
    return u


def _cosine(u: float) -> float:
    return (1 - math.cos(math.pi * u)) / 2


# Each maps the way from `begin` to `stop`, u in [0, 1], to the way from `start` to `end`, in [0, 1].
RAMPS: dict[str, Callable[[float], float]] = {
    "linear": _linear,
    "cosine": _cosine,
    "ease in": lambda u: u**2,
    "ease out": lambda u: 1 - (1 - u) ** 2,
    "ease in-out": lambda u: u * u * (3 - 2 * u),
}
SHAPES = ("constant", *RAMPS, "step", "interval", "curve")
DOMAINS = ("progress", "sigma")


@dataclass(frozen=True)
class LambdaSchedule:
    """λ(p) = offset + scale · shape(p), where p runs from 0 (the first step) to 1 (the last).

    shape      constant: `start`.  linear, cosine, ease …: from `start` at p = begin to `end` at p = stop.
               step: `start` before p = begin, `end` from there on.
               interval: `start` for begin ≤ p ≤ stop; outside, λ is exactly 0 and the anchor is not called.
               curve: piecewise linear through `points`, (p, value) pairs with rising p.
    domain     "progress": p = step index / (number of steps - 1).
               "sigma": p = how far log σ has fallen from `sigma_max` to `sigma_min`, so that λ belongs to a noise
               level whatever the number of steps and the scheduler are; None takes the run's own first and last σ > 0.
    """

    shape: str = "constant"
    start: float = 1.0
    end: float = 1.0
    begin: float = 0.0
    stop: float = 1.0
    points: Points = ()
    scale: float = 1.0
    offset: float = 0.0
    domain: str = "progress"
    sigma_max: float | None = None
    sigma_min: float | None = None

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"unknown λ schedule shape {self.shape!r}; it can be one of {', '.join(SHAPES)}")
        if self.domain not in DOMAINS:
            raise ValueError(f"unknown λ schedule domain {self.domain!r}; it can be one of {', '.join(DOMAINS)}")
        numbers = [self.start, self.end, self.begin, self.stop, self.scale, self.offset]
        numbers += [v for point in self.points for v in point]
        if not all(math.isfinite(v) for v in numbers):
            raise ValueError("a λ schedule holds a value that is not a finite number: every λ must be one.")
        if self.begin > self.stop:
            raise ValueError(f"a λ schedule must begin before it stops, but begin {self.begin} > stop {self.stop}")
        if self.shape == "curve" and not self.points:
            raise ValueError("a λ curve needs at least one point")
        if any(a[0] > b[0] for a, b in zip(self.points, self.points[1:])):
            raise ValueError("the points of a λ curve must be in rising order")
        hi, lo = self.sigma_max, self.sigma_min
        if any(v is not None and not (v > 0 and math.isfinite(v)) for v in (hi, lo)) or (hi and lo and hi <= lo):
            raise ValueError(f"a λ(σ) schedule needs sigma_max > sigma_min > 0, but has {hi} and {lo}")

    def at(self, p: float) -> float:
        """λ at position p in [0, 1] of the domain."""
        if self.shape == "interval" and not self.begin <= p <= self.stop:
            return 0.0
        return self.offset + self.scale * self._value(p)

    def _value(self, p: float) -> float:
        if self.shape in ("constant", "interval"):
            return self.start
        if self.shape == "curve":
            return _interpolate(self.points, p)
        if self.shape == "step":
            return self.end if p >= self.begin else self.start
        u = (p - self.begin) / (self.stop - self.begin) if self.stop > self.begin else float(p >= self.begin)
        return self.start + (self.end - self.start) * RAMPS[self.shape](min(max(u, 0.0), 1.0))

    def over(self, sigmas: list[float]) -> list[float]:
        """λ for each step of a run with these noise levels: len(sigmas) - 1 numbers, one per step σ_i → σ_{i+1}."""
        return [self.at(p) for p in self.positions(sigmas)]

    def positions(self, sigmas: list[float]) -> list[float]:
        """p of each step σ_i → σ_{i+1}, in [0, 1]."""
        steps = len(sigmas) - 1
        if self.domain == "progress":
            return [i / max(steps - 1, 1) for i in range(steps)]
        used = [s for s in sigmas[:-1] if s > 0] or [1.0]
        hi, lo = math.log(self.sigma_max or used[0]), math.log(self.sigma_min or used[-1])
        if hi <= lo:  # one level only, or a run that lies wholly on one side of the one given
            return [float(self.sigma_min is not None and s <= self.sigma_min) for s in sigmas[:-1]]
        # Rounded, so that a level at begin or stop is not missed by the last bit of a logarithm.
        falls = [round((hi - math.log(s)) / (hi - lo), 9) if s > 0 else 1.0 for s in sigmas[:-1]]
        return [min(max(p, 0.0), 1.0) for p in falls]

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> LambdaSchedule:
        """The schedule that `to_json` wrote. Raises ValueError for anything else, naming what is wrong."""
        try:
            data: Any = json.loads(text)
        except (ValueError, RecursionError) as error:  # no JSON, a number of thousands of digits, endless nesting
            raise ValueError(f"a λ schedule must be JSON: {str(error).splitlines()[0]}") from error
        known = {f.name for f in fields(cls)}
        if not isinstance(data, dict) or not data.keys() <= known:
            extra = sorted(data.keys() - known) if isinstance(data, dict) else type(data).__name__
            raise ValueError(f"a λ schedule has the fields {', '.join(sorted(known))}; found {extra}")
        try:
            points = tuple((_coordinate(x), _coordinate(y)) for x, y in data.get("points", ()))
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"the points of a λ schedule must be pairs of numbers (position, λ): {error}") from error
        try:
            return cls(**{**data, "points": points})
        except (TypeError, OverflowError) as error:
            raise ValueError(f"a λ schedule holds a value of the wrong kind: {error}") from error


def _coordinate(value: Any) -> float:
    """Raises TypeError for a text, which `float` would read: “1_0” is no number."""
    if isinstance(value, (str, bool)):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _interpolate(points: Points, p: float) -> float:
    """Piecewise linear through the points, flat outside them."""
    i = bisect_right([x for x, _ in points], p)
    if i == 0 or i == len(points):
        return points[max(i - 1, 0)][1]
    (x0, y0), (x1, y1) = points[i - 1], points[i]
    return y0 + (y1 - y0) * (p - x0) / (x1 - x0)
