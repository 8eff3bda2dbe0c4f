"""What a study's numbers say, and how surely: means over prompts and seeds, gains of pairs, and the best λ.

The bootstrap draws prompts with replacement: pictures of one prompt are alike, so they are not drawn as if they were
prompts of their own. Where each prompt has seeds of its own, those of each drawn prompt are drawn with replacement too.
Where all prompts have the same seeds, pictures of one seed are alike as well, for they start from one noise: then seeds
are drawn once for all prompts (Owen 2007, The pigeonhole bootstrap, Annals of Applied Statistics 1, 386). With one seed
it is the plain bootstrap over prompts. One draw holds for all λ, metrics, anchors and settings at once: they are
compared on the same prompts and seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
LEVEL = 0.95  # of intervals
DRAWS = 2000
AT_ONCE = 2**22  # numbers of a piece of draws


def resamples(prompts: int, seeds: int, shared: bool, draws: int = DRAWS) -> Iterator[Array]:
    """How often each draw holds each (prompt, seed): pieces (draws, prompts × seeds). The same at every call.

    shared: the seeds are the same for all prompts."""
    random = np.random.default_rng(0)
    units = prompts * seeds
    piece = max(1, min(draws, AT_ONCE // max(units, 1)))
    for start in range(0, draws, piece):
        counts = np.empty((min(piece, draws - start), units))
        for line in counts:
            prompt = random.integers(prompts, size=prompts)
            seed = random.integers(seeds, size=(1 if shared else prompts, seeds))
            drawn = rearrange(prompt, "prompt -> prompt 1") * seeds + seed
            line[:] = np.bincount(drawn.ravel(), minlength=units)
        yield counts


def means(values: Array, counts: Array) -> Array:
    """Of each column under each draw, without what is not there (NaN): (units, columns), (draws, units) → (draws,
    columns). NaN where a draw holds nothing of a column."""
    there = ~np.isnan(values)
    weights = counts @ there.astype(np.float64)
    sums = counts @ np.where(there, values, 0.0)
    return np.divide(sums, weights, out=np.full_like(sums, np.nan), where=weights > 0)


def drawn_means(values: Array, prompts: int, seeds: int, shared: bool, draws: int = DRAWS) -> Array:
    """(prompts × seeds, columns) → (draws, columns). shared: as `resamples`."""
    return np.concatenate([means(values, counts) for counts in resamples(prompts, seeds, shared, draws)])


def mean(values: Array) -> Array:
    """Of each column, without what is not there."""
    whole: Array = means(values, np.ones((1, len(values))))[0]
    return whole


def base_of(lambdas: Sequence[float], values: Array) -> int:
    """The place of the λ that gains are counted from: the nearest to 0 that has at least half as many values as the λ
    that has most, so that it is the same for all where it can be, and leaves pairs where much has failed.

    values: (units, λ)."""
    there = (~np.isnan(values)).sum(axis=0)
    fit = 2 * there >= max(there.max(), 1)
    return int(np.argmin(np.where(fit, np.abs(lambdas), np.inf)))


def gains(values: Array, base: int) -> Array:
    """Each value less that of the same prompt and seed at the base; NaN where one of the two is missing."""
    return values - values[:, [base]]


def interval(draws: Array) -> tuple[Array, Array]:
    """The middle LEVEL of the draws of each column, (draws, columns) → two of (columns,); NaN where there are none."""
    ends = np.full((2, draws.shape[1]), np.nan)
    known = ~np.isnan(draws).all(axis=0)
    if known.any():
        ends[:, known] = np.nanquantile(draws[:, known], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return ends[0], ends[1]


@dataclass(frozen=True)
class Curve:
    """A metric over λ; each array is (λ,), NaN where it is not known, and its intervals where there is no second value.

    A gain is a mean over pairs: what a prompt and seed have at λ, less what they have at the base.
    """

    lambdas: list[float]  # in order
    count: NDArray[np.int64]  # values at each λ
    mean: Array
    low: Array
    high: Array
    base: int  # place of the λ that gains are counted from
    pairs: NDArray[np.int64]
    gain: Array
    gain_low: Array
    gain_high: Array
    mean_draws: Array  # (draws, λ)
    gain_draws: Array

    @property
    def known(self) -> bool:
        return bool(self.count.any())


def curve(lambdas: list[float], values: Array, base: int, mean_draws: Array, gain_draws: Array) -> Curve:
    """values: (units, λ); draws: (draws, λ), of the values and of their gains."""
    paired = gains(values, base)
    count, pairs = ((~np.isnan(one)).sum(axis=0) for one in (values, paired))
    low, high = (np.where(count > 1, end, np.nan) for end in interval(mean_draws))
    gain_low, gain_high = (np.where(pairs > 1, end, np.nan) for end in interval(gain_draws))
    return Curve(
        lambdas, count, mean(values), low, high, base, pairs, mean(paired), gain_low, gain_high, mean_draws, gain_draws
    )


@dataclass(frozen=True)
class Best:
    """The λ of the largest gain."""

    place: int  # of it among the λ
    share: float  # of the draws, those in which it is the best too
    low: float  # λ: the best of the middle LEVEL of the draws lie from here
    high: float
    alike: bool  # every λ has the same score: none is better


def best(found: Curve, allowed: Mask | None = None, allowed_draws: Mask | None = None) -> Best | None:
    """Among the λ that are allowed, (λ,) here and (draws, λ) in each draw; None where there is none with a score. Of
    equal ones the smallest."""
    usable = ~np.isnan(found.gain) & (True if allowed is None else allowed)
    if not usable.any():
        return None
    place = int(np.argmax(np.where(usable, found.gain, -np.inf)))
    draws = found.gain_draws
    usable_draws = ~np.isnan(draws) & (True if allowed_draws is None else allowed_draws)
    some = usable_draws.any(axis=1)
    chosen = np.argmax(np.where(usable_draws, draws, -np.inf), axis=1)[some]
    lambdas = np.asarray(found.lambdas)
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(lambdas[chosen], ends, method="inverted_cdf") if some.any() else (np.nan, np.nan)
    several = found.gain[usable]
    alike = len(several) > 1 and bool((several == several[0]).all())
    return Best(place, float((chosen == place).sum() / len(draws)), float(low), float(high), alike)


def best_within(found: Curve, kl: Curve, budget: float) -> Best | None:
    """The best λ of those whose mean KL is within the budget, in nats; a λ of unknown KL is not."""
    return best(found, kl.mean <= budget, kl.mean_draws <= budget)


def budgets(kl: Sequence[Array], most: int = 5) -> list[float]:
    """Round numbers, 1, 2 or 5 times a power of ten, among the mean KLs of some curves, the largest last; the
    largest KL where there is none."""
    known = np.concatenate([np.zeros(0), *kl])
    known = known[np.isfinite(known) & (known > 0)]
    if not len(known):
        return []
    powers = range(int(np.floor(np.log10(known.min()))), int(np.floor(np.log10(known.max()))) + 1)
    steps = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    return [step for step in steps if known.min() <= step <= known.max()][-most:] or [float(known.max())]
