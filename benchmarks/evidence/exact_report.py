"""benchmarks/results/evidence_exact.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tables import table

from .exact_cases import (
    AGAIN,
    AGAIN_AT,
    ALONE,
    CORRECTED,
    DOUBLE,
    EXACT,
    EXACT_WORLDS,
    FAR,
    HALF,
    LEARNED,
    MERGED,
    PARTICLE_DRAWS,
    PARTICLES,
    PICTURES,
    REFERENCE,
    RETRAINED,
    RING,
    SOME_CORRECTED,
    STEPPED,
    STEPS,
    STEPWISE,
)
from .exact_findings import between_modes, findings
from .exact_results import AWAY, BANDS, NEAR, Found, Pair, Results, of_band
from .exact_runs import BATCHES, SAMPLERS
from .exact_worlds import BETAS, KL_MOST, World
from .paired import Estimate

HEAD = f"""# Does λ do what retraining does? Worlds where the answer is known

Printed by `make evidence-exact` (benchmarks/evidence_exact.py); plot: docs/evidence_exact.png.

The reference is a mixture of Gaussians, so p_β ∝ p_ref · exp(r/β) is known for every β, and so is its denoiser: that is
the model *retrained* at β, at its optimum. β is {", ".join(f"{beta:g}" for beta in BETAS)}, the paper's 500 … 10000 in
thousands; λ = β of the anchor / β wanted. Rewards are scaled so that the anchor of β {BETAS[0]:g} is {KL_MOST:g} nats
from the reference. The networks are small (2-D, three layers), trained on draws of the ring's p_ref and p_β; each
anchor starts from the reference's weights, so that weights can be merged.

Total variation: in the plane in cells of 0.5; in more dimensions of the reward's distribution, in 40 cells of equal
mass. It is never 0 for finitely many draws: *exact* are draws of the density itself, *retrained* the retrained model's
own run under the same sampler, from the same noise. *Beyond retraining*: what λ has more than that run. Reward error:
|mean by λ - mean by retraining|, of the way from the reference's mean reward to the anchor's. ddpm with 50 steps and
4096 draws where nothing else is said, all of them together in each distance. In brackets 95 % intervals by bootstrap
over the jackknife's figures of {BATCHES} batches of draws: they hold the draws' noise, and not that of other worlds.

