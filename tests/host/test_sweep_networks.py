"""A sweep's pictures are those of their own runs, of every network of the host: in one batch where that is known to be
right, one λ at a time elsewhere."""

from __future__ import annotations

import comfy.supported_models
import networks
import pytest
from host_runs import distance, realign_guider, sampled, some
from realign.nodes.run import by_element
from rounding import CEILING
from specs import NETWORKS
from test_sweep import sweep_of
from truth import sigmas_of

LAMBDAS = (0.0, 0.5, 1.0)
HERE = [name for name in sorted(NETWORKS) if hasattr(comfy.supported_models, name)]


@pytest.mark.parametrize("name", HERE)
def test_a_sweep_is_its_runs(name):
    network = NETWORKS[name]
    conds, latent = [networks.conditioning(network, seed) for seed in (1, 2)], networks.latent(network, network.batch)
    pair = networks.build(name, network), networks.build(name, network, moved=0.3)
    batch, sweep = sweep_of(latent, LAMBDAS)
    run = dict(sampler="euler", sigmas=sigmas_of(pair[0], 3, "normal")[1:])
    swept = sampled(realign_guider(pair, *conds, 0.9, 3.0, lambda_schedule=sweep), batch, **run)
    for place, lambda_ in enumerate(LAMBDAS):
        single = sampled(realign_guider(pair, *conds, lambda_, 3.0), latent, **run)
        assert distance(some(swept, slice(place, None, len(LAMBDAS))), single) <= CEILING, lambda_


def test_a_network_that_is_not_known_is_asked_one_picture_at_a_time(monkeypatch, caplog):
    caplog.set_level("INFO")
    test_a_sweep_is_its_runs("SD15")
    assert "one picture at a time" not in caplog.text
    monkeypatch.setattr(by_element, "NETWORKS", set())
    test_a_sweep_is_its_runs("SD15")
    assert "one picture at a time, as comfy.model_base.BaseModel may look at the others" in caplog.text
