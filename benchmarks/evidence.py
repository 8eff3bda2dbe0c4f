"""Does λ do what retraining does, in pictures of learned networks? `make evidence`.

Trains a reference and anchors at six β in two ways (evidence/learned_networks.py), makes pictures of each and of λ
between them by the studies' command on real ComfyUIs, and compares. Hours on two cores, less on a GPU. Writes
benchmarks/results/evidence.md and plots. Networks, pictures and their tables are kept outside the clone: a killed run
goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]
sys.path.append(str(PACK))

import torch  # noqa: E402
from evidence import learned_plot  # noqa: E402
from evidence.held_out import losses  # noqa: E402
from evidence.kept import Kept, fingerprint  # noqa: E402
from evidence.learned_cases import EXTENTS, Extent  # noqa: E402
from evidence.learned_found import Found, Tilt  # noqa: E402
from evidence.learned_networks import DEVICE, TILTED, TWIN, pool, train_all  # noqa: E402
from evidence.learned_report import text  # noqa: E402
from evidence.learned_scores import Judge  # noqa: E402
from evidence.learned_studies import hosts, is_made, make  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from tools.cache import CACHE  # noqa: E402

HERE = PACK / "benchmarks" / "evidence"
TRAINING = [
    *(PACK / "tools" / "train").glob("*.py"),
    HERE / "learned_networks.py",
    PACK / "nodes" / "models" / "demo_network.py",
]
SAMPLING = [
    *TRAINING,
    HERE / "learned_cases.py",
    HERE / "learned_studies.py",
    HERE / "comfy_nodes" / "__init__.py",
    *(PACK / "realign_core").glob("*.py"),
    *(PACK / "nodes" / "run").glob("*.py"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", type=Path, required=True, help="ComfyUI's folder")
    parser.add_argument("--network", choices=list(EXTENTS), default=TWIN.name)
    parser.add_argument("--workers", type=int, default=1 if DEVICE.type == "cuda" else os.cpu_count() or 1)
    parser.add_argument("--only", choices=("train", "sample"), help="end after this part")
    parser.add_argument("--out", type=Path, help="a folder for the report and the plots instead of the repository")
    parser.add_argument("--cache", type=Path, default=CACHE / "evidence", help="where results are kept")
    options = parser.parse_args()
    extent = EXTENTS[options.network]
    networks = options.cache / f"networks-{fingerprint(TRAINING)}"
    studies = options.cache / f"studies-{fingerprint(SAMPLING)}"
    began = time.monotonic()
    train_all(extent.all_trained(), options.host, networks, options.workers)
    say("trained", began)
    if options.only == "train":
        return
    sample(extent, options, networks, studies)
    say("sampled", began)
    if options.only is None:
        report(extent, options, networks, studies)


def say(what: str, began: float) -> None:
    print(f"{what}: {(time.monotonic() - began) / 60:.0f} min", file=sys.stderr, flush=True)


def sample(extent: Extent, options: argparse.Namespace, networks: Path, studies: Path) -> None:
    """What is not there yet."""
    asked = [one for one in extent.asked() if not is_made(extent, one, studies / one.name)]
    if not asked:
        return
    with hosts(Path(sys.executable), options.host, networks, options.workers) as urls:
        for place, one in enumerate(asked, 1):
            print(f"study {place} of {len(asked)}: {one.name}, λ {one.lambdas}", file=sys.stderr, flush=True)
            make(extent, one, studies / one.name, urls)


def report(extent: Extent, options: argparse.Namespace, networks: Path, studies: Path) -> None:
    torch.set_num_threads(1)  # the matrices are small
    kept = Kept("classifiers", [HERE / "learned_scores.py", PACK / "tools/train/demo_data.py"], options.cache)
    judge = Judge(extent, kept)
    results = {one: judge.scored(one, studies / one.name) for one in extent.asked()}
    data = pool(extent.network.size, 0, extent.network.pool)
    truth = {beta: Tilt.of(data, beta) for beta in (0.0, *extent.betas[TILTED])}
    found = Found(extent, results, truth, losses(extent, options.host, networks))
    weights = load_file(extent.reference.file(networks))
    count = sum(value.numel() for name, value in weights.items() if name.startswith("unet."))
    name = "evidence" if extent.network == TWIN else f"evidence_{extent.network.name}"
    plots = (options.out or PACK / "docs") / f"{name}.png"
    learned_plot.draw(found, plots)
    learned_plot.pictures(found, studies, plots.with_name(f"{name}_pictures.png"))
    written = text(found, judge.told, count, f"docs/{name}.png, docs/{name}_pictures.png")
    path = (options.out or PACK / "benchmarks" / "results") / f"{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(written, encoding="utf-8")
    print(written)


if __name__ == "__main__":
    main()
