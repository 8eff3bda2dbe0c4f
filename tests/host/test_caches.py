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
    k_sampled,
    mixture,
    near,
    posterior_sampler,
    realign_guider,
    realign_model,
    realign_sampler,
    sampled,
    show,
    sigmas_of,
    stock_guider,
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
    sampler, sigmas = ("ddim", "euler")[how != "sampler"], sigmas_of(ours[0], STEPS)
    own = posterior_sampler(kind == "sd3", 0.0, LAMBDA) if how == "sampler" else None
    want = mixture(true, LAMBDA, conds, latent, sampler, sigmas, own=own)
    plain = mixture([tiny.load(f) for f in files], LAMBDA, conds, latent, sampler, sigmas, own=own)
    assert distance(want, plain) > 1e-3, "the cache never skipped, so that the case shows nothing"
    if how == "sampler":
        got = realign_sampler(*ours, conds, latent, LAMBDA, STEPS)[0]
    elif how == "guider":
        got = sampled(realign_guider(*ours, conds, LAMBDA), latent, sampler, sigmas)
    else:
        got = k_sampled(realign_model(*ours, LAMBDA), conds, latent, STEPS, sampler)
    alone = distance(sampled(stock_guider(tiny.load(files[0]), conds, 4.0), latent, sampler, sigmas), want)
    print(f"   (the reference alone is {alone:.2f} std from the truth, no cache at all {distance(plain, want):.2f})")
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
