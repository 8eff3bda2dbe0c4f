"""The report as one HTML file, by jinja2: whatever comes from a plan, a host or a table is escaped there as text."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..rows import Study
from . import drawing
from .failures import Failure, alike
from .findings import Findings, Found
from .pictures import Sheet
from .statistics import DRAWS, LEVEL, Best, Curve

MOST_ERRORS = 20  # that are told; all are in failures.csv


@dataclass
class Plot:
    address: str  # data:
    said: str  # instead of it


def page(study: Study, table: pa.Table, findings: Findings, failed: list[Failure], sheets: list[Sheet]) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "signed": signed, "percent": "{:.0%}".format, "whole": "{:,}".format}
    template = environment.from_string((resources.files(__package__) / "page.html").read_text(encoding="utf-8"))
    errors = alike(failed)
    return template.render(
        plan=study.plan,
        facts=_facts(study, table),
        findings=findings,
        looks=[drawing.look(place) for place in range(len(findings.groups))],
        best=_best,
        metrics=[(one, list(_plots(findings, one))) for one in findings.scores],
        kl=list(_kl_plots(findings)),
        kl_missing=_kl_missing(findings),
        sheets=sheets,
        errors=errors[:MOST_ERRORS],
        more_errors=len(errors) - MOST_ERRORS,
        level=LEVEL,
        draws=DRAWS,
        most=drawing.MOST,
    )


def number(value: float | None) -> str:
    """Four digits, as read: “1,234”, “0.05612”, “−3.2”; “–” where it is not known."""
    if value is None or math.isnan(value):
        return "–"
    size = abs(value)
    text = f"{value:,.0f}" if 1000 <= size < 1e7 else f"{value:.4g}"
    return text.replace("-", "−")


def signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def _facts(study: Study, table: pa.Table) -> dict[str, Any]:
    made = table.filter(pc.equal(table["error"], ""))
    prompts, seeds = len(study.prompts), study.seeds
    scored = {name: made.num_rows - made[f"score_{name}"].null_count for name in study.rewards}
    return {
        "rows": len(study.rows),
        "made": made.num_rows,
        "failed": table.num_rows - made.num_rows,
        "left": len(study.rows) - table.num_rows,
        "prompts": prompts,
        "seeds": seeds,
        "shared": study.plan.shares_seeds and prompts > 1,
        "anchors": sorted({name for name in table["anchor"].to_pylist() if name}),
        "unscored": {name: made.num_rows - count for name, count in scored.items() if count < made.num_rows},
        "hosts": sorted({host for host in made["host"].to_pylist() if host}),
        "files": study.plan.files,
        "versions": sorted({one or "older" for one in made["realign"].to_pylist()}),
        "sampled_by": sorted({one or "unknown" for one in made["host_realign"].to_pylist()}),
        "calls": pc.sum(made["model_calls"]).as_py(),
        "time": _time(pc.sum(made["seconds"]).as_py() or 0.0),
    }


def _time(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.1f} hours" if hours >= 1 else f"{seconds / 60:.1f} minutes"


def _plots(findings: Findings, found: Found) -> Iterator[Plot]:
    """Means, gains and the way against KL, or for each a sentence."""
    lines = _lines(found.curves)
    if not any(curve.known for curve in found.curves):
        yield Plot("", "No picture has this score yet: “realign score” asks for it.")
        return
    if not any(_several(curve.mean) for curve in found.curves):
        yield Plot("", "One λ only has scores: there is no curve to draw. The numbers are in the table above.")
        return
    yield _drawn(drawing.means(lines), f"{found.name}: mean score over λ")
    yield _drawn(drawing.gains(lines, found.best), f"{found.name}: gain over the base, over λ")
    if any(_several(kl.mean + own.mean) for kl, own in zip(findings.kl, found.curves)):
        yield _drawn(drawing.against_kl(lines, findings.kl), f"{found.name}: mean score against KL")
    else:
        yield Plot("", "Fewer than two λ have both a score and a KL: there is no curve against KL.")


def _kl_plots(findings: Findings) -> Iterator[Plot]:
    if any(_several(curve.mean) for curve in findings.kl):
        yield _drawn(drawing.means(_lines(findings.kl), "mean KL, nats"), "mean KL over λ")


def _drawn(svg: str, said: str) -> Plot:
    return Plot(f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}", said)


def _lines(curves: Sequence[Curve]) -> list[drawing.Line]:
    return [drawing.Line(curve, place) for place, curve in enumerate(curves)][: drawing.MOST]


def _several(values: Any) -> bool:
    return int((~np.isnan(values)).sum()) > 1


def _kl_missing(findings: Findings) -> list[float]:
    """The λ that have pictures of which no KL is known, in any group."""
    missing = set()
    for group, pictures, kl in zip(findings.groups, findings.pictures, findings.kl):
        missing |= {value for value, made, known in zip(group.lambdas, pictures, kl.count) if made and not known}
    return sorted(missing)


def _best(findings: Findings, found: Found, group: int, best: Best | None) -> dict[str, Any] | None:
    """A line of a table of best λ, and in words what is to be known of it."""
    if best is None:
        return None
    curve, place = found.curves[group], best.place
    base = curve.lambdas[curve.base]
    line: dict[str, Any] = {"lambda": curve.lambdas[place], "low": best.low, "high": best.high, "share": best.share}
    line |= {"mean": curve.mean[place], "gain": curve.gain[place], "base": base, "kl": findings.kl[group].mean[place]}
    line |= {"gain_low": curve.gain_low[place], "gain_high": curve.gain_high[place], "pairs": int(curve.pairs[place])}
    known = [index for index in range(len(curve.lambdas)) if curve.pairs[index]]
    words = []
    if len(known) == 1:
        words.append("the only λ with scores")
    elif best.alike:
        words.append("all λ score alike: none is better")
    else:
        if place == curve.base:
            words.append(f"no λ scores better than λ {base:g}")
        elif not curve.gain_low[place] > 0:
            words.append("the gain may be none")
        if place == known[-1] and place != curve.base:
            words.append("the largest λ asked: more may score better yet")
    if line["pairs"] < findings.units:
        words.append(f"from {line['pairs']} of {findings.units} pairs")
    return line | {"words": "; ".join(words)}
