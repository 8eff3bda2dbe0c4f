"""RealignSearch: the λ of the best reward within limits, found with few pictures, which come out as a sweep."""

from __future__ import annotations

import json
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..realign_core import MOST_CELLS, LambdaSchedule, Limit, Search, Sweep
from .checked import Node, checked
from .inputs import (
    ADVANCED,
    cfg_input,
    choice,
    conditioning_inputs,
    lambda_number,
    latent_input,
    mask_input,
    noise_inputs,
    number,
    pair_inputs,
    prompt_input,
    prompt_inputs,
    schedule_input,
    step_inputs,
    text,
)
from .live import strip_of
from .models.anchor import Anchors
from .page import said
from .pictures.search_panels import search_plot
from .reward.protocol import Reward
from .reward.session import check_name
from .run.posterior import check_latent
from .run.prompts import Prompts, with_prompts
from .sampled import etas_of, run_sigmas
from .sampler import ETA
from .searched import Kept, Runs, searched
from .types import CATEGORY, REWARD_ALIASES, Conditioning, LambdaType, PromptsType, RewardType

REWARD, KL, SECOND = 0, 1, 2  # a picture's numbers
ALIASES = ["find lambda", "best lambda", "optimise", "optimize", "bayesian optimisation", "auto lambda"]
# Inputs that a kept search's pictures, and their numbers, come from.
LINKED = ("model", "anchor", "positive", "negative", "latent_image", "reward", "vae", "second", "prompts")
LINKED += ("lambda_schedule", "anchor_positive", "anchor_negative", "lambda_mask")


