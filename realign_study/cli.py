"""The command `realign`: `realign study PLAN` makes a plan's pictures, `realign score PLAN` asks its rewards of them,
`realign search PLAN` chooses λ as it goes until the best is known, `realign report PLAN` draws what came out.

The first three go on where an earlier run ended, and stop on Ctrl-C with all that is finished kept. Exit status: 0 all
rows are there; 1 some have failed; 2 it could not go on, with a sentence on standard error; 130 stopped.
"""

from __future__ import annotations

import argparse
import io
import math
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from importlib import resources
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from . import running, searching
from .backends import backend_of, places, workers
from .errors import StudyError, shown
from .estimate import estimate
from .plan import Hosts, PlanFile, plain
from .progress import Shown
from .results import Folder
from .rows import Study

STAGES = {
    "study": "make the pictures of a plan",
    "score": "ask its rewards about them",
    "search": "find the λ that a reward likes best, with few pictures",
    "report": "draw what came out, as a page and as CSV, into the study's folder",
}
EXAMPLES = ("example", "demo", "paper-sdxl", "paper-sd15")  # plans/


def main(arguments: Sequence[str] | None = None) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal or a log of another encoding has no λ
    options = _parser().parse_args(arguments)
    told = Console(stderr=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a job that is ended leaves no host behind
    try:
        if options.stage == "study" and options.example:
            _write((resources.files(__package__) / "plans" / f"{options.example}.yaml").read_bytes())
            return 0
        if options.plan is None:
            raise StudyError("Name a plan, as: realign study plan.yaml. `realign study --example` writes one.")
        if options.stage == "report":
            return _report(options)
        return _search(options, told) if options.stage == "search" else _run(options, told)
    except StudyError as error:
        told.print(Text(shown(str(error))), style="red", soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        told.print("Stopped. What was finished is kept; the same command goes on from there.", soft_wrap=True)
        return 130


def _run(options: argparse.Namespace, told: Console) -> int:
    plan_file = PlanFile(Path(options.plan), Path(options.out) if options.out else None)
    _other_hosts(plan_file, options)
    Folder(plan_file.folder).refuse_others(plan_file)
    study = Study(plan_file)
    if options.dry_run:
        for line in estimate(study, plan_file.folder, workers(plan_file, options.stage == "score")).lines():
            print(line)
        print(f"where: {places(plan_file)}; into {plan_file.folder}")
        return 0
    if options.stage == "score" and not study.rewards:
        raise StudyError(f"{plan_file.path.name} names no rewards: add some, as `realign study --example` shows.")
    with Folder(plan_file.folder) as folder, Shown(told) as watch:
        if changed := folder.check_plan(study, options.changed_plan):
            watch.say(changed)
        if older := folder.keep_workflow(study.workflow):
            watch.say(older)
        stage = running.score if options.stage == "score" else running.sample
        try:
            with closing(backend_of(plan_file, watch.say, options.stage == "score")) as backend:
                summary = stage(study, folder, backend, watch, options.retry_failed)
        finally:
            folder.write_table(study)
    bad = summary.failed
    if options.stage == "study":  # those of earlier runs too
        made = folder.made()
        bad = sum(bool(made.get(row.key)) for row in study.rows)
    print(f"{summary.total - bad} of {summary.total} rows are there, {bad} failed: {folder.path / 'table.parquet'}")
    print(f"What came of it: realign report {shown(_command(options))}")
    return 1 if bad else 0


def _search(options: argparse.Namespace, told: Console) -> int:
    plan_file = PlanFile(Path(options.plan), Path(options.out) if options.out else None)
    _other_hosts(plan_file, options)
    study = searching.SearchStudy(plan_file)
    wanted = searching.searches(study)
    path = Path(options.out) if options.out else searching.search_folder(plan_file)
    if options.dry_run:
        print(f"at least {wanted.least} and at most {wanted.most} pictures for each anchor and setting")
        print(f"where: {places(plan_file)}; into {path}")
        return 0
    with Folder(path) as folder, Shown(told) as watch:
        if older := folder.keep_workflow(study.workflow):
            watch.say(older)
        try:
            with closing(backend_of(plan_file, watch.say)) as backend:
                results = searching.search(study, folder, backend, watch, options.retry_failed)
        finally:
            folder.write_table(study)
    for line in searching.lines_of(results):
        print(line)
    print(f"The curves: {path / 'search.json'}")
    return 0


def _report(options: argparse.Namespace) -> int:
    study = Study(PlanFile(Path(options.plan), Path(options.out) if options.out else None))
    folder = Folder(study.plan_file.folder)
    if not (folder.path / "pictures").is_dir():
        raise StudyError(f"There is no study in {folder.path} yet: run `realign study` first, or name it by --out.")
    try:
        from .report import write_report
    except ModuleNotFoundError as error:
        raise StudyError(f"A report needs {error.name}: pip install 'realign[report]' brings it.") from None
    print(f"The report: {write_report(study, folder, options.kl_budget, options.prompt)}")
    return 0


def _write(file: bytes) -> None:
    """To standard output as it is: a file that is redirected there is UTF-8, whatever the terminal speaks."""
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.buffer.write(file)
    else:
        sys.stdout.write(file.decode())


def _command(options: argparse.Namespace) -> str:
    """What a report of the same study is asked for by."""
    return shlex.join([options.plan, *(["--out", options.out] if options.out else [])])


def _other_hosts(plan_file: PlanFile, options: argparse.Namespace) -> None:
    """--server, --comfyui and --ray take the place of the plan's hosts."""
    plan = plan_file.plan
    by_ray = options.ray is not None or plan.back_end == "ray"
    if options.server and by_ray:
        raise StudyError(
            "--server names a ComfyUI that runs, and with Ray each actor starts its own: leave --server out, or "
            f"{'leave --ray out' if options.ray is not None else 'take back_end: ray and hosts.ray out of the plan'}."
        )
    if not (options.server or options.comfyui or options.ray is not None):
        return
    named = {"servers": options.server, "comfyui": options.comfyui, "python": options.python}
    kept = plan.hosts.model_dump(include={"row_minutes", "patience", "args"})
    if by_ray:
        kept = plan.hosts.model_dump(exclude={"servers"})
        if options.ray is not None:
            kept["ray"] = {**(kept["ray"] or {}), "address": options.ray}
    try:
        hosts = Hosts.model_validate(kept | {key: value for key, value in named.items() if value})
    except ValidationError as error:
        raise StudyError(f"--server, --comfyui, --ray: {plain(error.errors()[0])}.") from None
    back_end = "ray" if by_ray else "servers"
    plan_file.plan = plan.model_copy(update={"hosts": hosts, "back_end": back_end})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="realign", description="Studies of λ: many prompts, one machine or many.")
    stages = parser.add_subparsers(dest="stage", required=True)
    for name, text in STAGES.items():
        stage = stages.add_parser(name, help=text, description=text)
        stage.add_argument("plan", nargs="?", help="the plan, a YAML file")
        stage.add_argument("--out", help="the study's folder (else as the plan says)")
    for name in ("study", "score", "search"):
        stage = stages.choices[name]
        stage.add_argument("--server", action="append", default=[], help="a ComfyUI's address, instead of the plan's")
        stage.add_argument("--comfyui", help="start the ComfyUI in this folder, instead of the plan's hosts")
        stage.add_argument("--python", help="its interpreter")
        stage.add_argument(
            "--ray",
            nargs="?",
            const="local",
            metavar="ADDRESS",
            help="by Ray: on the cluster at ray://HOST:PORT, on the one that this machine is of (auto), or just here",
        )
        stage.add_argument("--retry-failed", action="store_true", help="try again what has failed")
        if name != "search":
            stage.add_argument("--changed-plan", action="store_true", help="go on in a folder of another plan")
        stage.add_argument("--dry-run", action="store_true", help="only tell what it would cost")
    stages.choices["study"].add_argument(
        "--example",
        nargs="?",
        choices=EXAMPLES,
        const=EXAMPLES[0],
        help="write a commented plan, and end; or the demo's, or one of the paper's protocol",
    )
    report = stages.choices["report"]
    report.add_argument("--kl-budget", type=_budget, action="append", default=[], help="nats; may be named again")
    report.add_argument(
        "--prompt",
        type=int,
        action="append",
        default=[],
        help="a prompt whose pictures are shown, from 1; again for more",
    )
    return parser


def _budget(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError(text)
    return value


if __name__ == "__main__":
    sys.exit(main())
