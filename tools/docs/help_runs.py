"""The help pages' pictures of runs: for each node, what shows best what it does, on the demo models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image, ImageDraw

from tools.docs.help_graphs import (
    Graph,
    custom,
    decoded,
    demo,
    guider,
    node,
    sampler,
    schedule,
    sweep,
    swept_sampler,
)
from tools.docs.help_strips import Picture, lambda_heads, narrowed, stacked, strip
from tools.host.host_process import Host


def pictures(host: Host, graph: Graph, name: str = "decode_saved") -> list[Picture]:
    """Runs the graph: the pictures that the node called `name` showed."""
    return host.pictures(host.run(graph)[name])


def write_mask(host: Host, name: str, draw_on: Callable[[ImageDraw.ImageDraw], None]) -> Graph:
    """A mask as LoadImageMask reads it: white where it is 1."""
    picture = Image.new("RGB", (64, 64))
    draw_on(ImageDraw.Draw(picture))
    picture.save(host.base / "input" / f"{name}.png")
    return {name: node("LoadImageMask", image=f"{name}.png", channel="red")}


def realign_sampler(host: Host) -> Picture:
    values = (0, 0.5, 1, 1.5)
    rows = []
    for shape, seed in (("heart", 7), ("star", 3)):
        rows.append(("", pictures(host, {**demo(shape), **swept_sampler(values, seed=seed)})))
    return strip(rows, lambda_heads(values))


def realign_guider(host: Host) -> Picture:
    values = (-0.5, 0, 1, 2)
    rows = []
    for name in ("dpmpp_2m", "euler"):
        graph = {**demo("flower"), **sweep(values), **guider(lambda_schedule=["sweep", 1])}
        graph |= {**custom("sweep", "guider", name), **decoded("advanced")}
        rows.append((name, pictures(host, graph)))
    return strip(rows, lambda_heads(values))


def realign_model(host: Host) -> Picture:
    values = (0, 0.5, 1, 2)
    images = []
    for value in values:
        graph = {**demo("star", background="any"), **decoded("ksampler")}
        graph["realigned"] = node("RealignModel", model=["demo", 0], anchor=["demo", 1], lambda_=value)
        conds = {"positive": ["demo", 2], "negative": ["demo", 3], "latent_image": ["empty", 0], "cfg": 1.5}
        how = {"sampler_name": "res_multistep", "scheduler": "normal", "denoise": 1.0, "seed": 11, "steps": 20}
        graph["ksampler"] = node("KSampler", model=["realigned", 0], **conds, **how)
        images += pictures(host, graph)
    return strip([("", images)], lambda_heads(values))


def anchor_lambda(host: Host) -> Picture:
    """The same noise with λ 0, λ 1, the mask, and λ 1 within the mask."""
    rows = []
    for shape, seed in (("ball", 5), ("square", 8)):
        mask = write_mask(host, "subject", lambda draw: draw.ellipse((12, 12, 52, 52), fill="white"))
        plain = [pictures(host, {**demo(shape), **sampler(lambda_=value, seed=seed)})[0] for value in (0.0, 1.0)]
        own = {"own": node("RealignAnchorLambda", anchor=["demo", 1], mask=["subject", 0])}
        graph = {**demo(shape), **mask, **own, **sampler(lambda_=1.0, anchor=["own", 0], seed=seed)}
        white = Image.open(host.base / "input" / "subject.png")
        rows.append(("", [*plain, white, *pictures(host, graph)]))
    return strip(rows, ["λ 0", "λ 1", "mask", "masked"])


def add_anchor(host: Host) -> Picture:
    """Two anchors, each in its half; the second is the demo anchor's difference turned round, as the demo has one."""
    left = write_mask(host, "left", lambda draw: draw.rectangle((0, 0, 31, 63), fill="white"))
    right = write_mask(host, "right", lambda draw: draw.rectangle((32, 0, 63, 63), fill="white"))
    turned = {
        "difference": node("ModelMergeSubtract", model1=["demo", 0], model2=["demo", 5], multiplier=1.0),
        "turned": node("ModelMergeAdd", model1=["demo", 0], model2=["difference", 0]),
        "second": node("RealignAnchorFromModel", model=["turned", 0], beta_source="unknown / no KL term", beta=5000.0),
        "first_half": node("RealignAnchorLambda", anchor=["demo", 1], mask=["left", 0]),
        "second_half": node("RealignAnchorLambda", anchor=["second", 0], mask=["right", 0]),
    }

    def run(first: str, second: str, shares: tuple[float, float], seed: int) -> Picture:
        source = {"demo": ["demo", 1]}
        pair = {"anchor": source.get(first, [first, 0]), "add": source.get(second, [second, 0])}
        both = {"both": node("RealignAddAnchor", **pair, anchor_share=shares[0], add_share=shares[1])}
        graph = {
            **demo("heart"),
            **left,
            **right,
            **turned,
            **both,
            **sampler(lambda_=1.0, anchor=["both", 0], seed=seed),
        }
        return pictures(host, graph)[0]

    rows = []
    for seed in (7, 12):
        shares = [run("demo", "second", pair, seed) for pair in ((1.0, 0.0), (0.75, 0.25), (0.0, 1.0))]
        rows.append(("", [*shares, run("first_half", "second_half", (1.0, 1.0), seed)]))
    return strip(rows, ["1, 0", "0.75, 0.25", "0, 1", "half, half"])