class RealignSearch(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignSearch",
            display_name="λ Search",
            category=CATEGORY,
            description=(
                "Finds the λ whose pictures a reward likes best, from as few pictures as will do: within a KL budget, "
                "or as long as a second reward does not fall. All λ get the same seeds. It says how certain it is, and "
                "its pictures come out as a sweep, for λ Grid and λ Compare."
            ),
            search_aliases=[*REWARD_ALIASES, *ALIASES],
            inputs=[
                *pair_inputs(),
                *prompt_inputs(),
                latent_input(),
                RewardType.Input("reward", tooltip="What is good, from a reward node: its mean is to be largest."),
                io.Vae.Input("vae", tooltip="Decodes the pictures for the reward."),
                number("seed", 0, 0, 0xFFFFFFFFFFFFFFFF, control_after_generate=True)(
                    "The first seed: each λ gets this one, seed + 1 … as in Realign Sampler."
                ),
                number("seeds", 4, 1, 64)("How many seeds each λ gets (1–64): more, and the λ holds for other ones."),
                number("steps", 25, 1, 10000)("Denoising steps (1–10000; 20–50 is usual)."),
                cfg_input(),
                choice("sampler_name", list(ETA))(
                    "ddpm: draws new noise at each step (η = 1). ddim: deterministic (η = 0), as euler."
                ),
                *noise_inputs(),
                lambda_number("start", 0.0)("The least λ that may be chosen (-10 to 10)."),
                lambda_number("end", 1.5)("The largest λ that may be chosen (-10 to 10)."),
                number("most", 64, 1, MOST_CELLS)(
                    f"How many pictures it may make (1–{MOST_CELLS}). It ends sooner where λ is known well enough."
                ),
                number("kl_budget", 0.0, 0, 1e9, 0.1)(
                    "How far from the base model the pictures may go: their mean KL, in nats, as a trace tells it. 0: "
                    "any."
                ),
                RewardType.Input(
                    "second", optional=True, tooltip="A second reward, which must not fall below its mean at λ 0."
                ),
                number("may_fall", 0.0, 0, 1e9, 0.01, optional=True)(
                    "By how much the second reward may fall all the same, in its own units (0 and up)."
                ),
                prompt_input(),
                PromptsType.Input(
                    "prompts", optional=True, tooltip="From λ Prompts: rows with these prompts, in place of positive."
                ),
                text("name", "", optional=True)(
                    "Under this name the search is kept, in the output folder (realign/searches): the same name goes "
                    "on with it, or shows it again without a new picture. Empty: it is not kept."
                ),
                number("precision", 0.05, 0.005, 1, 0.005, **ADVANCED)(
                    "The search ends where λ is known to ± this (0.005–1), nine times of ten."
                ),
                number("batch_size", 0, 0, 1024, **ADVANCED)(
                    "Pictures sampled at once (1–1024). 0: as many as fit into memory. The result is the same."
                ),
                *step_inputs()[:3],
                schedule_input("λ over the steps, which each λ multiplies. Left open: constant."),
                *conditioning_inputs(),
                mask_input(),
            ],
            outputs=[
                io.Float.Output(display_name="λ", tooltip="The best λ, for Realign Sampler."),
                io.Float.Output(display_name="β", tooltip="The target β of it, the anchor's β / λ; 0: not known."),
                io.Latent.Output(display_name="latent", tooltip="All pictures of the search, as a sweep of rising λ."),
                LambdaType.Output(display_name="λ sweep", tooltip="That sweep, for λ Grid and λ Compare."),
                io.String.Output(display_name="trace", tooltip="JSON: λ, σ, KL and model calls of these pictures."),
                io.Image.Output(
                    display_name="curve", tooltip="The rewards over λ with what is not certain, and the λ chosen."
                ),
                io.String.Output(display_name="report", tooltip="All numbers of the search, as JSON."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, start: Any = None, end: Any = None) -> bool | str:
        """Before anything runs, of what is typed: what comes by a link is None, and left to the run. The host leaves
        the ranges of these two to it, and marks both, whichever is wrong: so no more of them are here."""
        typed = {"start": start, "end": end}
        try:
            for item in cls.define_schema().inputs:
                if typed.get(item.id) is not None:
                    checked(item, typed[item.id])
            if start is not None and end is not None:
                Search(start, end)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        anchor: Anchors,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: dict[str, Any],
        reward: Reward,
        vae: Any,
        seed: int,
        seeds: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        denoise: float,
        start: float,
        end: float,
        most: int,
        kl_budget: float,
        second: Reward | None = None,
        may_fall: float = 0.0,
        prompt: str = "",
        prompts: Prompts | None = None,
        name: str = "",
        precision: float = 0.05,
        batch_size: int = 0,
        eta: float = -1.0,
        anchor_eta: float = -1.0,
        anchor_cfg: float = -1.0,
        lambda_schedule: LambdaSchedule | Sweep | None = None,
        anchor_positive: Conditioning | None = None,
        anchor_negative: Conditioning | None = None,
        lambda_mask: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        check_latent(latent_image)
        if isinstance(lambda_schedule, Sweep):
            raise ValueError("The search chooses its λ itself: connect a λ Schedule, or nothing, instead of λ Sweep.")
        images = latent_image["samples"].shape[0]
        limits = {KL: Limit("KL to the base model, nats", kl_budget)} if kl_budget else {}
        if second is not None:
            limits[SECOND] = Limit(f"{second.name}, which must not fall", may_fall, falls=True)
        pairs = seeds * images * (len(prompts.texts) if prompts else 1)
        search = Search(start, end, pairs, most, precision, tuple(limits.values()), reward=reward.name)
        rows = Sweep(
            (start,),
            seeds=seeds,
            images=images,
            batch_index=tuple(latent_image.get("batch_index") or range(images)),
            schedule=lambda_schedule,
            batch_size=batch_size,
            prompts=prompts.texts if prompts else (),
        )
        rows = with_prompts(rows, prompts) if prompts else rows
        settings = {
            "seed": seed,
            "steps": steps,
            "cfg": cfg,
            "sampler_name": sampler_name,
            "scheduler": scheduler,
            "denoise": denoise,
        }
        sigmas, whole = run_sigmas(model, steps, sampler_name, scheduler, denoise)
        conds = (anchor_positive, anchor_negative)
        options = {"mask": lambda_mask, "anchor_cfg": anchor_cfg, "anchor_conds": conds, "whole": (whole, 0)}
        etas = etas_of(ETA[sampler_name], eta, anchor_eta, len(anchor))
        base = (model, anchor, (positive, negative), latent_image, rows, sigmas, etas, settings, options)
        runs = Runs(*base, vae, reward, second, prompt)
        hidden = getattr(cls, "hidden", None)
        graph, node_id = getattr(hidden, "prompt", None), getattr(hidden, "unique_id", None)
        kept = None
        if name.strip():
            plain = [settings, etas, anchor_cfg, seeds, prompt, reward.name, second and second.name]
            kept = Kept.under(check_name(name), graph, node_id, LINKED, *plain, latent_image["samples"])
        found, rounds = searched(search, runs, [REWARD, *limits], kept)
        latent, sweep, trace = runs.shown(rounds)
        curve = search_plot(search, found.seen, found.found)
        report = json.dumps(found.told(), ensure_ascii=False)
        best, beta = found.found.lambda_, found.beta or 0.0
        outputs = (best, beta, latent, sweep, trace.to_json(), curve, report)
        strip = strip_of(model, latent["samples"], sweep, seed)
        return io.NodeOutput(*outputs, ui=said(cls, [found.words], strip))


NODES = [RealignSearch]
