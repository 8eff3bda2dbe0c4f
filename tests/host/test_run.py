"""`Run.take`: what belongs to a batch element follows it, all of it."""

from __future__ import annotations

import comfy.samplers
import pytest
import torch
import toy_models
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced
from host_runs import anchors_of, realign_guider
from realign.nodes.run.attach import Attached
from realign.nodes.run.fewer_calls import CONTROL, OFF, REUSE
from realign.nodes.sweep import RealignSweep

INDEX = torch.tensor([2, 0, 0, 1])  # one twice, one gone, none where it was
SIGMAS = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5, 0.2, 0.0])


def euler(moved_at):
    """Euler, whose elements change places before the step `moved_at`."""

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for i in range(len(sigmas) - 1):
            if i == moved_at:
                x = x[INDEX]
                extra_args["model_options"]["realign"].take(INDEX)
            denoised = model(x, sigmas[i] * x.new_ones(len(x)), **extra_args)
            x = denoised + (x - denoised) * sigmas[i + 1] / sigmas[i]
        return x

    return comfy.samplers.KSAMPLER(sample)


def run(method, moved_at=None, batch_size=4):
    """(the latents, the trace) of a sweep of four λ, or of four seeds where λ cannot share a batch."""
    first = toy_models.toy_model(seed=1)
    anchor = toy_models.with_lora(first) if method == CONTROL else toy_models.toy_model(seed=2)
    cells = dict(listed="0.5", seeds=4) if method == CONTROL else dict(listed="0.2, 0.5, 0.9, 1.4", seeds=1)
    options = dict(values="list", start=0.0, end=1.0, count=2, rows="seed", **cells)
    latent, sweep = RealignSweep.execute(toy_models.latent(1), row_values="", batch_size=batch_size, **options).args
    anchors = anchors_of(anchor)
    guider = realign_guider(
        (first, anchors), *toy_models.CONDS, 1.0, lambda_schedule=sweep, fewer_calls=method, calls_per_step=1.3
    )
    # The host's samplers alone may be sampled at once; here the elements are to be together.
    sampler = euler(moved_at)
    sampler.sampler_function.__module__ = "comfy.test"
    out = SamplerCustomAdvanced.execute(Noise_RandomNoise(1), guider, sampler, SIGMAS, latent).args[0]
    return out["samples"], Attached.behind(guider.model_patcher).trace(out["samples"])


@pytest.mark.parametrize("method", [OFF, REUSE, CONTROL])
@pytest.mark.parametrize("moved_at", [1, 3, 5])
def test_all_that_belongs_to_an_element_follows_it(method, moved_at):
    plain, moved = run(method), run(method, moved_at)
    spread = plain[0].std()
    assert (moved[0] - plain[0][INDEX]).abs().max() <= 1e-5 * spread
    assert (plain[0][0] - plain[0][1]).abs().max() > 0.01 * spread  # they are not alike
    assert torch.allclose(moved[1].kl, plain[1].kl[..., INDEX], rtol=1e-3, atol=1e-6, equal_nan=True)
    assert torch.equal(moved[1].lambdas, plain[1].lambdas[..., INDEX])
