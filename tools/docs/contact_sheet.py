"""Draws docs/demo_contact_sheet.png: training pictures, samples of the demo reference, and the same noise at rising λ.

    $(make -s python) -m tools.docs.contact_sheet --host "$(make -s host)"

Sampled by `realign_core` from the models themselves: no ComfyUI has to be started.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import load_file
from torch import Tensor

from tools.cache import PACK
from tools.train.demo_data import Painter, colourfulness
from tools.train.demo_host import default_host, demo_model, import_host

sys.path.append(str(PACK))  # behind the host, whose own `nodes` the pack's must not hide
from realign_core import NoiseLevel, gaussian_noise, realigned_sample, separate

COLUMNS, ROWS = 8, 2
LAMBDAS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
CELL, MARGIN, GAP = 96, 118, 2  # pixels of the sheet
PREFIX = "diffusion_model."


def load(folder: Path, device: torch.device) -> tuple[Any, Any, Tensor]:
    """Reference, anchor (the host's BaseModel) and the token table."""
    demo = demo_model()
    models = []
    tokens = torch.empty(0)
    for name in ("reference", "anchor"):
        weights = load_file(folder / f"{name}.safetensors")
        tokens = weights.pop(demo.REFERENCE_TOKENS, tokens).float().to(device)
        model = demo.build_model(device)
        model.diffusion_model.load_state_dict({key.removeprefix(PREFIX): value for key, value in weights.items()})
        models.append(model)
    return models[0], models[1], tokens


def denoise(model: Any, x: Tensor, sigma: Tensor, context: Tensor, empty: Tensor, cfg: float) -> Tensor:
    """D (B, 3, H, W) after classifier-free guidance."""
    sigmas = sigma.expand(len(x))
    if cfg == 1:
        return model.apply_model(x, sigmas, c_crossattn=context)
    both = model.apply_model(x.repeat(2, 1, 1, 1), sigmas.repeat(2), c_crossattn=torch.cat([context, empty]))
    conditional, unconditional = both.chunk(2)
    return unconditional + cfg * (conditional - unconditional)


def sample(
    models: tuple[Any, Any], context: Tensor, empty: Tensor, noise: Tensor, lam: float, cfg: float, steps: int
) -> Tensor:
    """DDIM (η = 0) at λ: pictures (B, 3, H, W) in [-1, 1]. noise: (B, 3, H, W), standard normal."""
    schedule = models[0].model_sampling.sigmas
    picked = torch.linspace(len(schedule) - 1, 0, steps + 1)[:-1].round().long()
    levels = [NoiseLevel(1.0, sigma) for sigma in [*schedule[picked].tolist(), 0.0]]

    def denoiser(model: Any) -> Any:
        return lambda x, level: denoise(model, x, torch.tensor(level.sigma, device=x.device), context, empty, cfg)

    x = noise * (1 + levels[0].sigma ** 2) ** 0.5
    denoisers = [denoiser(model) for model in models]
    step_noise = gaussian_noise(x, seed=0)  # asked for by the loop, not used at η = 0
    out = realigned_sample(separate(denoisers), x, levels, [[lam]] * steps, noise=step_noise, eta=0.0)
    return out.x.clamp(-1, 1)


def sheet(rows: list[tuple[str, Tensor]]) -> Image.Image:
    """rows: label and pictures (COLUMNS, 3, H, W)."""
    width, height = MARGIN + COLUMNS * (CELL + GAP), len(rows) * (CELL + GAP)
    image = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(image)
    font = ImageFont.truetype(PACK / "assets" / "RealignSans.ttf", 14)
    for row, (label, pictures) in enumerate(rows):
        top = row * (CELL + GAP)
        pen.text((6, top + CELL / 2), label, fill="black", font=font, anchor="lm")
        for column, picture in enumerate(pictures):
            pixels = ((picture + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
            cell = Image.fromarray(pixels).resize((CELL, CELL), Image.Resampling.BICUBIC)
            image.paste(cell, (MARGIN + column * (CELL + GAP), top))
    return image


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=default_host(), help="ComfyUI's folder (default: COMFYUI_PATH)")
    parser.add_argument("--models", type=Path, default=PACK / "demo")
    parser.add_argument("--out", type=Path, default=PACK / "docs" / "demo_contact_sheet.png")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--cfg", type=float, default=1.5)
    return parser.parse_args()


@torch.inference_mode()
def main() -> None:
    options = arguments()
    import_host(options.host)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    reference, anchor, tokens = load(options.models, device)
    demo = demo_model()
    painter = Painter(demo.SIZE, options.seed, device)
    captions = painter.captions(COLUMNS * ROWS)
    captions[:, :2] = torch.arange(COLUMNS * ROWS)[:, None] % torch.tensor([8, 8])  # every shape, every colour
    first = torch.tensor([0, *[len(words) for words in demo.CAPTION.values()][:-1]]).cumsum(0).to(device)
    context, empty = tokens[first + 1 + captions], tokens[first].expand(len(captions), -1, -1)
    noise = torch.randn(len(captions), 3, demo.SIZE, demo.SIZE, generator=painter.random, device=device)

    drawn = painter.draw(captions)
    sampled = sample((reference, anchor), context, empty, noise, 0.0, options.cfg, options.steps)
    rows = [("drawn", drawn[:COLUMNS]), ("", drawn[COLUMNS:])]
    rows += [("λ = 0", sampled[:COLUMNS]), ("(reference)", sampled[COLUMNS:])]
    print(f"mean chroma over {len(captions)} captions, the same for all; the sheet shows {COLUMNS} of each λ above 0")
    print(f"drawn: {colourfulness(drawn).mean():.3f}")
    print(f"λ 0: {colourfulness(sampled).mean():.3f}")
    for lam in LAMBDAS:
        pictures = sample((reference, anchor), context, empty, noise, lam, options.cfg, options.steps)
        print(f"λ {lam}: {colourfulness(pictures).mean():.3f}")
        rows.append((f"λ = {lam:g}" + ("  (anchor)" if lam == 1 else ""), pictures[:COLUMNS]))
    options.out.parent.mkdir(exist_ok=True)
    sheet(rows).save(options.out, optimize=True)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
