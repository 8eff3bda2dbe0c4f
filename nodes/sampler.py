"""RealignSampler: KSampler for a reference and its anchors, drawing each step from their mixed posteriors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import comfy.samplers
import torch
from comfy.k_diffusion.sampling import default_noise_sampler, trange
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, Noise_RandomNoise, SamplerCustomAdvanced

from ..realign_core import Called, Exact, LambdaSchedule, NoiseLevel, Sweep, TraceStep, check_run, realigned_sample
from .models.anchor import Anchor, check_mask
from .models.pair import noise_levels
from .run.fewer_calls import OFF, FewerCalls
from .run.own_state import Conditioning
from .run.parts import check_batch
from .run.realignment import Realignment, schedule_rows, schedules
from .sampler_inputs import sampler_schema

ETA = {"ddpm": 1.0, "ddim": 0.0}


@dataclass(frozen=True)
class Plan:
    """A run, settled before any model is loaded. levels: T + 1. lambdas: T rows, a λ per anchor. etas: per model."""

    sigmas: torch.Tensor
    levels: list[NoiseLevel]
    lambdas: list[list[float]]
    etas: list[float]
    inpaint_options: dict[str, Any]

    def with_eta(self, eta: float) -> list[float]:
        """η per model where a sweep sets it: those of anchors that have another keep it."""
        return [eta if own == self.etas[0] else own for own in self.etas]


def plan_run(
    model: ModelPatcher,
    anchors: Sequence[Anchor],
    schedules: Sequence[LambdaSchedule],
    *,
    steps: int,
    sampler_name: str,
    scheduler: str,
    denoise: float,
    eta: float,
    anchor_eta: float,
    start_at_step: int,
    end_at_step: int,
    return_with_leftover_noise: bool,
    sweep: Sweep | None = None,
) -> Plan:
    """σ, λ and η of every step. Raises ValueError for a run that cannot be done, before any model call.

    The slicing is KSampler.sample's (comfy/samplers.py). λ's progress is that of the whole schedule, so that a run
    split in two over start and end steps has the λ of the undivided one.
    """
    sampler = comfy.samplers.KSampler(
        model, steps, model.load_device, sampler_name, scheduler, denoise, model.model_options
    )
    sigmas = sampler.sigmas.cpu()
    whole = [float(s) for s in sigmas]
    last = min(end_at_step, len(whole) - 1)
    if len(whole) < 2:
        raise ValueError(f"There is no step to sample: denoise is {denoise:g}. Raise it above 0.")
    if start_at_step >= last:
        raise ValueError(
            f"There is no step to sample: the steps run from 0 to {len(whole) - 1}, but start_at_step is "
            f"{start_at_step} and end_at_step {end_at_step}. Lower start_at_step, raise end_at_step, or add steps."
        )
    rows = schedule_rows(schedules, [one.share for one in anchors])(whole)[start_at_step:last]
    sigmas = sigmas[start_at_step : last + 1].clone()
    if not return_with_leftover_noise:
        sigmas[-1] = 0

    reference_eta = ETA[sampler_name] if eta < 0 else eta
    plan = Plan(
        sigmas=sigmas,
        levels=noise_levels(model, sigmas),
        lambdas=rows,
        etas=[reference_eta] + [reference_eta if anchor_eta < 0 else anchor_eta] * len(anchors),
        inpaint_options=comfy.samplers.sampler_object(sampler_name).inpaint_options,
    )
    _check(plan, anchors, sweep)
    return plan


def _check(plan: Plan, anchors: Sequence[Anchor], sweep: Sweep | None) -> None:
    if sweep is None:
        check_run(plan.levels, plan.lambdas, plan.etas)
        return
    values = torch.tensor(sweep.values)
    swept = [[v if anchor.schedule else v * values for v, anchor in zip(row, anchors)] for row in plan.lambdas]
    for eta in sweep.etas or (plan.etas[0],):
        check_run(plan.levels, swept, plan.with_eta(eta))


def posterior_sampler(realignment: Realignment, plan: Plan) -> comfy.samplers.KSAMPLER:
    """The host's sampler object around `realigned_sample`. The steps of a mixture go to the realignment's record."""
    sigma_of = dict(zip(plan.levels, plan.sigmas))

    def sample_realigned(
        model: Any,
        x: torch.Tensor,
        sigmas: torch.Tensor,
        extra_args: dict[str, Any],
        callback: Any = None,
        disable: bool | None = None,
        noise_sampler: Any = None,
    ) -> torch.Tensor:
        s_in = x.new_ones([x.shape[0]])
        run = realignment.running  # None: one model alone is sampled throughout, and it is the one behind `model`
        rows = realignment.rows

        def models(x: torch.Tensor, level: NoiseLevel, called: Sequence[Called]) -> list[torch.Tensor | None]:
            sigma = sigma_of[level].to(x) * s_in
            if run is None:
                out = model(x, sigma, **extra_args)
                return [out if call else None for call in called]
            return run.masked(model, x, sigma, called)

        def merged(
            x: torch.Tensor, level: NoiseLevel, lambdas: Sequence[torch.Tensor], called: Sequence[bool]
        ) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
            assert run is not None
            return run.masked_merged(model, x, sigma_of[level].to(x) * s_in, lambdas, called)

        def report(step: int, x: torch.Tensor, denoised: torch.Tensor, record: TraceStep) -> None:
            if run is not None:  # else it is counted as any run of one model is
                realignment.record.add(step, record)
            if callback is not None:
                sigma = sigmas[step]
                callback({"x": x, "i": step, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})

        return realigned_sample(
            Exact(models) if run is None else run.evaluator(models, merged),
            x,
            plan.levels,
            rows if run is None else [run.with_masks(row, x) for row in rows],
            noise=noise_sampler or default_noise_sampler(x, seed=extra_args.get("seed")),
            eta=plan.etas if realignment.eta is None else plan.with_eta(realignment.eta),
            callback=report,
            steps=trange(len(plan.levels) - 1, disable=disable),
        ).x

    return comfy.samplers.KSAMPLER(sample_realigned, inpaint_options=plan.inpaint_options)


def check_latent(latent: dict[str, Any]) -> None:
    """Raise ValueError for a latent with NaN or infinity: the run would end in a black picture."""
    samples = latent["samples"]
    parts = samples.unbind() if samples.is_nested else [samples]
    if not all(bool(torch.isfinite(part).all()) for part in parts):
        raise ValueError(
            "The latent image holds values that are not finite numbers (NaN or infinity), so the node that made it "
            "failed: look at its picture, and if it is black, use a VAE or model that does not overflow in fp16."
        )


class RealignSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return sampler_schema(list(ETA))

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        anchor: Anchor,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: dict[str, Any],
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        denoise: float,
        lambda_: float,
        eta: float = -1.0,
        anchor_eta: float = -1.0,
        anchor_cfg: float = -1.0,
        add_noise: bool = True,
        start_at_step: int = 0,
        end_at_step: int = 10000,
        return_with_leftover_noise: bool = False,
        lambda_schedule: LambdaSchedule | Sweep | None = None,
        anchor_positive: Conditioning | None = None,
        anchor_negative: Conditioning | None = None,
        lambda_mask: torch.Tensor | None = None,
        fewer_calls: str = OFF,
        calls_per_step: float = 1.2,
    ) -> io.NodeOutput:
        check_latent(latent_image)
        sweep = lambda_schedule if isinstance(lambda_schedule, Sweep) else None
        if sweep is not None:
            check_batch(latent_image["samples"].shape[0], sweep)
        anchors = anchor.all()
        realignment = Realignment(
            anchors,
            lambda sigmas: plan.lambdas,
            anchor_cfg=None if anchor_cfg < 0 else anchor_cfg,
            anchor_conds=(anchor_positive, anchor_negative),
            mask=check_mask(lambda_mask),
            fewer_calls=FewerCalls(fewer_calls, calls_per_step),
            sweep=sweep,
        )
        realigned = realignment.attach(model)
        plan = plan_run(
            model,
            anchors,
            schedules(anchors, lambda_, lambda_schedule),
            steps=steps,
            sampler_name=sampler_name,
            scheduler=scheduler,
            denoise=denoise,
            eta=eta,
            anchor_eta=anchor_eta,
            start_at_step=start_at_step,
            end_at_step=end_at_step,
            return_with_leftover_noise=return_with_leftover_noise,
            sweep=sweep,
        )
        realignment.fewer_calls.check_etas(plan.etas)
        guider = comfy.samplers.CFGGuider(realigned)
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)

        noise = Noise_RandomNoise(seed) if add_noise else Noise_EmptyNoise()
        noise.seed = seed  # also seeds the noise of the steps
        sampler = posterior_sampler(realignment, plan)
        sampled = SamplerCustomAdvanced.execute(noise, guider, sampler, plan.sigmas, latent_image)
        latent, denoised = sampled.args

        settings = {
            "seed": seed,
            "steps": steps,
            "cfg": cfg,
            "sampler_name": sampler_name,
            "scheduler": scheduler,
            "denoise": denoise,
        }
        trace = realignment.trace(etas=plan.etas, settings=settings)
        return io.NodeOutput(latent, denoised, trace.to_json())


NODES = [RealignSampler]
