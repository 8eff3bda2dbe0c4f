"""What a mixture of two models must give, from whole stock runs of each; nothing of the project takes part.

Each model is sampled by a stock guider in a thread of its own. The threads go in lockstep: one of them runs the
sampler, and what it is told at each question is (1 - λ) D_reference + λ D_anchor.
"""

import asyncio
import math
import queue
import threading

import comfy.sample
import comfy.samplers
import torch
from comfy.samplers import KSAMPLER, CFGGuider
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced

import nodes as host_nodes

SEED = 1234567
BOUND = 2e-4  # of the true latent's standard deviation; rounding stays below 2e-5


# The pack's nodes, by the names that workflow files have for them.


def realign_nodes():
    import realign

    extension = asyncio.run(realign.comfy_entrypoint())
    return {cls.define_schema().node_id: cls for cls in asyncio.run(extension.get_node_list())}


def call(node, **inputs):
    """The outputs of a node of the pack, by id."""
    return realign_nodes()[node].execute(**inputs).args


def anchor_of(model):
    return call("RealignAnchorFromModel", model=model, beta_source="unknown / no KL term", beta=1.0)[0]


def realign_guider(reference, anchor, conds, lam, cfg=4.0, **options):
    """GUIDER. anchor: a MODEL."""
    inputs = dict(model=reference, anchor=anchor_of(anchor), positive=conds[0], negative=conds[1], cfg=cfg, lambda_=lam)
    return call("RealignGuider", **inputs, **options)[0]


def realign_model(reference, anchor, lam, **options):
    return call("RealignModel", model=reference, anchor=anchor_of(anchor), lambda_=lam, **options)[0]


def realign_sampler(
    reference, anchor, conds, latent, lam, steps, cfg=4.0, sampler="ddim", scheduler="simple", **options
):
    """(LATENT, denoised LATENT, trace) of Realign Sampler."""
    return call(
        "RealignSampler", model=reference, anchor=anchor_of(anchor), positive=conds[0], negative=conds[1],
        latent_image=latent, seed=SEED, steps=steps, cfg=cfg, sampler_name=sampler, scheduler=scheduler,
        **{"denoise": 1.0, "lambda_": lam} | options,
    )  # fmt: skip


# Stock runs.


def sigmas_of(model, steps, scheduler="simple", sampler="euler", denoise=1.0):
    return comfy.samplers.KSampler(model, steps, "cpu", sampler, scheduler, denoise, model.model_options).sigmas


def sampler_object(sampler):
    return comfy.samplers.sampler_object(sampler) if isinstance(sampler, str) else sampler


def stock_guider(model, conds, cfg):
    guider = CFGGuider(model)
    guider.set_conds(*conds)
    guider.set_cfg(cfg)
    return guider


def sampled(guider, latent, sampler, sigmas, seed=SEED):
    """LATENT of SamplerCustomAdvanced."""
    return SamplerCustomAdvanced.execute(Noise_RandomNoise(seed), guider, sampler_object(sampler), sigmas, latent).args[
        0
    ]


def k_sampled(model, conds, latent, steps, sampler, cfg=4.0, scheduler="simple", seed=SEED):
    """LATENT of KSampler."""
    return host_nodes.common_ksampler(model, seed, steps, cfg, sampler, scheduler, *conds, latent)[0]


class Stock(threading.Thread):
    """One model's whole stock run, asked step by step."""

    def __init__(self, guider, noise, latent, sampler, sigmas, mask, seed):
        super().__init__(daemon=True)
        self.asked, self.answers = queue.Queue(), queue.Queue()
        self.random = torch.get_rng_state()  # nodes that draw from the global state find what they find alone
        serving = KSAMPLER(self.serve, inpaint_options=sampler.inpaint_options)
        self.job = lambda: guider.sample(noise, latent, serving, sigmas, mask, seed=seed)

    def run(self):
        try:
            with torch.inference_mode():
                self.job()
        except BaseException as error:
            self.answers.put(error)

    def serve(self, model, x, sigmas, extra_args=None, callback=None, disable=None):
        self.answers.put("ready")
        while (question := self.asked.get(timeout=300)) is not None:
            self.answers.put(model(*question, **extra_args))
        return x

    def ask(self, *question):
        others = torch.get_rng_state()
        torch.set_rng_state(self.random)
        self.asked.put(question) if question else self.start()
        got = self.answers.get(timeout=300)
        self.random = torch.get_rng_state()
        torch.set_rng_state(others)
        if isinstance(got, BaseException):
            raise got
        return got