def anchor_from_model(host: Host) -> Picture:
    values = (0, 0.5, 1, 2)
    merged = {
        "merged": node("ModelMergeSimple", model1=["demo", 0], model2=["demo", 5], ratio=0.5),
        "anchor": node("RealignAnchorFromModel", model=["merged", 0], beta_source="unknown / no KL term", beta=5000.0),
    }
    graph = {**demo("triangle"), **merged, **swept_sampler(values, anchor=["anchor", 0], seed=21)}
    return strip([("", pictures(host, graph))], lambda_heads(values))


def lambda_schedule(host: Host) -> Picture:
    """The plot of one schedule, and what several do to the same noise."""
    cases = {
        "always 1": schedule("constant", start=1.0),
        "first third": schedule("interval", start=1.0, begin=0.0, stop=0.33),
        "last third": schedule("interval", start=1.0, begin=0.67, stop=1.0),
        "to 1.5": schedule("cosine", start=0.0, end=1.5, begin=0.1, stop=0.8),
    }
    images, plot = [], None
    for case in cases.values():
        graph = {**demo("heart"), **case, **sampler(lambda_schedule=["schedule", 0])}
        out = host.run(graph)
        images += host.pictures(out["decode_saved"])
        plot = host.pictures(out["schedule"])[0]
    assert plot is not None
    below = strip([("", images)], list(cases))
    return stacked(narrowed(plot, below.width), below)


def grid(host: Host, values: Sequence[float], cell_size: int, **rows: Any) -> Picture:
    graph = {**demo("heart"), **sweep(values, **rows)}
    graph |= sampler(latent_image=["sweep", 0], lambda_schedule=["sweep", 1])
    known = {"images": ["decode", 0], "sweep": ["sweep", 1], "trace": ["sampler", 2]}
    graph["grid"] = node("RealignGrid", **known, cell_size=cell_size, footer="")
    return pictures(host, graph, "grid")[0]


def lambda_sweep(host: Host) -> Picture:
    return grid(host, (0, 0.5, 1), 112, rows="cfg", row_values="1, 3", measure_ends=True)


def lambda_prompts(host: Host) -> Picture:
    """Three prompts, as the demo models know them: each a conditioning of its own."""
    values, shapes = (0, 0.5, 1), ("heart", "star", "flower")
    graph = {**demo(), **sweep(values, prompts=["prompts", 0])}
    for shape in shapes:
        graph[shape] = node("RealignDemoModels", shape=shape, colour="any", background="any")
    listed = {f"inputs.input{place}": [shape, 2] for place, shape in enumerate(shapes)}
    graph |= {
        "list": node("CreateList", **listed),
        "prompts": node("RealignPrompts", text="", conditionings=["list", 0]),
        **sampler(latent_image=["sweep", 0], lambda_schedule=["sweep", 1]),
    }
    images = pictures(host, graph)
    return strip([(shape, images[3 * row : 3 * row + 3]) for row, shape in enumerate(shapes)], lambda_heads(values))


def lambda_grid(host: Host) -> Picture:
    return grid(host, (0, 0.5, 1.25), 112, seeds=2, measure_ends=True)


def lambda_report(host: Host) -> Picture:
    graph = {**demo("heart"), **sweep((0, 0.25, 0.5, 0.75, 1, 1.25), seeds=2, measure_ends=True)}
    graph |= sampler(latent_image=["sweep", 0], lambda_schedule=["sweep", 1])
    graph["report"] = node("RealignReport", trace=["sampler", 2])
    return pictures(host, graph, "report")[0]


def trace_report(host: Host) -> Picture:
    graph = {**demo("heart"), **schedule("linear", start=0.25, end=1.25), **guider(lambda_schedule=["schedule", 0])}
    graph |= {**custom("empty", "guider", "dpmpp_2m"), **decoded("traced")}
    graph["traced"] = node("RealignTrace", latent=["advanced", 0], guider=["guider", 0])
    graph["report"] = node("RealignReport", trace=["traced", 1])
    return pictures(host, graph, "report")[0]


def score(host: Host) -> Picture:
    graph = {**demo("heart"), **swept_sampler((0, 0.5, 1, 1.5))}
    graph["reward"] = node("RealignPictureReward", reward="colourfulness")
    graph["score"] = node("RealignScore", reward=["reward", 0], images=["decode", 0], cell_size=112)
    return pictures(host, graph, "score")[0]


