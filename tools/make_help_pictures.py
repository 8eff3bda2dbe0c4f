"""Makes the pictures of the help pages, web/docs/img, from runs of the demo models in a real ComfyUI.

    python tools/make_help_pictures.py --host FOLDER [--browser CHROMIUM] [--only NAME …]

Two of them are pictures of the page itself and need a Chromium and playwright; without --browser they stay as they are.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from host_process import PACK, Host, say
from PIL import Image, ImageDraw, ImageFont
from stand_in_files import stand_in_files

IMAGES = PACK / "web" / "docs" / "img"
LARGEST = 60_000  # bytes
CELL, GAP, MARGIN, LINE, TEXT = 112, 6, 8, 30, 20  # px of the strips: the help panel shows them about 300 wide
BACKGROUND, INK = (24, 24, 27), (228, 228, 231)

Graph = dict[str, Any]
Picture = Image.Image


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


def pictures(host: Host, graph: Graph, name: str = "decode_saved") -> list[Picture]:
    """Runs the graph: the pictures that the node called `name` showed."""
    return shown(host, host.run(graph)[name])


def shown(host: Host, output: dict[str, Any]) -> list[Picture]:
    found = []
    for image in output["images"]:
        query = urlencode({key: image[key] for key in ("filename", "subfolder", "type")})
        found.append(Image.open(io.BytesIO(host.get_bytes(f"/view?{query}"))).convert("RGB"))
    return found


def font(size: int = TEXT) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(PACK / "assets" / "RealignSans.ttf"), size)


def strip(rows: Sequence[tuple[str, Sequence[Picture]]], heads: Sequence[str], cell: int = CELL) -> Picture:
    """Rows of pictures, each with its name on the left, under the columns' heads."""
    text = font()
    left = MARGIN + max(round(text.getlength(name)) for name, _ in rows)
    left += MARGIN if any(name for name, _ in rows) else 0
    columns = max(len(row) for _, row in rows)
    size = left + columns * (cell + GAP) + MARGIN - GAP, MARGIN + LINE + len(rows) * (cell + GAP) + MARGIN - GAP
    out = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(out)
    for column, head in enumerate(heads):
        middle = left + column * (cell + GAP) + cell / 2
        draw.text((middle, MARGIN + LINE / 2 - 2), head, fill=INK, font=text, anchor="mm")
    for row, (name, images) in enumerate(rows):
        top = MARGIN + LINE + row * (cell + GAP)
        draw.text((MARGIN, top + cell / 2), name, fill=INK, font=text, anchor="lm")
        for column, image in enumerate(images):
            out.paste(image.resize((cell, cell), Image.Resampling.NEAREST), (left + column * (cell + GAP), top))
    return out


def lambda_heads(values: Sequence[float]) -> list[str]:
    return [f"λ {value:g}" for value in values]


def stacked(*parts: Picture) -> Picture:
    """Below one another, all as wide as the widest allows."""
    width = max(part.width for part in parts)
    out = Image.new("RGB", (width, sum(part.height for part in parts)), BACKGROUND)
    top = 0
    for part in parts:
        out.paste(part, ((width - part.width) // 2, top))
        top += part.height
    return out


def narrowed(image: Picture, width: int) -> Picture:
    if image.width <= width:
        return image
    return image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)


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


def schedule(shape: str, **inputs: Any) -> Graph:
    given = {"start": 0.0, "end": 1.0, "begin": 0.0, "stop": 1.0, "scale": 1.0, "offset": 0.0, **inputs}
    how = {"over": "steps", "sigma_max": 0.0, "sigma_min": 0.0, "steps": 30}
    return {"schedule": node("LambdaSchedule", shape=shape, **given, **how, anchor=["demo", 1])}


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
        images += shown(host, out["decode_saved"])
        plot = shown(host, out["schedule"])[0]
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
    "grid": lambda_grid,
    "report": lambda_report,
    "trace": trace_report,
    "demo_models": demo_models,
}


PLOTS = {"report", "trace"}  # as PNG with a palette; the others as JPEG


def encoded(image: Picture, name: str) -> bytes:
    """Raises ValueError where the picture is too large for a help page."""
    for quality, colours in ((90, 256), (85, 128), (80, 96), (75, 64), (70, 48)):
        out = io.BytesIO()
        if name in PLOTS:
            image.quantize(colours, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        else:
            image.save(out, "JPEG", quality=quality, optimize=True, progressive=True)
        if out.tell() <= LARGEST:
            return out.getvalue()
    raise ValueError(f"{name} would have {out.tell()} bytes, more than {LARGEST}")


def write(image: Picture, name: str, folder: Path) -> None:
    path = folder / f"{name}.{'png' if name in PLOTS else 'jpg'}"
    path.write_bytes(encoded(image, name))
    say(f"{path.name}: {image.width}×{image.height}, {path.stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--host", required=True, help="the ComfyUI folder")
    parser.add_argument("--browser", help="a Chromium, for the pictures of the page")
    parser.add_argument("--only", nargs="*", default=[], help="names of pictures, e.g. sampler grid")
    options = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    with Host(sys.executable, options.host) as host:
        for name, make in OF_RUNS.items():
            if not options.only or name in options.only:
                write(make(host), name, IMAGES)
        if options.browser:
            from help_screenshots import OF_THE_PAGE, page

            stand_in_files(host.base / "models", PACK / "workflows")
            host.post("/settings", {"Comfy.TutorialCompleted": True})
            with page(host, options.browser) as tab:
                for name, take in OF_THE_PAGE.items():
                    if not options.only or name in options.only:
                        write(take(tab), name, IMAGES)
    say(json.dumps({path.name: path.stat().st_size for path in sorted(IMAGES.iterdir())}))


if __name__ == "__main__":
    main()
