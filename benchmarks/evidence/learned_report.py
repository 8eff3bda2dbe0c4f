"""benchmarks/results/evidence.md."""

from __future__ import annotations

from tables import table

from .learned_cases import PARTICLES, STEPS, STEPWISE, Case
from .learned_findings import findings
from .learned_found import BANDS, BELOW, Found
from .learned_networks import PREFERRED, TILTED, Trained
from .learned_scores import CAPTION, DIVERSITY, REWARD, SCORES
from .learned_studies import captions

HEAD = """# Does λ do what retraining does? Pictures of learned networks

Printed by `make evidence`{how} (benchmarks/evidence.py); plots: {plots}.

Network: {network}, of the shipped demo network's kind: {size} px, {weights:,} weights. From one reference anchors are
trained at {count} strengths of β, λ = β of the anchor / β wanted. *Tilted*: plain regression on drawn pictures that
were resampled by exp(r/β), whose density is the optimum of alignment at β. {preferred}All start at the reference's
weights and keep its tokens. r is the mean chroma.

Pictures are made by `realign study` on a real ComfyUI: {captions} captions × {seeds} seeds of each caption's own for
every figure, the same noise for all, cfg 1, {steps} steps, ddpm; *RLG* and what it is compared with: euler.
*Corrected*: {particles} particles. *Merged*: ModelMergeSimple at ratio λ. Training never saw *{caption}* (a
classifier's chance of the shape and colour that were asked for; it tells {told:.1%} of drawn pictures) and
*{diversity}* (distance between pictures of one caption, in its features). In brackets: 95 % intervals by bootstrap over
captions, and seeds within them: of the pictures, not of other trainings.
"""
DPO = (
    "*Preferred*: Diffusion-DPO on pairs of drawn pictures whose winner is drawn by Bradley–Terry from r; β is the "
    "paper's, with T inside. "
)


def text(found: Found, told: float, weights: int, plots: str) -> str:
    extent = found.extent
    head = HEAD.format(
        how="" if PREFERRED in extent.betas else " with `--network " + extent.network.name + "`",
        plots=plots,
        network=extent.network.name,
        size=extent.network.size,
        weights=weights,
        count=len(extent.betas[extent.way]),
        preferred=DPO if PREFERRED in extent.betas else "",
        captions=len(captions(extent.every)),
        seeds=extent.seeds,
        steps=STEPS,
        particles=PARTICLES,
        caption=CAPTION,
        diversity=DIVERSITY,
        told=told,
    )
    said = "\n".join(f"- {one}" for one in findings(found))
    parts = [networks(found), errors(found)]
    parts += [pairs(found, way) for way in extent.betas]
    return f"{head}\n## What came out\n\n{said}\n\n" + "\n".join(parts)


def networks(found: Found) -> str:
    """All that was trained."""
    rows = [["network", "training", *SCORES, "r of the data", "KL, nats", "KL of the data"]]
    rows.append(["reference", "", *_means(found, found.extent.reference), f"{found.truth[0].reward:.3f}", "0", "0"])
    for way in found.extent.betas:
        for one in (*found.extent.anchors(way), *found.extent.more(way)):
            which = "twice the steps" if one.doubled else f"seed {one.seed}"
            tilt = found.truth[one.beta] if way == TILTED else None
            reward, wanted = (f"{tilt.reward:.3f}", f"{tilt.nats:.2f}") if tilt else ("–", "–")
            nats = found.nats(found.alone(one))
            own = f"{nats:.0f}" if nats == nats else "–"
            rows.append([f"{way}, β {one.beta:g}", which, *_means(found, one), reward, own, wanted])
    note = (
        "KL(it ‖ reference) of its own runs, by the sampler's trace; of the data: what it would be at the optimum, "
        "nats."
    )
    return f"## The networks by themselves\n\n{note}\n\n{table(rows)}\n"


def _means(found: Found, one: Trained) -> list[str]:
    return [found.mean(found.alone(one), score).text() for score in SCORES]


def errors(found: Found) -> str:
    """The paper's figure, as it gives it and as a share of the way."""
    head = ["anchors", "λ", "method", "pairs", "score", "error, of the mean", "of the way", "of the longest way"]
    rows = [[*head, "two trainings: of the mean", "of the longest way"]]
    for way in found.extent.betas:
        for band in BANDS:
            for method in found.methods(way, band):
                cases = found.cases(way, method, band)
                for score in SCORES:
                    mean, share = found.error(cases, score)
                    longest = found.same_way(cases, score)
                    noise = found.between_trainings(way, score)
                    apart = [noise[0].text(1, True), noise[1].of_way()] if noise else ["–", "–"]
                    figures = [mean.text(1, True), share.of_way(), longest.of_way()]
                    rows.append([way, band, method, str(len(cases)), score, *figures, *apart])
    note = (
        "|mean by λ − mean of the retrained network|, averaged over pairs of anchor and target: as a share of the "
        "retrained mean (the paper's MAE), and of the way from the reference's mean to the anchor's; the longest way "
        "is that to the strongest anchor, the same for every pair, and what two trainings' distance is a share of."
    )
    return f"## λ beside retraining\n\n{note}\n\n{table(rows)}\n"


def pairs(found: Found, way: str) -> str:
    """Every pair, the reward alone."""
    methods = [method for band in BANDS for method in found.methods(way, band)]
    methods = list(dict.fromkeys(methods))
    rows = [["anchor β", "target β", "λ", "retrained", *methods]]
    cases = [case for band in BANDS for case in found.cases(way, STEPWISE, band)]
    for case in cases:
        retrained = found.mean(found.alone(found.target(case)), REWARD).text()
        shown = [_signed(found, case, method) for method in methods]
        rows.append([f"{case.anchor.beta:g}", f"{case.target:g}", f"{case.lambda_:.2g}", retrained, *shown])
    note = (
        f"Mean chroma of the retrained network; then (mean by λ − that), of the way from reference to anchor ({BELOW}: "
    )
    note += "below 0 is short of it)."
    return f"## {way.capitalize()}: every pair\n\n{note}\n\n{table(rows)}\n"


def _signed(found: Found, case: Case, method: str) -> str:
    other = Case(method, case.anchor, case.target)
    return found.signed(other).text(0, True) if other in found.extent.cases() else "–"
