"""What is known of pictures, as data: for the page, as tidy JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from .facts import Facts, kls
from .labels import number, picture_names, prompt_label, score_parts
from .particle_records import drawn_record, drawn_step_record, groups_record
from .reported import Reported
from .traced import Traced, TracedStep


def page_record(known: Facts, files: Sequence[str], seed: int | None) -> dict[str, Any]:
    """What the page gets of a batch, as a table. files: names of its pictures. seed: the run's, None where not known.

    columns: λ, the β it stands for, and whether these hold only where a λ mask is 1. rows: what their cells have in
    common, and `says`, what tells them apart: cfg, eta, prompt, seed (or “seed+”, by how much it is above the run's),
    image. kl, scores: by picture, None where there are none. front: places of the pictures that no other beats, where
    that is known.
    """
    scores = [score_parts(known, i) for i in range(known.count)]
    return {
        "seed": seed,
        "swept": bool(known.cells),
        "unused_sweep": known.unused_sweep,
        "draft": known.draft,
        "columns": [_column(known, i) for i in known.table[0].tolist()],
        "rows": [_row(known, i, seed) for i in known.table[:, 0].tolist()],
        "kl": [known.kl(i) for i in range(known.count)] if known.measured else None,
        "scores": scores if any(scores) else None,
        "front": None,
        "files": list(files),
    }


def with_report(record: dict[str, Any], report: Reported) -> dict[str, Any]:
    """The record, with what a reward report on the same pictures says of them: its scores, and the front."""
    said = [
        [*own, *(f"{name} {number(value)}" for name, value in zip(report.rewards, row))]
        for own, row in zip(record["scores"] or [[]] * len(report.scores), report.scores)
    ]
    return record | {"scores": said, "front": report.marked or None}


def _column(known: Facts, picture: int) -> dict[str, Any]:
    """lambda: what “Use λ” sets, or None. The name stays that of the place, by which the page knows the picture of
    another run."""
    return {
        "name": picture_names(known, picture)[0],
        "lambda": known.lambda_(picture),
        "beta": known.beta(picture),
        "masked": known.masked(picture),
    }


def _row(known: Facts, picture: int, seed: int | None) -> dict[str, Any]:
    """prompt: the row's own, whole; "" where it is not known as text, None where the row has the run's."""
    cell = known.cell(picture)
    prompt = None if cell.prompt is None else known.prompts[cell.prompt]
    words = None if cell.prompt is None else prompt_label(cell.prompt, known.prompts)
    own = ("seed+", cell.seed) if seed is None else ("seed", seed + cell.seed)
    told = {"cfg": ("cfg", cell.cfg), "eta": ("eta", cell.eta), "prompt": ("prompt", words), "seed": own}
    told["image"] = ("image", cell.image + 1)
    says = [[name, value] for of, (name, value) in told.items() if of in known.varies and value is not None]
    return {"seed_offset": cell.seed, "cfg": cell.cfg, "eta": cell.eta, "prompt": prompt, "says": says}


def picture_record(known: Facts, picture: int) -> dict[str, Any]:
    """A picture's numbers; picture, row, column and image are counted from 1. beta: β/λ. None: not known.

    masked: whether λ and β are those where a λ mask is 1. KL: of what was mixed, without a reward's. Of a run with
    particles also `drawn_record`.
    """
    cell = known.cell(picture)
    row, column = divmod(picture, known.table.shape[1])
    etas = (known.trace.etas if known.trace else None) or [None]
    return {
        "picture": picture + 1,
        "row": row + 1,
        "column": column + 1,
        "lambda": known.lambda_(picture),
        "beta": known.beta(picture),
        "masked": known.masked(picture),
        "seed": None if known.seed is None else known.seed + cell.seed,
        "image": cell.image + 1,
        "cfg": known.settings.get("cfg") if cell.cfg is None else cell.cfg,
        "eta": etas[0] if cell.eta is None else cell.eta,
        **(_kl_record(known.trace, picture) if known.trace and known.measured else {}),
        **(drawn_record(known.particles, picture) if known.particles else {}),
    }


def step_records(known: Facts, picture: int) -> Iterator[dict[str, Any]]:
    """One record per step, counted from 1. step_lambda_k: anchor k's λ, its share included. KL: what the step adds.

    mean_lambda_k: of a run with a λ mask, the mean over the picture. Of a run with particles also `drawn_step_record`.
    """
    lambdas = known.step_lambdas(picture)
    for i, step in enumerate(known.steps):
        means = step.lambdas if step.lambdas_before_mask else []
        yield {
            "step": i + 1,
            "sigma": step.sigma,
            "sigma_next": step.sigma_next,
            **{f"step_lambda_{k}": values[i] for k, values in enumerate(lambdas, 1)},
            **{f"mean_lambda_{k}": values[picture] for k, values in enumerate(means, 1)},
            **(_kl_record(step, picture) if known.measured else {}),
            "model_calls": step.model_calls,
            **(drawn_step_record(known.particles, i, picture) if known.particles else {}),
        }


def as_json(known: Facts) -> str:
    """settings, anchors, pictures (records of `picture_record`) and steps (of `step_records`, with their picture).

    Of a run with particles also particles: `groups_record`.
    """
    pictures = range(known.count)
    report = {
        "settings": known.settings,
        "anchors": known.anchors,
        "pictures": [picture_record(known, i) for i in pictures],
        "steps": [{"picture": i + 1, **record} for i in pictures for record in step_records(known, i)],
    }
    if known.particles:
        report["particles"] = groups_record(known.particles)
    return json.dumps(report, ensure_ascii=False, indent=1, allow_nan=False)


def as_csv(known: Facts) -> str:
    """A line per picture and step: of the picture's numbers those that are not KL, then the step's."""
    lines = []
    for i in range(known.count):
        own = {key: value for key, value in picture_record(known, i).items() if not key.startswith("kl_")}
        lines += [{**own, **record} for record in step_records(known, i)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _kl_record(told: Traced | TracedStep, picture: int) -> dict[str, float | None]:
    return {f"kl_anchor_{model}" if model else "kl_reference": kl for model, kl in enumerate(kls(told, picture))}
