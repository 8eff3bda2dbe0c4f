"""What is shown while a study runs: a bar with the time left, rows failed and rows per worker; in a log, lines."""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from .backends.interface import Outcome
from .errors import shown

EVERY = 60.0  # seconds between lines where there is no terminal
MOST_WORKERS = 6  # that are named


class Shown:
    """A running.Watch. `with Shown(console) as shown:`"""

    def __init__(self, console: Console):
        self.console = console
        # Everything that comes from prompts, hosts and files is shown as text: markup in it means nothing.
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[told]}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._workers: Counter[str] = Counter()
        self._failed = self._done = self._total = 0
        self._said = time.monotonic()

    def __enter__(self) -> Shown:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def start(self, what: str, total: int, done: int) -> None:
        self._task = self._bar.add_task(what, total=total, completed=done, told="")
        self._total, self._done = total, done

    def outcome(self, outcome: Outcome) -> None:
        self._workers[outcome.worker] += 1
        self._failed += bool(outcome.error)
        self._done += 1
        if outcome.error:
            self.say(f"failed: {outcome.error}")
        self._bar.update(self._task, advance=1, told=self.told())
        if not self.console.is_terminal and time.monotonic() - self._said > EVERY:
            self._said = time.monotonic()
            self.say(f"{self._done} of {self._total} · {self.told()}")

    def told(self) -> str:
        """Rows failed and rows per worker."""
        named = self._workers.most_common(MOST_WORKERS)
        workers = " · ".join(f"{name}: {count}" for name, count in named)
        more = f" · and {len(self._workers) - len(named)} more" if len(self._workers) > len(named) else ""
        return f"{self._failed} failed · {workers}{more}"

    def say(self, sentence: str) -> None:
        self.console.print(Text(shown(sentence)), soft_wrap=True)
