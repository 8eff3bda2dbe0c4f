"""Every network class of the host's list of models, full and LoRA anchor, against two stock runs in lockstep."""

from __future__ import annotations

import gc

import comfy.supported_models
import networks
import pytest
from node_exceptions import NOT_BUILT
from rounding import distance
from specs import NETWORKS
from truth import BOUND, mixture, realign_guider, sampled, sigmas_of, stock_guider

CLASSES = [cls.__name__ for cls in comfy.supported_models.models]
STEPS, CFG, LAMBDA = 3, 3.0, 0.5


@pytest.fixture(scope="module", autouse=True)
def quick_collections():
    """The host collects garbage whenever a clone of a living model is gone: of what these tests make, not of all."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def test_every_class_is_built_or_in_the_table():
    known = NETWORKS.keys() | NOT_BUILT.keys()
    assert not NETWORKS.keys() & NOT_BUILT.keys()
    missing = [name for name in CLASSES if name not in known]
    assert not missing, f"the host has models that no test builds small: {missing}; see specs.py"


@pytest.mark.parametrize("anchor", ["full", "lora"])
@pytest.mark.parametrize("name", [name for name in CLASSES if name in NETWORKS])
def test_mixture(name, anchor):
    network = NETWORKS[name]
    conds, latent = [networks.conditioning(network, seed) for seed in (1, 2)], networks.latent(network, network.batch)

    def pair(shared: bool):
        """(reference, anchor). shared: a LoRA on the reference's own weights, as in a graph; else on its own."""
        reference = networks.build(name, network)
        if anchor == "full":
            return reference, networks.build(name, network, moved=0.3)
        return reference, networks.with_lora(reference if shared else networks.build(name, network))

    true, ours = pair(False), pair(True)
    sigmas = sigmas_of(true[0], STEPS + 1, "normal")[1:]  # some begin at a σ of thousands, where latents are rounded
    want = mixture(true, LAMBDA, conds, latent, "euler", sigmas, CFG)
    for end in true:
        alone = sampled(stock_guider(end, conds, CFG), latent, "euler", sigmas)
        assert distance(alone, want) > 0.05, "the models are too alike, so that the case shows nothing"
    got = sampled(realign_guider(*ours, conds, LAMBDA, CFG), latent, "euler", sigmas)
    apart = distance(got, want)
    print(f"{name}, {anchor}: {apart:.1e} std")
    assert apart <= BOUND, f"{apart:.2e} standard deviations of the true latent, wanted at most {BOUND:g}"
