"""The words on pictures: λ, β/λ, seed, KL and settings, as labels say them."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from typing import Any

from ...realign_core import Cell
from .facts import Facts

MASKED = "masked"
PROMPT_WORDS = 28  # characters of a prompt that a row's label has, at about
WITHOUT_REWARD = ", without the reward's"  # of a KL


def number(value: float, digits: int = 4) -> str:
    """A few significant digits and no more zeros than needed: 10000, 0.25, 1052, 0.00012, 1.2e-7."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "∞"
    if not 1e-4 <= abs(value) < 1e7:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{_short(mantissa)}e{int(exponent)}"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return _short(f"{value:.{max(decimals, 0)}f}")


def column_label(value: float, beta: float | None = None, scheduled: bool = False) -> tuple[str, str]:
    """What stands over a column: λ, and below it the β it stands for, "" where that is not known."""
    below = "reference" if value == 0 else f"β {number(beta)}" if beta else ""
    return f"λ ×{number(value)}" if scheduled else f"λ {number(value)}", below


def row_label(cell: Cell, varies: Set[str], base_seed: int | None = None, prompts: Sequence[str] = ()) -> list[str]:
    """What tells the cell's row from the others, one part per line. varies: see `varying`. prompts: the sweep's."""
    parts = [f"cfg {number(cell.cfg)}"] if cell.cfg is not None and "cfg" in varies else []
    parts += [f"η {number(cell.eta)}"] if cell.eta is not None and "eta" in varies else []
    if cell.prompt is not None and "prompt" in varies:
        parts.append(prompt_label(cell.prompt, prompts))
    if "seed" in varies:
        parts.append(f"seed +{cell.seed}" if base_seed is None else f"seed {base_seed + cell.seed}")
    return parts + ([f"image {cell.image + 1}"] if "image" in varies else [])


def first_words(text: str, most: int = PROMPT_WORDS) -> str:
    """The beginning of a text, cut at a word's end; in the midst of a word that is longer than that."""
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    cut = text[:most]
    whole = cut.rpartition(" ")[0] if text[most] != " " else cut
    return f"{(whole or cut[:-1]).rstrip(' ,.;:')}…"


def prompt_label(prompt: int, prompts: Sequence[str]) -> str:
    """A prompt of a sweep in a few words."""
    text = first_words(prompts[prompt]) if prompt < len(prompts) else ""
    return text or f"prompt {prompt + 1}"


def prompts_label(known: Facts) -> str:
    """The whole prompts of a sweep's rows, as far as they are known; "" where the rows have the run's own."""
    texts = [" ".join(text.split()) for text in known.prompts]
    if len(texts) < 2:
        return "".join(texts)
    return " · ".join(f"{place}: {text}" for place, text in enumerate(texts, 1) if text)


def strength_label(known: Facts, picture: int) -> str:
    """λ of a picture of a run without a sweep: "λ 0.5", "λ 0 – 1", "λ 0.5 + 0.25"; "" where it is not known."""
    spans = []
    for steps in known.step_lambdas(picture) if known.trace else [[known.set_lambda]]:
        values = [value for value in steps if value is not None]
        low, high = number(min(values, default=math.nan)), number(max(values, default=math.nan))
        spans.append("" if not values else low if low == high else f"{low} – {high}")
    text = " + ".join(span for span in spans if span)
    return f"λ {text}" if text else ""


def strength_parts(known: Facts, picture: int) -> list[str]:
    """λ and β/λ of a picture without a sweep, as far as they are known."""
    strength, beta = strength_label(known, picture), known.beta(picture)
    parts = (strength, f"β {number(beta)}" if beta else "", MASKED if strength and known.masked(picture) else "")
    return [part for part in parts if part]


def kl_label(value: float | None) -> str:
    return "KL –" if value is None else f"KL {number(value, 3)}"


def kl_parts(known: Facts, picture: int) -> list[str]:
    """The picture's KL to the reference, where there is a trace of it."""
    return [kl_label(known.kl(picture))] if known.measured else []


