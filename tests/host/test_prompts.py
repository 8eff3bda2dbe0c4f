"""Prompts as rows of a λ sweep: each picture is the run of its own prompt, λ and seed, in one batch where that is known
to be right."""

from __future__ import annotations

import json
from itertools import product

import comfy.hooks
import networks
import pytest
import tiny_models
import torch
import toy_models
from comfy_extras.nodes_custom_sampler import Guider_Basic, Guider_DualCFG
from comfy_extras.nodes_perpneg import Guider_PerpNeg
from host_runs import assert_agree, conds_of, distance, realign, realign_guider, sampled, some
from realign.nodes.guider import RealignModel
from realign.nodes.models.anchor import Anchor
from realign.nodes.particles import RealignParticles
from realign.nodes.pictures.facts import facts, varying
from realign.nodes.pictures.labels import caption, first_words, row_label
from realign.nodes.pictures.traced import parse_trace
from realign.nodes.prompts import RealignPrompts, prompts_in
from realign.nodes.run.attach import attach
from realign.nodes.run.prompts import batches_of
from realign.nodes.run.realignment import Realignment
from realign.nodes.trace import RealignTrace
from rounding import CEILING as TOLERANCE
from specs import NETWORKS
from test_adapters import ADAPTERS, Calls, patched
from test_sweep import element, sweep_of
from truth import sigmas_of

import nodes as host

LAMBDAS = (0.0, 0.5, 1.0)
TOY = [[[torch.full((1, 1, 1), word), {}]] for word in (0.3, 0.8, -0.4)]


def prompts_of(*conditionings, texts=()):
    """REALIGN_PROMPTS."""
    given = dict(clip=[Clip()], text=["\n".join(texts)]) if texts else dict(text=[""])
    return RealignPrompts.execute(conditionings=list(conditionings), **given).args[0]


def three_prompts(kind):
    """Two of equal length and one that is longer."""
    longer = tiny_models.conditioning(kind, 5)
    longer[0][0] = torch.cat([longer[0][0], tiny_models.conditioning(kind, 6)[0][0]], 1)
    return [tiny_models.conditioning(kind, 3), tiny_models.conditioning(kind, 4), longer]


class Clip:
    """Encodes a text as numbers of its length."""

    def tokenize(self, text):
        return text

    def encode_from_tokens_scheduled(self, tokens):
        return [[torch.full((1, 1, 1), len(tokens) / 10), {"pooled_output": None}]]


def runs():
    """Realign Sampler, Realign Guider and Realign MODEL as (pair, conds, latent, λ, seed offset, options) -> LATENT."""

    def by_sampler(pair, conds, latent, lam, seed, **options):
        return (
            realign(pair, *conds, latent, lam, steps=3, **options)[0] if not seed else _later(pair, conds, latent, lam)
        )

    def by_guider(pair, conds, latent, lam, seed, **options):
        return sampled(realign_guider(pair, *conds, lam, **options), latent, "euler_ancestral", steps=3, seed=42 + seed)

    def by_model(pair, conds, latent, lam, seed, **options):
        model = RealignModel.execute(pair[0], (Anchor(pair[1], "anchor"),), lam, **options).args[0]
        return host.common_ksampler(model, 42 + seed, 3, 4.0, "dpmpp_2m_sde", "normal", *conds, latent)[0]

    return {"sampler": by_sampler, "guider": by_guider, "model": by_model}


def _later(pair, conds, latent, lam):
    """Realign Sampler with the next seed: the sweep of one picture that has it."""
    one, alone = sweep_of(latent, (lam,), seeds=2, only="2, 1")
    return realign(pair, *conds, one, 0.5, steps=3, lambda_schedule=alone)[0]


@pytest.mark.numeric
@pytest.mark.parametrize("run", ["sampler", "guider", "model"])
@pytest.mark.parametrize("anchor", ["full", "lora"])
@pytest.mark.parametrize("kind", ["sd15", pytest.param("sdxl", marks=pytest.mark.thorough), "sd3"])
def test_each_is_the_run_of_its_own_prompt(models, tiny, kind, anchor, run):
    pair, latent, sample = models(kind), tiny_models.latent(kind), runs()[run]
    pair = pair if anchor == "full" else (pair[0], patched(pair[0], ADAPTERS["lora"](tiny, kind)))
    prompts, (unused, negative) = three_prompts(kind), conds_of(kind)
    batch, sweep = sweep_of(latent, LAMBDAS, seeds=2, prompts=prompts_of(*prompts))
    assert [cell.prompt for cell in sweep.cells()[::6]] == [0, 1, 2]
    with Calls(pair[0]) as rows:
        swept = sample(pair, (unused, negative), batch, 0.9, 0, lambda_schedule=sweep)
    assert max(rows) >= 2 * 2 * 2 * 2  # both prompts of one length at once: cfg, prompts, seeds, and two λ or more
    singles = {}
    for i, (prompt, seed, lam) in enumerate(product(range(3), range(2), LAMBDAS)):
        single = singles[prompt, seed, lam] = sample(pair, (prompts[prompt], negative), latent, lam, seed)
        assert_agree(element(swept, i), single, pair, (prompts[prompt], negative))
    for seed, lam in product(range(2), LAMBDAS):
        assert distance(singles[0, seed, lam], singles[1, seed, lam]) > 0.01