*Corrected*: each picture is a group of 4 particles, where no other number is said. *1 picture* is drawn from its own
group; *8 pictures* of one batch, which noise alone tells apart, are drawn from their 8 groups together.
"""


def tv(found: Found, method: str, target: float, anchor: float = 0.0) -> str:
    return f"{found.distance(method, target, anchor).value:.3f}"


def known(worlds: Mapping[str, World]) -> str:
    last = f"between modes, β {BETAS[0]:g}"
    rows = [["world", *(f"β {beta:g}" for beta in BETAS), last]]
    for name in EXACT_WORLDS:
        nats = [*(worlds[name].kl(beta) for beta in BETAS), between_modes(worlds[name], BETAS[0])]
        rows.append([name, *(f"{one:.2f}" for one in nats)])
    text = "KL(p_β ‖ p_ref) in nats, and how much of it is a choice between modes: the KL of their weights."
    return f"## The worlds\n\n{text}\n\n{table(rows)}\n"


def rewards(found: Found, method: str, settled: list[Pair], pairs: int) -> list[str]:
    """Wasserstein distances and the error of the reward, of the runs that did not run away."""
    if not settled:
        return ["–", "–", "all ran away"]
    lost = f", without {pairs - len(settled)} that ran away" if len(settled) < pairs else ""
    distances = [f"{found.mean(one, settled, 'sw'):.3f}" for one in (RETRAINED, method)]
    return [*distances, found.error(method, settled)[1].text(0, True) + lost]


def by_lambda(results: Results) -> str:
    head = ("world", "λ", "method", "exact", "retrained", "by λ", "beyond retraining", "as near")
    rows = [[*head, "Wasserstein: retrained", "by λ", "reward error"]]
    for world in (*EXACT_WORLDS, LEARNED):
        found = Found(results, world)
        for band in BANDS:
            chosen = of_band(band)
            for method in (STEPWISE, *PICTURES, MERGED):
                if not all(found.has(method, pair) for pair in chosen):
                    continue
                settled = found.settled(method, chosen)
                figures = [f"{found.mean(one, chosen):.3f}" for one in (EXACT, RETRAINED, method)]
                figures += [found.excess(method, chosen).text(), f"{found.near(method, chosen)} of {len(chosen)}"]
                rows.append([world, band, method, *figures, *rewards(found, method, settled, len(chosen))])
    text = (
        f"All pairs of anchor and target, means over those in a range of λ. *As near*: pairs whose interval ends no "
        f"further than {NEAR:g} beyond retraining. Where the mean reward is more than {AWAY} ways off, a run has run "
        "away: Wasserstein and reward error are those of the others."
    )
    return f"## Every β from every anchor\n\n{text}\n\n{table(rows)}\n"


def matrix(results: Results, world: str, *others: str) -> str:
    found = Found(results, world)
    rows = [["anchor", *(f"target β {beta:g}" for beta in BETAS)]]
    rows += [[method, *(tv(found, method, beta) for beta in BETAS)] for method in (EXACT, RETRAINED, REFERENCE)]
    for anchor in BETAS:
        cells = [
            "–" if target == anchor else " → ".join(tv(found, one, target, anchor) for one in (STEPWISE, *others))
            for target in BETAS
        ]
        rows.append([f"β {anchor:g}", *cells])
    text = f"Total variation from p_β: {' → '.join((STEPWISE, *others))}. λ ≤ 1 is at and right of the dashes."
    return f"### {world[0].upper() + world[1:]}\n\n{text}\n\n{table(rows)}\n"


def some_corrected(results: Results) -> str:
    methods = (STEPWISE, *PICTURES)
    rows = [["world", "λ", "retrained", *methods, "beyond: step by step", *PICTURES]]
    for world in SOME_CORRECTED:
        found = Found(results, world)
        for pair in (HALF, FAR, DOUBLE):
            distances = [tv(found, method, pair[1], pair[0]) for method in methods]
            beyond = [found.excess(method, [pair]).text() for method in methods]
            rows.append([world, f"{pair[0] / pair[1]:g}", tv(found, RETRAINED, pair[1]), *distances, *beyond])
    return f"### The correction in other worlds\n\nThree pairs, 4 particles.\n\n{table(rows)}\n"


def by_steps(results: Results) -> str:
    rows = [["world", "sampler", "steps", "retrained β 1", "λ 0.5", "beyond", "λ 2", "beyond"]]
    for world in STEPPED:
        for sampler in SAMPLERS:
            for steps in STEPS:
                found = Found(results, world, sampler, steps)
                rows.append([world, sampler, str(steps), tv(found, RETRAINED, 1.0)])
                for pair in (HALF, DOUBLE):
                    rows[-1] += [tv(found, STEPWISE, pair[1], pair[0]), found.excess(STEPWISE, [pair]).text()]
    text = (
        "Total variation from p_β at β 1, step by step, from the anchors of β 0.5 (λ 0.5) and β 2 (λ 2). ddpm, ddim "
        "and dpmpp_2m on VE levels 40 … 0.03; flow Euler on even ones."
    )
    return f"## Samplers and steps\n\n{text}\n\n{table(rows)}\n"


def by_particles(results: Results) -> str:
    error = "reward error, of the way (above 0: went further)"
    rows = [
        ["world", "λ", "particles", "total variation: 1 picture", "8 pictures", f"{error}: 1 picture", "8 pictures"]
    ]
    for world, counts in PARTICLES.items():
        for pair in (HALF, FAR):
            found, lambda_ = Found(results, world, draws=PARTICLE_DRAWS[world]), f"{pair[0] / pair[1]:g}"
            rows.append([world, lambda_, "exact draws", found.distance(EXACT, pair[1]).text(), "", "", ""])
            rows.append([world, lambda_, "retrained", found.distance(RETRAINED, pair[1]).text(), "", "", ""])
            plain = found.distance(STEPWISE, pair[1], pair[0]).text(), found.signed(STEPWISE, pair).text(0, True)
            rows.append([world, lambda_, STEPWISE, plain[0], "", plain[1], ""])
            for count in counts:
                one = replace(found, particles=count)
                distances = [one.distance(method, pair[1], pair[0]).text() for method in PICTURES]
                errors = [one.signed(method, pair).text(0, True) for method in PICTURES]
                rows.append([world, lambda_, f"{count}", *distances, *errors])
    draws = ", ".join(f"{count} draws in {world}" for world, count in PARTICLE_DRAWS.items())
    text = f"{draws[0].upper()}{draws[1:]}, and so higher floors."
    return f"## How many particles\n\n{text}\n\n{table(rows)}\n"


def trainings(results: Results) -> str:
    found, rows = (
        Found(results, LEARNED),
        [["target", "from", "total variation", "mean reward less the first training's"]],
    )
    for target in AGAIN_AT:
        first = found.of("reward", RETRAINED, target)

        def row(name: str, method: str, target: float = target, anchor: float = 0.0, first=first) -> list[str]:
            apart: Estimate = found.distance(method, target, anchor)
            less = found.of("reward", method, target, anchor).mean() - first.mean()
            return [f"β {target:g}", name, apart.text(), f"{less:+.3f}"]

        rows.append(row("the first training", RETRAINED))
        rows.append(row("a second training", AGAIN))
        for anchor in BETAS:
            if anchor <= target and anchor != target:
                lambda_ = f"λ {anchor / target:g} of β {anchor:g}"
                rows.append(row(f"{lambda_}, step by step", STEPWISE, anchor=anchor))
                rows.append(row(f"{lambda_}, merged weights", MERGED, anchor=anchor))
    text = "The same data and start, another seed of the training, beside what λ is off by."
    return f"## The noise between trainings, of the networks\n\n{text}\n\n{table(rows)}\n"


def text(worlds: Mapping[str, World], results: Results) -> str:
    said = "\n".join(f"- {sentence}" for sentence in findings(worlds, results))
    sections = [
        f"## What it says\n\n{said}\n",
        known(worlds),
        by_lambda(results),
        matrix(results, RING, ALONE, CORRECTED),
        matrix(results, STEPPED[1], ALONE, CORRECTED),
        matrix(results, LEARNED, MERGED),
        some_corrected(results),
        trainings(results),
        by_steps(results),
        by_particles(results),
    ]
    return "\n".join([HEAD, *sections])