def score_parts(known: Facts, picture: int) -> list[str]:
    """What the reward, and one that was watched, say of the picture."""
    run = known.particles
    if run is None:
        return []
    told = (("score", run.scores), ("held out", run.held_out_scores))
    return [f"{name} {number(scores[picture])}" for name, scores in told if scores is not None]


def caption(known: Facts, picture: int) -> list[str]:
    """All that is known of one picture, as parts to be joined: λ, β, seed, cfg, η, image, KL and scores."""
    parts = []
    if known.cells:
        cell = known.cells[picture]
        parts += [part for part in column_label(cell.value, known.beta(picture), known.scheduled) if part]
        parts += [MASKED] if known.masked(picture) else []
        parts += row_label(
            cell, known.varies | ({"seed"} if known.seed is not None else set()), known.seed, known.prompts
        )
    else:
        parts += strength_parts(known, picture)
        if known.count > 1 or not parts:
            parts.append(f"image {picture + 1}")
    return parts + kl_parts(known, picture) + score_parts(known, picture)


def picture_names(known: Facts, picture: int) -> tuple[str, str]:
    """What tells a picture from those beside it, and its row from the others: (“λ 0.5”, “cfg 5, seed +1”)."""
    if known.cells:
        cell = known.cells[picture]
        return column_label(cell.value, scheduled=known.scheduled)[0], ", ".join(
            row_label(cell, known.varies, prompts=known.prompts)
        )
    strength = strength_label(known, picture)
    name = f"picture {picture + 1}" if known.count > 1 or not strength else ""
    return " · ".join(part for part in (name, strength) if part), ""


def settings_label(known: Facts) -> str:
    """The sampler's settings, from the trace: "ddpm · normal · 30 steps · cfg 1.5 · seed 7"; "" without one.

    Spaces within a setting do not break. What varies over a sweep's rows is left to their labels.
    """
    run = known.settings
    cfgs, own_etas = ({getattr(cell, name) for cell in known.cells} - {None} for name in ("cfg", "eta"))
    parts = [str(run[key]) for key in ("sampler_name", "scheduler") if run.get(key)]
    parts += [f"{run['steps']} steps"] if "steps" in run else []
    parts += [f"cfg {number(*(cfgs or {run['cfg']}))}"] if "cfg" in run and len(cfgs) < 2 else []
    etas = own_etas or (known.trace.etas if known.trace else [])
    if etas and len(own_etas) < 2:
        parts.append("η " + ", ".join(dict.fromkeys(number(eta) for eta in etas)))
    parts += [f"denoise {number(run['denoise'])}"] if run.get("denoise", 1) != 1 else []
    parts += [f"seed {run['seed']}"] if "seed" in run and "seed" not in known.varies else []
    return " · ".join(part.replace(" ", "\xa0") for part in parts)


def anchor_label(anchor: dict[str, Any]) -> str:
    """An anchor's name, with the β it was trained at, if known, and its share of λ, if that is not all of it."""
    parts = [str(anchor.get("name", "anchor"))]
    parts += [f"β {number(anchor['beta'])}"] if anchor.get("beta") else []
    parts += [f"share {number(anchor['share'])}"] if anchor.get("share", 1) != 1 else []
    return parts[0] if len(parts) == 1 else f"{parts[0]} ({', '.join(parts[1:])})"


def reward_label(known: Facts) -> str:
    """The reward, with its strength, and what was done with the particles; "" for a run without any."""
    run = known.particles
    if run is None:
        return ""
    parts = [run.reward] if run.reward else []
    parts += [f"strength {number(run.strength)}"] if run.strength is not None else []
    parts += ["corrected"] if run.corrected else []
    parts += [f"held out: {run.held_out}"] if run.held_out else []
    parts.append(f"{run.groups} × {run.particles} particles" if run.groups > 1 else f"{run.particles} particles")
    return " · ".join(parts)


def model_name(known: Facts, model: int) -> str:
    """model: 0 for the reference, k for anchor k."""
    anchor = known.anchors[model - 1] if 0 < model <= len(known.anchors) else {}
    return str(anchor.get("name", f"anchor {model}")) if model else "the reference"


def _short(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
