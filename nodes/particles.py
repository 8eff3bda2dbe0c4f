"""RealignParticles: pictures that a reward draws towards it, with an anchor or without: DAS, Feynman-Kac steering."""

from __future__ import annotations

from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..realign_core import GRADIENTS, POTENTIALS, SCHEMES, TEMPERINGS, LambdaSchedule, Sweep, Tilt
from .checked import Node
from .inputs import (
    ADVANCED,
    cfg_input,
    choice,
    conditioning_inputs,
    fewer_calls_inputs,
    lambda_slider,
    latent_input,
    mask_input,
    noise_inputs,
    number,
    prompt_input,
    prompt_inputs,
    schedule_input,
    step_inputs,
    switch,
)
from .models.anchor import Anchors
from .models.latents import check_streams, multiplied, shape_of
from .page import SHOWS, said
from .reward.decoded import FULL, HOW, Decoder
from .reward.judge import Judge
from .reward.protocol import Reward, needs_prompt
from .run.fewer_calls import OFF, FewerCalls
from .run.particles import BEST, DRAW, PICKS, Steering
from .run.parts import check_batch
from .run.posterior import check_latent
from .run.realignment import Realignment
from .sampled import etas_of, run_sigmas, sampled
from .types import CATEGORY, REWARD_ALIASES, AnchorType, Conditioning, RewardType

AUTO, NONE, CURVATURE = "auto", "none", "curvature"
SAMPLER = "ddpm"  # the one whose steps draw noise: particles that are copies must go different ways
ALIASES = ["das", "smc", "particles", "reward", "fk", "steering", "feynman-kac", "sequential monte carlo"]


