"""What a check has seen, in words; and a run of ours that is refused or breaks, as such a finding."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from comfy.model_management import InterruptProcessingException

from ..models.reach import OWN

REPORT = "please report it, with the text that this node gives"


@dataclass(frozen=True)
class Finding:
    """what: was looked at. said: what was seen, with its figure and bound. right: None where that cannot be told."""

    what: str
    said: str
    right: bool | None = True
    advice: str = ""


class Failed(Exception):
    """A stage of the check that has no result; it holds the finding that says why."""

    def __init__(self, finding: Finding):
        super().__init__(finding.said)
        self.finding = finding


def ours(what: str, run: Callable[[], Any]) -> Any:
    """What a realigned run gives. Raises Failed where it is refused or breaks; a cancelled run stays cancelled.

    Only this pack's own sentences are passed on: another's may hold paths.
    """
    try:
        return run()
    except InterruptProcessingException:
        raise
    except Exception as error:
        module = _raised_in(error)
        if isinstance(error, ValueError) and module.startswith(f"{OWN}."):
            raise Failed(Finding(what, f"refused: {error}", False)) from error
        logging.exception("Realign Check: the run at %s failed", what)
        name = re.split(r"[/\\]", module)[-1]  # packs are named by their folders
        said = f"failed: {type(error).__name__} in {name}; the log says more"
        raise Failed(Finding(what, said, False, REPORT)) from error


def _raised_in(error: BaseException) -> str:
    """The module."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    return str(where.tb_frame.f_globals.get("__name__")) if where is not None else ""
