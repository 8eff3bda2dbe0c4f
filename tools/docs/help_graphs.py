"""Graphs of the help pages' pictures, in API format: each function is a part, and parts are joined with |."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Graph = dict[str, Any]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def demo(shape: str = "heart", colour: str = "any", background: str = "any", batch: int = 1) -> Graph:
    """The demo models and an empty latent."""
    return {
        "demo": node("RealignDemoModels", shape=shape, colour=colour, background=background),
        "empty": node("EmptyLatentImage", width=64, height=64, batch_size=batch),
    }


def sweep(values: Sequence[float], latent: str = "empty", **inputs: Any) -> Graph:
    """Through these λ; further inputs as RealignSweep's."""
    listed = ", ".join(f"{value:g}" for value in values)
    given = {"start": 0.0, "end": 1.0, "count": 2, "seeds": 1, "rows": "seed", "row_values": "", **inputs}
    return {"sweep": node("RealignSweep", latent=[latent, 0], values="list", listed=listed, **given)}


def sampler(**inputs: Any) -> Graph:
    """Realign Sampler over the demo models and the empty latent, decoded as "decode"."""
    given = {
        "model": ["demo", 0],
        "anchor": ["demo", 1],
        "positive": ["demo", 2],
        "negative": ["demo", 3],
        "latent_image": ["empty", 0],
        "seed": 7,
        "steps": 30,
        "cfg": 1.5,
        "sampler_name": "ddpm",
        "scheduler": "normal",
        "denoise": 1.0,
        "lambda_": 0.5,
        **inputs,
    }
    return {"sampler": node("RealignSampler", **given), **decoded("sampler")}


def swept_sampler(values: Sequence[float], **inputs: Any) -> Graph:
    return {**sweep(values), **sampler(latent_image=["sweep", 0], lambda_schedule=["sweep", 1], **inputs)}


def decoded(samples: str, name: str = "decode") -> Graph:
    return {
        name: node("VAEDecode", samples=[samples, 0], vae=["demo", 4]),
        f"{name}_saved": node("PreviewImage", images=[name, 0]),
    }


def custom(latent: str, guider: str, sampler_name: str, name: str = "advanced", seed: int = 7) -> Graph:
    """SamplerCustomAdvanced with one of the host's samplers."""
    sigmas = node("BasicScheduler", model=["demo", 0], scheduler="normal", steps=20, denoise=1.0)
    run = {"noise": ["noise", 0], "guider": [guider, 0], "sampler": ["select", 0], "sigmas": ["sigmas", 0]}
    return {
        "noise": node("RandomNoise", noise_seed=seed),
        "select": node("KSamplerSelect", sampler_name=sampler_name),
        "sigmas": sigmas,
        name: node("SamplerCustomAdvanced", **run, latent_image=[latent, 0]),
    }


def guider(**inputs: Any) -> Graph:
    given = {"model": ["demo", 0], "anchor": ["demo", 1], "positive": ["demo", 2], "negative": ["demo", 3], "cfg": 1.5}
    return {"guider": node("RealignGuider", **given, lambda_=1.5, **inputs)}


def schedule(shape: str, **inputs: Any) -> Graph:
    given = {"start": 0.0, "end": 1.0, "begin": 0.0, "stop": 1.0, "scale": 1.0, "offset": 0.0, **inputs}
    how = {"over": "steps", "sigma_max": 0.0, "sigma_min": 0.0, "steps": 30}
    return {"schedule": node("LambdaSchedule", shape=shape, **given, **how, anchor=["demo", 1])}