def test_the_sampler_alone_of_the_next_seed_is_the_stock_one():
    pair, conds = (toy_models.toy_model(), toy_models.toy_model(seed=2)), toy_models.CONDS
    want = host.common_ksampler(pair[0], 43, 3, 7.0, "ddpm", "normal", *conds, toy_models.latent())[0]
    assert distance(_later(pair, conds, toy_models.latent(), 0.0), want) <= TOLERANCE


@pytest.mark.parametrize("name", ["SDXL", "PixArtAlpha", "Lumina2", "Flux2", "QwenImage", "WAN21_T2V", "LTXAV"])
def test_two_prompts_of_one_length_in_every_kind_of_network(name):
    """In one batch, which each network must take by its rows; so it is for all others of the host's list. LTX-2 has
    layers for the text alone, and is asked prompt by prompt."""
    network = NETWORKS[name]
    first, negative, second = (networks.conditioning(network, seed) for seed in (1, 2, 3))
    pair, latent = (
        (networks.build(name, network), networks.build(name, network, moved=0.3)),
        networks.latent(network, 1),
    )
    assert batches_of([first, second], pair) == [0, int(name == "LTXAV")]
    batch, sweep = sweep_of(latent, LAMBDAS, prompts=prompts_of(first, second))
    run = dict(sampler="euler", sigmas=sigmas_of(pair[0], 3, "normal")[1:])
    swept = sampled(realign_guider(pair, first, negative, 0.9, 3.0, lambda_schedule=sweep), batch, **run)
    for i, (prompt, lam) in enumerate(product((first, second), LAMBDAS)):
        single = sampled(realign_guider(pair, prompt, negative, lam, 3.0), latent, **run)
        assert distance(some(swept, slice(i, i + 1)), single) <= TOLERANCE, i


def toys():
    return toy_models.toy_model(seed=1), toy_models.toy_model(seed=2)


def assert_rows_are_their_prompts(conds, prompts, latent, **options):
    """Of the toy pair, by Realign Guider. Returns the rows of the largest model call."""
    pair = toys()
    batch, sweep = sweep_of(latent, LAMBDAS, prompts=prompts_of(*prompts), **options)
    with Calls(pair[0]) as rows:
        swept = sampled(realign_guider(pair, *conds, 0.5, lambda_schedule=sweep), batch)
    for i, (prompt, lam) in enumerate(product(prompts, LAMBDAS)):
        single = sampled(realign_guider(pair, prompt, conds[1], lam), latent)
        for image in range(latent["samples"].shape[0]):
            place = (i // 3 * latent["samples"].shape[0] + image) * 3 + i % 3
            assert distance(element(swept, place), element(single, image)) <= TOLERANCE, (i, image)
    return max(rows)


def test_images_and_prompts():
    latent = {"samples": torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))}
    assert assert_rows_are_their_prompts(TOY[:2], TOY, latent) == 2 * 3 * 2 * 2  # cfg, prompts, images, λ 0 and 0.5


