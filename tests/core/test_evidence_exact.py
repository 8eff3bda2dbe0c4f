"""How `make evidence-exact` counts: distances of all draws, one picture beside eight, both methods' runaways."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

PACK = Path(__file__).resolve().parents[2]
sys.path.append(str(PACK / "benchmarks"))

from evidence import exact_findings  # noqa: E402
from evidence.exact_bench import known, parts  # noqa: E402
from evidence.exact_cases import ALONE, CORRECTED, LEARNED, MERGED, RING, STEPWISE, all_cases  # noqa: E402
from evidence.exact_runs import Case, levels_of, run, sampled  # noqa: E402
from evidence.exact_worlds import worlds  # noqa: E402

WORLDS = worlds()
IN_PICTURES = ("evidence", "evidence_shipped")
RESULTS, README = PACK / "benchmarks" / "results" / "evidence_exact.md", PACK / "README.md"


def cells(x: torch.Tensor) -> dict[str, float]:
    """Total variation from even cells of [0, 1), 20 of them, and the mean."""
    shares = torch.bincount((x[:, 0] * 20).long(), minlength=20) / len(x)
    return {"tv": float((shares - 1 / 20).abs().sum() / 2), "mean": float(x.mean())}


def test_parts_have_the_figure_of_all_draws_and_their_spread():
    """The spread of that figure over draws made anew. They lean to one side, so that it is no floor."""
    generator = torch.Generator().manual_seed(5)
    runs = [torch.rand(4096, 1, generator=generator, dtype=torch.float64) ** 1.3 for _ in range(200)]
    found = [parts(cells, x) for x in runs]
    tv = np.array([[one["tv"] for one in each] for each in found])
    for x, each in zip(runs[:5], tv):
        assert each.mean() == pytest.approx(cells(x)["tv"], abs=1e-12)
    told = float((tv.var(axis=1, ddof=1) / 8).mean()) ** 0.5
    assert told == pytest.approx(tv.mean(axis=1).std(), rel=0.25)
    means = [one["mean"] for one in found[0]]
    assert means == pytest.approx([float(batch.mean()) for batch in runs[0].chunk(8)], abs=1e-9)


def test_one_picture_is_of_its_own_group_and_eight_are_of_theirs_together():
    world, particles = WORLDS[RING], 4
    case = Case(RING, CORRECTED, 0.5, 1.0, steps=5, particles=particles, draws=32)
    models = known(world, case)
    out = run(models, levels_of("ve", 5), 32, particles, 1, (0.5,), 2, correct=True, eta=1.0)

    def groups(pictures: int) -> torch.Tensor:
        drawn = sampled(case, models, 2, pictures)
        same = (drawn[:, None] == out.x).all(-1)
        assert (same.sum(1) == 1).all()
        return same.int().argmax(1) // particles

    assert (groups(1) == torch.arange(32)).all()
    together = groups(8)
    assert (together // 8 == torch.arange(32) // 8).all()
    assert (together != torch.arange(32)).any()


def test_runs_that_ran_away_are_counted_of_both_methods():
    def rewards(case: Case) -> float:
        if case.method == MERGED and case.lambda_ > 2:
            return 1e6
        return 1e6 if case.method == STEPWISE and case.lambda_ > 5 else case.anchor or case.target

    random = np.random.default_rng(0)
    results = {
        case: [{"tv": v, "sw": v, "reward": rewards(case)} for v in random.uniform(size=8)]
        for case in all_cases()
        if case.world == LEARNED
    }
    said = exact_findings.merged(results)
    away = {most: sum(a / t > most for a, t in exact_findings.OUTSIDE) for most in (2, 5)}
    assert f"{away[2]} of 15 merged runs ran away, {away[5]} of 15 step by step" in said
    assert "0 of 15 merged runs ran away, 0 of 15 step by step" in said.split("λ > 1")[0]


def test_the_readmes_figures_are_the_reports():
    text, exact = README.read_text("utf-8"), RESULTS.read_text("utf-8")
    report = exact + "".join(RESULTS.with_name(f"{name}.md").read_text("utf-8") for name in IN_PICTURES)
    section = text.split("## Is it what training would give?")[1].split("\n## ")[0]
    figures = re.findall(r"\b0\.\d{3}\b|\d+ of \d+|[\d.]+(?: %)? \([\d.]+ … [\d.]+\)|\b\d+ %", section)
    assert len(figures) >= 12
    assert [one for one in figures if not re.search(rf"(?<![\d.]){re.escape(one)}", report)] == []
    assert all(f"{one}, " in exact or f"| {one} |" in exact for one in (ALONE, CORRECTED))
