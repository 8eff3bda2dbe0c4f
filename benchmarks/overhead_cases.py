"""What `overhead.py` measures of one clone, on networks that are nearly free: steps, and layers with a LoRA.

A measurement is a function that returns a number for each column of its table.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

SHORT, LONG = 4, 14  # steps
SWEPT = 21  # pictures of the sweep: 7 λ, 3 seeds
CFG, SEED = 7.0, 42
RANK = 4

Measure = Callable[[], list[float]]
Sample = Callable[[int], Any]  # steps


def now() -> float:
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


class Clock:
    """The forward passes of a run, in order: seconds, and whether the network answered as its own weights say."""

    calls: list[tuple[float, bool]] = []

    @classmethod
    def of(cls, sample: Sample, steps: int) -> tuple[float, list[tuple[float, bool]]]:
        """Seconds of a run beside its forward passes, and these."""
        cls.calls = []
        start = now()
        sample(steps)
        return now() - start - sum(seconds for seconds, _ in cls.calls), cls.calls


class PerPixel(torch.nn.Module):
    """One small layer per pixel: a network that a LoRA fits on and that costs next to nothing."""

    dtype = torch.float32

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)
        randomise(self, seed)

    def forward(self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor, **_: Any) -> torch.Tensor:
        start = now()
        out = self.layer(x.movedim(1, -1)).movedim(-1, 1)
        Clock.calls.append((now() - start, True))
        return out


class Layers(torch.nn.Module):
    """Many layers of a kind, of the host's own classes, all asked the same."""

    dtype = torch.float32

    def __init__(self, kind: str, count: int) -> None:
        super().__init__()
        from comfy.ops import disable_weight_init as ops

        make = {"linear": lambda: ops.Linear(64, 64), "convolution": lambda: ops.Conv2d(16, 16, 3, padding=1)}[kind]
        self.shape = {"linear": (-1, 32, 64), "convolution": (-1, 16, 8, 8)}[kind]  # of its input; the latent's numbers
        self.layers = torch.nn.ModuleList(make() for _ in range(count))
        randomise(self, 1)

    def forward(self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor, **_: Any) -> torch.Tensor:
        asked = x.reshape(self.shape)
        start = now()
        for layer in self.layers:
            out = layer(asked)
        seconds = now() - start
        plain = type(layer).forward(layer, asked)  # past hooks and what is put in the layer's place
        Clock.calls.append((seconds, torch.equal(out, plain)))
        return out.reshape(x.shape)


LAYERS = {"linear": "Linear 64 → 64, 64 rows", "convolution": "Conv2d 16 → 16, 3 × 3, 2 images of 8 × 8"}
LAYERS_LATENT = (1, 8, 16, 16)


def steadied(measure: Measure, seconds: float) -> list[float]:
    """Medians of as many measurements as take so long; of one where it takes longer."""
    start, values = now(), [measure()]
    while now() - start < seconds:
        values.append(measure())
    return [median(column) for column in zip(*values)]


def randomise(module: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 2


def node(node_id: str) -> Any:
    """Of the clone at hand, wherever its file lies."""
    from realign.nodes import NODES

    return next(one for one in NODES if one.define_schema().node_id == node_id)


def first_option(node_id: str, name: str) -> str:
    return str(next(one for one in node(node_id).define_schema().inputs if one.id == name).options[0])


def model_of(network: torch.nn.Module, channels: int = 4) -> Any:
    """The network as a MODEL."""
    import comfy.latent_formats
    import comfy.model_base
    import comfy.supported_models_base
    from comfy.model_patcher import ModelPatcher

    config = comfy.supported_models_base.BASE({"disable_unet_model_creation": True, "in_channels": channels})
    config.latent_format = comfy.latent_formats.LatentFormat()
    config.latent_format.latent_channels = channels
    config.memory_usage_factor = 0.0  # so that what else is in memory does not divide the batches
    base = comfy.model_base.BaseModel(config, comfy.model_base.ModelType.EPS)
    base.diffusion_model = network
    return ModelPatcher(base, torch.device("cpu"), torch.device("cpu"))


def lora_of(model: Any) -> dict[str, torch.Tensor]:
    """A LoRA on every layer, as a file of it holds."""
    out, generator = {}, torch.Generator().manual_seed(3)
    for name, weight in model.model.diffusion_model.named_parameters():
        if weight.ndim > 1:
            up = torch.randn(weight.shape[0], RANK, *[1] * (weight.ndim - 2), generator=generator)
            down = torch.randn(RANK, *weight.shape[1:], generator=generator)
            layer = f"diffusion_model.{name.removesuffix('.weight')}"
            out |= {f"{layer}.lora_up.weight": up, f"{layer}.lora_down.weight": down}
    return out


def with_lora(model: Any) -> Any:
    import comfy.sd

    return comfy.sd.load_lora_for_models(model, None, lora_of(model), 1.0, 0.0)[0]


def conditionings() -> list[Any]:
    return [[[torch.full((1, 1, 1), value), {}]] for value in (0.3, -0.1)]


def with_guider(guider: Any, latent: dict[str, Any]) -> Sample:
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced

    def sample(steps: int) -> None:
        sampling = guider.model_patcher.get_model_object("model_sampling")
        sigmas = comfy.samplers.calculate_sigmas(sampling, "normal", steps)
        euler = comfy.samplers.sampler_object("euler")
        SamplerCustomAdvanced.execute(Noise_RandomNoise(SEED), guider, euler, sigmas, latent)

    return sample


def stock(model: Any, latent: dict[str, Any]) -> Sample:
    import comfy.samplers

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*conditionings())
    guider.set_cfg(CFG)
    return with_guider(guider, latent)