@pytest.mark.parametrize(
    "options",
    [
        {"timestep_start": 1.0, "start_percent": 0.0, "end_percent": 0.5},
        {"area": (4, 4, 0, 4), "strength": 1.0, "set_area_to_bounds": False},
        {"mask": torch.ones(1, 8, 8), "mask_strength": 0.5, "set_area_to_bounds": False},
        {"unknown": 3},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_acts_otherwise_is_sampled_by_itself(options):
    own = [[TOY[1][0][0], options]], [[TOY[2][0][0], options]]
    two = [*TOY[0], [TOY[2][0][0], {}]]  # a prompt of two entries
    rows = assert_rows_are_their_prompts(TOY[:2], [*own, TOY[0], two], toy_models.latent())
    assert rows == 3 * 2  # two entries and the negative, two λ: each prompt by itself


def test_batches_are_of_prompts_that_differ_in_their_rows_alone():
    def prompt(value=0.1, size=1, pooled=0.5, batch=1, **options):
        rows = torch.full((batch, size, 1), value)
        return [[rows, {"pooled_output": pooled and torch.full((1, 2), pooled), **options}]]

    patchers, first = toys(), prompt(width=64)
    assert batches_of([first, prompt(0.2, pooled=0.1, width=64)], patchers) == [0, 0]
    others = [
        prompt(size=2, width=64),
        prompt(width=32),
        prompt(),
        prompt(width=64, pooled=None),
        prompt(width=64, batch=2),
        prompt(width=64, t5xxl_ids=torch.ones(1, 3)),
        first * 2,
    ]
    for other in others:
        assert batches_of([first, other, first], patchers) == [0, 1, 0], other
    same = torch.ones(1, 3)
    assert batches_of([prompt(t5xxl_ids=same), prompt(t5xxl_ids=same)], patchers) == [0, 1]  # not known how it acts


def test_a_part_is_no_larger_than_was_asked_for():
    pair = toys()
    batch, sweep = sweep_of(toy_models.latent(), (0.3, 0.6), prompts=prompts_of(*TOY), batch_size=4)
    with Calls(pair[0]) as rows:
        divided = sampled(realign_guider(pair, *TOY[:2], 0.5, lambda_schedule=sweep), batch)
    assert max(rows) == 2 * 3  # cfg, and six pictures in two halves
    _, sweep = sweep_of(toy_models.latent(), (0.3, 0.6), prompts=prompts_of(*TOY))
    whole = sampled(realign_guider(pair, *TOY[:2], 0.5, lambda_schedule=sweep), batch)
    assert distance(divided, whole) <= TOLERANCE


def test_the_anchor_keeps_a_positive_of_its_own():
    pair, latent, own = toys(), toy_models.latent(), TOY[2]
    batch, sweep = sweep_of(latent, LAMBDAS, prompts=prompts_of(*TOY[:2]))
    swept = realign(pair, *TOY[:2], batch, 0.5, lambda_schedule=sweep, anchor_positive=own)[0]
    for i, (prompt, lam) in enumerate(product(TOY[:2], LAMBDAS)):
        single = realign(pair, prompt, TOY[1], latent, lam, anchor_positive=own)[0]
        assert distance(element(swept, i), single) <= TOLERANCE


def test_the_guider_is_left_as_it_was():
    pair, latent = toys(), toy_models.latent()
    batch, sweep = sweep_of(latent, LAMBDAS, prompts=prompts_of(*TOY))
    guider = realign_guider(pair, *TOY[:2], 0.5, lambda_schedule=sweep)
    before = guider.original_conds
    first = sampled(guider, batch)
    assert guider.original_conds is before
    assert torch.equal(sampled(guider, batch)["samples"], first["samples"])


def realigned(guider_class, *conds, **cfg):
    batch, sweep = sweep_of(toy_models.latent(), LAMBDAS, prompts=prompts_of(*TOY))
    model = attach(toys()[0], Realignment.of((Anchor(toys()[1], "anchor"),), 0.5, sweep))
    guider = guider_class(model)
    guider.set_conds(*conds)
    if cfg:
        guider.set_cfg(**cfg)
    return guider, batch


def test_guiders_of_one_prompt_and_others():
    nothing, unwanted = ([[torch.full((1, 1, 1), word), {}]] for word in (0.1, 0.2))
    for guider, batch in (
        realigned(Guider_Basic, TOY[0]),
        realigned(Guider_PerpNeg, TOY[0], unwanted, nothing, cfg=4.0, neg_scale=1.0),
    ):
        swept = sampled(guider, batch)
        assert all(distance(element(swept, i), element(swept, i + 3)) > 0.01 for i in range(6))
    guider, batch = realigned(Guider_DualCFG, *TOY, cfg1=3.0, cfg2=2.0)
    with pytest.raises(ValueError, match=r"a Guider_DualCFG has not one positive prompt.*“middle”"):
        sampled(guider, batch)


def test_hooks_are_refused():
    hooked = [[TOY[0][0][0], {"hooks": comfy.hooks.HookGroup()}]]
    with pytest.raises(ValueError, match="Prompt 2 of the λ sweep comes with hooks"):
        sweep_of(toy_models.latent(), LAMBDAS, prompts=prompts_of(TOY[0], hooked))


def test_particles_have_a_prompt_for_each_row():
    """Each group stays with its prompt; a reward that is told one text cannot judge several prompts."""
    pair, latent = toys(), toy_models.latent()
    batch, sweep = sweep_of(latent, (0.3, 0.6), prompts=prompts_of(*TOY[:2]))
    run = dict(steps=3, correct=True, particles=2)
    swept = realign(pair, *TOY[:2], batch, 0.5, lambda_schedule=sweep, **run)[0]
    for i, (prompt, place) in enumerate(product(TOY[:2], (1, 2))):
        one, alone = sweep_of(latent, (0.3, 0.6), prompts=prompts_of(prompt), only=f"1, {place}")
        single = realign(pair, TOY[2], TOY[1], one, 0.5, lambda_schedule=alone, **run)[0]
        assert distance(element(swept, i), single) <= TOLERANCE
    settings = dict(cfg=4.0, steps=3, seed=1, scheduler="normal", denoise=1.0, particles=2, pictures=1, pick="draw")
    models = dict(model=pair[0], anchor=(Anchor(pair[1], "anchor"),), positive=TOY[0], negative=TOY[1])
    inputs = dict(
        latent_image=batch, lambda_schedule=sweep, strength=1.0, vae=Vae(), prompt="a cat", **models, **settings
    )
    with pytest.raises(ValueError, match="“Likeness” is told one prompt, but the λ sweep has prompts for its rows"):
        RealignParticles.execute(reward=Likeness(), **inputs)


class Likeness:
    name, needs_prompt = "Likeness", True

    def score(self, images, prompts):
        raise AssertionError


class Vae:
    patcher, first_stage_model = toy_models.toy_model(), None


def test_texts():
    assert prompts_in("a cat\n\n  a dog \n") == ["a cat", "a dog"]
    assert prompts_in("a cat,\nin the rain\n---\n\na dog\n --- \n\n---") == ["a cat,\nin the rain", "a dog"]
    assert prompts_in("") == prompts_in("---") == []
    prompts = prompts_of(TOY[0], texts=("a cat", "a dog in the rain"))
    assert prompts.texts == ("a cat", "a dog in the rain", "")
    assert [float(conditioning[0][0]) for conditioning in prompts.conditionings] == pytest.approx([0.5, 1.7, 0.3])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (dict(text=["a cat"]), "connect the “clip”"),
        (dict(text=[" \n---"], clip=[Clip()]), "has no prompt"),
        (dict(text=["\n".join("abc" * 22)], clip=[Clip()]), "66 prompts, but a sweep takes at most 64"),
        (dict(text=["a"], clip=[Clip(), Clip()]), "2 CLIPs"),
        (dict(text=["a"], clip=["clip"]), "“clip” is the text “clip”"),
        (dict(text=[""], conditionings=[TOY[0], 3]), "“conditionings” is 3"),
        (dict(text=[3]), "“text” is 3"),
        (dict(text=[""], conditionings=[None]), "“conditionings” is empty"),
    ],
)
def test_the_node_refuses(inputs, message):
    with pytest.raises(ValueError, match=message):
        RealignPrompts.execute(**inputs)