class RealignParticles(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RealignParticles",
            display_name="Realign Particles",
            category=CATEGORY,
            description=(
                "Makes pictures that have more of what you ask for: more colour, a closer fit to the prompt, more of "
                "what people like, with no training and no aligned model. Several particles for each picture are drawn "
                "towards a reward, weighed and re-drawn (DAS, ICLR 2025; Feynman-Kac steering)."
            ),
            search_aliases=[*REWARD_ALIASES, *ALIASES],
            inputs=[
                io.Model.Input("model", tooltip="The model to sample; with an anchor, the reference (λ = 0)."),
                *prompt_inputs(),
                latent_input(),
                number("seed", 0, 0, 0xFFFFFFFFFFFFFFFF, control_after_generate=True)(
                    "Seeds all noise. The first particle of each picture starts as Realign Sampler's picture would."
                ),
                number("steps", 50, 1, 10000)("Denoising steps (1–10000; 25–100 is usual)."),
                cfg_input(),
                *noise_inputs(),
                number("strength", 1.0, 0.001, 1e6, 0.001, round=0.001)(
                    "How strongly the reward draws (0.001–1000000): smaller = stronger. It is a KL coefficient in "
                    "the reward's own units, as Score shows them: about 0.005 for the aesthetic score, 0.01 for "
                    "PickScore, 1 for CLIP, 1 to 5 for colourfulness."
                ),
                number("particles", 4, 1, 256)(
                    "Particles of each picture (1–256; 4–16 is usual): so many times the model calls."
                ),
                number("pictures", 1, 1, 256)(
                    "Pictures for each latent (1–256). All are drawn from all particles together, which is nearer to "
                    "what the reward asks for than one after the other."
                ),
                choice("pick", PICKS, DRAW)(
                    "draw: by the particles' weights, a fair sample. best: the highest rewards. all: every particle."
                ),
                RewardType.Input("reward", optional=True, tooltip="What is good, from a reward node."),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Decodes the particles for the reward at every step. A small one (TAESD) is quickest.",
                ),
                AnchorType.Input(
                    "anchor", optional=True, tooltip="An aligned model, from Load Anchor Model, mixed in at λ."
                ),
                lambda_slider(0.5, 0, 3, optional=True)(
                    "How much of a connected anchor's look the picture has (0–3), as in Realign Sampler; nothing "
                    "without one."
                ),
                prompt_input(),
                RewardType.Input(
                    "held_out",
                    optional=True,
                    tooltip=(
                        "A second reward that is only watched: where it falls while the first rises, the first is "
                        "being exploited."
                    ),
                ),
                *_advanced(),
                *step_inputs(),
                schedule_input(),
                *conditioning_inputs(),
                mask_input(),
                *fewer_calls_inputs(),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The pictures' latents."),
                io.Latent.Output(display_name="denoised", tooltip="The last step's prediction of the clean latents."),
                io.Float.Output(
                    display_name="scores", is_output_list=True, tooltip="The reward of each picture; none without one."
                ),
                io.Float.Output(
                    display_name="weights",
                    is_output_list=True,
                    tooltip="Of each picture, the share of its particle among those that it was drawn from (0–1).",
                ),
                io.String.Output(
                    display_name="trace",
                    tooltip="JSON: λ, σ, KL, rewards, effective sample size and lineage of every step, for λ Report.",
                ),
            ],
            **SHOWS,
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: dict[str, Any],
        seed: int,
        steps: int,
        cfg: float,
        scheduler: str,
        denoise: float,
        strength: float,
        particles: int,
        pictures: int,
        pick: str,
        reward: Reward | None = None,
        vae: Any = None,
        anchor: Anchors = (),
        lambda_: float = 0.5,
        prompt: str = "",
        held_out: Reward | None = None,
        decode: str = FULL,
        proposal: str = AUTO,
        tempering: str = AUTO,
        potential: str = POTENTIALS[0],
        resampling: str = next(iter(SCHEMES)),
        reward_every: int = 1,
        correct: bool = False,
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
        check_particles(reward, vae, anchor, correct, particles, pick)
        check_schedule(latent_image, anchor, lambda_schedule, pictures, pick)
        check_prompts(lambda_schedule, reward, held_out)
        sigmas, whole = run_sigmas(
            model, steps, SAMPLER, scheduler, denoise, start_at_step, end_at_step, return_with_leftover_noise
        )
        watching: dict[str, Any] = {}
        if reward is not None:
            check_streams(latent_image)
            judge = Judge(reward, Decoder(vae, model.model.process_latent_out, decode), prompt, held_out)
            tilt = tilt_of(model, judge, latent_image, strength, proposal, tempering, potential, reward_every)
            watching = {"tilt": tilt, "beside": judge.models, "watched": judge.watched}
            watching |= {"watched_name": held_out.name} if held_out is not None else {}
        steering = Steering(particles, correct=correct, scheme=resampling, pick=pick, **watching)
        realignment = Realignment.of(
            anchor,
            lambda_,
            lambda_schedule,
            mask=lambda_mask,
            anchor_cfg=anchor_cfg,
            anchor_conds=(anchor_positive, anchor_negative),
            fewer_calls=FewerCalls(fewer_calls, calls_per_step),
            whole=(whole, start_at_step),
            steering=steering if steering.does_anything else None,
        )
        etas = etas_of(1.0, eta, anchor_eta, len(anchor))
        settings = {
            "seed": seed,
            "steps": steps,
            "cfg": cfg,
            "sampler_name": SAMPLER,
            "scheduler": scheduler,
            "denoise": denoise,
        }
        latents = multiplied(latent_image, pictures)
        run = sampled(model, realignment, (positive, negative), latents, sigmas, etas, settings, add_noise)
        known = run.trace.info.get("particles", {})
        weights = known.get("weights") or [1.0] * run.trace.batch_size
        outputs = (run.latent, run.denoised, known.get("scores") or [], weights, run.trace.to_json())
        return io.NodeOutput(*outputs, ui=said(cls, [run.told.text], run.told.strip_image()))


