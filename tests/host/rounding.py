"""Numeric bounds from the rounding of the machine at hand: how far apart two right answers may lie on it.

Sums of fp32 in another order differ; by how much is a matter of the machine: its vectors, its threads, its libraries'
kernels. The stock host computes one thing twice here, with its batch composed otherwise: whatever the two differ by is
rounding. A bound is a small multiple of it, and never so large that an error of FAULT could pass.
"""

from __future__ import annotations

import weakref

import comfy.sample
import comfy.samplers
import torch
from comfy.nested_tensor import NestedTensor

# All in standard deviations of the latent.
FAULT = 1e-4  # what every comparison must find
CEILING = FAULT / 2  # of any bound: a fault is found where rounding happens to oppose it, too

TIMES = 4  # the same by other sums (weights merged or added, a step by one formula or by another) rounds otherwise
ULPS = 12 * torch.finfo(torch.float32).eps  # where another batch changes no bit, as in networks of a few weights
ONE_STEP = torch.tensor([1.0, 0.0])  # ends at the prediction itself

_measured: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # host model -> {(its patches, cfg): rounding}


def distance(a, b):
    """The largest difference of two LATENTs, in standard deviations of the second."""
    return max(((x - y).abs().max() / y.std()).item() for x, y in zip(_parts(a), _parts(b), strict=True))


def assert_agree(got, want, models, conds, cfg=7.0):
    """LATENTs of runs on these MODELs are equal but for rounding."""
    apart, most = distance(got, want), bound(models, conds, want, cfg)
    assert apart <= most, f"{apart:.2e} standard deviations apart, where rounding explains {most:.2e}"


def bound(models, conds, latent, cfg=7.0):
    """The largest distance that rounding explains between runs on these MODELs. latent: a LATENT of the runs' shape.

    Measured once per model and cfg: what rounds is the network's sums, whatever the prompt.
    """
    measured = max(rounding(model, conds, latent, cfg) for model in models)
    guidance = abs(cfg) + abs(cfg - 1)  # multiplies what the two predictions of a model round; the steps round, too
    return min(CEILING, max(TIMES * measured, ULPS * (1 + guidance)))


def rounding(model, conds, latent, cfg=7.0):
    """How far a stock prediction is from itself with each conditioning in a call of its own, and in a batch of three
    pictures."""
    known = _measured.setdefault(model.model, {})
    key = model.patches_uuid, cfg
    if key not in known:
        want = _predicted(model, conds, cfg, latent)
        positive, negative = (_predicted(model, (cond, cond), 1.0, latent)["samples"] for cond in conds)
        in_two_calls = {"samples": negative + (positive - negative) * cfg}
        in_a_batch = _predicted(model, conds, cfg, latent, count=3)
        known[key] = max(distance(other, want) for other in (in_two_calls, in_a_batch))
    return known[key]


def _predicted(model, conds, cfg, latent, count=1):
    """LATENT of the first of as many equal pictures: the model's prediction at σ = 1."""
    parts = [torch.zeros(count, *part.shape[1:]) for part in _parts(latent)]
    samples = NestedTensor(parts) if latent["samples"].is_nested else parts[0]
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*conds)
    guider.set_cfg(cfg)
    noise, euler = comfy.sample.prepare_noise(samples, 42, [0] * count), comfy.samplers.sampler_object("euler")
    samples = guider.sample(noise, samples, euler, ONE_STEP, disable_pbar=True, seed=42)
    return {"samples": torch.cat([part[:1].flatten() for part in _parts({"samples": samples})])}


def _parts(latent):
    samples = latent["samples"]
    return samples.unbind() if samples.is_nested else [samples]