def test_words_of_rows():
    pair, texts = toys(), ("a cat", "a very small dog that sits in the rain, by night")
    batch, sweep = sweep_of(toy_models.latent(), (0.3, 0.6), seeds=2, prompts=prompts_of(TOY[0], texts=texts))
    guider = realign_guider(pair, *TOY[:2], 0.5, lambda_schedule=sweep)
    text = RealignTrace.execute(sampled(guider, batch), guider=guider).args[1]
    assert json.loads(text)["sweep"]["prompts"] == [*texts, ""]
    for known in (facts(12, sweep, None), facts(12, None, parse_trace(text)), facts(12, sweep, parse_trace(text))):
        assert known.varies == varying(sweep.cells()) == {"value", "seed", "prompt"}
        labels = [row_label(known.cells[i], known.varies, prompts=known.prompts) for i in (0, 2, 4, 8)]
        assert [label[0] for label in labels] == ["a cat", "a cat", "a very small dog that sits…", "prompt 3"]
        assert "a very small dog that sits…" in caption(known, 4)
    assert first_words("x" * 40) == "x" * 27 + "…"
    assert first_words("four words of five ones, here") == "four words of five ones…"


@pytest.mark.parametrize(
    "change",
    [{"prompts": ["a cat"]}, {"prompts": []}, {"prompts": [3, 4]}, {"prompts": "ab"}, {"draft": 1}],
    ids=str,
)
def test_a_trace_whose_prompts_are_none(change):
    batch, sweep = sweep_of(toy_models.latent(), (0.3, 0.6), prompts=prompts_of(*TOY[:2]))
    trace = json.loads(realign(toys(), *TOY[:2], batch, 0.5, steps=2, lambda_schedule=sweep)[2])
    parse_trace(json.dumps(trace))
    trace["sweep"] |= change
    with pytest.raises(ValueError, match=r"“sweep.* in it is not that of a run"):
        parse_trace(json.dumps(trace))
