"""Tasks to a back end, outcomes to the folder: the same for making pictures and for scoring them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from .answers import Traced, opened
from .backends.interface import Backend, Outcome, Task
from .errors import FolderError, HostTrouble, StudyError
from .results import Folder, picture_of
from .rows import Row, Study
from .scoring import score_task

ALIKE = 10  # rows, of as many prompts where some are made, that fail alike, one after the other: then all would


class Watch(Protocol):
    """Whoever shows how a run goes."""

    def start(self, what: str, total: int, done: int) -> None: ...

    def outcome(self, outcome: Outcome) -> None: ...


@dataclass
class Summary:
    """Of one run, in rows."""

    total: int  # that the plan has
    before: int  # that needed nothing
    done: int = 0
    failed: int = 0

    @property
    def left(self) -> int:
        return self.total - self.before - self.done - self.failed


def sample(study: Study, folder: Folder, backend: Backend, watch: Watch, retry_failed: bool = False) -> Summary:
    """Make the rows that the folder does not have; rows that have failed only with retry_failed."""
    made = folder.made()
    rows = {row.key: row for row in study.rows if row.key not in made or (made[row.key] and retry_failed)}
    summary = Summary(len(study.rows), len(study.rows) - len(rows))

    def keep(outcome: Outcome) -> None:
        folder.append(folder.rows, _record(study, folder, rows[outcome.key], outcome))

    _run("pictures", (study.task(row) for row in rows.values()), backend, keep, watch, summary, _prompts(study))
    return summary


def score(study: Study, folder: Folder, backend: Backend, watch: Watch, retry_failed: bool = False) -> Summary:
    """Ask the plan's rewards about the pictures that are there, where they have not been asked."""
    there, scored, asked = folder.made(), folder.scored(), study.rewards
    missing: dict[str, list[str]] = {}
    good = [row for row in study.rows if there.get(row.key) == ""]
    for row in good:
        known = {name: scored.get((row.key, what)) for name, what in asked.items()}
        names = [name for name, one in known.items() if one is None or (one["error"] and retry_failed)]
        if names:
            missing[row.key] = names
    summary = Summary(len(good), len(good) - len(missing))

    def tasks() -> Iterator[Task]:
        for row in (row for row in good if row.key in missing):
            picture = folder.path / picture_of(row.key)
            graphs = {name: study.reward_graphs[name] for name in missing[row.key]}
            try:
                yield score_task(row.key, picture, study.prompts[row.prompt].text, graphs)
            except OSError as error:
                raise FolderError(f"{picture} cannot be read: {error.strerror or error}.") from None

    def keep(outcome: Outcome) -> None:
        for name in missing[outcome.key]:
            error = "" if name in outcome.told else outcome.errors.get(name, outcome.error)
            record = {"key": outcome.key, "reward": name, "asked": asked[name], "error": error}
            folder.append(folder.scores, record | {"score": outcome.told.get(name)})

    _run("scores", tasks(), backend, keep, watch, summary, _prompts(study))
    return summary


def _run(
    what: str,
    tasks: Iterable[Task],
    backend: Backend,
    keep: Callable[[Outcome], None],
    watch: Watch,
    summary: Summary,
    prompts: Mapping[str, int],
) -> None:
    """prompts: by a row's key."""
    watch.start(what, summary.total, summary.before)
    if not summary.left:
        return
    alike: list[Outcome] = []  # the last ones, as far as they failed in the same words
    with closing(backend.run(tasks)) as outcomes:
        for outcome in outcomes:
            keep(outcome)
            summary.failed += bool(outcome.error)
            summary.done += not outcome.error
            watch.outcome(outcome)
            alike = [one for one in alike if one.error == outcome.error] + [outcome] if outcome.error else []
            # A prompt that fails has as many rows as λ and seeds, and is no reason to stop where others do not.
            if (len({prompts[one.key] for one in alike}) if summary.done else len(alike)) >= ALIKE:
                where = ", ".join(sorted({one.worker for one in alike}))
                raise StudyError(
                    f"{len(alike)} rows failed alike, one after the other, at {where}, so no more were tried: "
                    f"{outcome.error} Mend it, and run the same command with --retry-failed."
                )
    if summary.left:
        raise HostTrouble(f"{summary.left} rows are left. Run the same command again to go on.")


def _prompts(study: Study) -> dict[str, int]:
    return {row.key: row.prompt for row in study.rows}


def _record(study: Study, folder: Folder, row: Row, outcome: Outcome) -> dict[str, Any]:
    record = study.facts(row) | {"host": outcome.host, "worker": outcome.worker, "error": outcome.error}
    if outcome.error or outcome.picture is None:
        return record | {"error": outcome.error or "There was no picture."}
    trace = outcome.told.get("trace")
    if isinstance(trace, Traced):
        beta = study.anchors[row.anchor].beta or trace.beta
        record |= {"kl": trace.kl, "model_calls": float(trace.model_calls), "host_realign": trace.realign}
        record |= {"beta_anchor": beta, "beta": beta / row.lambda_ if beta and row.lambda_ > 0 else None}
    picture = opened(outcome.picture)
    record |= {"width": picture.width, "height": picture.height, "pixels": picture.pixels}
    record |= {"seconds": outcome.seconds, "bytes": len(outcome.picture)}
    return record | {"picture": folder.keep_picture(row.key, outcome.picture)}