def combine_rewards(host: Host) -> Picture:
    """Colourful, and small as a file: what each gives, and both."""
    graph = {**demo("star", batch=4), **sampler(lambda_=0.5, seed=3)}
    graph["colour"] = node("RealignPictureReward", reward="colourfulness")
    graph["small"] = node("RealignPictureReward", reward="JPEG compressibility")
    graph["both"] = node("RealignCombineRewards", reward=["colour", 0], weight=0.1, add=["small", 0], add_weight=5.0)
    graph["score"] = node("RealignScore", reward=["both", 0], images=["decode", 0], cell_size=112)
    return pictures(host, graph, "score")[0]


def best_of(host: Host) -> Picture:
    """Eight pictures of the reference, and the three that a reward likes best."""
    graph = {**demo("flower", batch=8), **sampler(lambda_=0.0, seed=5)}
    graph["reward"] = node("RealignPictureReward", reward="colourfulness")
    graph["best"] = node("RealignBestOf", reward=["reward", 0], images=["decode", 0], count=3)
    graph["best_saved"] = node("PreviewImage", images=["best", 0])
    out = host.run(graph)
    return strip([("all 8", host.pictures(out["decode_saved"])), ("best 3", host.pictures(out["best_saved"]))], [], 72)


def reward_report(host: Host) -> Picture:
    """What was asked for and what was not, over λ."""
    graph = {**demo("heart"), **sweep((0, 0.5, 1, 1.5), seeds=4)}
    graph |= sampler(latent_image=["sweep", 0], lambda_schedule=["sweep", 1])
    rewards = {"reward": "colourfulness", "reward_2": "brightness"}
    graph |= {name: node("RealignPictureReward", reward=reward) for name, reward in rewards.items()}
    graph["reported"] = node(
        "RealignRewardReport", images=["decode", 0], sweep=["sweep", 1], **{name: [name, 0] for name in rewards}
    )
    return pictures(host, graph, "reported")[0]


def search(host: Host) -> Picture:
    """What is known of two rewards over λ where the search ends."""
    given = {name: ["demo", place] for place, name in enumerate(("model", "anchor", "positive", "negative"))}
    given |= {"latent_image": ["empty", 0], "vae": ["demo", 4], "reward": ["colour", 0], "second": ["light", 0]}
    how = {"seed": 7, "steps": 20, "cfg": 1.5, "sampler_name": "ddpm", "scheduler": "normal", "denoise": 1.0}
    how |= {"seeds": 4, "start": 0.0, "end": 1.5, "most": 48, "kl_budget": 0.0, "may_fall": 25.0}
    graph = demo("heart")
    graph |= {
        name: node("RealignPictureReward", reward=reward)
        for name, reward in (("colour", "colourfulness"), ("light", "brightness"))
    }
    graph["search"] = node("RealignSearch", **given, **how)
    graph["curve"] = node("PreviewImage", images=["search", 5])
    return pictures(host, graph, "curve")[0]


def particles(host: Host) -> Picture:
    """Four hearts of the demo reference as they come, and drawn towards colour: of 8 particles each, ever stronger."""
    rows = []
    for strength in (None, 5.0, 1.0):
        steered = {"reward": ["reward", 0], "vae": ["demo", 4], "strength": strength, "particles": 8}
        plain = {"strength": 1.0, "particles": 1}
        given = {name: ["demo", place] for name, place in (("model", 0), ("positive", 2), ("negative", 3))}
        how = {"seed": 7, "steps": 30, "cfg": 1.5, "scheduler": "normal", "denoise": 1.0, "pictures": 4, "pick": "draw"}
        given |= {"latent_image": ["empty", 0], **how, **(plain if strength is None else steered)}
        graph = {**demo("heart"), "reward": node("RealignPictureReward", reward="colourfulness")}
        graph |= {"sampler": node("RealignParticles", **given), **decoded("sampler")}
        rows.append(("no reward" if strength is None else f"strength {strength:g}", pictures(host, graph)))
    return strip(rows, [])


def demo_models(host: Host) -> Picture:
    shapes = ("ball", "star", "ring", "flower")
    rows: dict[str, list[Picture]] = {"reference": [], "anchor": []}
    for seed, shape in enumerate(shapes, 3):
        for name, image in zip(rows, pictures(host, {**demo(shape), **swept_sampler((0, 1), seed=seed)})):
            rows[name].append(image)
    return strip(list(rows.items()), shapes)


OF_RUNS: dict[str, Callable[[Host], Picture]] = {
    "sampler": realign_sampler,
    "guider": realign_guider,
    "model": realign_model,
    "anchor_lambda": anchor_lambda,
    "add_anchor": add_anchor,
    "anchor_from_model": anchor_from_model,
    "schedule": lambda_schedule,
    "sweep": lambda_sweep,
    "prompts": lambda_prompts,
    "grid": lambda_grid,
    "report": lambda_report,
    "trace": trace_report,
    "score": score,
    "combine_rewards": combine_rewards,
    "best_of": best_of,
    "reward_report": reward_report,
    "search": search,
    "particles": particles,
    "demo_models": demo_models,
}
