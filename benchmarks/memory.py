"""Which cards hold what, and how much is streamed where they do not: `benchmarks/memory.py --host FOLDER`.

From the host's own estimates of models in their real sizes, which are made without weights: nothing is downloaded, no
GPU is needed, and the answer is the same on every machine. Writes benchmarks/results/memory.md.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from real_sizes import FP8, KINDS, NAMES, SIDES, Shapes
from speed_cases import RESULTS, enter_host, host_folder, say
from tables import table

CARDS = (8, 12, 16, 24)  # GiB
TAKEN = 0.5  # GiB that the driver, the desktop and torch hold
GIB = 2**30
RESERVED, LEAST = 400 * 2**20, 0.8 * GIB  # as the host has them on Linux (comfy/model_management.py)
STOCK, FULL_REUSE = "one model, stock", "full anchor, difference reuse"
DTYPES = {"sd15": torch.float16, "sdxl": torch.float16, "sd35": torch.float16, "flux": FP8}
DTYPE_NAMES = {torch.float16: "fp16", FP8: "fp8"}
PICTURES = 7  # of a sweep


def as_on_a_card() -> None:
    """The host's estimates as on an NVIDIA card with torch's attention."""
    import comfy.model_management as management

    management.pytorch_attention_flash_attention = lambda: True
    logging.getLogger().setLevel(logging.WARNING)


def card(size: float) -> Any:
    from realign.nodes.models.memory import Device

    return Device((size - TAKEN) * GIB, True, LEAST + RESERVED, RESERVED)


def loads(reference: Any) -> dict[str, Any]:
    """What is loaded, by method."""
    from realign.nodes.models import small_card
    from realign.nodes.models.memory import Load

    size = float(reference.model_size())
    possible = small_card.ways(reference, [size])
    names = {
        small_card.FULL: "full anchor",
        small_card.REUSE: FULL_REUSE,
        small_card.LORA: f"LoRA anchor, rank {small_card.RANK}",
        small_card.LOW_RANK: f"`low_rank` {small_card.RANK}",
    }
    return {STOCK: Load([size], [1.0])} | {name: possible.get(way) for way, name in names.items()}


def rows(kind: str, cards: Sequence[float], is_small: bool = False) -> list[list[str]]:
    """A line for each card: in every column what is moved in a step, or that all is on the card."""
    shapes = Shapes(kind, is_small)
    reference = shapes.model(DTYPES[kind], "meta", torch.float16 if DTYPES[kind] == FP8 else None)
    shape = shapes.latent()["samples"].shape
    methods = loads(reference)
    name = f"{NAMES[kind]}, {DTYPE_NAMES[DTYPES[kind]]}"
    out = []
    for size in cards:
        device = card(size)
        working = device.working(reference, shape)
        cells = [cell(load, device, working) for load in methods.values()]
        out.append([name, f"{size:g} GB", *cells])
    working = card(cards[-1]).working(reference, shape)
    in_all = ["–" if load is None else f"{(load.size + working) / GIB:.1f}" for load in methods.values()]
    return [[f"**{name}**", "**GiB in all**", *in_all], *out]


def cell(load: Any, device: Any, working: float) -> str:
    if load is None:
        return "–"
    streamed = load.streamed(device, working) / GIB
    return "fits" if not streamed else f"{streamed:.1f}" if streamed >= 0.05 else "< 0.1"


def report(kinds: Sequence[str], cards: Sequence[float], is_small: bool = False) -> str:
    import comfyui_version
    from realign.nodes.models import small_card

    columns = [
        STOCK,
        "full anchor",
        FULL_REUSE,
        f"LoRA anchor, rank {small_card.RANK}",
        f"`low_rank` {small_card.RANK}",
    ]
    body = [row for kind in kinds for row in rows(kind, cards, is_small)]
    sides = " and ".join(f"{8 * SIDES[kind]}² for {NAMES[kind]}" for kind in ("sdxl", "sd15"))
    parts = [
        "# Memory",
        f"Written by `benchmarks/memory.py`, from the estimates of ComfyUI {comfyui_version.__version__} for models of "
        "real size without weights; nothing here was measured on a card.",
        "In the bold lines, GiB that reference, anchor and sampling take together. Below, by card, the GiB of weights "
        "that ComfyUI moves from main memory to the card in every step, on average; “fits”: none. At full speed, PCIe "
        "3.0 × 16 moves about 12 GiB in a second, 4.0 twice as many. The diffusion models alone: ComfyUI takes text "
        "encoders and VAE off the card where it needs their room.",
        table([["models", "card", *columns], *body]),
        f"One picture of {sides} (1024² for the others too), as on an NVIDIA card under Linux with torch's attention. "
        f"{TAKEN:g} GiB of the card are taken by driver and desktop; at least {(LEAST + RESERVED) / GIB:.1f} GiB are "
        "left for sampling. With a LoRA or `low_rank` a reference that is streamed counts twice, as it is asked twice "
        f"in a step; difference reuse has {small_card.REUSE_CALLS:g} calls per step, and keeps the reference on the "
        "card. `low_rank` needs 16 or 32 bit weights.",
    ]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=host_folder(), help="ComfyUI's folder")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--cards", nargs="+", type=float, default=list(CARDS), help="GB (default 8 12 16 24)")
    parser.add_argument("--small", action="store_true", help="small models, to try the script")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of memory.md")
    options = parser.parse_args()
    enter_host(options.host, "cpu")
    as_on_a_card()
    text = report(options.kinds, options.cards, options.small)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "memory.md").write_text(text, encoding="utf-8")
    say(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
