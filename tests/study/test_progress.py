"""What is shown while a study runs."""

from __future__ import annotations

import io

from rich.console import Console

from realign_study.backends.interface import Outcome
from realign_study.progress import MOST_WORKERS, Shown


def test_the_bar_tells_rows_failed_and_rows_of_each_worker():
    out = io.StringIO()
    with Shown(Console(file=out, force_terminal=True, width=200)) as shown:
        shown.start("pictures", 12, 0)
        for number in range(MOST_WORKERS + 2):
            shown.outcome(Outcome(str(number), f"http://[b]{number}"))
        shown.outcome(Outcome("again", "http://[b]1", error="no \x1b[2J room"))
        told = shown.told()
    assert told.startswith("1 failed · http://[b]1: 2 · http://[b]0: 1 · ")
    assert told.endswith(" · and 2 more")
    assert told in out.getvalue()  # markup in it means nothing
    assert "failed: no \ufffd[2J room" in out.getvalue()
    assert "9/12" in out.getvalue()