def anchor_of(model: Any) -> Any:
    source = first_option("RealignAnchorFromModel", "beta_source")
    return node("RealignAnchorFromModel").execute(model, source, 1.0).args[0]


def guided(reference: Any, anchor: Any, latent: dict[str, Any], schedule: Any = None) -> Sample:
    guider = node("RealignGuider").execute(
        reference, anchor_of(anchor), *conditionings(), CFG, 0.5, lambda_schedule=schedule
    )
    return with_guider(guider.args[0], latent)


def sampled(reference: Any, anchor: Any, latent: dict[str, Any], schedule: Any = None) -> Sample:
    positive, negative = conditionings()
    own = anchor_of(anchor)

    def sample(steps: int) -> None:
        node("RealignSampler").execute(
            model=reference,
            anchor=own,
            positive=positive,
            negative=negative,
            latent_image=latent,
            seed=SEED,
            steps=steps,
            cfg=CFG,
            sampler_name="ddim",
            scheduler="normal",
            denoise=1.0,
            lambda_=0.5,
            lambda_schedule=schedule,
        )

    return sample


def steps(small: bool) -> dict[str, Measure]:
    """Ways to sample, by name. With the sweep every λ is one that needs both models."""
    reference = model_of(PerPixel(1))
    anchors = {"full": model_of(PerPixel(2)), "LoRA": with_lora(reference)}
    side = 8 if small else 128
    one = {"samples": torch.zeros(1, 4, side, side)}
    span = first_option("RealignSweep", "values")
    swept, sweep = node("RealignSweep").execute(one, span, 0.2, 0.8, 7, "", 3, "seed", "", batch_size=SWEPT).args
    out: dict[str, Measure] = {}
    for size, latent, schedule in (("1 picture", one, None), (f"{SWEPT} swept", swept, sweep)):
        out[f"stock, {size}"] = per_step(stock(reference, latent))
        for kind, anchor in anchors.items():
            out[f"guider, {kind}, {size}"] = per_step(guided(reference, anchor, latent, schedule))
            out[f"sampler, {kind}, {size}"] = per_step(sampled(reference, anchor, latent, schedule))
    return out


def per_step(sample: Sample) -> Measure:
    """Milliseconds of a step and of what a run does once, beside the forward passes; forward passes of a step."""

    def measure() -> list[float]:
        (short, few), (long, many) = (Clock.of(sample, count) for count in (SHORT, LONG))
        step = 1000 * (long - short) / (LONG - SHORT)
        return [step, 1000 * short - SHORT * step, (len(many) - len(few)) / (LONG - SHORT)]

    return measure


def layers(small: bool) -> dict[str, Measure]:
    return {LAYERS[kind]: per_layer(kind, 8 if small else 100) for kind in LAYERS}


def per_layer(kind: str, count: int) -> Measure:
    """Microseconds per layer and call: what is added in the anchor's call, in the reference's while the LoRA is in
    place, and by the host's own bypass mode; and the layer alone."""
    import comfy.sd

    network = Layers(kind, count)
    reference, latent = model_of(network, LAYERS_LATENT[1]), {"samples": torch.zeros(LAYERS_LATENT)}
    bypass = comfy.sd.load_bypass_lora_for_models(reference, None, lora_of(reference), 1.0, 0.0)[0]
    alone, realigned, bypassed = (
        stock(reference, latent),
        guided(reference, with_lora(reference), latent),
        stock(bypass, latent),
    )

    def microseconds(sample: Sample, plain: bool) -> float:
        calls = [seconds for seconds, own in Clock.of(sample, SHORT)[1] if own == plain]
        return 1e6 * median(calls) / count

    def measure() -> list[float]:
        layer = microseconds(alone, True)
        added = [microseconds(realigned, False), microseconds(realigned, True), microseconds(bypassed, False)]
        return [*(value - layer for value in added), layer]

    return measure
