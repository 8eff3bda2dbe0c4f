"""EasyCache and LazyCache: each model has a cache of its own, each picture of a sweep too.

The truth is two stock runs, each with its own cache, in lockstep.
"""

import pytest
import tiny_models
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode
from truth import (
    BOUND,
    call,
    distance,
    mixture,
    near,
    realign_guider,
    realigned,
    sampled,
    show,
    sigmas_of,
    true_of,
)

STEPS, LAMBDA = 25, 0.6


def lazy(model):
    return LazyCacheNode.execute(model, 0.2, 0.15, 0.95, False).args[0]


def easy(model):
    return EasyCacheNode.execute(model, 0.2, 0.15, 0.95, False).args[0]


def run(tiny, kind, node, title, how, on_anchor):
    conds = tiny_models.conditioning(kind, 21), tiny_models.conditioning(kind, 22)
    latent, files = tiny_models.latent(kind, 1, 8), (tiny.reference(kind), tiny.anchor(kind))
    anchors = node if on_anchor else lambda model: model
    true, ours = ([node(tiny.load(files[0])), anchors(tiny.load(files[1]))] for _ in range(2))
    want, plain = (
        true_of(how, models, conds, latent, LAMBDA, STEPS, kind == "sd3")
        for models in (true, [tiny.load(file) for file in files])
    )
    assert distance(want, plain) > 1e-3, "the cache never skipped, so that the case shows nothing"
    got = realigned(how, *ours, conds, latent, LAMBDA, STEPS)
    where = "both" if on_anchor else "reference"
    near(f"{title} on {where}, {kind}, {how}", got, want)


@pytest.mark.parametrize("how", ["sampler", "guider", "model"])
@pytest.mark.parametrize("on_anchor", [False, True], ids=["reference", "both"])
def test_lazy_cache(tiny, how, on_anchor):
    run(tiny, "sd3", lazy, "LazyCache", how, on_anchor)


@pytest.mark.parametrize("node", [easy, lazy], ids=["EasyCache", "LazyCache"])
def test_a_sweep(tiny, node):
    """Whether a picture of a sweep skips a step must not depend on the pictures beside it."""
    kind, steps, values = "sd15", 10, (0.0, 0.5, 1.0)
    conds = tiny_models.conditioning(kind, 21), tiny_models.conditioning(kind, 22)
    latent, files = tiny_models.latent(kind, 1, 8), (tiny.reference(kind), tiny.anchor(kind))
    true, ours = ([node(tiny.load(f)) for f in files] for _ in range(2))
    sigmas, title = sigmas_of(ours[0], steps), "EasyCache" if node is easy else "LazyCache"
    batch, sweep = call("RealignSweep", latent=latent, values="list", start=0.0, end=1.0, count=2,
                        listed=", ".join(map(str, values)), seeds=1, rows="seed", row_values="")  # fmt: skip
    got = sampled(realign_guider(*ours, conds, 1.0, lambda_schedule=sweep), batch, "euler", sigmas)["samples"]
    figures = [
        distance({"samples": g}, mixture(true, lam, conds, latent, "euler", sigmas))
        for g, lam in zip(got.split(1), values)
    ]
    show(f"{title} in a sweep of {values}, {kind}", [f"{f:.1e}" for f in figures], f"each <= {BOUND:g} std")
    assert max(figures) <= BOUND
