"""Does λ do what retraining does, where retraining's answer is known? `make evidence-exact`.

Gaussian mixtures in 2 to 64 dimensions and small networks trained on their draws (evidence/ has all parts): every β
from every anchor by λ, step by step, corrected and with merged weights, beside the model of that β under the same
sampler.
Writes benchmarks/results/evidence_exact.md and docs/evidence_exact.png. What is measured is kept outside the clone, by
case and by the code that measured it: a killed run goes on, and a second one takes seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]
sys.path.append(str(PACK))

import torch  # noqa: E402
from evidence.exact_bench import Bench  # noqa: E402
from evidence.exact_cases import all_cases  # noqa: E402
from evidence.exact_plot import draw  # noqa: E402
from evidence.exact_report import text  # noqa: E402

from tools.cache import CACHE  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a folder for evidence_exact.md and .png instead of the repository")
    parser.add_argument("--cache", type=Path, default=CACHE / "evidence", help="where results are kept")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the matrices are small: threads would wait for each other
    bench, cases, began, said = Bench(arguments.cache), all_cases(), time.monotonic(), 0.0
    results = {}
    for done, case in enumerate(cases, 1):
        results[case] = bench.measured(case)
        if time.monotonic() - said > 5 or done == len(cases):
            said = time.monotonic()
            print(f"{done} of {len(cases)} cases, {said - began:.0f} s: {case.world}, {case.method}", flush=True)
    written = text(bench.worlds, results)
    report = (arguments.out or PACK / "benchmarks" / "results") / "evidence_exact.md"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(written, encoding="utf-8")
    draw(results, (arguments.out or PACK / "docs") / "evidence_exact.png")
    print(written)


if __name__ == "__main__":
    main()