class Mixed:
    """What the sampler calls. lam: λ, or λ of the k-th question. ds: the last answer of each model."""

    def __init__(self, model, other, lam):
        self.model, self.other, self.lam, self.number = model, other, lam, -1

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __call__(self, x, sigma, **extra):
        self.number += 1
        self.ds = self.model(x, sigma, **extra).double(), self.other.ask(x, sigma).double()
        lam = self.lam(self.number) if callable(self.lam) else self.lam
        return torch.lerp(*self.ds, lam).to(x.dtype)


def posterior_sampler(flow, eta, lam):
    """DDPM (η = 1), DDIM (η = 0) and between: one Gaussian per model and step, and their geometric mixture."""

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        generator = torch.Generator().manual_seed(SEED + 1)  # the host's default_noise_sampler on a CPU
        for sigma, t, s in zip(sigmas, sigmas.double().tolist(), sigmas.double().tolist()[1:]):
            model(x, x.new_full([x.shape[0]], sigma), **extra_args)
            a_t, a_s = (1 - t, 1 - s) if flow else (1.0, 1.0)
            v = eta**2 * s**2 * (t**2 - (a_t / a_s * s) ** 2) / t**2
            means = [a_s * d + math.sqrt(s**2 - v) * (x.double() - a_t * d) / t for d in model.ds]
            x = torch.lerp(*means, lam)
            x = (x + math.sqrt(v) * torch.randn(x.shape, generator=generator) if v > 0 else x).float()
        return x

    return sample


def mixture(models, lam, conds, latent, sampler, sigmas, cfg=4.0, seed=SEED, own=None, guiders=None):
    """LATENT of the true mixture.

    models: reference and anchor, each on weights of its own. own: a sampler function in place of the named sampler's.
    guiders: stock guiders in place of CFGGuider ones.
    """
    sampler, samples = sampler_object(sampler), latent["samples"]
    guiders = guiders or [stock_guider(model, conds, cfg) for model in models]
    noise, mask = comfy.sample.prepare_noise(samples, seed, latent.get("batch_index")), latent.get("noise_mask")
    other = Stock(guiders[1], noise, samples, sampler, sigmas, mask, seed)

    def mix(model, x, sigmas, extra_args=None, callback=None, disable=None, **more):
        more |= {"extra_args": extra_args, "callback": callback, "disable": True}
        return (own or sampler.sampler_function)(Mixed(model, other, lam), x, sigmas, **more)

    try:
        other.ask()
        comfy.sample.prepare_noise(samples, seed, latent.get("batch_index"))  # the global state as a run finds it
        both = KSAMPLER(mix, sampler.extra_options, sampler.inpaint_options)
        return {"samples": guiders[0].sample(noise, samples, both, sigmas, mask, seed=seed)}
    finally:
        other.asked.put(None)
        other.join(60)


def true_of(how, models, conds, latent, lam, steps, flow=False):
    """What `realigned` must give, of models on weights of their own. flow: whether they are flow models."""
    sigmas = sigmas_of(models[0], steps)
    if how == "sampler":
        return mixture(models, lam, conds, latent, "ddim", sigmas, own=posterior_sampler(flow, 0.0, lam))
    return mixture(models, lam, conds, latent, "euler", sigmas)


def realigned(how, reference, anchor, conds, latent, lam, steps):
    """LATENT of Realign Sampler with ddim, or of Realign Guider or Realign MODEL with euler. how: sampler, guider or
    model."""
    if how == "sampler":
        return realign_sampler(reference, anchor, conds, latent, lam, steps)[0]
    if how == "guider":
        return sampled(realign_guider(reference, anchor, conds, lam), latent, "euler", sigmas_of(reference, steps))
    return k_sampled(realign_model(reference, anchor, lam), conds, latent, steps, "euler")


def distance(ours, true):
    """The largest difference, in standard deviations of the true latent."""
    ours, true = (v["samples"].double() for v in (ours, true))
    return ((ours - true).abs().max() / true.std()).item()


def show(name, figure, wanted):
    print(f"{name}: {figure}, wanted {wanted}")


def near(name, ours, true, bound=BOUND):
    """Print and assert that the two latents agree."""
    figure = distance(ours, true)
    show(name, f"{figure:.2e} std", f"<= {bound:g}")
    assert figure <= bound, f"{name}: {figure:.2e} std of the true latent, wanted <= {bound:g}"