def tilt_of(
    model: ModelPatcher,
    judge: Judge,
    latent_image: dict[str, Any],
    strength: float,
    proposal: str,
    tempering: str,
    potential: str,
    every: int,
) -> Tilt:
    """Raises ValueError for a reward that cannot be asked so, before the run."""
    wants = judge.differentiable and proposal != NONE
    if proposal not in (AUTO, NONE) and not judge.differentiable:
        raise ValueError(
            f"The reward “{judge.name}” has no gradient, so that nothing can be drawn towards it: set “proposal” to "
            f"“{AUTO}” or “{NONE}”."
        )
    if tempering == CURVATURE and not wants:
        raise ValueError(
            f"Tempering by curvature needs a gradient, and there is none here: set “tempering” to “{AUTO}”."
        )
    shape = tuple(shape_of(model, latent_image)[1:])
    judge.rehearse(shape, wants)
    return Tilt(
        judge,
        strength,
        gradient=None if proposal == AUTO else proposal,
        tempering=None if tempering == AUTO else tempering,
        potential=potential,
        every=every,
        at_once=judge.at_once(shape, wants),
    )


def check_particles(reward: Reward | None, vae: Any, anchor: Anchors, correct: bool, particles: int, pick: str) -> None:
    """Raises ValueError for inputs that do not go together."""
    if reward is not None and vae is None:
        raise ValueError("A reward judges pictures: connect the “vae” that decodes this model's latents.")
    if correct and not anchor:
        raise ValueError(
            "“correct” corrects the mixture with an anchor, and there is none: connect one, or turn it off."
        )
    if reward is None and not correct and particles > 1:
        raise ValueError(
            f"{particles} particles are weighed by a reward, and there is none: connect a reward, set “particles” to "
            "1, or, with an anchor, turn “correct” on."
        )
    if reward is None and pick == BEST:
        raise ValueError(f"Without a reward no particle is the best: connect a reward, or set “pick” to “{DRAW}”.")


def check_schedule(
    latent_image: dict[str, Any], anchor: Anchors, schedule: LambdaSchedule | Sweep | None, pictures: int, pick: str
) -> None:
    """Raises ValueError for a λ schedule or sweep that this run cannot have."""
    if schedule is not None and not anchor:
        raise ValueError("A λ schedule or sweep needs an anchor to act on: connect one, or take the λ input away.")
    if isinstance(schedule, Sweep):
        check_batch(latent_image["samples"].shape[0], schedule)
        if pictures > 1 or pick != DRAW:
            raise ValueError(f"A λ sweep has one picture for each cell: set “pictures” to 1 and “pick” to “{DRAW}”.")


def check_prompts(schedule: LambdaSchedule | Sweep | None, *rewards: Reward | None) -> None:
    """Raises ValueError for rewards that are told one text, where the pictures are of several."""
    if not isinstance(schedule, Sweep) or not schedule.prompts:
        return
    for reward in rewards:
        if reward is not None and needs_prompt(reward):
            raise ValueError(
                f"The reward “{reward.name}” is told one prompt, but the λ sweep has prompts for its rows: take them "
                "away from λ Sweep, or choose a reward that looks at the picture alone."
            )


def _advanced() -> list[io.Input]:
    return [
        choice("decode", HOW, FULL, **ADVANCED)(
            "How the particles are decoded for the reward. tiled: in parts, for less memory. half and quarter size: of "
            "a smaller picture, which is quicker."
        ),
        choice("proposal", [AUTO, *GRADIENTS], AUTO, **ADVANCED)(
            "How particles move towards the reward. reward: by its gradient at the predicted picture; full: back "
            "through the model, for much time and memory; none: by weights alone. auto: reward where it has a gradient."
        ),
        choice("tempering", [AUTO, *TEMPERINGS], AUTO, **ADVANCED)(
            "How early the reward counts. curvature: as its gradient allows; one: in full from the start; steps: more "
            "with each step, as in DAS. auto: curvature with a gradient, else one."
        ),
        choice("potential", POTENTIALS, POTENTIALS[0], **ADVANCED)(
            "What a particle is weighed by. difference: what its reward has gained (DAS); max: the best so far; sum: "
            "all so far (Feynman-Kac steering)."
        ),
        choice("resampling", SCHEMES, **ADVANCED)("How particles are re-drawn by their weights."),
        number("reward_every", 1, 1, 100, **ADVANCED)(
            "Ask the reward at every n-th step (1–100): quicker, and weaker."
        ),
        switch("correct", False, **ADVANCED)(
            "With an anchor: corrects what mixing step by step leaves over. Needs one λ for all steps."
        ),
    ]


NODES = [RealignParticles]
